"""Peers that are broken, slow, greedy or malicious: a clear error or a closed connection, and nobody else notices."""

import asyncio
import base64
import concurrent.futures
import contextlib
import hashlib
import hmac
import os
import resource
import socket
import statistics
import struct
import time

import asyncpg
import psycopg
import pytest
from conftest import wait_for

from wire import (SYNC, TERMINATE, Client, Closed, Error, bind, close, cstr, describe, execute, message, parse,
                  query, startup)

LOGIN_TIMEOUT = 1
LENGTHS = [0, 3, 2**31 - 1, 2**32 - 1]


def lists(weir):
    """Who is there besides the console client that asks."""
    found = {row["list"]: row["items"] for row in weir.console("show lists")}
    return {name: found[name] for name in ("used_clients", "login_clients", "used_servers")}


def resident(weir):
    with open(f"/proc/{weir.process.pid}/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmRSS"))


class Target:
    """A weir with a healthy client; afterwards everything must be as it was."""

    def __init__(self, weir):
        self.weir = weir
        self.port = weir.port
        self.healthy = weir.connect()
        self.check_healthy()
        self.before = lists(weir)

    def check_healthy(self):
        begin = time.monotonic()
        assert self.healthy.execute("select 6 * 7").fetchone() == (42,)
        assert time.monotonic() - begin < 2

    def check(self):
        self.check_healthy()
        wait_for(lambda: lists(self.weir) == self.before, "every hostile client to be gone")
        assert self.weir.process.poll() is None
        with self.weir.connect() as newcomer:
            assert newcomer.execute("select 1").fetchone() == (1,)


@pytest.fixture
def target(start_weir, postgres, monkeypatch):
    # AddressSanitizer keeps freed memory for a while, which is not weir's own use of it.
    monkeypatch.setenv("ASAN_OPTIONS", "quarantine_size_mb=1")
    weir = start_weir(postgres, pool_size=2, max_overflow=0,
                      weir=f"client_login_timeout = {LOGIN_TIMEOUT}s\nmax_clients = 30000")
    target = Target(weir)
    yield target
    target.check()
    target.healthy.close()


def refused(client, *codes):
    """The client is told one error, or nothing, and the connection ends in time."""
    client.socket.settimeout(LOGIN_TIMEOUT + 3)
    messages = client.until_closed()
    client.close()
    assert [kind for kind, _ in messages] in ([b"E"], []), messages
    if messages:
        error = Error(messages[0][1])
        assert error["S"] == "FATAL"
        assert error.code in (codes or ("08P01",))
        return error
    return None


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


# --- passwords ---

def test_a_very_long_password(target):
    told = set()
    for user in ("app", "nobody"):
        client = Client(target.port)
        client.send(startup({"user": user, "database": "app"}))
        assert client.receive()[0] == b"R"
        with contextlib.suppress(OSError):
            client.send(message(b"p", b"x" * 65536 + b"\0"))
        told.add(refused(client, "08P01", "28P01").code)
    assert len(told) == 1


def asked_for_a_password(port):
    client = Client(port)
    client.send(startup({"user": "app", "database": "app"}))
    assert client.receive()[0] == b"R"
    return client


def test_impossible_lengths_of_a_password(target):
    for length in LENGTHS:
        client = asked_for_a_password(target.port)
        client.send(b"p" + struct.pack("!I", length) + b"secret\0")
        assert refused(client)


def test_no_statement_before_the_password(target):
    for data in (query("select 1"), SYNC, TERMINATE, parse("", "select 1"), message(b"!")):
        client = asked_for_a_password(target.port)
        client.send(data)
        refused(client)


def scram_login(port, alter):
    client = asked_for_a_password(port)
    kind, content = client.scram("secret", alter)
    messages = [(kind, content)]
    with contextlib.suppress(Closed):
        while kind not in b"ZE":
            kind, content = client.receive()
            messages.append((kind, content))
    client.close()
    return messages


