"""The pool's promises, watched from the server's side, with real drivers."""

import asyncio
import socket
import subprocess
import threading
import time

import asyncpg
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from conftest import PG_BIN, wait_for
from wire import Client, query


class Watch:
    """Counts the server's connections of a user, again and again, while the body runs."""

    def __init__(self, postgres, user="app", database="app"):
        self.db = postgres.connect()
        self.which = [user, database]
        self.most = self.n_looks = 0

    def __enter__(self):
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()
        return self

    def look(self):
        while not self.over.wait(0.01):
            n, = self.db.execute("select count(*) from pg_stat_activity where usename = %s and datname = %s",
                                 self.which).fetchone()
            self.most = max(self.most, n)
            self.n_looks += 1

    def __exit__(self, *args):
        self.over.set()
        self.thread.join()
        self.db.close()


def test_a_greeting_that_one_worker_knows_all_know(start_weir, postgres):
    weir = start_weir(postgres, workers=4, pool_size=1, max_overflow=0, pool_timeout="3s")
    parameters = {"DateStyle": "german", "application_name": "mine", "search_path": "public"}
    holder = Client(weir.port).login(**parameters)
    holder.query("begin")
    logins = [Client(weir.port).login(**parameters) for _ in range(7)]
    plain = [Client(weir.port).login() for _ in range(4)]
    assert [client.error for client in logins + plain] == [None] * 11
    assert {client.parameters["DateStyle"] for client in logins} == {"German, DMY"}
    assert {client.parameters["DateStyle"] for client in plain} == {"ISO, MDY"}
    holder.query("commit")
    assert all(client.query("show datestyle") == [[b"German, DMY"]] for client in logins)
    assert all(client.query("show datestyle") == [[b"ISO, MDY"]] for client in plain)


def pids(postgres, user="app", database="app"):
    rows = postgres.query("select pid from pg_stat_activity where usename = %s and datname = %s", [user, database])
    return {pid for pid, in rows}


def pid_of(db):
    return db.execute("select pg_backend_pid()").fetchone()[0]


def ini(postgres, weir="", databases="", users=""):
    return (f"[weir]\nlisten_postgresql = 127.0.0.1:@PORT@\nlisten_mysql =\nadmin_users = app\n{weir}\n"
            f"{databases}\n{users}\n")


def database(postgres, name="app", user="app", **options):
    lines = "\n".join(f"{key} = {value}" for key, value in options.items())
    url = postgres.url(user=user) if user == "app" else postgres.url(user=None)
    return f"[database {name}]\nurl = {url}\n{lines}\n"


