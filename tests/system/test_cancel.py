"""A cancel reaches exactly the statement that its client runs, or nothing; a client that vanishes leaves nothing."""

import asyncio
import random
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time

import asyncpg
import psycopg
import pytest
from conftest import wait_for

from wire import SYNC, Client, Error, bind, execute, message, parse, query


def cancel(port, key):
    """A CancelRequest, as every driver sends it: its end says that it was taken."""
    with socket.create_connection(("127.0.0.1", port), 20) as s:
        s.sendall(struct.pack("!II", len(key) + 8, 80877102) + key)
        assert s.recv(1) == b""


def cancel_quietly(port, key):
    """One that may be refused as malformed."""
    with socket.create_connection(("127.0.0.1", port), 20) as s:
        s.sendall(struct.pack("!II", len(key) + 8, 80877102) + key)
        s.recv(1000)


def running(postgres, text):
    """The pids of server processes that run a statement with that text."""
    return [pid for pid, in postgres.query(
        "select pid from pg_stat_activity where state = 'active' and query like %s and pid <> pg_backend_pid()",
        [f"%{text}%"])]


def wait_running(postgres, text):
    return wait_for(lambda: running(postgres, text), f"{text} to run")[0]


def codes(messages):
    return [Error(content).code for kind, content in messages if kind == b"E"]


@pytest.fixture
def weir(start_weir, postgres):
    return start_weir(postgres, pool_size=2, max_overflow=0)


# --- who is reached ---

@pytest.mark.parametrize("version", [3 << 16, 3 << 16 | 2])
def test_a_cancel_reaches_its_clients_statement(weir, postgres, version):
    client, other = Client(weir.port).login(version=version), Client(weir.port).login(version=version)
    for c, name in ((client, "mine"), (other, "not mine")):
        c.send(query(f"select pg_sleep(30) as \"{name}\""))
        wait_running(postgres, f'"{name}"')
    cancel(weir.port, client.key)
    assert codes(client.ready()) == ["57014"]
    assert running(postgres, '"not mine"')
    assert client.query("select 1") == [[b"1"]]
    cancel(weir.port, other.key)
    assert codes(other.ready()) == ["57014"]


def test_a_cancel_with_a_wrong_secret_reaches_nobody(weir, postgres):
    client = Client(weir.port).login()
    client.send(query("select 'precious', pg_sleep(1)"))
    wait_running(postgres, "precious")
    for at in range(4, len(client.key)):
        cancel(weir.port, client.key[:at] + bytes([client.key[at] ^ 1]) + client.key[at + 1:])
    for key in (client.key[:-1], client.key + b"\0", client.key[:4] + bytes(32), bytes(8)):
        cancel_quietly(weir.port, key)
    assert len(client.rows(client.ready())) == 1


def test_a_cancel_for_an_idle_client_does_nothing(weir, postgres):
    client, other = Client(weir.port).login(), Client(weir.port).login()
    client.query("select 1")
    other.send(query("select 'precious', pg_sleep(0.5)"))
    wait_running(postgres, "precious")
    for _ in range(10):
        cancel(weir.port, client.key)
        assert client.query("select 2") == [[b"2"]]
    assert len(other.rows(other.ready())) == 1
    client.query("begin")
    cancel(weir.port, client.key)
    assert client.query("select 3") == [[b"3"]]
    client.query("commit")


def test_a_cancel_for_a_client_in_the_queue_ends_its_wait(weir, postgres):
    holders = [Client(weir.port).login() for _ in range(2)]
    for holder in holders:
        holder.query("begin")
    client, next_one = Client(weir.port).login(), Client(weir.port).login()
    client.send(query("select 'never'"))
    wait_for(lambda: weir.pool()["cl_waiting"] == 1, "it to wait")
    next_one.send(query("select 'next'"))
    wait_for(lambda: weir.pool()["cl_waiting"] == 2, "both to wait")
    cancel(weir.port, client.key)
    messages = client.ready()
    assert codes(messages) == ["57014"]
    assert Error(messages[0][1])["M"] == "canceling statement due to user request"
    holders[0].query("commit")
    assert next_one.rows(next_one.ready()) == [[b"next"]]
    assert client.query("select 1") == [[b"1"]]
    # A batch of the extended protocol likewise.
    holders[0].query("begin")
    client.send(parse("", "select 1"), bind(), execute(), SYNC)
    wait_for(lambda: weir.pool()["cl_waiting"] == 1, "it to wait")
    cancel(weir.port, client.key)
    assert [kind for kind, _ in client.ready()] == [b"E", b"Z"]
    for holder in holders:
        holder.query("commit")
    assert client.query("select 1") == [[b"1"]]


