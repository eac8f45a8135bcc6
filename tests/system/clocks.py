"""Each clock of weir measured by itself, for the test of how exact they are and for the command that prints it."""

import contextlib
import socket
import threading
import time

import conftest

# Shorter ones need not be exact to 1 %, but to 10 ms.
T = 0.5
# A cancel at MySQL is a login under TLS, which takes longer under sanitizers.
EXACT = 0.05 if conftest.SANITIZED else 0.01
LATE = 0.5

CLOCKS = ("query_timeout", "cancel_grace", "transaction_timeout", "idle_in_transaction_timeout", "client_idle_timeout",
          "pool_timeout", "client_login_timeout", "connect_timeout")


def msec(seconds):
    return f"{seconds * 1000:.0f}ms"


def duration(earliest, latest, end):
    """Of what ended at `end` and began somewhere between the two: where any moment would do, it was exact."""
    if end - latest >= T:
        return end - latest
    return min(T, end - earliest)


class Silent:
    """A server that accepts and says nothing."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(20)
        self.port = self.listener.getsockname()[1]

    def patience(self, ask):
        """How long the connection that `ask` leads to is waited on before it is given up."""
        # There may have been others before.
        self.listener.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.listener.accept()[0].close()
        self.listener.settimeout(20)
        asked = time.monotonic()
        threading.Thread(target=ask, daemon=True).start()
        accepted, _ = self.listener.accept()
        begin = time.monotonic()
        accepted.settimeout(20)
        with accepted, contextlib.suppress(ConnectionResetError):
            while accepted.recv(65536):
                pass
        return duration(asked, begin, time.monotonic())

    def close(self):
        self.listener.close()


def ini(side, silent):
    """One database for each clock, that sets only this."""
    url = side.server.url()
    silent_url = url.replace(f":{side.server.port}/", f":{silent.port}/")
    options = {name: f"{name} = {msec(T)}" for name in CLOCKS if name != "client_login_timeout"}
    options["cancel_grace"] = f"query_timeout = {msec(0.1)}\ncancel_grace = {msec(T)}"
    databases = "".join(
        f"[database {name}]\nurl = {silent_url if name == 'connect_timeout' else url}\npool_size = 1\nmax_overflow = 0\n"
        f"pool_pre_ping = false\n{option}\n" for name, option in options.items())
    return (f"[weir]\nlisten_postgresql = 127.0.0.1:@PORT@\nlisten_mysql = 127.0.0.1:@MYSQL_PORT@\nworkers = 1\n"
            f"admin_users = app\nclient_login_timeout = {msec(T)}\n{databases}")


class Measure:
    """Measure(side, weir, silent).query_timeout(): how long it took."""

    def __init__(self, side, weir, silent):
        self.side, self.weir, self.silent = side, weir, silent

    @contextlib.contextmanager
    def clients(self, database, n):
        clients = [self.side.client(self.weir, database=database) for _ in range(n)]
        try:
            yield clients
        finally:
            for client in clients:
                client.close()

    def until(self, client, work, clock):
        """How long until `client` is told that `clock` is over."""
        begin = time.monotonic()
        work()
        code = client.failure()
        took = time.monotonic() - begin
        assert code == self.side.codes[clock], code
        return took

    def query_timeout(self):
        with self.clients("query_timeout", 1) as (client,):
            client.run("select 1")
            return self.until(client, lambda: client.start(self.side.sleep(30)), "query_timeout")

    def cancel_grace(self):
        with self.clients("cancel_grace", 1) as (client,):
            client.run("select 1")
            self.side.stall()
            try:
                return self.until(client, lambda: client.start(self.side.sleep(30)), "query_timeout") - 0.1
            finally:
                self.side.go_on()

    def until_free(self, database, from_answer):
        """How long a transaction that says nothing keeps the only connection from another client. Its clock begins when
        weir sees the first statement, or the last answer, which is when the client does or a moment before."""
        with self.clients(database, 2) as (client, other):
            client.run("select 1")
            begun = time.monotonic()
            client.run("begin")
            asked = time.monotonic()
            client.run("select 1")
            answered = time.monotonic()
            assert other.value("select 2") == "2"
            end = time.monotonic()
            assert client.fails("select 3") == self.side.codes[database]
            return duration(asked, answered, end) if from_answer else duration(begun, answered, end)

    def transaction_timeout(self):
        return self.until_free("transaction_timeout", False)

    def idle_in_transaction_timeout(self):
        return self.until_free("idle_in_transaction_timeout", True)

    def client_idle_timeout(self):
        client = self.side.client(self.weir, database="client_idle_timeout")
        asked = time.monotonic()
        client.run("select 1")
        answered = time.monotonic()
        code = client.farewell()
        end = time.monotonic()
        assert code == self.side.codes["client_idle_timeout"]
        return duration(asked, answered, end)

    def pool_timeout(self):
        with self.clients("pool_timeout", 2) as (holder, client):
            holder.run("begin")
            holder.run("select 1")
            took = self.until(client, lambda: client.start("select 2"), "pool_timeout")
            holder.run("rollback")
            return took

    def client_login_timeout(self):
        begin = time.monotonic()
        with socket.create_connection(("127.0.0.1", self.side.port_of(self.weir)), 20) as s:
            while s.recv(65536):
                pass
        return time.monotonic() - begin

    def connect_timeout(self):
        """As the server sees it, which has accepted and says nothing."""
        def ask():
            with contextlib.suppress(Exception):
                self.side.client(self.weir, database="connect_timeout").run("select 1")

        return self.silent.patience(ask)


def lateness(measure, clock, tries, good_enough=None):
    """By how much each try was late, in seconds; no more tries once one was late by no more than `good_enough`."""
    found = []
    while len(found) < tries:
        found.append(getattr(measure, clock)() - T)
        if good_enough is not None and found[-1] <= good_enough:
            break
    return found
