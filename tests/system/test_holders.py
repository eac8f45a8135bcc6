"""Nobody waits in the dark: who has the server connections, who waits for one, and what keeps them."""

import contextlib
import os
import re
import socket

import mysql_wire
import psycopg
import pymysql
import pytest

from conftest import wait_for
from test_console import in_thread, row_of
from wire import SYNC, Client, bind, execute, parse, query

LONG = "select 1 /* " + "x" * 400 + " */"


@pytest.fixture(params=[1, 3], ids=["1-worker", "3-workers"])
def start_full(request, start_weir):
    """A pool of two connections, on however many workers."""
    def start(server, **options):
        return start_weir(server, workers=request.param, **({"pool_size": 2, "max_overflow": 0} | options))
    return start


def mysql_client(weir, database="app", **attributes):
    return pymysql.connect(host="127.0.0.1", port=weir.mysql_port, user="app", password="secret", database=database,
                           autocommit=True, **attributes)


def run(db, sql):
    with db.cursor() as cursor:
        cursor.execute(sql)


def port_of(db):
    with socket.socket(fileno=os.dup(db.pgconn.socket)) as s:
        return s.getsockname()[1]


# --- HOLDERS ---

def test_holders_are_shown_with_what_they_do_and_did_last(start_full, postgres):
    weir = start_full(postgres, pool_size=4)
    with contextlib.ExitStack() as stack:
        def client(name):
            return stack.enter_context(weir.connect(application_name=name))
        idle, pinned, busy, other = map(client, ("idle", "pinned", "busy", "other"))
        idle.execute("begin")
        pid, = idle.execute("select pg_backend_pid() /* %s */" % ("x" * 400)).fetchone()
        pinned.execute("create temporary table mine (n int)")
        stack.enter_context(in_thread(busy.execute, "select\n\tpg_sleep(1.5)"))
        busy_row = wait_for(lambda: next((row for row in weir.console("show holders")
                                          if row["application_name"] == "busy"), None), "the statement")
        rows = weir.console("show holders")
        assert [row["application_name"] for row in rows] == ["idle", "pinned", "busy"], "the oldest is first"
        assert [row["state"] for row in rows] == ["idle in transaction", "pinned", "active"]
        assert [row["age_us"] for row in rows] == sorted((row["age_us"] for row in rows), reverse=True)
        first, second, third = rows
        assert first["database"] == first["user"] == "app" and first["addr"] == "127.0.0.1"
        assert first["port"] == port_of(idle)
        assert first["statement"].startswith("select pg_backend_pid() /* xxx") and first["statement"].endswith("x...")
        assert len(first["statement"]) < 200
        assert first["server_pid"] == pid
        assert first["age_us"] >= first["transaction_us"] >= first["state_us"] > 0
        assert first["client_id"] == row_of(weir, "clients", application_name="idle")["id"]
        assert first["server_id"] == row_of(weir, "servers", application_name="idle")["id"]
        assert second["pin"] == "temporary table" and second["transaction_us"] is None
        assert second["statement"] == "create temporary table mine (n int)"
        assert third["statement"] == "select pg_sleep(1.5)" and third["transaction_us"] is None
        assert third["state_us"] >= busy_row["state_us"]
        idle.execute("rollback")
        other.execute("begin")
        other.execute("select 2")
        row = next(row for row in weir.console("show holders") if row["application_name"] == "other")
        assert row["statement"] == "select 2", "the connection has changed hands, and so have its statements"


@pytest.mark.parametrize("how", ["unnamed", "named", "simple", "cut"])
def test_the_last_statement_is_known_in_every_way_to_run_one(start_weir, postgres, how):
    weir = start_weir(postgres)
    client = Client(weir.port).login()
    if how == "named":
        client.send(parse("mine", "select 1 -- mine"), SYNC)
        client.ready()
    client.query("begin")
    if how == "unnamed":
        client.send(parse("", "select 1 -- mine"), bind(""), execute(), SYNC)
    elif how == "named":
        client.send(bind("mine"), execute(), SYNC)
    elif how == "simple":
        client.send(query("select 1 -- mine"))
    else:
        whole = query("select 1 -- mine" + " " * 70000)
        client.send(whole[:30])
        client.send(whole[30:])
    client.ready()
    holder, = weir.console("show holders")
    assert holder["statement"].startswith("select 1 -- mine")
    assert holder["state"] == "idle in transaction"


def test_the_last_statement_of_a_mysql_client(start_full, mariadb):
    weir = start_full(mariadb)
    with mysql_wire.Client(weir.mysql_port) as client, mysql_client(weir, program_name="other") as other:
        client.query("begin")
        client.query("select  1")
        run(other, "set @a := 1")
        for rows in (weir.console("show holders"), weir.mysql_console("show holders")):
            first, second = rows
            assert first["statement"] == "select 1" and first["state"] == "idle in transaction"
            assert second["statement"] == "set @a := 1" and second["state"] == "pinned"
            assert second["pin"] == "user variable" and int(first["transaction_us"]) > 0
        statement = client.prepare("select 2")
        client.execute(statement)
        holder = weir.mysql_console("show holders")[0]
        assert holder["statement"] == "select 2"