@pytest.mark.parametrize("number", [1, 2])
def test_scram_messages_cut_and_altered_at_each_position(target, number):
    lengths = []

    def measure(n, data):
        if n == number:
            lengths.append(len(data))
        return data

    assert scram_login(target.port, measure)[-1][0] == b"Z"

    def changed(change, at):
        return lambda n, data: change(data, at) if n == number else data

    def cut(data, at):
        return data[:at]

    def flip(data, at):
        return data[:at] + bytes([data[at] ^ 0x80]) + data[at + 1:]

    def replace(data, at):
        # Another character of base64 that differs in every bit that counts.
        return data[:at] + (b"A" if data[at:at + 1] == b"Q" else b"Q") + data[at + 1:]

    def null(data, at):
        return data[:at] + b"\0" + data[at + 1:]

    def double(data, at):
        return data[:at] + data[at:at + 1] * 2 + data[at + 1:]

    for change in (cut, flip, replace, null, double):
        for at in range(lengths[0]):
            messages = scram_login(target.port, changed(change, at))
            assert messages[-1][0] == b"E", (change.__name__, at, messages)
            assert Error(messages[-1][1]).code in ("08P01", "28P01")
            assert not any(kind == b"R" and content[:4] == bytes(4) for kind, content in messages)


def test_other_sasl_mechanisms(target):
    for mechanism in ("SCRAM-SHA-256-PLUS", "PLAIN", "", "SCRAM-SHA-1", "x" * 3000):
        client = asked_for_a_password(target.port)
        client.send(message(b"p", cstr(mechanism) + struct.pack("!I", 8) + b"n,,n=,r="))
        assert refused(client)


def md5_secret(user, password):
    return "md5" + hashlib.md5((password + user).encode()).hexdigest()


def scram_secret(password, iterations=4096):
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    text = [base64.b64encode(b).decode() for b in (salt, stored, server)]
    return f"SCRAM-SHA-256${iterations}:{text[0]}${text[1]}:{text[2]}"


PASSWORD = "r\u00e4cht \"s\\ecret'"
SECRETS = {
    "plain": lambda user: PASSWORD,
    "md5": lambda user: md5_secret(user, PASSWORD),
    "scram": lambda user: scram_secret(PASSWORD),
    "scram-10000": lambda user: scram_secret(PASSWORD, 10000),
}


@pytest.fixture
def accounts(start_weir, postgres, tmp_path):
    """Accounts with every kind of secret, in [user] sections and in the auth_file."""
    (tmp_path / "users.txt").write_text("".join(
        f'"file-{kind}" "{make(f"file-{kind}").replace(chr(34), chr(34) * 2)}"\n' for kind, make in SECRETS.items()))
    sections = "\n".join(f"[user ini-{kind}]\npassword = {make(f'ini-{kind}')}" for kind, make in SECRETS.items())
    return start_weir(postgres, weir=f"auth_file = {tmp_path}/users.txt", user=sections)


@pytest.mark.parametrize("kind", list(SECRETS))
@pytest.mark.parametrize("where", ["file", "ini"])
def test_every_kind_of_secret_with_every_driver(accounts, where, kind):
    user = f"{where}-{kind}"

    def by_psycopg(password):
        with psycopg.connect(host="127.0.0.1", port=accounts.port, user=user, password=password,
                             dbname="app") as db:
            return db.execute("select 1").fetchone()[0]

    def by_asyncpg(password):
        async def program():
            db = await asyncpg.connect(host="127.0.0.1", port=accounts.port, user=user, password=password,
                                       database="app", ssl=False)
            found = await db.fetchval("select 1")
            await db.close()
            return found
        return asyncio.run(program())

    for connect in (by_psycopg, by_asyncpg):
        assert connect(PASSWORD) == 1
        for wrong in (PASSWORD + "x", PASSWORD[:-1], "x", SECRETS[kind](user) + " "):
            with pytest.raises((psycopg.OperationalError, asyncpg.InvalidPasswordError),
                               match="password authentication failed for user"):
                connect(wrong)
    if kind != "plain":
        # A secret is not a password.
        with pytest.raises(psycopg.OperationalError):
            by_psycopg(SECRETS[kind](user))


