"""What drivers, migrations and tools do with a connection of their own, through a shared one."""

import asyncio
import random
import re
import subprocess

import asyncpg
import psycopg
import pytest
from conftest import PG_BIN, wait_for
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from wire import FLUSH, SYNC, Client, Error, bind, close, describe, execute, parse, query


def dsn(weir):
    return weir.url().replace("+asyncpg", "")


def codes(messages):
    return [Error(content).code for kind, content in messages if kind == b"E"]


@pytest.fixture
def weir(start_weir, postgres):
    return start_weir(postgres, pool_size=1, max_overflow=0)


@pytest.fixture
def statements(postgres):
    """statements(): what the server was asked by app since the last call."""
    with postgres.connect() as admin:
        admin.execute("alter role app set log_statement = 'all'")
    seen = [0]

    def since():
        log = (postgres.base / "postgresql.log").read_text(errors="replace")
        new, seen[0] = log[seen[0]:], len(log)
        return re.findall(r"LOG:  (?:statement|execute [^:]*): (.*)", new)

    since()
    yield since
    with postgres.connect() as admin:
        admin.execute("alter role app reset log_statement")


# --- no hand-over is dirty ---

FINGERPRINT = """
    select 'setting', name, setting from pg_settings
    union all select 'custom', 'app.me', coalesce(current_setting('app.me', true), '')
    union all select 'user', current_user, session_user
    union all select 'statement', name, statement from pg_prepared_statements where name not like 'weir%'
    union all select 'cursor', name, statement from pg_cursors where name <> ''
    union all select 'lock', locktype, mode from pg_locks where pid = pg_backend_pid() and locktype = 'advisory'
    union all select 'channel', c, '' from pg_listening_channels() c
    union all select 'temporary', relname, '' from pg_class where relnamespace = pg_my_temp_schema()
    order by 1, 2, 3"""

MUTATIONS = [
    "set work_mem = '{n}MB'", "set local work_mem = '9MB'", "set statement_timeout = {n}000",
    "set search_path to pg_catalog", "set session characteristics as transaction isolation level serializable",
    "set default_transaction_read_only = on", "set timezone to 'Asia/Tokyo'", "set datestyle to 'SQL, DMY'",
    "set client_encoding to 'LATIN1'", "set application_name to 'name {n}'", "set jit = off", "set role postgres_like",
    "set session authorization default", "select set_config('work_mem', '1{n}MB', false)",
    "select set_config('app.me', '{n}', false)", "select set_config('app' || '.me', {n}::text, false)",
    "create temp table t{n} (n int)", "create temporary view v{n} as select 1", "select 1 as a into temp s{n}",
    "prepare p{n} as select {n}", "declare c{n} cursor with hold for select {n}", "listen channel{n}",
    "select pg_advisory_lock({n})", "select pg_try_advisory_lock_shared({n})", "select pg_advisory_xact_lock({n})",
    "reset work_mem", "reset all", "discard plans", "discard temp", "deallocate all", "unlisten *", "close all",
    "discard all", "select pg_advisory_unlock_all()", "select 1/0", "set no.such to 1; select 1/0",
    "load 'plpgsql'", "set work_mem to default", "set time zone -3", "set names 'UTF8'",
    "select {n}",
]


def fingerprint(client):
    client.send(query(FINGERPRINT))
    return client.rows(client.ready())


def test_no_hand_over_is_dirty(start_weir, postgres):
    """Random changes to sessions over two connections; in between, a client that has just logged in sees what one
    sees on a fresh connection."""
    with postgres.connect() as admin:
        admin.execute("do $$ begin create role postgres_like; exception when duplicate_object then null; end $$")
        admin.execute("grant postgres_like to app")
    weir = start_weir(postgres, pool_size=2, max_overflow=0)
    expected = fingerprint(Client(weir.port).login())
    assert [b"user", b"app", b"app"] in expected
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    history = []
    for turn in range(60):
        client = Client(weir.port).login()
        done = []
        in_transaction = chance.random() < 0.3
        if in_transaction:
            done.append("begin")
        done += [chance.choice(MUTATIONS).format(n=chance.randrange(3, 9))
                 for _ in range(chance.randrange(1, 5))]
        if in_transaction:
            done += chance.choice([["commit"], ["rollback"], []])
        history.append(done)
        for sql in done:
            client.send(query(sql)) if chance.random() < 0.7 else client.send(
                parse("", sql), bind(), execute(), SYNC)
            client.ready()
        if chance.random() < 0.3:
            client.send(query("select pg_sleep(10)"))
        client.close()
        # Both connections pass through a clean client's hands.
        probe = Client(weir.port).login()
        probe.query("begin")
        other = Client(weir.port).login()
        for which in (probe, other):
            found = fingerprint(which)
            assert found == expected, (seed, turn, done, [r for r in found if r not in expected],
                                       [r for r in expected if r not in found])
        probe.close()
        other.close()


