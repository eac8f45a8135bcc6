"""Peers that are broken, slow, greedy or malicious: a clear error or a closed connection, and nobody else notices."""

import contextlib
import resource
import socket
import statistics
import struct
import time

import pytest
from conftest import wait_for
from hostile import LOGIN_TIMEOUT, Target, lists, refused, resident

from wire import SYNC, Client, Closed, Error, bind, close, describe, execute, message, parse, query, startup

LENGTHS = [0, 3, 2**31 - 1, 2**32 - 1]


# --- the first bytes ---

GARBAGE = [
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    b"SSH-2.0-OpenSSH_9.2\r\n",
    bytes(64),
    b"\xff" * 9000,
    struct.pack("!II", 8, 3 << 16),
    struct.pack("!II", 9, 3 << 16) + b"\0",
    struct.pack("!II", 30, 3 << 16) + b"user\0without-an-end-of-it",
    startup({"user": ""}),
    startup({"database": "app"}),
    startup({"user": "app"})[:-1] + b"x",
    startup({"user": "app", "options": "-c"}),
    startup({"user": "app", "options": "no-option"}),
    startup({"user": "app", "replication": "yes"}),
    startup({"user": "app"} | {f"a.b{i}": "x" for i in range(900)}),
    struct.pack("!III", 12, 80877102, 1),
    struct.pack("!II", 300, 80877102) + bytes(292),
]


def test_garbage_instead_of_a_startup_packet(target):
    clients = [Client(target.port) for _ in GARBAGE]
    for client, data in zip(clients, GARBAGE):
        with contextlib.suppress(OSError):
            client.send(data)
    for client in clients:
        refused(client)


def test_impossible_lengths_in_a_startup_packet(target):
    for length in (0, 3, 4, 7, 10001, 2**31 - 1, 2**31, 2**32 - 1):
        client = Client(target.port)
        client.send(struct.pack("!II", length, 3 << 16) + b"user\0app\0\0")
        assert refused(client)


def test_one_byte_a_time_is_not_long_enough(target):
    client = Client(target.port)
    client.socket.settimeout(0.1)
    begin = time.monotonic()
    error = None
    for byte in startup({"user": "app", "database": "app"}):
        client.socket.send(bytes([byte]))
        try:
            kind, content = client.receive()
        except TimeoutError:
            continue
        assert kind == b"E"
        error = Error(content)
        break
    assert error and error.code == "08P01" and "client_login_timeout" in error["M"]
    assert LOGIN_TIMEOUT - 0.1 < time.monotonic() - begin < LOGIN_TIMEOUT + 0.5
    client.close()


@pytest.mark.parametrize("said", [b"", startup({"user": "app"}), struct.pack("!II", 8, 80877103)],
                         ids=["nothing", "startup", "ssl request"])
def test_a_silent_client_is_closed_in_time(target, said):
    client = Client(target.port)
    client.send(said)
    begin = time.monotonic()
    client.socket.settimeout(LOGIN_TIMEOUT + 3)
    if said[4:8] == struct.pack("!I", 80877103):
        assert client.read(1) == b"N"
    messages = client.until_closed()
    assert LOGIN_TIMEOUT - 0.1 < time.monotonic() - begin < LOGIN_TIMEOUT + 0.5
    assert messages[-1][0] == b"E" and Error(messages[-1][1]).code == "08P01"
    client.close()