def test_session_mode_has_the_servers_own_pid(start_weir, postgres):
    weir = start_weir(postgres, pool_mode="session", pool_size=2, max_overflow=0)
    clients = [Client(weir.port).login() for _ in range(2)]
    for client in clients:
        assert client.query("select pg_backend_pid()") == [[str(struct.unpack("!I", client.key[:4])[0]).encode()]]
    clients[0].send(query("select 'session', pg_sleep(30)"))
    wait_running(postgres, "session")
    cancel(weir.port, clients[1].key)
    time.sleep(0.2)
    assert running(postgres, "session")
    cancel(weir.port, clients[0].key)
    assert codes(clients[0].ready()) == ["57014"]
    # From within the database too.
    clients[0].send(query("select 'session', pg_sleep(30)"))
    wait_running(postgres, "session")
    pid, = struct.unpack("!I", clients[0].key[:4])
    assert clients[1].query(f"select pg_cancel_backend({pid})") == [[b"t"]]
    assert codes(clients[0].ready()) == ["57014"]


def test_psycopg_cancels(weir):
    with weir.connect() as db, weir.connect() as other:
        for cancel_it in (db.cancel, lambda: db.cancel_safe(timeout=5)):
            timer = threading.Timer(0.3, cancel_it)
            timer.start()
            with pytest.raises(psycopg.errors.QueryCanceled):
                db.execute("select pg_sleep(30)")
            timer.join()
            assert db.execute("select 1").fetchone() == (1,)
        db.cancel()
        assert db.execute("select 1").fetchone() == other.execute("select 1").fetchone() == (1,)


def test_asyncio_timeouts_with_asyncpg(weir, postgres):
    async def program():
        db = await asyncpg.connect(weir.url().replace("+asyncpg", ""))
        for i in range(5):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(db.fetchval("select pg_sleep(30)"), 0.1)
            assert await db.fetchval("select $1::int", i) == i
        for i in range(5):
            with pytest.raises(asyncio.TimeoutError):
                await db.fetchval("select pg_sleep(30)", timeout=0.1)
            assert await db.fetchval("select $1::int", i) == i
        with pytest.raises(asyncio.TimeoutError):
            async with db.transaction():
                await db.fetchval("select pg_sleep(30)", timeout=0.1)
        assert await db.fetchval("select 1") == 1
        await db.close()

    before = None
    with weir.connect() as db:
        db.execute("select 1")
    before = postgres.logins()
    asyncio.run(program())
    assert postgres.logins() - before <= 1
    assert not running(postgres, "pg_sleep(30)")


# --- the storm ---