async def clients_that_come_and_vanish(weir, n_clients, n_rounds):
    """Hundreds at once, in all moods: well-behaved, leaving in a transaction, cut off in a statement."""

    async def one(number):
        for turn in range(n_rounds):
            db = await asyncpg.connect(weir.url().replace("+asyncpg", ""), timeout=30)
            mood = (number + turn) % 4
            assert await db.fetchval("select $1::int", number) == number
            if mood == 0:
                await db.execute("begin; select 1")
                db.terminate()
            elif mood == 1:
                asyncio.ensure_future(db.execute("select pg_sleep(5)")).add_done_callback(
                    lambda done: done.cancelled() or done.exception())
                await asyncio.sleep(0.01)
                db.terminate()
            else:
                async with db.transaction():
                    await db.execute("select pg_sleep(0.002)")
                await db.close()

    await asyncio.gather(*(one(i) for i in range(n_clients)))


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.thorough), 4])
def test_never_more_connections_than_pool_size_and_max_overflow(start_weir, postgres, workers):
    limits = {"pool_size": 3, "max_overflow": 2, "overflow_linger": "50ms"}
    text = ini(postgres, f"workers = {workers}", database(postgres, **limits))
    weir = start_weir(ini=text)
    with Watch(postgres) as watch:
        bench = subprocess.Popen(
            [PG_BIN / "pgbench", "-n", "-M", "prepared", "-c", "100", "-j", "2", "-T", "2", "-f", "-",
             weir.dsn()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        bench.stdin.write(b"select 1;\n")
        bench.stdin.close()
        asyncio.run(clients_that_come_and_vanish(weir, 120, 2))
        # Other words, same limits: a reload in the middle of it.
        weir.reload(text.replace("50ms", "60ms"))
        asyncio.run(clients_that_come_and_vanish(weir, 50, 1))
        assert bench.wait() == 0, bench.stdout.read()
    assert watch.n_looks > 50
    assert watch.most == 5
    wait_for(lambda: len(pids(postgres)) <= 3, "overflow connections to be closed")


@pytest.mark.parametrize("workers", [1, 4])
def test_smaller_limits_hold_as_soon_as_connections_are_free(start_weir, postgres, workers):
    text = ini(postgres, f"workers = {workers}", database(postgres, pool_size=6, max_overflow=0))
    weir = start_weir(ini=text)
    holders = [weir.connect(autocommit=False) for _ in range(6)]
    for db in holders:
        db.execute("select 1")
    weir.reload(text.replace("pool_size = 6", "pool_size = 2"))
    # Nobody is interrupted.
    for db in holders:
        assert db.execute("select 1").fetchone() == (1,)
    for db in holders:
        db.commit()
    wait_for(lambda: len(pids(postgres)) <= 2, "connections to be closed")
    for db in holders:
        assert db.execute("select 2").fetchone() == (2,)
        db.close()
    assert len(pids(postgres)) <= 2


def test_pool_timeout_leaves_the_connection_usable_and_names_the_holder(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0, pool_timeout="300ms")
    with weir.connect(autocommit=False, application_name="the holder") as holder, weir.connect() as db:
        holder.execute("select 1")
        before = time.monotonic()
        with pytest.raises(psycopg.Error) as error:
            db.execute("select 1")
        assert 0.25 < time.monotonic() - before < 3
        assert error.value.sqlstate == "53300"
        text = str(error.value)
        assert text.startswith("weir: no free connection within pool_timeout: pool app/app full (1 of 1) for 0.3 s: "
                               "1 idle in transaction, 0 running, 0 pinned")
        assert 'oldest holder: user "app" application "the holder" at 127.0.0.1:' in text
        assert "idle in transaction for 0." in text
        holder.commit()
        assert db.execute("select 2").fetchone() == (2,)


def test_pool_timeout_names_running_and_pinned_holders(start_weir, postgres):
    weir = start_weir(postgres, pool_size=2, max_overflow=0, pool_timeout="300ms")
    locker, runner = Client(weir.port).login(), Client(weir.port).login()
    locker.query("select pg_advisory_lock(1)")
    runner.send(query("select pg_sleep(1)"))
    wait_for(lambda: postgres.query("select 1 from pg_stat_activity where query like 'select pg_sleep(1)%%'"))
    with weir.connect() as db:
        with pytest.raises(psycopg.Error, match=r"0 idle in transaction, 1 running, 1 pinned.*"
                                                r"pinned \(advisory lock\) for"):
            db.execute("select 1")
    locker.close()
    runner.close()


def test_without_explain_errors_only_admins_read_who_holds_the_pool(start_weir, postgres):
    weir = start_weir(ini=ini(
        postgres, "workers = 1",
        database(postgres, pool_size=1, max_overflow=0, pool_timeout="200ms", explain_errors="false"),
        "[user guest]\npassword = guest\n"))
    with weir.connect(autocommit=False) as holder:
        holder.execute("select 1")
        with weir.connect() as admin, pytest.raises(psycopg.Error, match="oldest holder"):
            admin.execute("select 1")
        # A client that is not even welcomed yet is told no more.
        with pytest.raises(psycopg.OperationalError) as error:
            weir.connect("guest", "guest").execute("select 1")
        assert "no free connection within pool_timeout" in str(error.value)
        assert "holder" not in str(error.value) and "idle in transaction" not in str(error.value)


def test_clients_are_served_in_the_order_they_came(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0)
    clients = [Client(weir.port).login() for _ in range(20)]
    clients[0].query("drop table if exists turns; create table turns (n serial, who int)")
    with weir.connect(autocommit=False) as holder:
        holder.execute("select 1")
        for i, client in enumerate(clients):
            client.send(query(f"insert into turns (who) values ({i})"))
            wait_for(lambda: weir.pool()["cl_waiting"] == i + 1)
    for client in clients:
        client.ready()
        client.close()
    served = postgres.query("select who from turns order by n", dbname="app")
    assert [who for who, in served] == list(range(20))


def test_clock_of_idle_connections(start_weir, postgres):
    weir = start_weir(postgres, pool_size=2, max_overflow=2, overflow_linger="400ms", pool_idle_timeout="1200ms",
                      min_size=1)
    wait_for(lambda: len(pids(postgres)) == 1, "min_size to be opened")
    dbs = [weir.connect(autocommit=False) for _ in range(4)]
    for db in dbs:
        db.execute("select 1")
    assert len(pids(postgres)) == 4
    released = time.monotonic()
    for db in dbs:
        db.commit()
        db.close()
    wait_for(lambda: len(pids(postgres)) == 2, "overflow to be closed")
    assert 0.3 < time.monotonic() - released < 1.1
    wait_for(lambda: len(pids(postgres)) == 1, "unused ones to be closed")
    assert time.monotonic() - released > 1.1
    # min_size stays, and is replaced.
    last, = pids(postgres)
    postgres.query("select pg_terminate_backend(%s, 5000)", [last])
    wait_for(lambda: len(pids(postgres) - {last}) == 1, "min_size to be opened again")


def test_connections_are_recycled(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0, pool_recycle="1s")
    with weir.connect() as db:
        first = pid_of(db)
        assert pid_of(db) == first
        wait_for(lambda: pid_of(db) != first, "another connection")
    wait_for(lambda: not pids(postgres), "the idle one to be recycled")


@pytest.mark.parametrize("lifo", ["true", "false"])
def test_order_in_which_connections_are_used(start_weir, postgres, lifo):
    weir = start_weir(postgres, pool_size=3, max_overflow=0, pool_use_lifo=lifo)
    dbs = [weir.connect(autocommit=False) for _ in range(3)]
    for db in dbs:
        db.execute("select 1")
    for db in dbs:
        db.commit()
    with weir.connect() as db:
        assert len({pid_of(db) for _ in range(9)}) == (1 if lifo == "true" else 3)
    for db in dbs:
        db.close()


@pytest.mark.parametrize("workers", [1, 4])
def test_terminated_idle_connections_cost_no_client_an_error(start_weir, postgres, workers):
    weir = start_weir(ini=ini(postgres, f"workers = {workers}",
                              database(postgres, pool_size=4, max_overflow=0, pre_ping_after=0)))

    async def program():
        engine = create_async_engine(weir.url(), pool_size=8)

        async def one():
            async with engine.connect() as db:
                assert (await db.execute(sa.text("select 1"))).scalar() == 1

        for _ in range(10):
            await asyncio.gather(*(one() for _ in range(8)))
            postgres.query("select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = 'app'")
        await engine.dispose()

    asyncio.run(program())


@pytest.mark.parametrize("reset", ["true", "false"])
def test_pool_reset_on_return(start_weir, postgres, reset):
    weir = start_weir(postgres, pool_size=1, max_overflow=0, pool_mode="session", pool_reset_on_return=reset)
    with weir.connect() as db:
        pid = pid_of(db)
        db.execute("create temporary table left_behind (n int)")
    with weir.connect() as db:
        assert pid_of(db) == pid
        left = db.execute("select to_regclass('pg_temp.left_behind') is not null").fetchone()[0]
        assert left == (reset == "false")


def test_connect_timeout(start_weir, postgres):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"postgresql://app:secret@127.0.0.1:{deaf.getsockname()[1]}/app?sslmode=disable"
        weir = start_weir(ini="[weir]\nlisten_postgresql = 127.0.0.1:@PORT@\nlisten_mysql =\nworkers = 1\nadmin_users = app\n"
                              f"[database app]\nurl = {url}\nconnect_timeout = 1s\npool_timeout = 1500ms\n")
        before = time.monotonic()
        with pytest.raises(psycopg.OperationalError, match="no answer within connect_timeout"):
            weir.connect(connect_timeout=20)
        assert 0.9 < time.monotonic() - before < 6


def test_without_a_user_in_the_url_each_client_user_has_a_pool_of_its_own(start_weir, postgres):
    weir = start_weir(ini=ini(postgres, "workers = 2",
                              database(postgres, user=None, pool_size=2, max_overflow=1),
                              "[user app]\npassword = secret\n[user other]\npassword = other-secret\n"))
    accounts = {"app": "secret", "other": "other-secret"}

    def work(user):
        with weir.connect(user, accounts[user]) as db:
            for _ in range(10):
                assert db.execute("select current_user, pg_sleep(0.005)").fetchone()[0] == user

    with Watch(postgres, "app") as app, Watch(postgres, "other") as other:
        threads = [threading.Thread(target=work, args=[user]) for user in accounts for _ in range(15)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (app.most, other.most) == (3, 3)


def test_with_a_user_in_the_url_all_clients_share_a_pool(start_weir, postgres):
    weir = start_weir(ini=ini(postgres, "workers = 1", database(postgres, pool_size=1, max_overflow=0),
                              "[user guest]\npassword = guest\n"))
    with weir.connect() as one, weir.connect("guest", "guest") as two:
        assert pid_of(one) == pid_of(two)
        assert two.execute("select current_user").fetchone() == ("app",)


def test_session_mode_holds_its_connection(start_weir, postgres):
    weir = start_weir(postgres, pool_size=2, max_overflow=0, pool_mode="session", pool_timeout="300ms")
    with weir.connect() as one, weir.connect() as two:
        pid = pid_of(one)
        # The key that cancel requests name is the server's own.
        assert one.info.backend_pid == pid
        assert pid_of(two) != pid
        one.execute("set work_mem = '7MB'")
        assert {pid_of(one) for _ in range(5)} == {pid}
        with pytest.raises(psycopg.OperationalError, match="2 in session mode"):
            weir.connect().execute("select 1")
    with weir.connect() as three:
        assert three.execute("show work_mem").fetchone() != ("7MB",)


def test_prepared_statements_are_evicted_beyond_the_limit(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0, prepared_statements=10)

    async def program():
        db = await asyncpg.connect(weir.url().replace("+asyncpg", ""))
        statements = [await db.prepare(f"select {i} + $1::int") for i in range(40)]
        for _ in range(2):
            for i, statement in enumerate(statements):
                assert await statement.fetchval(1) == i + 1
        kept = await db.fetchval("select count(*) from pg_prepared_statements")
        await db.close()
        return kept

    assert asyncio.run(program()) <= 10 + 1


def test_two_databases_have_budgets_of_their_own(start_weir, postgres):
    postgres.query("select 1")
    with postgres.connect() as db:
        if not db.execute("select 1 from pg_database where datname = 'second'").fetchone():
            db.execute("create database second owner app")
    second = f"[database second]\nurl = {postgres.url(dbname='second')}\npool_size = 1\nmax_overflow = 1\n"
    weir = start_weir(ini=ini(postgres, "workers = 2",
                              database(postgres, pool_size=2, max_overflow=1) + second))

    def work(name):
        with weir.connect(dbname=name) as db:
            for _ in range(10):
                assert db.execute("select current_database(), pg_sleep(0.005)").fetchone()[0] == name

    with Watch(postgres) as first, Watch(postgres, database="second") as other:
        threads = [threading.Thread(target=work, args=[name]) for name in ("app", "second") for _ in range(15)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (first.most, other.most) == (3, 2)