def exchange(port, user, password):
    """What a client can see of a refused login: message kinds, authentication codes, SCRAM's salt and iterations,
    the error."""
    client = Client(port)
    client.send(startup({"user": user, "database": "app"}))
    kind, content = client.receive()
    seen = [(kind, content)]
    salt = []

    def alter(number, data):
        return data

    original = client.receive

    def receive():
        kind, content = original()
        if kind == b"R" and content[3] == 11:
            fields = dict(f.split("=", 1) for f in content[4:].decode().split(","))
            salt.append((fields["s"], fields["i"], len(fields["r"])))
        return kind, content

    client.receive = receive
    kind, content = client.scram(password, alter)
    client.close()
    error = Error(content)
    return [(k, c) for k, c in seen], salt[0], {k: v.replace(user, "USER") for k, v in error.items()}


def test_an_unknown_user_sees_what_a_known_one_sees(start_weir, postgres):
    weir = start_weir(ini=f"[weir]\nlisten_postgresql = 127.0.0.1:@PORT@\nworkers = 2\n"
                          f"[database app]\nurl = {postgres.url()}\n"
                          f"[user plain]\npassword = x\n[user same]\npassword = x\n"
                          f"[user verifier]\npassword = {scram_secret('x')}\n")
    seen = {user: [exchange(weir.port, user, "wrong") for _ in range(6)]
            for user in ("app", "plain", "same", "verifier", "nobody", "noone")}
    first = [attempts[0] for attempts in seen.values()]
    assert all(s[0] == first[0][0] for s in first)
    assert all(s[2] == first[0][2] for s in first)
    assert first[0][2]["C"] == "28P01"
    assert first[0][2]["M"] == 'password authentication failed for user "USER"'
    # A user's salt is always the same, on every worker, and nobody else's.
    salts = {user: {s[1] for s in attempts} for user, attempts in seen.items()}
    assert {user: len(found) for user, found in salts.items()} == dict.fromkeys(seen, 1)
    assert len({s[0] for found in salts.values() for s in found}) == len(seen)
    assert len({s[1:] for found in salts.values() for s in found}) == 1
    assert {len(base64.b64decode(s[0])) for found in salts.values() for s in found} == {16}


def test_an_unknown_user_takes_as_long_as_a_known_one(start_weir, postgres):
    weir = start_weir(postgres)
    times = {"app": [], "nobody": []}
    for _ in range(25):
        for user, found in times.items():
            begin = time.perf_counter()
            exchange(weir.port, user, "wrong")
            found.append(time.perf_counter() - begin)
    # What load adds to some is not to count.
    known, unknown = (min(found) for found in times.values())
    assert abs(known - unknown) < 0.0015, (known, unknown)


def test_a_database_that_does_not_exist_is_told_to_users_only(target):
    client = Client(target.port).login(database="nowhere")
    assert (client.error.code, client.error["M"]) == ("3D000", 'database "nowhere" does not exist')
    client.close()
    client = Client(target.port).login(database="nowhere", password="wrong")
    assert client.error.code == "28P01"
    client.close()


# --- how many ---

def test_too_many_clients_and_the_console_stays_reachable(start_weir, postgres):
    weir = start_weir(postgres, weir="max_clients = 3")
    clients = [Client(weir.port).login() for _ in range(3)]
    for _ in range(3):
        late = Client(weir.port).login()
        assert (late.error.code, late.error["S"]) == ("53300", "FATAL")
        late.close()
    assert len(weir.console("show clients")) >= 3
    clients.pop().close()
    wait_for(lambda: Client(weir.port).login().error is None, "room for another one")
    assert all(client.query("select 1") == [[b"1"]] for client in clients)


def few(limit):
    return f"[user few]\npassword = x\nmax_clients = {limit}\n"


def log_in_as_few(weir):
    """None, or the code of the error."""
    client = Client(weir.port).login(user="few", password="x")
    if client.error:
        client.close()
    return client


