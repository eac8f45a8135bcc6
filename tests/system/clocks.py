"""Each clock of weir measured by itself, for the test of how exact they are and for the command that prints it."""

import contextlib
import fcntl
import select
import socket
import struct
import termios
import threading
import time

import conftest
import sides

# Shorter ones need not be exact to 1 %, but to 10 ms.
T = 0.5
# A cancel at MySQL is a login under TLS, which takes longer under sanitizers.
EXACT = 0.05 if conftest.SANITIZED else 0.01
LATE = 0.5

# What is measured, and the option that sets it.
CLOCKS = {
    "query_timeout": "query_timeout",
    "query_timeout_prepared": "query_timeout",
    "transaction_timeout": "transaction_timeout",
    "transaction_timeout_running": "transaction_timeout",
    "transaction_timeout_busy": "transaction_timeout",
    "idle_in_transaction_timeout": "idle_in_transaction_timeout",
    "idle_in_transaction_timeout_pinned": "idle_in_transaction_timeout",
    "client_idle_timeout": "client_idle_timeout",
    "client_idle_timeout_pinned": "client_idle_timeout",
    "client_idle_timeout_login": "client_idle_timeout",
    "pool_timeout": "pool_timeout",
    "pool_timeout_prepared": "pool_timeout",
    "client_login_timeout": "client_login_timeout",
    "connect_timeout": "connect_timeout",
    "cancel_grace": "cancel_grace",
    "client_write_timeout": "client_write_timeout",
}


def msec(seconds):
    return f"{seconds * 1000:.0f}ms"


def duration(earliest, latest, end):
    """Of what ended at `end` and began somewhere between the two: where any moment would do, it was exact."""
    if end - latest >= T:
        return end - latest
    return min(T, end - earliest)


def end_of_growth(sock):
    """Watches what waits to be read from `sock` until its peer breaks it off. Returns the moments between which it grew
    for the last time."""
    poll = select.poll()
    poll.register(sock, 0)      # an error is told unasked
    looked = earliest = latest = time.monotonic()
    most = 0
    while not poll.poll(1):
        n = struct.unpack("i", fcntl.ioctl(sock, termios.FIONREAD, bytes(4)))[0]
        before, looked = looked, time.monotonic()
        assert looked - latest < 20
        if n > most:
            most, earliest, latest = n, before, looked
    return earliest, latest


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
    """One database for each measurement, that sets only this clock."""
    url = side.server.url()
    silent_url = url.replace(f":{side.server.port}/", f":{silent.port}/")
    options = {name: f"{option} = {msec(T)}" for name, option in CLOCKS.items() if name != "client_login_timeout"}
    # Whoever asks for that connection must not wait for another one when weir is to stop.
    options["connect_timeout"] += f"\npool_timeout = {msec(2 * T)}"
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

    def until_farewell(self, client, work, clock):
        """How long after `work`, or its end, `client` is closed because `clock` is over."""
        asked = time.monotonic()
        work()
        answered = time.monotonic()
        code = client.farewell()
        end = time.monotonic()
        assert code == self.side.codes[clock], code
        return duration(asked, answered, end)

    def query_timeout(self):
        with self.clients("query_timeout", 1) as (client,):
            client.run("select 1")
            return self.until(client, lambda: client.start(self.side.sleep(30)), "query_timeout")

    def query_timeout_prepared(self):
        with self.clients("query_timeout_prepared", 1) as (client,):
            statement = client.prepare(self.side.sleep(30))
            return self.until(client, lambda: client.start_prepared(statement), "query_timeout")

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

    def in_transaction(self, database, work):
        """How long after the beginning of a transaction its client is told that it is over, while it is at work."""
        with self.clients(database, 1) as (client,):
            client.run("select 1")
            begun = time.monotonic()
            client.run("begin")
            answered = time.monotonic()
            code = work(client)
            end = time.monotonic()
            assert code == self.side.codes["transaction_timeout"], code
            return duration(begun, answered, end)

    def transaction_timeout_running(self):
        return self.in_transaction("transaction_timeout_running", lambda client: client.fails(self.side.sleep(30)))

    def transaction_timeout_busy(self):
        """One statement after the other: none of them begins it anew."""
        def work(client):
            try:
                for _ in range(20):
                    client.run(self.side.sleep(T / 10))
            except sides.Failure as failure:
                return failure.code
            raise AssertionError("it goes on and on")

        return self.in_transaction("transaction_timeout_busy", work)

    def idle_in_transaction_timeout(self):
        return self.until_free("idle_in_transaction_timeout", True)

    def idle_in_transaction_timeout_pinned(self):
        """Such a client cannot go on without what pins it."""
        client = self.side.client(self.weir, database="idle_in_transaction_timeout_pinned")
        client.run(self.side.pins)
        return self.until_farewell(client, lambda: client.run("begin"), "idle_in_transaction_timeout_pinned")

    def client_idle_timeout(self):
        client = self.side.client(self.weir, database="client_idle_timeout")
        return self.until_farewell(client, lambda: client.run("select 1"), "client_idle_timeout")

    def client_idle_timeout_pinned(self):
        client = self.side.client(self.weir, database="client_idle_timeout_pinned")
        return self.until_farewell(client, lambda: client.run(self.side.pins), "client_idle_timeout")

    def client_idle_timeout_login(self):
        """It begins when the client is let in."""
        begin = time.monotonic()
        client = self.side.client(self.weir, database="client_idle_timeout_login")
        answered = time.monotonic()
        assert client.farewell() == self.side.codes["client_idle_timeout"]
        return duration(begin, answered, time.monotonic())

    def waiting(self, database, start):
        with self.clients(database, 2) as (holder, client):
            work = start(client)
            holder.run("begin")
            holder.run("select 1")
            took = self.until(client, work, "pool_timeout")
            holder.run("rollback")
            return took

    def pool_timeout(self):
        return self.waiting("pool_timeout", lambda client: lambda: client.start("select 2"))

    def pool_timeout_prepared(self):
        def start(client):
            statement = client.prepare("select 2")
            return lambda: client.start_prepared(statement)

        return self.waiting("pool_timeout_prepared", start)

    def client_login_timeout(self):
        begin = time.monotonic()
        with socket.create_connection(("127.0.0.1", self.side.port_of(self.weir)), 20) as s:
            while s.recv(65536):
                pass
        return time.monotonic() - begin

    def client_write_timeout(self):
        """From when the kernel of a client that does not read has taken the last it takes: before, it is not stuck."""
        with self.clients("client_write_timeout", 1) as (client,):
            client.run("select 1")
            client.start(self.side.megabytes(100))
            return duration(*end_of_growth(client.socket), time.monotonic())

    def connect_timeout(self):
        """As the server sees it, which has accepted and says nothing."""
        def ask():
            with contextlib.suppress(Exception):
                self.side.client(self.weir, database="connect_timeout").run("select 1")

        return self.silent.patience(ask)


def lateness(measure, tries, good_enough=None):
    """By how much each try was late, in seconds; no more tries once one was late by no more than `good_enough`."""
    found = []
    while len(found) < tries:
        found.append(measure() - T)
        if good_enough is not None and found[-1] <= good_enough:
            break
    return found
