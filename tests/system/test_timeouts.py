"""Each clock by itself: what the client is told when it strikes, and what is free then. How exact they are test_clocks.py
measures."""

import asyncio
import time

import asyncpg
import psycopg
import pytest
from conftest import wait_for

from wire import SYNC, Client, Error, bind, execute, message, parse, query


def error_in(messages):
    error, = [Error(content) for kind, content in messages if kind == b"E"]
    return error


# --- query_timeout ---

def test_query_timeout_cancels_and_both_connections_live_on(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0, query_timeout="400ms")
    client = Client(weir.port).login()
    pid = client.query("select pg_backend_pid()")
    for sql in ("select pg_sleep(30)", "do $$ begin perform pg_sleep(30); end $$"):
        client.send(query(sql))
        messages = client.ready()
        error = error_in(messages)
        assert (error.code, error["S"], messages[-1][1]) == ("57014", "ERROR", b"I")
        assert "weir" in error["M"] and "query_timeout" in error["M"]
        assert client.query("select pg_backend_pid()") == pid
    client.send(parse("", "select pg_sleep(30)"), bind(), execute(), SYNC)
    messages = client.ready()
    assert error_in(messages).code == "57014"
    assert Client(weir.port).login().query("select pg_backend_pid()") == pid


def test_query_timeout_in_a_transaction_fails_it(start_weir, postgres):
    weir = start_weir(postgres, query_timeout="400ms")
    client = Client(weir.port).login()
    client.query("begin")
    client.send(query("select pg_sleep(30)"))
    messages = client.ready()
    assert error_in(messages).code == "57014" and messages[-1][1] == b"E"
    client.send(query("select 1"))
    assert error_in(client.ready()).code == "25P02"
    client.query("rollback")
    assert client.query("select 1") == [[b"1"]]


def test_query_timeout_counts_each_statement_by_itself(start_weir, postgres):
    weir = start_weir(postgres, query_timeout="400ms")
    client = Client(weir.port).login()
    # One after the other, within a transaction, and in a pipeline: none takes too long.
    client.query("begin")
    for _ in range(4):
        client.query("select pg_sleep(0.2)")
    client.query("commit")
    client.send(*[query("select pg_sleep(0.2)")] * 4)
    for _ in range(4):
        assert len(client.rows(client.ready())) == 1
    client.send(*[parse("", "select pg_sleep(0.2)") + bind() + execute() + SYNC] * 4)
    for _ in range(4):
        assert len(client.rows(client.ready())) == 1
    # In the pipeline the slow one is hit, and no other.
    client.send(query("select 1"), query("select pg_sleep(30)"), query("select 3"))
    assert client.rows(client.ready()) == [[b"1"]]
    assert error_in(client.ready()).code == "57014"
    assert client.rows(client.ready()) == [[b"3"]]


def test_query_timeout_does_not_count_the_wait_in_the_queue(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0, query_timeout="400ms")
    holder, client = Client(weir.port).login(), Client(weir.port).login()
    holder.query("begin")
    client.send(query("select 1"))
    time.sleep(0.6)
    holder.query("commit")
    assert client.rows(client.ready()) == [[b"1"]]


def test_query_timeout_and_the_servers_own_cancel_are_told_apart(start_weir, postgres):
    weir = start_weir(postgres, query_timeout="5s")
    client = Client(weir.port).login()
    client.query("set statement_timeout = 100")
    client.send(query("select pg_sleep(30)"))
    assert error_in(client.ready())["M"] == "canceling statement due to statement timeout"


def test_drivers_and_query_timeout(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0, query_timeout="400ms")
    with weir.connect() as db:
        with pytest.raises(psycopg.errors.QueryCanceled, match="query_timeout"):
            db.execute("select pg_sleep(30)")
        assert db.execute("select 1").fetchone() == (1,)

    async def program():
        db = await asyncpg.connect(weir.url().replace("+asyncpg", ""))
        with pytest.raises(asyncpg.QueryCanceledError, match="query_timeout"):
            await db.fetchval("select pg_sleep(30)")
        assert await db.fetchval("select 1") == 1
        await db.close()

    asyncio.run(program())


# --- transaction_timeout, idle_in_transaction_timeout ---

def check_lost_transaction(client, code, name):
    """The loss is told with the client's next word; then the transaction is failed until its end."""
    client.send(query("insert into timed values (2)"))
    messages = client.ready()
    error = error_in(messages)
    assert (error.code, error["S"], messages[-1][1]) == (code, "ERROR", b"E")
    assert "weir" in error["M"] and name in error["M"]
    client.send(query("insert into timed values (3)"))
    assert error_in(client.ready()).code == "25P02"
    client.send(query("commit"))
    assert client.ready() == [(b"C", b"ROLLBACK\0"), (b"Z", b"I")]
    assert client.query("select count(*) from timed") == [[b"0"]]