@pytest.mark.parametrize("workers", [1, 4])
def test_too_many_clients_of_one_user(start_weir, postgres, workers):
    weir = start_weir(postgres, workers=workers, user=few(3))
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        clients = list(threads.map(lambda _: log_in_as_few(weir), range(12)))
    codes = [client.error.code if client.error else None for client in clients]
    assert sorted(codes, key=str) == ["53300"] * 9 + [None] * 3
    assert Client(weir.port).login().error is None
    inside = [client for client in clients if not client.error]
    for _ in range(3):
        inside.pop(0).close()
        inside.append(wait_for(lambda: (client := log_in_as_few(weir)).error is None and client, "room"))
        assert log_in_as_few(weir).error.code == "53300"
        assert all(client.query("select 1") == [[b"1"]] for client in inside)


@pytest.mark.parametrize("workers", [1, 4])
def test_too_many_clients_of_one_database(start_weir, postgres, workers):
    weir = start_weir(postgres, workers=workers, max_clients=3, user=few(2) + f"[database other]\nurl = {postgres.url()}\n")
    inside = [Client(weir.port).login(), log_in_as_few(weir), Client(weir.port).login()]
    assert not any(client.error for client in inside)
    late = Client(weir.port).login()
    assert (late.error.code, late.error["S"]) == ("53300", "FATAL")
    assert late.error["M"] == "weir: too many clients already: max_clients of the database"
    late.close()
    elsewhere = Client(weir.port).login(user="few", password="x", database="other")
    assert elsewhere.error is None, "the limit is that database's"
    assert "max_clients of the user" in Client(weir.port).login(user="few", password="x", database="other").error["M"]
    row, = (row for row in weir.console("show databases") if row["name"] == "app")
    assert row["max_client_connections"] == row["current_client_connections"] == 3
    inside.pop(0).close()
    wait_for(lambda: Client(weir.port).login().error is None, "room for another one")


def test_a_client_that_leaves_while_it_is_admitted_takes_no_place(start_weir, postgres):
    weir = start_weir(postgres, workers=4, user=few(2))
    for _ in range(30):
        client = Client(weir.port)
        client.send(startup({"user": "few", "database": "app"}))
        client.receive()
        client.scram("x")
        client.close()
    inside = [wait_for(lambda: (client := log_in_as_few(weir)).error is None and client, "room") for _ in range(2)]
    assert log_in_as_few(weir).error.code == "53300"
    assert all(client.query("select 1") == [[b"1"]] for client in inside)


def test_the_number_of_clients_of_one_database_follows_a_reload(start_weir, postgres):
    weir = start_weir(postgres, workers=4, user=few(9))
    text = weir.ini_path.read_text()
    # Some are counted already, for their user's sake.
    inside = [Client(weir.port).login(), Client(weir.port).login(), log_in_as_few(weir), log_in_as_few(weir)]
    for limit in (4, 5):
        n = weir.log().count("event=reloaded")
        weir.reload(text.replace("[database app]", f"[database app]\nmax_clients = {limit}"))
        wait_for(lambda: weir.log().count("event=reloaded") > n, "the reload")
        inside += [Client(weir.port).login() for _ in range(limit - len(inside))]
        assert Client(weir.port).login().error.code == "53300"
        assert all(client.query("select 1") == [[b"1"]] for client in inside)


def test_the_number_of_clients_of_one_user_follows_a_reload(start_weir, postgres):
    weir = start_weir(postgres, workers=4, user=few(-1))
    text = weir.ini_path.read_text()
    inside = [log_in_as_few(weir) for _ in range(4)]

    def reload(limit):
        n = weir.log().count("event=reloaded")
        weir.reload(text.replace(few(-1), few(limit)))
        wait_for(lambda: weir.log().count("event=reloaded") > n, "the reload")

    for limit in (4, 5):
        reload(limit)
        inside += [log_in_as_few(weir) for _ in range(limit - len(inside))]
        assert log_in_as_few(weir).error.code == "53300"
    reload(2)
    assert all(client.query("select 1") == [[b"1"]] for client in inside)
    for _ in range(3):
        inside.pop().close()
        assert log_in_as_few(weir).error.code == "53300"
    inside.pop().close()
    inside.append(wait_for(lambda: (client := log_in_as_few(weir)).error is None and client, "room"))
    reload(-1)
    inside += [log_in_as_few(weir) for _ in range(4)]
    assert all(client.query("select 1") == [[b"1"]] for client in inside)


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