def test_each_client_keeps_its_own_state(start_weir, postgres):
    """Clients that change their settings at random, over fewer connections, always see their own."""
    weir = start_weir(postgres, pool_size=2, max_overflow=0)
    chance = random.Random(7)
    names = {"work_mem": "{}MB", "statement_timeout": "{}min", "app.me": "value {}", "timezone": "Etc/GMT+{}",
             "application_name": "name {}", "search_path": "schema{}", "datestyle": None}
    clients = [(Client(weir.port).login(), {}) for _ in range(6)]
    defaults = {name: clients[0][0].query(f"select current_setting('{name}', true)") for name in names}
    for _ in range(150):
        client, mine = chance.choice(clients)
        name = chance.choice(list(names))
        value = names[name].format(chance.randrange(1, 12)) if names[name] else chance.choice(
            ["SQL, DMY", "German, DMY", "ISO, MDY"])
        how = chance.randrange(6)
        if how == 0:
            client.query(f"set {name} to '{value}'")
            mine[name] = value
        elif how == 1:
            client.query(f"select set_config('{name}', '{value}', false)")
            mine[name] = value
        elif how == 2:
            client.query(f"reset {name}")
            mine.pop(name, None)
        elif how == 3:
            client.query(f"begin; set {name} to '{value}'; rollback")
        elif how == 4:
            client.query("begin")
            client.query(f"set local {name} to '{value}'")
            client.query("commit")
        else:
            client.send(parse("", f"set {name} to '{value}'"), bind(), execute(), SYNC)
            client.ready()
            mine[name] = value
        for client, mine in chance.sample(clients, 2):
            for name, default in defaults.items():
                found = client.query(f"select current_setting('{name}', true)")
                wanted = [[mine[name].encode()]] if name in mine else default
                assert found == wanted or (name == "app.me" and found in ([[b""]], [[None]]) and name not in mine)


def test_a_clean_client_costs_no_statement_of_weirs(weir, statements):
    clients = [Client(weir.port).login() for _ in range(3)]
    clients[0].query("select 0")
    statements()
    for i in range(6):
        clients[i % 3].query(f"select {i}")
    clients.pop().close()
    clients[0].query("select 6")
    assert statements() == [f"select {i}" for i in range(7)]


def test_a_dirty_client_is_cleaned_up_once(weir, statements):
    client = Client(weir.port).login()
    client.query("create temp table mine (n int)")
    client.close()
    other = Client(weir.port).login()
    statements()
    other.query("select 1")
    other.query("select 2")
    found = statements()
    assert [s for s in found if not s.startswith("select")] in (["DISCARD ALL"], [])


# --- asyncpg as it comes ---

def test_asyncpgs_pool_pins_nothing(weir):
    async def program():
        async with asyncpg.create_pool(dsn(weir), min_size=3, max_size=3) as pool:
            for i in range(10):
                async with pool.acquire() as db:
                    assert await db.fetchval("select $1::int", i) == i
                assert weir.console("show pins") == []
                assert weir.pool()["sv_active"] == 0

    asyncio.run(program())


def test_asyncpgs_reset_ends_every_pin(weir):
    def heard(*_):
        pass

    async def program():
        async with asyncpg.create_pool(dsn(weir), min_size=1, max_size=1) as pool:
            async with pool.acquire() as db:
                await db.execute("select pg_advisory_lock(3)")
                await db.execute("set work_mem = '9MB'")
                await db.add_listener("news", heard)
                assert weir.console("show pins")
                await db.remove_listener("news", heard)
            wait_for(lambda: weir.console("show pins") == [], "the pins to end")
            async with pool.acquire() as db:
                assert await db.fetchval("show work_mem") == "4MB"

    asyncio.run(program())
    assert Client(weir.port).login().query("select count(*) from pg_locks where locktype = 'advisory'") == [[b"0"]]