def test_thousands_of_half_open_connections(start_weir, postgres):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    n = min(10_000, hard - 1000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    target = Target(start_weir(postgres, weir="client_login_timeout = 60s\nmax_clients = 30000"))
    half_open = []
    try:
        for i in range(n):
            s = socket.create_connection(("127.0.0.1", target.port), 20)
            half_open.append(s)
            if i % 3:
                s.send(startup({"user": "app"})[:i % 20])
        wait_for(lambda: lists(target.weir)["login_clients"] >= n, "all of them to be counted")
        target.check_healthy()
        with target.weir.connect() as newcomer:
            assert newcomer.execute("select 1").fetchone() == (1,)
    finally:
        for s in half_open:
            s.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    target.check()


def test_half_open_connections_end_by_themselves(target):
    clients = [Client(target.port) for _ in range(300)]
    wait_for(lambda: lists(target.weir)["login_clients"] == 0, "them to be closed",
             LOGIN_TIMEOUT + 5)
    for client in clients:
        refused(client)


@pytest.mark.parametrize("code", [80877103, 80877104])
def test_requests_for_encryption_without_end(target, code):
    client = Client(target.port)
    client.send(*([struct.pack("!II", 8, code)] * 100))
    client.socket.settimeout(LOGIN_TIMEOUT + 3)
    answer = b""
    with contextlib.suppress(Closed):
        while True:
            answer += client.read(1)
    n = len(answer) - len(answer.lstrip(b"N"))
    assert 1 <= n < 10
    assert answer[n:n + 1] == b"E"
    client.close()


def test_other_protocols_are_refused(target):
    for version in (2 << 16, 1 << 16, 4 << 16, 0, 0xffffffff):
        client = Client(target.port)
        client.send(startup({"user": "app", "database": "app"}, version))
        error = refused(client, "0A000", "08P01")
        assert "unsupported frontend protocol" in error["M"]


def test_protocols_that_are_spoken(target):
    for version in (3 << 16, 3 << 16 | 1, 3 << 16 | 2, 3 << 16 | 9999):
        client = Client(target.port).login(version=version)
        assert client.query("select 1") == [[b"1"]]
        negotiated = getattr(client, "negotiated", None)
        assert (negotiated is not None) == (version > (3 << 16 | 2))
        assert len(client.key) == (8 if version == 3 << 16 else 36)
        client.close()


# --- after the login ---

@pytest.mark.parametrize("kind", "QPBDCEHSFdcfp!")
def test_impossible_lengths_of_messages(target, kind):
    for length in LENGTHS:
        client = Client(target.port).login()
        client.send(kind.encode() + struct.pack("!I", length) + b"select 1\0")
        assert refused(client)


@pytest.mark.parametrize("transaction", [False, True])
@pytest.mark.parametrize("kind", "BCDEHSPcf")
def test_messages_that_are_never_so_large_fill_no_memory(target, kind, transaction):
    client = Client(target.port).login()
    if transaction:
        client.query("begin")
    before = resident(target.weir)
    name = b"name\0" if kind == "P" else b"x"
    with contextlib.suppress(OSError):
        client.send(kind.encode() + struct.pack("!I", 2**29) + name)
        for _ in range(64):
            client.send(bytes([120]) * (1 << 20))
    # A CopyDone or CopyFail while there is no COPY is ignored, as PostgreSQL does.
    grown = resident(target.weir) - before
    client.close()
    assert grown < 24 << 20


@pytest.mark.parametrize("busy", [False, True])
def test_message_types_that_do_not_exist(target, busy):
    for kind in "!\0\xffGRZrapv":
        client = Client(target.port).login()
        if busy:
            client.query("begin")
        client.send(message(kind.encode("latin-1"), b"x"))
        assert refused(client)


def test_a_bind_for_an_unknown_statement(target):
    client = Client(target.port).login()
    for name in ("unknown", "weir_1", "", "x" * 5000, "it's \"odd\" \\"):
        for data in (bind(name), describe(b"S", name)):
            client.send(data, execute(), SYNC)
            errors = [Error(content).code for kind, content in client.ready() if kind == b"E"]
            assert errors == ["26000"]
    client.send(execute("nowhere"), SYNC)
    assert [Error(c).code for k, c in client.ready() if k == b"E"] == ["34000"]
    client.send(close(b"S", "nowhere"), close(b"P", "nowhere"), SYNC)
    assert client.kinds() == b"33Z"
    assert client.query("select 1") == [[b"1"]]
    client.close()


MALFORMED = [
    message(b"P", b"no end"),
    message(b"P", b"s\0no end"),
    message(b"P", b"s\0select 1\0" + struct.pack("!H", 9)),
    message(b"P", b"s\0select 1\0" + struct.pack("!H", 0) + b"more"),
    message(b"B", b"no end"),
    message(b"B", b"\0no end"),
    message(b"B", b"\0s\0"),
    message(b"B", b"\0s\0" + struct.pack("!HHi", 0, 1, 1 << 30)),
    message(b"B", b"\0s\0" + struct.pack("!HHi", 0, 1, -5)),
    message(b"D", b""),
    message(b"D", b"Xname\0"),
    message(b"D", b"Sname"),
    message(b"C", b"Sname\0more"),
    message(b"E", b""),
    message(b"E", b"no end"),
    message(b"Q", b""),
    message(b"Q", b"select 1"),
    message(b"Q", b"select 1\0select 2\0"),
    message(b"S", b"more"),
    message(b"H", b"more"),
    message(b"F", b""),
    message(b"F", b"\0" * 7),
]


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_malformed_messages(start_weir, postgres, mode):
    target = Target(start_weir(postgres, pool_size=2, max_overflow=0, pool_mode=mode))
    for data in MALFORMED:
        client = Client(target.port).login()
        client.send(parse("s", "select $1::int"), SYNC)
        client.ready()
        client.send(data, SYNC, query("select 1"))
        # An error at least, whether or not the connection survives it.
        with contextlib.suppress(Closed):
            messages = []
            while not any(kind == b"E" for kind, _ in messages):
                messages.append(client.receive())
            assert Error(messages[-1][1]).code in ("08P01", "26000", "34000", "42883"), (data, messages)
        client.close()
    target.check()


# --- greed ---

def send_until_stuck(client, data, limit=64 << 20):
    """Sends without reading until nobody takes it any more; returns how much was taken."""
    taken = 0
    client.socket.settimeout(0.3)
    data = memoryview(data)
    try:
        while taken < limit:
            taken += client.socket.send(data[taken % len(data):])
    except (TimeoutError, OSError):
        pass
    return taken


@pytest.mark.parametrize("data", [
    SYNC,
    close(b"S", "nothing"),
    query("select 1"),
    query("rollback"),
    query("select repeat('x', 1000)"),
    parse("", "select 1") + bind() + execute() + SYNC,
    parse("", "select 1/0") + bind() + execute() + SYNC,
    parse("", "select 1") + bind() + execute(),
    query("set work_mem = '5MB'"),
    query("select * from nowhere"),
], ids=["sync", "close", "query", "rollback", "rows", "extended", "errors", "no-sync", "set", "error"])
@pytest.mark.parametrize("failed", [False, True])
def test_a_pipeline_that_is_never_read_fills_no_memory(target, data, failed):
    client = Client(target.port).login()
    client.query("select 1")
    if failed:
        client.query("begin")
        with pytest.raises(RuntimeError):
            client.query("select 1/0")
    before = resident(target.weir)
    send_until_stuck(client, data * 2000)
    grown = resident(target.weir) - before
    target.check_healthy()
    client.close()
    assert grown < 24 << 20


def test_a_console_pipeline_that_is_never_read_fills_no_memory(target):
    client = Client(target.port).login(database="weir")
    before = resident(target.weir)
    send_until_stuck(client, query("show config") * 2000)
    grown = resident(target.weir) - before
    target.check_healthy()
    client.close()
    assert grown < 24 << 20


def test_a_large_answer_that_is_never_read_stops_its_server_only(target):
    client = Client(target.port).login(application_name="greedy")
    before = resident(target.weir)
    client.send(query("select repeat('x', 100000) from generate_series(1, 2000)"))

    def waits():
        with target.weir.connect() as db:
            return db.execute("select wait_event from pg_stat_activity where application_name = 'greedy'"
                              ).fetchone() == ("ClientWrite",)

    wait_for(waits, "the server to be held back")
    times = []
    for _ in range(50):
        begin = time.monotonic()
        target.check_healthy()
        times.append(time.monotonic() - begin)
    assert statistics.median(times) < 0.05
    assert resident(target.weir) - before < 24 << 20
    # It gets all of it, once it reads.
    assert len(client.rows(client.ready())) == 2000
    client.close()


# --- leaving ---

@pytest.mark.parametrize("data", [
    b"", query("select pg_sleep(30)"), query("begin"), query("select 1")[:-3], parse("s", "select 1"),
    query("copy (select 1) to stdout") + query("begin"),
], ids=["idle", "running", "transaction", "half a message", "no sync", "pipeline"])
def test_half_a_close_is_a_goodbye(target, data):
    client = Client(target.port).login()
    client.send(data)
    client.socket.shutdown(socket.SHUT_WR)
    client.until_closed()
    client.close()
    target.check()
    for _ in range(3):
        assert target.healthy.execute("select pg_sleep(0)").fetchone() is not None


PHASES = ["nothing", "half a startup packet", "startup", "scram", "proof", "greeting", "query", "half a query",
          "half a parse", "transaction", "copy in", "half a copy", "copy out", "no sync", "waiting", "pinned",
          "cancelled"]


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("phase", PHASES)
def test_closing_in_each_phase(target, phase, reset):
    target.healthy.execute("create table if not exists left_behind (n int)")
    for _ in range(3):
        client = Client(target.port)
        holders = []
        if phase == "half a startup packet":
            client.send(startup({"user": "app"})[:11])
        elif phase == "startup":
            client.send(startup({"user": "app", "database": "app"}))
        elif phase in ("scram", "proof"):
            client.send(startup({"user": "app", "database": "app"}))
            client.receive()
            with contextlib.suppress(Closed, OSError):
                client.scram("secret", lambda n, data: data if n == 1 or phase == "proof" else b"")
        elif phase != "nothing":
            client.login(**({"TimeZone": "Asia/Tokyo"} if phase == "greeting" else {}))
        if phase == "query":
            client.send(query("insert into left_behind select 1 from pg_sleep(30)"))
        elif phase == "half a query":
            client.send(query("select '" + "x" * 200_000 + "'")[:-1000])
        elif phase == "half a parse":
            client.send(parse("s", "select '" + "x" * 200_000 + "'")[:-1000])
        elif phase == "transaction":
            client.query("begin; insert into left_behind values (1)")
        elif phase in ("copy in", "half a copy"):
            client.send(query("copy left_behind from stdin"))
            assert client.receive()[0] == b"G"
            data = message(b"d", b"1\n" * 1000)
            client.send(data, data[:700] if phase == "half a copy" else b"")
        elif phase == "copy out":
            client.send(query("copy (select repeat('x', 1000) from generate_series(1, 1000000)) to stdout"))
            assert client.receive()[0] == b"H"
        elif phase == "no sync":
            client.send(parse("", "insert into left_behind values (1)"), bind(), execute())
        elif phase == "waiting":
            holders = [Client(target.port).login() for _ in range(2)]
            for holder in holders:
                holder.query("begin")
            client.send(query("insert into left_behind values (1)"))
            wait_for(lambda: target.weir.pool()["cl_waiting"] == 1, "it to wait")
        elif phase == "pinned":
            client.query("create temp table mine (n int); listen x; select pg_advisory_lock(5)")
        elif phase == "cancelled":
            client.send(query("insert into left_behind select 1 from pg_sleep(30)"))
            canceller = Client(target.port)
            canceller.send(struct.pack("!II", 16, 80877102) + client.key)
            canceller.close()
        if reset:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        for holder in holders:
            holder.close()
    wait_for(lambda: lists(target.weir) == target.before, "it to be gone")
    for _ in range(4):
        assert target.healthy.execute("select count(*) from left_behind").fetchone() == (0,)
        assert target.healthy.execute("select count(*) from pg_locks where locktype = 'advisory'").fetchone() == (0,)
