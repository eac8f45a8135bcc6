"""Servers that stop, die, refuse or do not exist."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import threading
import time

import asyncpg
import psycopg
import pytest
from conftest import free_port, wait_for
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from wire import SYNC, Client, Closed, Error, bind, describe, execute, parse, query


def backends(postgres, user="app"):
    return {pid for pid, in postgres.query("select pid from pg_stat_activity where usename = %s", [user])}


def terminate(postgres, pid):
    assert postgres.query("select pg_terminate_backend(%s, 5000)", [pid]) == [(True,)]


def pid_of(client):
    return int(client.query("select pg_backend_pid()")[0][0])


def error_of(client, sql):
    """The error of a simple query, after which the connection is ready again."""
    client.send(query(sql))
    messages = client.ready()
    error, = [Error(content) for kind, content in messages if kind == b"E"]
    return error, messages[-1][1]


ADMIN_WORDS = "terminating connection due to administrator command"


# --- the whole server ---

def test_killed_under_load(start_weir, own_postgres):
    weir = start_weir(own_postgres, pool_size=4, max_overflow=0)
    stop = asyncio.Event()
    errors, done = [], []

    async def by_asyncpg(n):
        db = await asyncpg.connect(weir.url().replace("+asyncpg", ""))
        while not stop.is_set():
            try:
                assert await db.fetchval("select $1::int from pg_sleep(0.002)", n) == n
                done.append(time.monotonic())
            except (asyncpg.PostgresError, OSError) as e:
                errors.append(e)
        await db.close()

    async def by_psycopg(n):
        async with await psycopg.AsyncConnection.connect(weir.dsn(), autocommit=True) as db:
            while not stop.is_set():
                try:
                    cursor = await db.execute("select %s::int from pg_sleep(0.002)", [n])
                    assert await cursor.fetchone() == (n,)
                    done.append(time.monotonic())
                except psycopg.Error as e:
                    errors.append(e)

    async def program():
        clients = [asyncio.create_task(f(n)) for n in range(6) for f in (by_asyncpg, by_psycopg)]
        while len(done) < 50:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(own_postgres.stop, signal.SIGKILL)
        await asyncio.to_thread(own_postgres.start)
        recovered = time.monotonic()
        # Everybody goes on, on the connection it has.
        while sum(t > recovered for t in done) < 200:
            await asyncio.sleep(0.01)
        stop.set()
        await asyncio.gather(*clients)

    asyncio.run(asyncio.wait_for(program(), 60))
    # One error for each statement that was in flight, and no more: the others waited.
    assert len(errors) <= 4, errors
    for e in errors:
        sqlstate = getattr(e, "sqlstate", None)
        assert sqlstate in ("08006", "57P01", "57P02", "57P03"), repr(e)
    assert weir.process.poll() is None


def test_restarted_with_idle_clients_nobody_sees_it(start_weir, own_postgres):
    weir = start_weir(own_postgres, pool_size=3, max_overflow=0)
    clients = [weir.connect() for _ in range(20)]
    for db in clients:
        db.execute("set application_name = 'mine'")
        db.execute("select 1", prepare=True)
    own_postgres.stop(signal.SIGINT)
    found = []

    def ask(db):
        found.append((db.execute("select 1", prepare=True).fetchone(),
                      db.execute("show application_name").fetchone()))

    # While it is down they wait ...
    threads = [threading.Thread(target=ask, args=(db,)) for db in clients]
    for thread in threads:
        thread.start()
    wait_for(lambda: (weir.pool() or {}).get("cl_waiting") == 20, "all to wait")
    assert not found
    own_postgres.start()
    for thread in threads:
        thread.join(20)
    # ... and then all have their answer, their settings, and their statements.
    assert found == [((1,), ("mine",))] * 20


def test_a_gap_that_is_too_long_is_told_after_pool_timeout(start_weir, own_postgres):
    weir = start_weir(own_postgres, pool_timeout="1s")
    client = Client(weir.port).login()
    client.query("select 1")
    own_postgres.stop(signal.SIGINT)
    begin = time.monotonic()
    error, status = error_of(client, "select 1")
    assert 0.9 < time.monotonic() - begin < 1.6
    assert error.code == "08001" and error["S"] == "ERROR"
    assert "Connection refused" in error["M"] and str(own_postgres.port) in error["M"]
    assert status == b"I"
    own_postgres.start()
    wait_for(lambda: b"E" not in dict(client.send(query("select 1")) or client.ready()), "it to work again", 5)


def dials(weir):
    return weir.log().count("event=opened") + sum(
        1 + int(n) for n in re.findall(r"event=dial_failed.*?lines_left_out=(\d+)", weir.log()))


def test_no_storm_of_dials_with_300_waiting_clients(start_weir, own_postgres):
    weir = start_weir(own_postgres, pool_size=5, max_overflow=5, weir="max_clients = 1000")
    first = Client(weir.port).login()
    first.query("select 1")
    own_postgres.stop(signal.SIGINT)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", own_postgres.port))
    listener.listen(100)
    listener.settimeout(0.1)
    # Someone counts what comes, and hangs up.
    n_dials, times = 0, []
    clients = [Client(weir.port).login() for _ in range(300)]
    for client in clients:
        client.send(query("select 1"))
    end = time.monotonic() + 3
    while time.monotonic() < end:
        with contextlib.suppress(TimeoutError):
            s, _ = listener.accept()
            s.close()
            n_dials += 1
            times.append(time.monotonic())
    listener.close()
    # Up to one for each free place at first, then one at a time with growing pauses.
    assert 2 <= n_dials <= 20
    assert times[-1] - times[-2] > 0.2
    own_postgres.start()
    for client in clients:
        assert client.rows(client.ready()) == [[b"1"]]


# --- a server that says no ---

@pytest.fixture
def refusing(start_weir, postgres):
    """start(url=..., ...): a weir whose clients log in with a known password, and whose server says no."""
    def start(url, **options):
        lines = "\n".join(f"{key} = {value}" for key, value in ({"connect_timeout": "1s", "pool_timeout": "1500ms"} | options).items())
        return start_weir(ini="[weir]\nlisten_postgresql = 127.0.0.1:@PORT@\nworkers = 1\nadmin_users = me\n"
                              f"[user me]\npassword = x\n[database app]\nurl = {url}\n{lines}\n")
    return start


def login_error(weir):
    begin = time.monotonic()
    client = Client(weir.port).login(user="me", password="x")
    client.close()
    return client.error, time.monotonic() - begin


@pytest.mark.parametrize("change, words", [
    ({"password": "wrong"}, 'password authentication failed for user "app"'),
    ({"user": "missing"}, 'password authentication failed for user "missing"'),
    ({"dbname": "missing"}, 'database "missing" does not exist'),
], ids=["password", "role", "database"])
def test_a_refused_login_is_told_at_once_in_the_servers_words(refusing, postgres, change, words):
    weir = refusing(postgres.url(**change), connect_timeout="4s")
    for _ in range(2):
        error, seconds = login_error(weir)
        assert error.code == "08001"
        assert words in error["M"] and "weir" in error["M"]
        assert seconds < 2
    assert weir.console("show version", user="me", password="x")


def test_a_server_without_tls_is_told_so(refusing, postgres):
    error, _ = login_error(refusing(postgres.url(params="?sslmode=require")))
    assert error.code == "08001" and "server does not support SSL, but SSL was required" in error["M"]


def test_recovery_from_a_refused_login_needs_no_restart(refusing, postgres):
    with contextlib.suppress(psycopg.errors.UndefinedObject):
        postgres.query("select 1 from pg_roles")
    with postgres.connect() as admin:
        admin.execute("drop role if exists late")
        weir = refusing(postgres.url(user="late", password="late-secret"))
        assert "late" in login_error(weir)[0]["M"]
        admin.execute("create role late login password 'late-secret'")
        wait_for(lambda: login_error(weir)[0] is None, "the login to work", 6)
        admin.execute("alter role late password 'other'")
        terminated = [terminate(postgres, pid) for pid in backends(postgres, "late")]
        assert terminated
        wait_for(lambda: not backends(postgres, "late"), "its connection to be gone")
        client = Client(weir.port).login(user="me", password="x")
        assert client.error is None     # the greeting is known
        error, status = error_of(client, "select 1")
        assert error.code == "08001" and 'authentication failed for user "late"' in error["M"]
        assert status == b"I"
        admin.execute("alter role late password 'late-secret'")
        wait_for(lambda: b"E" not in dict(client.send(query("select 1")) or client.ready()), "recovery", 6)


def test_too_many_connections_at_the_server(start_weir, postgres):
    with postgres.connect() as admin:
        admin.execute("drop role if exists narrow")
        admin.execute("create role narrow login password 'x' connection limit 2")
        weir = start_weir(ini="[weir]\nlisten_postgresql = 127.0.0.1:@PORT@\nworkers = 1\nadmin_users = narrow\n"
                              f"[database app]\nurl = {postgres.url(user='narrow', password='x')}\n"
                              "pool_size = 5\nconnect_timeout = 1s\npool_timeout = 1500ms\n")
        clients = [Client(weir.port).login(user="narrow", password="x") for _ in range(4)]
        for client in clients[:2]:
            client.query("begin")
        # While others hold what there is, it is a full pool, and the reason is told too.
        clients[2].send(query("select 1"))
        error = Error(dict(clients[2].ready())[b"E"])
        assert error.code == "53300"
        assert 'too many connections for role "narrow"' in error["M"]
        # What becomes free is used.
        clients[3].send(query("select 3"))
        clients[0].query("commit")
        assert clients[3].rows(clients[3].ready()) == [[b"3"]]
        clients[1].query("commit")
        assert len(backends(postgres, "narrow")) == 2


def test_an_address_that_does_not_exist(refusing):
    weir = refusing(f"postgresql://app:secret@127.0.0.1:{free_port()}/app")
    error, seconds = login_error(weir)
    assert error.code == "08001" and "Connection refused" in error["M"]
    assert 0.9 < seconds < 2


def test_a_name_that_does_not_resolve(refusing):
    weir = refusing("postgresql://app:secret@no-such-host.invalid:5432/app")
    error, _ = login_error(weir)
    assert error.code == "08001" and "no-such-host.invalid" in error["M"]


def test_a_port_that_accepts_and_never_answers(refusing):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        weir = refusing(f"postgresql://app:secret@127.0.0.1:{listener.getsockname()[1]}/app?sslmode=disable")
        error, seconds = login_error(weir)
        assert error.code == "08001" and "connect_timeout" in error["M"]
        assert 0.9 < seconds < 2.5
        # The console does not depend on it.
        assert weir.console("show pools", user="me", password="x")


def test_a_server_that_speaks_something_else(refusing):
    answers = [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I", b"E" * 100, b"\0" * 64]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)

        def serve():
            with contextlib.suppress(OSError):
                for i in range(1000):
                    s, _ = listener.accept()
                    s.recv(1000)
                    s.send(answers[i % len(answers)])
                    s.close()

        threading.Thread(target=serve, daemon=True).start()
        weir = refusing(f"postgresql://app:secret@127.0.0.1:{listener.getsockname()[1]}/app?sslmode=disable")
        for _ in range(3):
            error, _ = login_error(weir)
            assert error is None or error.code in ("08001", "08006", "08P01")
        assert weir.process.poll() is None
        listener.shutdown(socket.SHUT_RDWR)


# --- one connection ---

@pytest.fixture
def weir(start_weir, postgres):
    return start_weir(postgres, pool_size=1, max_overflow=0)


def test_terminated_while_it_runs_is_told_in_the_servers_words(weir, postgres):
    client = Client(weir.port).login()
    pid = pid_of(client)
    client.send(query("select pg_sleep(30)"))
    wait_for(lambda: weir.pool()["sv_active"] == 1, "it to run")
    terminate(postgres, pid)
    messages = client.ready()
    error = Error(dict(messages)[b"E"])
    assert (error.code, error["M"], error["S"]) == ("57P01", ADMIN_WORDS, "ERROR")
    assert messages[-1] == (b"Z", b"I")
    assert pid_of(client) != pid


def test_killed_while_it_runs_is_told_without_words(start_weir, own_postgres):
    weir = start_weir(own_postgres, pool_size=1, max_overflow=0)
    client = Client(weir.port).login()
    pid = pid_of(client)
    client.send(query("select pg_sleep(30)"))
    wait_for(lambda: weir.pool()["sv_active"] == 1, "it to run")
    os.kill(pid, signal.SIGKILL)
    messages = client.ready()
    error = Error(dict(messages)[b"E"])
    assert (error.code, error["S"], messages[-1]) == ("08006", "ERROR", (b"Z", b"I"))
    # The server restarts all its processes: whoever waits for that long does not see it.
    assert client.query("select 1") == [[b"1"]]


def test_terminated_in_an_extended_batch(weir, postgres):
    client = Client(weir.port).login()
    client.send(parse("s", "select pg_sleep($1::float)"), SYNC)
    client.ready()
    pid = pid_of(client)
    client.send(bind("s", values=[b"30"]), execute(), SYNC, query("select 2"))
    wait_for(lambda: postgres.query("select 1 from pg_stat_activity where pid = %s and wait_event = 'PgSleep'",
                                    [pid]), "it to run")
    terminate(postgres, pid)
    first, second = client.ready(), client.ready()
    assert Error(dict(first)[b"E"])["M"] == ADMIN_WORDS
    # What was sent behind it was lost with it: each request has its answer.
    assert Error(dict(second)[b"E"]).code == "57P01"
    client.send(bind("s", values=[b"0"]), execute(), SYNC)
    assert len(client.rows(client.ready())) == 1


@pytest.mark.parametrize("end", ["rollback", "commit", "ROLLBACK;", "end", "abort"])
def test_terminated_idle_in_transaction(weir, postgres, end):
    client = Client(weir.port).login()
    client.query("create table if not exists lost (n int)")
    client.query("begin; insert into lost values (1)")
    terminate(postgres, pid_of(client))
    # The loss is told with the next word; then it is a failed transaction until its end.
    error, status = error_of(client, "insert into lost values (2)")
    assert (error.code, error["M"], status) == ("57P01", ADMIN_WORDS, b"E")
    for _ in range(2):
        error, status = error_of(client, "insert into lost values (3)")
        assert (error.code, status) == ("25P02", b"E")
    client.send(parse("", "insert into lost values (4)"), bind(), execute(), SYNC)
    messages = client.ready()
    assert [kind for kind, _ in messages] == [b"E", b"Z"]
    assert Error(messages[0][1]).code == "25P02" and messages[1][1] == b"E"
    client.send(query(end))
    assert client.ready() == [(b"C", b"ROLLBACK\0"), (b"Z", b"I")]
    assert client.query("select count(*) from lost") == [[b"0"]]


def lose_transaction(weir, postgres, client):
    """Between two of its statements."""
    client.query("create table if not exists lost (n int)")
    client.send(parse("done", "commit"), SYNC)
    client.ready()
    client.query("begin; insert into lost values (1)")
    terminate(postgres, pid_of(client))


@pytest.mark.parametrize("commit", [
    [query("commit")], [query("END;")], [query("/* save */ commit work -- now")], [query("commit; select 1")],
    [parse("", "commit"), bind(), execute(), SYNC], [bind("done"), describe(b"P"), execute(), SYNC]],
    ids=["commit", "end", "commented", "more", "extended", "prepared"])
def test_nobody_takes_the_commit_of_a_lost_transaction_for_a_success(weir, postgres, commit):
    client = Client(weir.port).login()
    lose_transaction(weir, postgres, client)
    client.send(*commit)
    messages = client.ready()
    # As after any COMMIT that fails, the transaction is over.
    assert Error(dict(messages)[b"E"])["M"] == ADMIN_WORDS and messages[-1] == (b"Z", b"I")
    assert b"C" not in dict(messages)
    assert client.query("select count(*) from lost") == [[b"0"]]


@pytest.mark.parametrize("sql", ["rollback", "ABORT TRANSACTION", "rollback and no chain", "-- no\nrollback;"])
def test_the_rollback_of_a_lost_transaction_is_one(weir, postgres, sql):
    client = Client(weir.port).login()
    lose_transaction(weir, postgres, client)
    client.send(query(sql))
    assert client.ready() == [(b"C", b"ROLLBACK\0"), (b"Z", b"I")]
    assert client.query("select count(*) from lost") == [[b"0"]]


@pytest.mark.parametrize("sql", ["rollback to savepoint s", "rollback to s", "release s", "commit and chain",
                                 "rollback prepared 'x'", "rollbacks"])
def test_what_does_not_end_a_lost_transaction_is_refused(weir, postgres, sql):
    client = Client(weir.port).login()
    lose_transaction(weir, postgres, client)
    for code in "57P01", "25P02":
        error, status = error_of(client, sql)
        assert (error.code, status) == (code, b"E")
    client.query("rollback")


def test_statements_behind_the_rollback_of_a_lost_transaction_are_carried_out(weir, postgres):
    client = Client(weir.port).login()
    lose_transaction(weir, postgres, client)
    assert client.query("rollback; select 41; select 42") == [[b"41"], [b"42"]]
    client.query("begin")
    terminate(postgres, pid_of(client))
    client.send(query("rollback; begin"))
    assert client.ready()[-1] == (b"Z", b"T")
    assert client.query("rollback; select 43") == [[b"43"]]


def test_sqlalchemy_learns_that_a_commit_was_lost(weir, postgres):
    for driver in "psycopg", "asyncpg":
        async def program():
            engine = create_async_engine(weir.url(driver=driver))
            with pytest.raises(DBAPIError, match=ADMIN_WORDS):
                async with engine.begin() as db:
                    terminate(postgres, (await db.execute(text("select pg_backend_pid()"))).scalar())
            async with engine.connect() as db:
                assert (await db.execute(text("select 1"))).scalar() == 1
            await engine.dispose()

        asyncio.run(program())


def test_terminated_in_transaction_while_it_runs(weir, postgres):
    client = Client(weir.port).login()
    client.query("begin")
    pid = pid_of(client)
    client.send(query("select pg_sleep(30)"))
    wait_for(lambda: postgres.query("select 1 from pg_stat_activity where pid = %s and wait_event = 'PgSleep'",
                                    [pid]), "it to run")
    terminate(postgres, pid)
    messages = client.ready()
    assert Error(dict(messages)[b"E"])["M"] == ADMIN_WORDS and messages[-1] == (b"Z", b"E")
    assert error_of(client, "select 1")[0].code == "25P02"
    client.send(parse("", "rollback"), bind(), execute(), SYNC)
    messages = client.ready()
    assert [kind for kind, _ in messages] == [b"1", b"2", b"C", b"Z"] and messages[-1][1] == b"I"
    assert client.query("select 1") == [[b"1"]]


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_drivers_survive_a_lost_transaction(weir, postgres, driver):
    if driver == "psycopg":
        with weir.connect(autocommit=False) as db:
            pid, = db.execute("select pg_backend_pid()").fetchone()
            terminate(postgres, pid)
            with pytest.raises(psycopg.errors.AdminShutdown, match=ADMIN_WORDS):
                db.execute("select 1")
            with pytest.raises(psycopg.errors.InFailedSqlTransaction):
                db.execute("select 1")
            db.rollback()
            assert db.execute("select 1").fetchone() == (1,)
        return

    async def program():
        db = await asyncpg.connect(weir.url().replace("+asyncpg", ""))
        with pytest.raises(asyncpg.AdminShutdownError, match=ADMIN_WORDS):
            async with db.transaction():
                terminate(postgres, await db.fetchval("select pg_backend_pid()"))
                await db.fetchval("select 1")
        assert await db.fetchval("select 2") == 2
        await db.close()

    asyncio.run(program())


def test_terminated_while_idle_is_nobodys_business(weir, postgres):
    client = Client(weir.port).login()
    client.query("set work_mem = '7MB'")
    for _ in range(3):
        terminate(postgres, pid_of(client))
        assert client.query("show work_mem") == [[b"7MB"]]


@pytest.mark.parametrize("pin", ["create temp table mine (n int)", "listen x", "select pg_advisory_lock(4)",
                                 "prepare p as select 1", "declare c cursor with hold for select 1"])
def test_terminated_while_pinned_ends_the_client(weir, postgres, pin):
    client = Client(weir.port).login()
    client.query(pin)
    other = Client(weir.port).login()
    terminate(postgres, pid_of(client))
    # It has lost what cannot be brought back, and must not go on as if it had it.
    (kind, content), = client.until_closed()
    error = Error(content)
    assert (kind, error.code, error["M"], error["S"]) == (b"E", "57P01", ADMIN_WORDS, "FATAL")
    assert other.query("select 1") == [[b"1"]]
    assert weir.console("show pins") == []


def test_terminated_in_session_mode_ends_the_client(start_weir, postgres):
    weir = start_weir(postgres, pool_mode="session", pool_size=1, max_overflow=0)
    client = Client(weir.port).login()
    terminate(postgres, pid_of(client))
    (kind, content), = client.until_closed()
    error = Error(content)
    assert (kind, error.code, error["M"], error["S"]) == (b"E", "57P01", ADMIN_WORDS, "FATAL")


def test_terminated_in_the_middle_of_an_answer(weir, postgres):
    client = Client(weir.port).login()
    pid = pid_of(client)
    client.send(query("select repeat('x', 100000) from generate_series(1, 5000)"))
    messages = [client.receive() for _ in range(10)]
    terminate(postgres, pid)
    # Rows that were sent stay sent; then comes the error, or, in the middle of a row, the end.
    with contextlib.suppress(Closed):
        messages += client.ready()
    kinds = {kind for kind, _ in messages}
    assert b"E" in kinds or b"Z" not in kinds
    assert b"C" not in kinds
    client.close()
    assert Client(weir.port).login().query("select 1") == [[b"1"]]


def test_an_immediate_shutdown_and_its_words(start_weir, own_postgres):
    weir = start_weir(own_postgres, pool_size=2, max_overflow=0)
    client, idle = Client(weir.port).login(), Client(weir.port).login()
    client.send(query("select pg_sleep(30)"))
    wait_for(lambda: weir.pool()["sv_active"] == 1, "it to run")
    own_postgres.stop(signal.SIGQUIT)
    error = Error(dict(client.ready())[b"E"])
    assert error.code == "57P01"
    assert error["M"] == "terminating connection due to immediate shutdown command"
    own_postgres.start()
    assert client.query("select 1") == idle.query("select 1") == [[b"1"]]