def test_a_prepare_does_not_keep_a_connection(weir):
    async def program():
        first = await asyncpg.connect(dsn(weir))
        second = await asyncpg.connect(dsn(weir))
        statement = await first.prepare("select $1::int + 1")
        # It goes to sleep now; nobody has to wait for it.
        assert await asyncio.wait_for(second.fetchval("select 2"), 5) == 2
        assert await statement.fetchval(3) == 4
        await first.close()
        await second.close()

    asyncio.run(program())


def test_introspection_changes_nobodys_jit(weir):
    with weir.connect() as db:
        db.execute("drop type if exists mood cascade")
        db.execute("create type mood as enum ('sad', 'happy')")
        before = db.execute("show jit").fetchone()

    async def program():
        db, other = await asyncpg.connect(dsn(weir)), await asyncpg.connect(dsn(weir))
        for _ in range(3):
            assert await db.fetchval("select array['sad', 'happy']::mood[]") == ["sad", "happy"]
            assert await other.fetchval("show jit") == before[0]
            assert weir.console("show pins") == []
            await db.reload_schema_state()
        assert await db.fetchval("show jit") == before[0]
        await db.close()
        await other.close()

    asyncio.run(program())


def test_sqlalchemy_without_a_pool_of_its_own(weir, postgres):
    async def program():
        engine = create_async_engine(weir.url(), poolclass=NullPool)

        async def one(n):
            async with engine.connect() as db:
                assert (await db.execute(text("select :n + 0"), {"n": n})).scalar() == n

        before = postgres.logins()
        for _ in range(3):
            await asyncio.gather(*(one(n) for n in range(10)))
        assert postgres.logins() - before <= 1
        await engine.dispose()

    asyncio.run(program())


def test_executemany_that_fails_leaves_a_good_connection(weir):
    async def program():
        db = await asyncpg.connect(dsn(weir))
        await db.execute("drop table if exists unique_ones")
        await db.execute("create table unique_ones (n int primary key)")
        for _ in range(3):
            with pytest.raises(asyncpg.UniqueViolationError):
                await db.executemany("insert into unique_ones values ($1)", [(n % 500,) for n in range(1000)])
            assert await db.fetchval("select count(*) from unique_ones") == 0
        with pytest.raises(asyncpg.DataError):
            await db.executemany("insert into unique_ones values ($1)", [(1,), ("no number",)])
        with pytest.raises(asyncpg.UniqueViolationError):
            await db.copy_records_to_table("unique_ones", records=[(1,), (1,)])
        assert await db.fetchval("select count(*) from unique_ones") == 0
        await db.close()

    asyncio.run(program())


# --- statements ---

@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_ddl_under_prepared_load_costs_each_client_one_error_at_most(start_weir, postgres, driver):
    weir = start_weir(postgres, pool_size=2, max_overflow=0)
    admin = postgres.connect(dbname="app")
    admin.execute("drop table if exists moving; create table moving (a int); insert into moving values (1); "
                  "grant all on moving to public")
    sql = "select * from moving where a = {}"

    async def connect():
        if driver == "asyncpg":
            db = await asyncpg.connect(dsn(weir))
            return db.close, lambda: db.fetch(sql.format("$1"), 1), asyncpg.InvalidCachedStatementError
        db = await psycopg.AsyncConnection.connect(weir.dsn(), autocommit=True, prepare_threshold=0)

        async def fetch():
            return await (await db.execute(sql.format("%s::int"), [1])).fetchall()
        return db.close, fetch, psycopg.errors.FeatureNotSupported

    async def program():
        clients = [await connect() for _ in range(4)]
        for _, fetch, _ in clients:
            await fetch()
        for n in range(1, 4):
            admin.execute(f"alter table moving add column c{n} int")
            for _, fetch, stale in clients:
                told = 0
                for _ in range(4):
                    try:
                        row, = await fetch()
                        assert len(row) == n + 1
                    except stale:
                        told += 1
                assert told <= 1
            # Who prepares it now is told nothing.
            close_it, fetch, _ = await connect()
            for _ in range(3):
                assert len((await fetch())[0]) == n + 1
            await close_it()
        for close_it, _, _ in clients:
            await close_it()

    asyncio.run(program())
    admin.close()