@pytest.mark.parametrize("name, code", [("transaction_timeout", "25P04"), ("idle_in_transaction_timeout", "25P03")])
def test_an_idle_transaction_is_rolled_back_and_its_connection_free_at_once(start_weir, postgres, name, code):
    weir = start_weir(postgres, pool_size=1, max_overflow=0, **{name: "400ms"})
    client, other = Client(weir.port).login(), Client(weir.port).login()
    client.query("create table if not exists timed (n int); truncate timed")
    pid = client.query("select pg_backend_pid()")
    client.query("begin; insert into timed values (1)")
    # Nobody says anything; who waits has the connection when the time is over.
    assert other.query("select pg_backend_pid()") == pid
    assert other.query("select count(*) from timed") == [[b"0"]]
    check_lost_transaction(client, code, name)


def test_idle_in_transaction_timeout_begins_anew_with_each_statement(start_weir, postgres):
    weir = start_weir(postgres, idle_in_transaction_timeout="400ms")
    client = Client(weir.port).login()
    client.query("begin")
    for _ in range(4):
        time.sleep(0.2)
        client.query("select 1")
    # A statement that runs is not idle.
    client.query("select pg_sleep(0.6)")
    client.query("commit")
    assert client.query("select 1") == [[b"1"]]


def test_transaction_timeout_does_not_begin_anew(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0, transaction_timeout="400ms")
    client = Client(weir.port).login()
    client.query("create table if not exists timed (n int); truncate timed")
    client.query("begin; insert into timed values (1)")
    error = None
    for _ in range(40):
        client.send(query("select pg_sleep(0.05)"))
        messages = client.ready()
        errors = [Error(content) for kind, content in messages if kind == b"E"]
        error = errors[0] if errors else None
        if error:
            break
    assert error.code == "25P04" and messages[-1][1] == b"E"
    client.query("rollback")
    assert client.query("select count(*) from timed") == [[b"0"]]


def test_transaction_timeout_while_a_statement_runs(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0, transaction_timeout="400ms")
    client, other = Client(weir.port).login(), Client(weir.port).login()
    pid = client.query("select pg_backend_pid()")
    client.query("begin")
    client.send(query("select pg_sleep(30)"))
    messages = client.ready()
    assert error_in(messages).code == "25P04" and messages[-1][1] == b"E"
    # The statement was cancelled, and the connection is the next one's.
    assert other.query("select pg_backend_pid()") == pid
    client.send(query("select 1"))
    assert error_in(client.ready()).code == "25P02"
    client.query("rollback")
    assert client.query("select pg_backend_pid()") == pid


def test_a_statement_of_its_own_is_no_transaction(start_weir, postgres):
    weir = start_weir(postgres, transaction_timeout="400ms")
    client = Client(weir.port).login()
    assert len(client.query("select pg_sleep(0.7)")) == 1


def test_transaction_timeout_during_copy(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0, transaction_timeout="400ms")
    client = Client(weir.port).login()
    client.query("create table if not exists timed (n int); truncate timed")
    client.query("begin")
    client.send(query("copy timed from stdin"))
    assert client.receive()[0] == b"G"
    client.send(message(b"d", b"1\n"))
    messages = client.ready()
    assert error_in(messages).code == "25P04"
    # What it still sends is dropped.
    client.send(message(b"d", b"2\n"), message(b"c"), query("rollback"))
    assert client.ready()[-1][1] == b"I"
    assert client.query("select count(*) from timed") == [[b"0"]]


@pytest.mark.parametrize("name, error", [
    ("transaction_timeout", psycopg.errors.TransactionTimeout if hasattr(psycopg.errors, "TransactionTimeout")
     else psycopg.DatabaseError),
    ("idle_in_transaction_timeout", psycopg.errors.IdleInTransactionSessionTimeout)])
def test_psycopg_and_a_lost_transaction(start_weir, postgres, name, error):
    weir = start_weir(postgres, pool_size=1, max_overflow=0, **{name: "200ms"})
    with weir.connect(autocommit=False) as db, weir.connect() as other:
        db.execute("select 1")
        other.execute("select 1")
        with pytest.raises(error, match=name):
            db.execute("select 2")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            db.execute("select 3")
        db.rollback()
        assert db.execute("select 4").fetchone() == (4,)


def test_asyncpg_and_a_lost_transaction(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0, idle_in_transaction_timeout="200ms")

    async def program():
        db = await asyncpg.connect(weir.url().replace("+asyncpg", ""))
        with pytest.raises(asyncpg.IdleInTransactionSessionTimeoutError, match="idle_in_transaction_timeout"):
            async with db.transaction():
                await db.fetchval("select $1::int", 1)
                await asyncio.sleep(0.5)
                await db.fetchval("select $1::int", 2)
        # Straight to its end, too.
        transaction = db.transaction()
        await transaction.start()
        await asyncio.sleep(0.5)
        await transaction.rollback()
        assert await db.fetchval("select $1::int", 3) == 3
        await db.close()

    asyncio.run(program())


