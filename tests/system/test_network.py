"""Networks that swallow packets, stall, and break off: in a network namespace of their own, where packets can be dropped,
and behind a relay that does such things."""

import contextlib
import ctypes
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import threading
import time
import warnings

import mysql_servers
import mysql_wire
import psycopg
import pymysql
import pytest
import sides
from conftest import Weir, need_mysql9, wait_for
from fault_relay import FaultRelay, mysql_refusal, pg_refusal
from wire import Client, query

CLONE_NEWNET = 0x40000000

# What is promised: a peer that is gone is noticed within 20 s.
NOTICED = 20


class Namespace:
    """A network of its own, with a loopback and nothing else."""

    def __init__(self):
        self.keeper = subprocess.Popen(["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec cat"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.keeper.stdout.readline() == "up\n"
        self.path = f"/proc/{self.keeper.pid}/ns/net"

    def enter(self):
        """For good: in a thread, or in a child before it becomes another program."""
        fd = os.open(self.path, os.O_RDONLY)
        if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        os.close(fd)

    def call(self, function):
        """What it gives, called in it: a socket that it makes stays there."""
        def make():
            self.enter()    # the thread, not the process
            made.append(function())

        made = []
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        return made[0]

    def socket(self):
        """A TCP socket in it."""
        return self.call(socket.socket)

    def run(self, *command):
        return subprocess.run(command, preexec_fn=self.enter, check=True, capture_output=True, text=True).stdout

    def swallow(self, port):
        """From now on no packet gets from or to that port."""
        for word in ("--sport", "--dport"):
            self.run("iptables", "-I", "INPUT", "-p", "tcp", word, str(port), "-j", "DROP")

    def reset_after(self, port, packets):
        """Whoever sends more packets than that to the port on one connection gets a reset for an answer."""
        self.run("iptables", "-I", "INPUT", "-p", "tcp", "--dport", str(port), "-m", "connbytes", "--connbytes",
                 f"{packets}:", "--connbytes-dir", "original", "--connbytes-mode", "packets",
                 "-j", "REJECT", "--reject-with", "tcp-reset")

    def heal(self):
        self.run("iptables", "-F")

    def close(self):
        self.keeper.stdin.close()
        self.keeper.wait()


def why_not():
    """Why this machine cannot have such a namespace, or None."""
    try:
        namespace = Namespace()
    except (OSError, AssertionError) as e:
        return f"no network namespace: {e!r}"
    try:
        namespace.swallow(9)
        namespace.reset_after(9, 9)
    except (OSError, subprocess.CalledProcessError) as e:
        return f"no iptables in a network namespace: {getattr(e, 'stderr', e)!r}"
    finally:
        namespace.close()
    return None


@pytest.fixture(scope="module")
def namespaces():
    reason = why_not()
    if reason:
        warnings.warn(f"NOT TESTED, a network that swallows packets: {reason}", stacklevel=1)
        pytest.skip(reason)


class Cut:
    """A weir whose way to its server is in a namespace: PG or MySQL, by the same words."""

    def __init__(self, kind, server, base, **options):
        self.kind, self.server = kind, server
        self.clients = []
        self.namespace = Namespace()
        self.relay = FaultRelay(server.port, make_socket=self.namespace.socket)
        self.port = self.relay.port
        base.chmod(0o755)
        scheme = "postgresql" if kind == "postgres" else "mysql"
        params = options.pop("params", "?sslmode=disable" if kind == "postgres" else "?ssl_mode=disabled")
        lines = "\n".join(f"{key} = {value}" for key, value in options.items())
        self.weir = Weir(base, "[weir]\n"
                         f"listen_postgresql = unix:{base}/.s.PGSQL.6432\nlisten_mysql = unix:{base}/my\n"
                         "workers = 2\nadmin_users = app\n"
                         f"[database app]\nurl = {scheme}://app:secret@127.0.0.1:{self.port}/app{params}\n"
                         f"{lines}\n", preexec_fn=self.namespace.enter)

    def connect(self):
        if self.kind == "postgres":
            db = psycopg.connect(f"host={self.weir.base} port=6432 user=app password=secret dbname=app", autocommit=True)
        else:
            db = pymysql.connect(unix_socket=f"{self.weir.base}/my", user="app", password="secret", database="app",
                                 autocommit=True)
        self.clients.append(db)
        return db

    def console(self, command):
        with psycopg.connect(f"host={self.weir.base} port=6432 user=app password=secret dbname=weir", autocommit=True,
                             cursor_factory=psycopg.ClientCursor) as db:
            cursor = db.execute(command)
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row)) for row in cursor.fetchall()]

    def active(self):
        return sum(row["sv_active"] for row in self.console("show pools") if row["database"] == "app")

    def servers(self):
        return [row for row in self.console("show servers") if row["database"] == "app"]

    def close(self):
        self.namespace.heal()
        # A test that has failed may leave some in a transaction, for the end of which weir would wait.
        for db in self.clients:
            with contextlib.suppress(*ERRORS):
                db.close()
        try:
            self.weir.stop()
        finally:
            self.relay.stop()
            self.namespace.close()