def test_a_storm_of_cancels_hits_nobody_else_and_costs_no_connection(start_weir, postgres):
    weir = start_weir(
        ini="[weir]\nlisten_postgresql = 127.0.0.1:@PORT@\nworkers = 2\nadmin_users = app\n"
            f"[database app]\nurl = {postgres.url()}\npool_size = 4\nmax_overflow = 0\n")
    url = weir.url().replace("+asyncpg", "")
    foreign_rows, foreign_cancels, n_cancelled, n_read = [], [], [], []

    async def canceller(n):
        db = await asyncpg.connect(url)
        for i in range(40):
            nonce = f"{n}-{i}-{random.random()}"
            try:
                found = await asyncio.wait_for(
                    db.fetchval("select $1::text from pg_sleep($2)", nonce, random.choice((0, 0.005, 30))),
                    random.uniform(0.0005, 0.02))
                if found != nonce:
                    foreign_rows.append((nonce, found))
            except asyncio.TimeoutError:
                n_cancelled.append(nonce)
            except asyncpg.QueryCanceledError:
                # Its own cancel, of the statement before, must not reach the next one.
                foreign_cancels.append(nonce)
        await db.close()

    async def vanisher():
        for _ in range(15):
            reader, writer = await asyncio.open_connection("127.0.0.1", weir.port)
            writer.close()
            db = await asyncpg.connect(url)
            task = asyncio.create_task(db.fetchval("select 'vanished' from pg_sleep(30)"))
            await asyncio.sleep(random.uniform(0, 0.02))
            db.terminate()
            with pytest.raises(Exception):
                await task

    async def reader(n, stop):
        db = await asyncpg.connect(url)
        while not stop.is_set():
            nonce = f"r{n}-{random.random()}"
            try:
                found = await db.fetchval("select $1::text from pg_sleep(0.001)", nonce)
                n_read.append(nonce)
                if found != nonce:
                    foreign_rows.append((nonce, found))
            except asyncpg.QueryCanceledError:
                foreign_cancels.append(nonce)
        await db.close()

    async def program():
        warm = [await asyncpg.connect(url) for _ in range(4)]
        await asyncio.gather(*(db.fetchval("select pg_sleep(0.3)") for db in warm))
        for db in warm:
            await db.close()
        logins = postgres.logins()
        stop = asyncio.Event()
        readers = [asyncio.create_task(reader(n, stop)) for n in range(4)]
        await asyncio.gather(*(canceller(n) for n in range(8)), *(vanisher() for _ in range(2)))
        stop.set()
        await asyncio.gather(*readers)
        return postgres.logins() - logins

    n_new_logins = asyncio.run(program())
    assert len(n_cancelled) > 100 and len(n_read) > 20
    assert foreign_rows == []
    assert foreign_cancels == []
    assert n_new_logins == 0
    wait_for(lambda: not running(postgres, "pg_sleep"), "all statements to end")
    wait_for(lambda: weir.pool()["sv_idle"] == 4, "all connections to be free")
    assert weir.pool()["cl_active"] == weir.pool()["cl_waiting"] == 0


def test_raw_cancels_at_any_moment_reach_only_their_own(weir, postgres):
    """Cancels that arrive just before, within and just after a statement."""
    victims, stop, wrong = [Client(weir.port).login() for _ in range(2)], threading.Event(), []

    def innocent():
        with weir.connect() as db:
            n = 0
            while not stop.is_set():
                n += 1
                try:
                    if db.execute("select %s::int", [n]).fetchone() != (n,):
                        wrong.append(n)
                except psycopg.Error as e:
                    wrong.append(e)

    threads = [threading.Thread(target=innocent) for _ in range(2)]
    for thread in threads:
        thread.start()
    logins = postgres.logins()
    for i in range(150):
        for n, victim in enumerate(victims):
            victim.send(query(f"select {i * 2 + n}"))
            cancel(weir.port, victim.key)
            messages = victim.ready()
            if codes(messages) != ["57014"]:
                assert victim.rows(messages) == [[str(i * 2 + n).encode()]]
            # The cancel was for the statement before, whatever became of it.
            assert victim.query("select 'after'") == [[b"after"]]
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert postgres.logins() - logins <= 1


# --- clients that vanish ---

def reset(client):
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def finish(client):
    client.close()


SETUP = "create table if not exists vanishing (n int); truncate vanishing"
STATEMENT = "insert into vanishing select 1 from pg_sleep(30)"


@pytest.fixture
def one(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0)
    with weir.connect() as db:
        db.execute(SETUP)
        pid, = db.execute("select pg_backend_pid()").fetchone()
    return weir, pid


def check_nothing_left(weir, pid, postgres, seconds=2):
    """The statement was cancelled, the transaction rolled back, and the connection is used again, soon."""
    begin = time.monotonic()
    with weir.connect() as db:
        assert db.execute("select pg_backend_pid()").fetchone() == (pid,)
        assert time.monotonic() - begin < seconds
        assert db.execute("select count(*) from vanishing").fetchone() == (0,)
        assert db.execute("select count(*) from pg_locks where relation = 'vanishing'::regclass "
                          "and pid <> pg_backend_pid()").fetchone() == (0,)
    assert not running(postgres, "vanishing")