def test_a_timed_out_transaction_undoes_its_settings(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0, idle_in_transaction_timeout="200ms")
    client, other = Client(weir.port).login(), Client(weir.port).login()
    client.query("set work_mem = '5MB'; set timezone to 'Asia/Tokyo'")
    client.query("begin; set work_mem = '9MB'; set timezone to 'Europe/Paris'")
    assert other.query("show work_mem") == [[b"4MB"]]
    client.send(query("select 1"), query("rollback"))
    assert error_in(client.ready()).code == "25P03"
    # What the client was told of its settings is taken back, as a rollback does.
    assert (b"S", b"TimeZone\0Asia/Tokyo\0") in client.ready()
    assert client.query("show work_mem") == [[b"5MB"]]
    assert client.query("show timezone") == [[b"Asia/Tokyo"]]
    assert other.query("show timezone") == [[b"Etc/UTC"]]


def test_a_pinned_client_does_not_go_on_without_what_pinned_it(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0, idle_in_transaction_timeout="400ms")
    client, other = Client(weir.port).login(), Client(weir.port).login()
    client.query("select pg_advisory_lock(9)")
    client.query("begin")
    (kind, content), = client.until_closed()
    error = Error(content)
    assert (kind, error.code, error["S"]) == (b"E", "25P03", "FATAL")
    assert other.query("select count(*) from pg_locks where locktype = 'advisory'") == [[b"0"]]


# --- client_idle_timeout, client_login_timeout, pool_timeout ---

@pytest.mark.parametrize("pinned", [False, True])
def test_client_idle_timeout(start_weir, postgres, pinned):
    weir = start_weir(postgres, client_idle_timeout="400ms")
    client, busy = Client(weir.port).login(), Client(weir.port).login()
    if pinned:
        client.query("listen x")
    else:
        client.query("select 1")
    (kind, content), = client.until_closed()
    error = Error(content)
    assert (kind, error.code, error["S"]) == (b"E", "57P05", "FATAL") and "client_idle_timeout" in error["M"]
    # Neither one that is at work nor one in a transaction is idle.
    busy = Client(weir.port).login()
    busy.query("select pg_sleep(0.6)")
    busy.query("begin")
    time.sleep(0.6)
    busy.query("commit")
    assert busy.query("select 1") == [[b"1"]]
    wait_for(lambda: weir.pool()["sv_active"] == 0, "the connection to be free")


def test_client_login_timeout(start_weir, postgres):
    weir = start_weir(postgres, weir="client_login_timeout = 400ms")
    (kind, content), = Client(weir.port).until_closed()
    assert (kind, Error(content).code) == (b"E", "08P01")
    # Waiting for the pool's first greeting is not the client's fault.
    client = Client(weir.port).login()
    time.sleep(0.6)
    assert client.query("select 1") == [[b"1"]]


def test_pool_timeout_is_told_as_an_error_and_the_connection_stays(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0, pool_timeout="400ms")
    holder, client = Client(weir.port).login(application_name="the holder"), Client(weir.port).login()
    holder.query("begin")
    for send in ((query("select 1"),), (parse("", "select 1"), bind(), execute(), SYNC)):
        client.send(*send)
        messages = client.ready()
        error = error_in(messages)
        assert (error.code, error["S"], messages[-1][1]) == ("53300", "ERROR", b"I")
        assert "1 of 1" in error["M"] and "1 idle in transaction" in error["M"]
    holder.query("commit")
    assert client.query("select 1") == [[b"1"]]


# --- where they come from ---

def test_limits_of_a_database_and_of_the_defaults(start_weir, postgres):
    weir = start_weir(ini="[weir]\nlisten_postgresql = 127.0.0.1:@PORT@\nworkers = 1\nadmin_users = app\n"
                          "[defaults]\nquery_timeout = 400ms\n"
                          f"[database app]\nurl = {postgres.url()}\n"
                          f"[database slow]\nurl = {postgres.url()}\nquery_timeout = 0\n")
    fast, slow = Client(weir.port).login(), Client(weir.port).login(database="slow")
    fast.send(query("select pg_sleep(0.8)"))
    slow.send(query("select pg_sleep(0.8)"))
    assert error_in(fast.ready()).code == "57014"
    assert len(slow.rows(slow.ready())) == 1


def test_a_reload_changes_the_limits_of_living_clients(start_weir, postgres):
    weir = start_weir(postgres)
    client = Client(weir.port).login()
    ini = weir.ini_path.read_text()
    weir.reload(ini + "query_timeout = 400ms\n")
    client.send(query("select pg_sleep(30)"))
    assert error_in(client.ready()).code == "57014"