def test_session_mode_is_named_as_what_holds(start_weir, postgres):
    weir = start_weir(postgres, pool_mode="session")
    with weir.connect() as db:
        db.execute("select 1")
        holder, = weir.console("show holders")
        assert holder["state"] == "session mode" and holder["pin"] is None


def test_who_does_not_take_an_answer_is_shown_as_such(start_weir, postgres):
    weir = start_weir(postgres)
    client = Client(weir.port).login()
    client.send(query("select repeat('x', 1000) from generate_series(1, 20000)"))
    wait_for(lambda: (rows := weir.console("show holders")) and rows[0]["state_us"] > 100_000, "the slow reader")
    holder, = weir.console("show holders")
    assert holder["state"] in ("active", "delivering")
    assert holder["statement"].startswith("select repeat('x', 1000)")
    client.ready()
    wait_for(lambda: not weir.console("show holders"), "the connection to be free")


# --- PINS ---

def test_a_pin_names_its_statement_and_its_beginning(start_full, postgres):
    weir = start_full(postgres)
    with weir.connect(application_name="locker") as db, weir.connect(application_name="listener") as other:
        db.execute("select pg_advisory_lock(%s)", [7])
        db.execute("select 1")
        other.execute("listen news")
        rows = weir.console("show pins")
        assert [row["application_name"] for row in rows] == ["locker", "listener"]
        assert [row["pin"] for row in rows] == ["advisory lock", "listen"]
        assert rows[0]["statement"] == "select pg_advisory_lock($1)", "not the last one: the one that pins"
        assert rows[1]["statement"] == "listen news"
        assert rows[0]["age_us"] > rows[1]["age_us"] > 0
        assert rows[0]["since"][:2] == "20"
        db.execute("select pg_advisory_unlock_all()")
        wait_for(lambda: [row["pin"] for row in weir.console("show pins")] == ["listen"], "the lock to be given up")


def test_a_pin_of_a_mysql_client_names_its_statement(start_full, mariadb):
    weir = start_full(mariadb)
    with mysql_client(weir) as db:
        run(db, "select get_lock('weir', 0)")
        run(db, "select 1")
        for row, in (weir.console("show pins"), weir.mysql_console("show pins")):
            assert row["pin"] == "get_lock" and row["statement"] == "select get_lock('weir', 0)"
            assert int(row["age_us"]) > 0
    wait_for(lambda: not weir.mysql_console("show pins"), "the pin to end")


# --- WAITERS ---

def test_waiters_are_shown_with_their_place_and_what_they_want(start_full, postgres):
    weir = start_full(postgres)
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(weir.connect()) for _ in range(2)]
        waiters = [stack.enter_context(weir.connect(application_name=f"waiter {i}")) for i in range(4)]
        for db in holders:
            db.execute("begin")
        for i, (db, sql) in enumerate(zip(waiters, ["select 0", "select %s::int", LONG, "select 3"])):
            stack.enter_context(in_thread(db.execute, sql, [1] if "%s" in sql else None))
            wait_for(lambda: len(weir.console("show waiters")) == i + 1, "one more waiter")
        rows = weir.console("show waiters")
        assert [row["application_name"] for row in rows] == [f"waiter {i}" for i in range(4)]
        assert [row["place"] for row in rows] == [1, 2, 3, 4]
        waits = [row["wait_us"] for row in rows]
        assert waits == sorted(waits, reverse=True) and waits[-1] > 0
        assert [row["statement"][:15] for row in rows] == ["select 0", "select $1::int", LONG[:15], "select 3"]
        assert rows[2]["statement"].endswith("x...")
        assert {row["addr"] for row in rows} == {"127.0.0.1"} and len({row["port"] for row in rows}) == 4
        for db in holders:
            db.execute("rollback")
    assert weir.console("show waiters") == []


def test_each_pool_has_a_queue_of_its_own(start_weir, postgres, mariadb):
    weir = start_weir(ini=f"""
        [weir]
        listen_postgresql = 127.0.0.1:@PORT@
        listen_mysql = 127.0.0.1:@MYSQL_PORT@
        admin_users = app
        workers = 2
        [defaults]
        pool_size = 1
        max_overflow = 0
        [database app]
        url = {postgres.url()}
        [database other]
        url = {mariadb.url()}
        """.replace("        ", ""))
    with contextlib.ExitStack() as stack:
        first, *clients = [stack.enter_context(weir.connect()) for _ in range(3)]
        second, *others = [stack.enter_context(mysql_client(weir, "other")) for _ in range(3)]
        first.execute("begin")
        run(second, "begin")
        for db in clients:
            stack.enter_context(in_thread(db.execute, "select 1"))
        for db in others:
            stack.enter_context(in_thread(run, db, "select 2"))
        wait_for(lambda: len(weir.console("show waiters")) == 4, "four waiters")
        for rows in (weir.console("show waiters"), weir.mysql_console("show waiters")):
            assert sorted((row["database"], int(row["place"]), row["statement"]) for row in rows) == [
                ("app", 1, "select 1"), ("app", 2, "select 1"),
                ("other", 1, "select 2"), ("other", 2, "select 2")]
        first.execute("rollback")
        run(second, "rollback")