ERRORS = (psycopg.Error, pymysql.Error)


def ask(db, sql):
    """(the rows, or the error's code and text; how long it took)"""
    begin = time.monotonic()
    try:
        with db.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall(), time.monotonic() - begin
    except ERRORS as e:
        code = e.sqlstate if isinstance(e, psycopg.Error) else e.args[0]
        return (code, str(e)), time.monotonic() - begin


def sleep_sql(kind, seconds):
    return f"select pg_sleep({seconds})" if kind == "postgres" else f"select sleep({seconds})"


@pytest.fixture(params=["postgres", "mariadb", "mysql"])
def kind(request):
    return request.param


@pytest.fixture
def cut(namespaces, kind, request, tmp_path):
    """cut(pool_size=2, ...)"""
    made = []

    def make(**options):
        base = pathlib.Path(tempfile.mkdtemp(prefix="c"))
        made.append(Cut(kind, request.getfixturevalue(kind), base, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


LOST = {"postgres": "08006", "mariadb": 1927, "mysql": 1927}


@pytest.mark.thorough
def test_packets_are_swallowed(cut, kind):
    c = cut(pool_size=3, max_overflow=0, pool_timeout="40s", pre_ping_after=0)
    clients = [c.connect() for _ in range(4)]
    assert [ask(db, "select 1")[0] for db in clients] == [[(1,)] if kind == "postgres" else ((1,),)] * 4
    # One statement was acknowledged before, one is sent into the void; a third connection is idle.
    results = {}

    def run(name, db, sql):
        results[name] = ask(db, sql)

    acknowledged = threading.Thread(target=run, args=("acknowledged", clients[0], sleep_sql(kind, 60)))
    acknowledged.start()
    wait_for(lambda: c.active() == 1, "it to run")
    with clients[1].cursor() as cursor:
        cursor.execute("begin")
        cursor.execute("select 2")
    c.namespace.swallow(c.port)
    cut_at = time.monotonic()
    void = threading.Thread(target=run, args=("void", clients[1], "select 3"))
    void.start()
    # Whoever comes now has nothing in flight, and gets what it asked for when the network is back.
    waits = threading.Thread(target=run, args=("waits", clients[2], "select 4"))
    waits.start()
    acknowledged.join(30)
    void.join(30)
    noticed = time.monotonic() - cut_at
    assert noticed < NOTICED
    for name in ("acknowledged", "void"):
        (code, text), seconds = results[name]
        assert code == LOST[kind] and "weir" in text, (name, code, text)
        print(f"{kind}: swallowed packets, {name}: noticed after {seconds:.1f} s: {text.strip()}")
    # The idle connections, too, have been found out.
    wait_for(lambda: all(row["state"] not in ("idle", "active") for row in c.servers()), "the idle one to be dropped",
             NOTICED - (time.monotonic() - cut_at))
    c.namespace.heal()
    waits.join(15)
    assert results["waits"][0] in ([(4,)], ((4,),)), results["waits"]
    with contextlib.suppress(*ERRORS):
        clients[1].rollback()
    assert [ask(db, "select 1")[0] for db in clients] == [[(1,)] if kind == "postgres" else ((1,),)] * 4


def test_an_address_that_swallows_packets_is_waited_for_once(namespaces, kind, request):
    """Of two hosts: the first clients wait for connect_timeout, those after them do not."""
    server = request.getfixturevalue(kind)
    namespace = Namespace()
    base = pathlib.Path(tempfile.mkdtemp(prefix="b"))
    base.chmod(0o755)
    relay = FaultRelay(server.port, make_socket=namespace.socket)
    scheme, params = ("postgresql", "sslmode=disable") if kind == "postgres" else ("mysql", "ssl_mode=disabled")
    namespace.run("iptables", "-I", "INPUT", "-d", "127.0.0.2", "-j", "DROP")
    weir = Weir(base, "[weir]\nworkers = 2\nadmin_users = app\n"
                f"listen_postgresql = unix:{base}/.s.PGSQL.6432\nlisten_mysql = unix:{base}/my\n"
                "[database app]\npool_size = 8\nconnect_timeout = 1s\n"
                f"url = {scheme}://app:secret@127.0.0.2:{relay.port},127.0.0.1:{relay.port}/app?{params}\n",
                preexec_fn=namespace.enter)

    def connect():
        if kind == "postgres":
            return psycopg.connect(f"host={base} port=6432 user=app password=secret dbname=app", autocommit=True)
        return pymysql.connect(unix_socket=f"{base}/my", user="app", password="secret", database="app", autocommit=True)

    clients = []
    try:
        took = []
        for _ in range(6):
            begin = time.monotonic()
            clients.append(connect())
            assert answered(ask(clients[-1], "select 1")[0])
            # Held: the next one needs a connection of its own.
            ask(clients[-1], "begin")
            took.append(time.monotonic() - begin)
        print(f"{kind}: waited for a connection: {[round(t, 2) for t in took]}")
        # For a login in MySQL's protocol it was waited once already when weir started.
        assert took[0] < 2 and max(took[1:]) < 0.9, took
    finally:
        for db in clients:
            db.close()
        namespace.heal()
        weir.stop()
        relay.stop()
        namespace.close()


def test_weir_stops_while_it_waits_for_servers_that_do_not_answer(namespaces):
    namespace = Namespace()
    base = pathlib.Path(tempfile.mkdtemp(prefix="s"))
    base.chmod(0o755)
    namespace.swallow(9)
    weir = Weir(base, f"[weir]\nlisten_postgresql = unix:{base}/.s.PGSQL.6432\nlisten_mysql = unix:{base}/my\n"
                "[defaults]\nmin_size = 1\nconnect_timeout = 1min\npool_timeout = 5min\n"
                "[database pg]\nurl = postgresql://app:x@127.0.0.1:9,127.0.0.2:9/app\n"
                "[database my]\nurl = mysql://app:x@127.0.0.1:9,127.0.0.2:9/app\n",
                preexec_fn=namespace.enter, expect_start=False)
    try:
        # One connects for each pool, and one for MySQL's greeting.
        wait_for(lambda: pathlib.Path(f"/proc/{weir.process.pid}/net/tcp").read_text().count(":0009 02 ") >= 3,
                 "weir to connect")
        begin = time.monotonic()
        weir.process.send_signal(signal.SIGINT)
        weir.process.wait(30)
        print(f"stopped after {time.monotonic() - begin:.1f} s")
        assert time.monotonic() - begin < 6
    finally:
        if weir.process.poll() is None:
            weir.process.kill()
        weir.process.wait()
        namespace.close()
    assert weir.process.returncode == 0


def drain(s):
    """Reads and reads."""
    with contextlib.suppress(OSError):
        while s.recv(65536):
            pass


@pytest.mark.thorough
def test_clients_vanish_behind_a_network_that_swallows_packets(namespaces, postgres, mariadb):
    """With nothing under way to them, with something small, and with more than fits; and others that only do not read."""
    namespace = Namespace()
    base = pathlib.Path(tempfile.mkdtemp(prefix="v"))
    base.chmod(0o755)
    relays = [FaultRelay(server.port, make_socket=namespace.socket) for server in (postgres, mariadb)]
    weir = Weir(base, "[weir]\nworkers = 2\nadmin_users = app\n"
                f"listen_postgresql = 127.0.0.1:@PORT@, unix:{base}/.s.PGSQL.6432\nlisten_mysql = 127.0.0.1:@MYSQL_PORT@\n"
                "[defaults]\npool_size = 10\npool_timeout = 60s\n"
                f"[database app]\nurl = postgresql://app:secret@127.0.0.1:{relays[0].port}/app?sslmode=disable\n"
                f"[database my]\nurl = mysql://app:secret@127.0.0.1:{relays[1].port}/app?ssl_mode=disabled\n",
                preexec_fn=namespace.enter)

    def seen():
        """The ports of the clients that weir knows."""
        with psycopg.connect(f"host={base} port=6432 user=app password=secret dbname=weir", autocommit=True,
                             cursor_factory=psycopg.ClientCursor) as db:
            cursor = db.execute("show clients")
            at = [column.name for column in cursor.description].index("port")
            return {row[at] for row in cursor}

    try:
        gone, alive = {}, []
        for side, database in ((sides.side_of(postgres), "app"), (sides.side_of(mariadb), "my")):
            def client():
                made = namespace.call(lambda: side.client(weir, database=database))
                made.socket.settimeout(60)
                return made, made.socket.getsockname()[1]

            gone["idle", database] = client()
            one, _ = gone["in a transaction, one answer", database] = client()
            one.run("begin")
            one.start(side.sleep(1))
            many, _ = gone["many answers", database] = client()
            many.start(side.megabytes(500))
            threading.Thread(target=drain, args=(many.socket,), daemon=True).start()
            silent, _ = gone["does not read", database] = client()
            silent.start(side.megabytes(500))
            # These two are well: the one holds a server connection, the other has all in the kernel.
            for n in (40, 1):
                slow, _ = client()
                slow.start(side.megabytes(n))
                alive.append((slow, n))
        wait_for(lambda: sum(port in seen() for _, port in gone.values()) == len(gone), "all to be there")
        for _, port in gone.values():
            namespace.swallow(port)
        begin = time.monotonic()
        noticed = {}

        def look():
            there = seen()
            for what, (_, port) in gone.items():
                if port not in there and what not in noticed:
                    noticed[what] = time.monotonic() - begin
            return len(noticed) == len(gone)
        wait_for(look, "all who are gone to be noticed", 2 * NOTICED)
        print({what: round(seconds, 1) for what, seconds in noticed.items()})
        assert max(noticed.values()) < NOTICED, noticed
        wait_for(lambda: time.monotonic() - begin > NOTICED, "the slow ones to have been slow for long", 2 * NOTICED)
        for slow, n in alive:
            assert len(slow.finish()) == 1_000_000
    finally:
        namespace.heal()
        weir.stop()
        for relay in relays:
            relay.stop()
        namespace.close()


def test_packets_are_answered_with_a_reset(cut, kind):
    c = cut(pool_size=2, max_overflow=0)
    with c.connect() as db:
        ask(db, "select 1")
    c.namespace.reset_after(c.port, 30)
    n_before = len(c.relay.accepted)
    errors, answers = [], []

    def program(n):
        with c.connect() as db:
            for i in range(100):
                found, _ = ask(db, f"select {n}, {i}")
                (answers if found in ([(n, i)], ((n, i),)) else errors).append(found)

    threads = [threading.Thread(target=program, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    c.namespace.heal()
    assert len(answers) + len(errors) == 400
    # A connection that breaks was in use by one statement, if by any: one clear error for that, and the next goes on.
    assert 0 < len(errors) <= len(c.relay.accepted) - n_before + 2
    for code, text in errors:
        assert code in (LOST[kind], "08001", 1429) and "onnection reset by peer" in text, (code, text)
    print(f"{kind}: reset after 30 packets: {len(answers)} answers, {len(errors)} errors")


# --- behind a relay ---

@pytest.fixture
def relayed(start_weir, kind, request):
    """relayed(pool_size=2, ...): (the relay, a weir whose server is behind it, how to connect to that)"""
    server = request.getfixturevalue(kind)
    relay = FaultRelay(server.port)

    def make(workers=2, **options):
        scheme, params = ("postgresql", "sslmode") if kind == "postgres" else ("mysql", "ssl_mode")
        disabled = "disable" if kind == "postgres" else "disabled"
        lines = "\n".join(f"{key} = {value}" for key, value in options.items())
        weir = start_weir(ini="[weir]\nlisten_postgresql = 127.0.0.1:@PORT@\nlisten_mysql = 127.0.0.1:@MYSQL_PORT@\n"
                              f"workers = {workers}\nadmin_users = app\nmax_clients = 2000\n"
                              f"[database app]\nurl = {scheme}://app:secret@127.0.0.1:{relay.port}/app"
                              f"?{params}={disabled}\n{lines}\n")

        def connect():
            if kind == "postgres":
                return weir.connect()
            return pymysql.connect(host="127.0.0.1", port=weir.mysql_port, user="app", password="secret",
                                   database="app", autocommit=True)
        return relay, weir, connect

    yield make
    relay.stop()


def answered(found):
    return found in ([(1,)], ((1,),))


def in_threads(functions):
    """What each of them returns; they run at once."""
    results = [None] * len(functions)

    def run(i, function):
        results[i] = function()

    threads = [threading.Thread(target=run, args=(i, f)) for i, f in enumerate(functions)]
    for thread in threads:
        thread.start()
    return threads, results


def test_a_stall_is_an_error_for_nobody(relayed, kind):
    relay, weir, connect = relayed(pool_size=4, max_overflow=0, pre_ping_after="0", connect_timeout="500ms")
    clients = [connect() for _ in range(8)]
    busy, _ = in_threads([lambda db=db: ask(db, sleep_sql(kind, 0.2)) for db in clients[:4]])
    for thread in busy:
        thread.join()
    relay.way = "stall"
    stalled = time.monotonic()
    # One client waits for one connection, and the other three are not found out one after the other.
    threads, results = in_threads([lambda: ask(clients[0], "select 1")])
    wait_for(lambda: weir.log().count("reason=dead") == 4, "all to be found dead")
    assert time.monotonic() - stalled < 1.6
    more, more_results = in_threads([lambda db=db: ask(db, "select 1") for db in clients[1:]])
    threads += more
    wait_for(lambda: "no answer within connect_timeout" in weir.log(), "a dial to fail")
    relay.way = "forward"
    for thread in threads:
        thread.join(20)
    results += more_results
    assert all(answered(found) for found, _ in results), results
    for db in clients:
        db.close()


def test_a_statement_in_flight_survives_a_stall(relayed, kind):
    relay, weir, connect = relayed(pool_size=1, max_overflow=0)
    with connect() as db:
        ask(db, "select 1")
        relay.way = "stall"
        threads, results = in_threads([lambda: ask(db, "select 1")])
        wait_for(lambda: weir.pool()["sv_active"] == 1, "it to run")
        relay.way = "forward"
        threads[0].join(10)
        assert answered(results[0][0]), results


def test_a_server_that_accepts_and_never_answers(relayed, kind):
    relay, weir, connect = relayed(pool_size=2, max_overflow=0, connect_timeout="400ms", pool_timeout="2s")
    clients = [connect() for _ in range(4)]
    assert all(answered(ask(db, "select 1")[0]) for db in clients)
    relay.way = "mute"
    relay.reset()
    wait_for(lambda: not weir.console("show servers"), "them to be dropped")
    n_before = len(relay.accepted)
    # One whose patience ends ...
    (code, text), seconds = ask(clients[0], "select 1")
    assert code in ("08001", 1429) and "no answer within connect_timeout" in text
    assert 1.9 < seconds < 3
    # ... after several attempts, each of which has ended in time, and no more than two at once.
    assert 2 <= len(relay.accepted) - n_before <= 10
    # ... and some who come later, and get what they want.
    threads, results = in_threads([lambda db=db: ask(db, "select 1") for db in clients])
    wait_for(lambda: weir.pool()["cl_waiting"] == 4, "all to wait")
    relay.way = "forward"
    for thread in threads:
        thread.join(10)
    assert all(answered(found) for found, _ in results), results
    for db in clients:
        db.close()


@pytest.mark.parametrize("final", [False, True], ids=["for now", "for good"])
def test_a_server_that_refuses_logins(relayed, kind, final):
    relay, weir, connect = relayed(pool_size=2, max_overflow=0)
    clients = [connect() for _ in range(4)]
    assert all(answered(ask(db, "select 1")[0]) for db in clients)
    words = "the sea is dry"
    if kind == "postgres":
        relay.refusal = pg_refusal("28000" if final else "57P03", words)
    else:
        relay.refusal = mysql_refusal(1045 if final else 1040, words)
    relay.way = "refuse"
    relay.reset()
    wait_for(lambda: not weir.console("show servers"), "them to be dropped")
    if final:
        # Nobody waits for what will not change by itself.
        (code, text), seconds = ask(clients[0], "select 1")
        assert code in ("08001", 1429) and words in text and seconds < 2
        relay.way = "forward"
        wait_for(lambda: answered(ask(clients[0], "select 1")[0]), "it to be tried again", 5)
    else:
        threads, results = in_threads([lambda db=db: ask(db, "select 1") for db in clients])
        wait_for(lambda: words in weir.log(), "a refusal")
        relay.way = "forward"
        for thread in threads:
            thread.join(10)
        assert all(answered(found) for found, _ in results), results
    for db in clients:
        db.close()


@pytest.mark.thorough
def test_a_server_that_does_not_read_for_long_is_not_taken_for_dead(start_weir, postgres):
    """TCP_USER_TIMEOUT alone would break it off: what was sent finds no room at the server while it sleeps."""
    weir = start_weir(postgres, pool_size=1, max_overflow=0)
    client = Client(weir.port).login()
    client.socket.settimeout(60)
    statement = query(f"select length('{'x' * 1000000}')")
    sending = threading.Thread(target=lambda: client.send(query("select pg_sleep(20)"), *[statement] * 16))
    sending.start()
    client.ready()
    assert [client.rows(client.ready()) for _ in range(16)] == [[[b"1000000"]]] * 16
    sending.join()
    client.close()


# --- outages ---

def clients_of(weir, kind, n):
    """Lean ones: (send a statement, wait for its answer) of each."""
    made = []
    for _ in range(n):
        if kind == "postgres":
            client = Client(weir.port).login()
            client.socket.settimeout(60)
            made.append((client, lambda c=client: c.send(query("select 1")), lambda c=client: c.rows(c.ready())))
        else:
            client = mysql_wire.Client(weir.mysql_port)
            client.socket.settimeout(60)
            made.append((client, lambda c=client: c.command(3, b"select 1"), lambda c=client: c.result()))
    return made


@pytest.mark.thorough
def test_dials_during_an_outage(relayed, kind):
    """A thousand clients wait for a server that hangs up on everybody who comes."""
    outage = float(os.environ.get("WEIR_OUTAGE_SECONDS", "5"))
    relay, weir, _ = relayed(pool_size=5, max_overflow=10, pool_timeout="5min")
    clients = clients_of(weir, kind, 1000)
    relay.way = "hang_up"
    relay.reset()
    wait_for(lambda: not weir.console("show servers"), "them to be dropped")
    n_before = len(relay.accepted)
    for _, send, _ in clients:
        send()
    wait_for(lambda: sum(row["cl_waiting"] for row in weir.console("show pools")) == 1000, "all to wait")
    begin = time.monotonic()
    wait_for(lambda: time.monotonic() - begin > outage, "the outage to last", outage + 5)
    in_outage = len(relay.accepted) - n_before
    seconds = time.monotonic() - begin
    # Four at first; then one at a time, after 50 ms, 100 ms, ... up to 2 s, of which at least half passes.
    relay.most_open = relay.n_open
    relay.way = "forward"
    back, n_before = time.monotonic(), len(relay.accepted)
    rows = [receive() for _, _, receive in clients]
    print(f"{kind}: 1000 clients, outage of {seconds:.1f} s: {in_outage} dials; at its end {len(relay.accepted) - n_before}, "
          f"all answered after {time.monotonic() - back:.2f} s")
    assert in_outage <= 4 + 12 + seconds
    assert len(relay.accepted) - n_before <= 15
    assert relay.most_open <= 15
    assert len(rows) == 1000 and all(len(r) == 1 for r in rows)
    for client, _, _ in clients:
        client.close()
    assert weir.log().count("event=server_lost") == 0


@pytest.mark.thorough
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["in order", "killed"])
def test_first_success_after_a_restart(start_weir, kind, how, request):
    """Twenty idle clients ask while it is down, and none of them sees an error."""
    if kind == "postgres":
        server = request.getfixturevalue("own_postgres")
        running = contextlib.nullcontext(server)
    else:
        if kind == "mysql":
            need_mysql9()
        running = mysql_servers.running(mysql_servers.MariaDB if kind == "mariadb" else mysql_servers.MySQL)
        how = signal.SIGTERM if how == signal.SIGINT else how
    with running as server:
        weir = start_weir(server, workers=2, pool_size=3, max_overflow=0)
        clients = clients_of(weir, kind, 20)
        for _, send, receive in clients:
            send()
            assert receive()
        server.stop(how)
        for _, send, _ in clients:
            send()
        wait_for(lambda: sum(row["cl_waiting"] for row in weir.console("show pools")) == 20, "all to wait")
        answers = []

        def collect(receive):
            rows = receive()
            answers.append((time.monotonic(), rows))

        threads = [threading.Thread(target=collect, args=(receive,)) for _, _, receive in clients]
        for thread in threads:
            thread.start()
        server.start()
        up = time.monotonic()
        for thread in threads:
            thread.join(20)
        assert len(answers) == 20 and all(len(rows) == 1 for _, rows in answers)
        print(f"{kind}: restarted ({how.name}): first success {min(answers)[0] - up:+.2f} s after it was up, "
              f"last {max(answers)[0] - up:+.2f} s")
        # The longest pause between two attempts is 2 s.
        assert min(answers)[0] - up < 4
        for client, _, _ in clients:
            client.close()