@pytest.mark.parametrize("leave", [finish, reset])
@pytest.mark.parametrize("where", ["statement", "statement at once", "extended", "copy in", "half of copy in",
                                   "copy out", "transaction", "statement in transaction", "pipeline",
                                   "failed transaction"])
def test_a_socket_that_is_closed(one, postgres, where, leave):
    weir, pid = one
    client = Client(weir.port).login()
    if where == "statement":
        client.send(query(STATEMENT))
        wait_running(postgres, "vanishing")
    elif where == "statement at once":
        client.send(query(STATEMENT))
    elif where == "extended":
        client.send(parse("s", STATEMENT), bind("s"), execute(), SYNC)
        wait_running(postgres, "vanishing")
    elif where in ("copy in", "half of copy in"):
        client.send(query("copy vanishing from stdin"))
        assert client.receive()[0] == b"G"
        data = message(b"d", b"1\n" * 100_000)
        client.send(data, data[:50_000] if where == "half of copy in" else b"")
        wait_running(postgres, "copy vanishing")
    elif where == "copy out":
        client.send(query("copy (select repeat('x', 1000) from generate_series(1, 1000000), vanishing) to stdout"))
        client.send(b"")
        client.socket.recv(10)
    elif where == "transaction":
        client.query("begin; insert into vanishing values (1)")
    elif where == "statement in transaction":
        client.query("begin; insert into vanishing values (1)")
        client.send(query(STATEMENT))
        wait_running(postgres, "pg_sleep")
    elif where == "pipeline":
        client.send(*([parse("", STATEMENT) + bind() + execute() + SYNC] * 20))
        wait_running(postgres, "vanishing")
    elif where == "failed transaction":
        client.query("begin; insert into vanishing values (1)")
        with pytest.raises(RuntimeError):
            client.query("select 1/0")
    leave(client)
    check_nothing_left(weir, pid, postgres)


def test_a_reset_behind_more_than_is_read(one, postgres):
    weir, pid = one
    client = Client(weir.port).login()
    client.send(query(STATEMENT))
    client.socket.settimeout(0.2)
    with pytest.raises(TimeoutError):
        for _ in range(100):
            client.send(query("select 1") * 20_000)
    wait_running(postgres, "vanishing")
    begin = time.monotonic()
    reset(client)
    wait_for(lambda: not running(postgres, "vanishing"), "the statement to be cancelled")
    assert time.monotonic() - begin < 2
    with weir.connect() as db:
        assert db.execute("select count(*) from vanishing").fetchone() == (0,)


@pytest.mark.parametrize("what", ["statement", "transaction", "copy", "asyncpg"])
def test_a_process_that_is_killed(one, postgres, what):
    weir, pid = one
    program = {
        "statement": f'db.execute("{STATEMENT}")',
        "transaction": 'db.execute("begin"); db.execute("insert into vanishing values (1)"); '
                       'print("ready", flush=True); time.sleep(60)',
        "copy": """
            with db.cursor().copy("copy vanishing from stdin") as copy:
                while True:
                    copy.write_row((1,))
            """,
        "asyncpg": f"""
            import asyncio, asyncpg
            async def main():
                db = await asyncpg.connect("{weir.url().replace('+asyncpg', '')}")
                async with db.transaction():
                    await db.execute("insert into vanishing values (1)")
                    await db.execute("{STATEMENT}")
            asyncio.run(main())
            """,
    }[what]
    code = f"import psycopg, time\ndb = psycopg.connect('{weir.dsn()}', autocommit=True)\n" + textwrap.dedent(program)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    if what == "transaction":
        assert process.stdout.readline() == b"ready\n"
    else:
        wait_running(postgres, "copy vanishing" if what == "copy" else "pg_sleep")
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    check_nothing_left(weir, pid, postgres)


def test_vanishing_in_every_way_costs_no_login(one, postgres):
    weir, pid = one
    before = postgres.logins()
    for i in range(40):
        client = Client(weir.port).login()
        client.send(query("begin; " + STATEMENT) if i % 2 else query(STATEMENT))
        (finish, reset)[i // 2 % 2](client)
    check_nothing_left(weir, pid, postgres, 10)
    assert postgres.logins() == before
