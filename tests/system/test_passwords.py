"""Logins to PostgreSQL: every kind of secret, and what those learn who have none."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import os
import struct
import time

import asyncpg
import psycopg
import pytest
from hostile import refused

from wire import SYNC, TERMINATE, Client, Closed, Error, cstr, message, parse, query, startup

LENGTHS = [0, 3, 2**31 - 1, 2**32 - 1]


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