def test_deallocate_all_in_a_pipeline_keeps_what_is_prepared_behind_it(weir):
    client, other = Client(weir.port).login(), Client(weir.port).login()
    for c in (client, other):
        c.send(parse("s", "select 1"), SYNC)
        c.ready()
    client.send(parse("", "deallocate all"), bind(), execute(), parse("s", "select 2"), bind("s"), execute(), SYNC)
    messages = client.ready()
    assert codes(messages) == [] and client.rows(messages) == [[b"2"]]
    client.send(query("deallocate all"), parse("s", "select 3"), bind("s"), execute(), SYNC)
    client.ready()
    assert client.rows(client.ready()) == [[b"3"]]
    client.send(bind("s"), execute(), SYNC)
    assert client.rows(client.ready()) == [[b"3"]]
    other.send(bind("s"), execute(), SYNC)
    assert other.rows(other.ready()) == [[b"1"]]


def test_the_same_text_with_other_types_is_another_statement(weir):
    client = Client(weir.port).login()
    client.send(parse("number", "select $1", [23]), describe(b"S", "number"),
                parse("word", "select $1", [25]), describe(b"S", "word"), SYNC)
    kinds = [content[2:6] for kind, content in client.ready() if kind == b"t"]
    assert kinds == [bytes([0, 0, 0, 23]), bytes([0, 0, 0, 25])]
    client.send(bind("word", values=[b"x"]), execute(), bind("number", values=[b"5"]), execute(), SYNC)
    assert client.rows(client.ready()) == [[b"x"], [b"5"]]


def test_begin_and_a_prepared_statement_in_one_batch(weir):
    client, other = Client(weir.port).login(), Client(weir.port).login()
    for _ in range(3):
        client.send(parse("", "begin"), bind(), execute(), parse("s", "select 1"), bind("s"), execute(), SYNC)
        messages = client.ready()
        assert client.rows(messages) == [[b"1"]] and messages[-1][1] == b"T"
        client.send(close(b"S", "s"), parse("", "commit"), bind(), execute(), SYNC)
        assert client.ready()[-1][1] == b"I"
        assert other.query("select 2") == [[b"2"]]


def test_flush_without_sync_does_not_park_a_connection(weir):
    client, other = Client(weir.port).login(), Client(weir.port).login()
    client.send(parse("s", "select $1::int"), describe(b"S", "s"), FLUSH)
    assert client.kinds(b"T") == b"1tT"
    # The client may be silent for long; nothing was executed, and nothing is held.
    other.socket.settimeout(5)
    assert other.query("select 1") == [[b"1"]]
    client.send(bind("s", values=[b"3"]), execute(), SYNC)
    assert client.rows(client.ready()) == [[b"3"]]


@pytest.mark.thorough
@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_pgbench_as_it_comes(start_weir, postgres, mode):
    weir = start_weir(postgres, pool_size=3, max_overflow=0)
    bench = [PG_BIN / "pgbench", "-h", "127.0.0.1", "-p", str(weir.port), "-U", "app", "app"]
    env = {"PGPASSWORD": "secret"}
    for arguments in (["-i", "-q", "-s", "1"], ["-M", mode, "-c", "10", "-j", "10", "-t", "50", "-n"]):
        run = subprocess.run(bench + arguments, env=env, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
    assert "number of transactions actually processed: 500/500" in run.stdout
    assert postgres.connections() <= 3


# --- locks, databases ---

def test_a_transactions_lock_pins_nothing(weir):
    client = Client(weir.port).login()
    client.query("begin; select pg_advisory_xact_lock(1)")
    client.query("commit")
    assert weir.console("show pins") == []


def test_a_database_can_be_dropped_after_a_reconnect(start_weir, postgres):
    with postgres.connect() as admin:
        admin.execute("drop database if exists short_lived")
        admin.execute("create database short_lived owner app")
        weir = start_weir(ini="[weir]\nlisten_postgresql = 127.0.0.1:@PORT@\nworkers = 1\nadmin_users = app\n"
                              f"[database app]\nurl = {postgres.url(dbname='short_lived')}\n")
        client = Client(weir.port).login()
        assert client.query("select current_database()") == [[b"short_lived"]]
        # The client stays; what it does not use can be freed.
        weir.console("reconnect app")
        wait_for(lambda: postgres.connections() == 0 or not postgres.query(
            "select 1 from pg_stat_activity where datname = 'short_lived'"), "its connection to be closed")
        admin.execute("drop database short_lived")
        admin.execute("create database short_lived owner app")
        assert client.query("select current_database()") == [[b"short_lived"]]
        client.close()
        weir.console("reconnect app")
        wait_for(lambda: not postgres.query("select 1 from pg_stat_activity where datname = 'short_lived'"),
                 "its connection to be closed")
        admin.execute("drop database short_lived")