def test_stats_users_see_who_holds(start_weir, postgres):
    weir = start_weir(postgres, weir="stats_users = watcher", user="[user watcher]\npassword = w\n")
    with weir.connect() as db:
        db.execute("begin")
        db.execute("select 4")
        holder, = weir.console("show holders", "watcher", "w")
        assert holder["statement"] == "select 4"


# --- the error, and the log ---

def refusal_of(db):
    """What a client is told that waits for nothing."""
    with pytest.raises((psycopg.Error, pymysql.Error)) as error:
        run(db, "select 1")
    return str(error.value)


def test_the_error_counts_the_holders_of_all_workers(start_weir, postgres):
    weir = start_weir(postgres, workers=4, pool_size=6, max_overflow=0, pool_timeout="1500ms")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(weir.connect(application_name=f"holder {i}")) for i in range(6)]
        others = [stack.enter_context(weir.connect()) for _ in range(4)]
        for db in clients[:4]:
            db.execute("begin")
            db.execute("select 'the last'")
        clients[4].execute("listen news")
        stack.enter_context(in_thread(clients[5].execute, "select pg_sleep(4)"))
        wait_for(lambda: len(weir.console("show holders")) == 6, "the pool to be full")
        told = {}
        with contextlib.ExitStack() as waiting:
            for i, db in enumerate(others):
                waiting.enter_context(in_thread(lambda i=i, db=db: told.update({i: refusal_of(db)})))
        for text in told.values():
            assert "pool app/app full (6 of 6) for 1.5 s: 4 idle in transaction, 1 running, 1 pinned (listen); " in text
            assert 'oldest holder: user "app" application "holder 0" at 127.0.0.1:' in text
            assert "idle in transaction for " in text and "last: select 'the last'; you were " in text
            assert re.search(r"you were (1st|2nd|3rd|4th) of [1-4]$", text.strip())


@pytest.mark.parametrize("who, sees", [("app", True), ("other", False), ("boss", True)])
def test_a_statement_is_told_to_its_own_user_and_to_administrators(start_weir, postgres, who, sees):
    weir = start_weir(ini=f"""
        [weir]
        listen_postgresql = 127.0.0.1:@PORT@
        admin_users = boss
        [database app]
        url = {postgres.url()}
        pool_size = 1
        max_overflow = 0
        pool_timeout = 1500ms
        [user other]
        password = secret
        [user boss]
        password = secret
        """.replace("        ", ""))
    with weir.connect() as holder, weir.connect(who) as db:
        holder.execute("begin")
        holder.execute("select 'card number'")
        text = refusal_of(db)
        assert ("last: select 'card number'" in text) is sees
        assert 'oldest holder: user "app"' in text and "you were 1st of 1" in text


def test_a_mysql_client_is_told_who_holds(start_full, mariadb):
    weir = start_full(mariadb, pool_timeout="1500ms", pool_size=2)
    with mysql_client(weir) as first, mysql_client(weir) as second, mysql_client(weir) as waiter:
        run(first, "begin")
        run(first, "select 4711")
        run(second, "set @a := 1")
        text = refusal_of(waiter)
    assert "full (2 of 2) for 1.5 s: 1 idle in transaction, 0 running, 1 pinned (user variable); oldest holder: " in text
    assert "last: select 4711; you were 1st of 1" in text


def test_a_pool_that_is_full_for_long_is_named_in_the_log_once(start_weir, postgres):
    weir = start_weir(postgres, workers=3, pool_size=2, max_overflow=0)
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(weir.connect(application_name=f"holder {i}")) for i in range(2)]
        waiters = [stack.enter_context(weir.connect()) for _ in range(6)]
        for db in holders:
            db.execute("begin")
            db.execute("select 'the last'")
        for db in waiters:
            stack.enter_context(in_thread(db.execute, "select 1"))
        weir.wait_for_log("event=pool_full ")
        for db in holders:
            db.execute("commit")
        weir.wait_for_log("event=pool_no_longer_full ")
    log = weir.log()
    full, = (line for line in log.splitlines() if "event=pool_full " in line)
    assert full.startswith("warning") or "warning" in full.split("event=")[0]
    assert 'database="app" user="app" sec=5.' in full
    assert ('detail="2 of 2: 2 idle in transaction, 0 running, 0 pinned; oldest holder: user \\"app\\" '
            'application \\"holder 0\\" at 127.0.0.1:') in full
    assert "last: select 'the last'; 6 wait" in full
    over, = (line for line in log.splitlines() if "event=pool_no_longer_full " in line)
    assert 'database="app" user="app" sec=5.' in over
