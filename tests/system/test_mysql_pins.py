"""What keeps a server connection with its client, and what gives it back. There is one connection; another client gets
it within pool_timeout, or the error 1203."""

import contextlib
import select
import time

import mysql_wire as wire
import pytest
from conftest import Via, wait_for

FLAGS = wire.USUAL | wire.MULTI_STATEMENTS

# (name, what the client does, what ends it)
HOLDS = [
    ("a transaction", ["begin"], ["commit"]),
    ("a transaction that is rolled back", ["start transaction", "select * from held"], ["rollback"]),
    ("a read-only transaction", ["start transaction read only"], ["commit"]),
    ("a transaction ended by CREATE TABLE", ["begin", "select * from held"],
     ["create table if not exists held_too (n int)"]),
    ("a transaction ended by the next", ["begin", "begin"], ["commit"]),
    ("a chain of transactions", ["begin", "commit and chain"], ["commit"]),
    ("a transaction after an error", ["begin", "insert into held values (1, 'again')"], ["rollback"]),
    ("a read without autocommit", ["set autocommit = 0", "select * from held"], ["commit"]),
    ("a write without autocommit", ["set autocommit = 0", "update held set name = 'b'"], ["rollback"]),
    ("autocommit that comes back", ["set autocommit = 0", "update held set name = 'c'"], ["set autocommit = 1"]),
    ("a savepoint without autocommit", ["set autocommit = 0", "savepoint here"], ["rollback"]),
    ("a temporary table", ["create temporary table mine (n int)"], ["drop temporary table mine"]),
    ("a temporary table of a procedure", ["call makes_table()"], ["drop table of_procedure"]),
    ("a lock", ["select get_lock('weir', 0)"], ["select release_lock('weir')"]),
    ("locks", ["select get_lock('one', 0), get_lock('two', 0)"], ["select release_all_locks()"]),
    ("a lock in an expression", ["select 1 from dual where get_lock('weir', 0) = 1"], ["do release_lock('weir')"]),
    ("locked tables", ["lock tables held read"], ["unlock tables"]),
    ("locked tables until a transaction", ["lock tables held write"], ["begin", "rollback"]),
    ("a statement prepared by SQL", ["prepare it from 'select 1'"], ["deallocate prepare it"]),
    ("a handler", ["handler held open"], ["handler held close"]),
    ("the isolation of the next transaction", ["set transaction isolation level serializable"],
     ["begin", "select * from held", "commit"]),
    ("a distributed transaction", ["xa start 'weir'", "select * from held", "xa end 'weir'"], ["xa rollback 'weir'"]),
    ("rows to be counted", ["select sql_calc_found_rows * from held limit 1"], ["select found_rows()"]),
    ("a transaction in several statements", ["select 1; begin; select 2"], ["commit; select 3"]),
]

# What another client need not wait for.
FREE = [
    ["select 1"], ["select * from held"], ["update held set name = 'z'"], ["begin", "commit"],
    ["set autocommit = 0"], ["set autocommit = 0", "select 1"], ["set autocommit = 0", "select 1", "rollback"],
    ["set autocommit = 0", "select * from held", "rollback", "select 1"],
    ["set sql_mode = ''"], ["set names latin1"], ["use app2"], ["set session transaction isolation level serializable"],
    ["select 1; select 2"], ["call returns_rows()"], ["show tables"], ["set @@session.time_zone = '+01:00'"],
    ["insert into held values (9, 'i') on duplicate key update name = 'i'"], ["analyze table held"],
    ["select 'get_lock(', '@mine', \"lock tables\" /* create temporary table x */ -- begin"],
    ["savepoint here"], ["rollback"], ["commit"], ["select is_free_lock('weir')"],
    ["create temporary table mine (n int)", "drop temporary table mine"], ["set transaction read only", "select * from held"],
]


class Single(Via):
    """weir with one server connection."""

    def n_waiting(self):
        return int(self.weir.mysql_console("show pools")[0]["cl_waiting"])

    def turn(self, client):
        """Asks for the connection. Whether it was there at once: else the client waits for it."""
        client.command(wire.QUERY, "select 'turn'")
        wait_for(lambda: select.select([client.socket], [], [], 0)[0] or self.n_waiting(), "a turn, or the queue")
        # One that waits only while the connection is cleaned for it is served soon.
        return bool(select.select([client.socket], [], [], 0.05)[0])

    def another_has_to_wait(self):
        with self.raw() as other:
            waits = not self.turn(other)
        wait_for(lambda: not self.n_waiting(), "the queue to be empty")
        return waits

    def another_gets_a_turn(self):
        """Within pool_timeout."""
        with self.raw() as other:
            return other.value("select 'turn'") == "turn"


@pytest.fixture(scope="module")
def things(database_server):
    """What the statements are about."""
    database_server.execute(
        "drop table if exists app.held, app.held_too",
        "create table app.held (id int primary key, name varchar(50))",
        "drop procedure if exists app.makes_table", "drop procedure if exists app.returns_rows",
        "create procedure app.makes_table() create temporary table of_procedure (n int)",
        "create procedure app.returns_rows() begin select 1; select 2; end")


@pytest.fixture
def single(kept_weir, database_server, things):
    via = Single(database_server, kept_weir(database_server, pool_size=1, max_overflow=0, pool_timeout="3s"))
    # Waits for what the client of the test before has left behind.
    with via.raw() as client:
        client.queries("delete from held")
        client.queries("insert into held values (1, 'a'), (2, 'b')")
    return via


def say(client, statements):
    for sql in statements:
        with contextlib.suppress(wire.Error):
            client.queries(sql)


@pytest.mark.parametrize("does, ends", [row[1:] for row in HOLDS], ids=[row[0] for row in HOLDS])
def test_held_until_it_ends(single, does, ends):
    with single.raw(capabilities=FLAGS) as client, single.raw() as other:
        say(client, does)
        assert not single.turn(other)
        say(client, ends)
        assert other.result() == [[b"turn"]]
        assert client.value("select 1") == "1"


@pytest.mark.parametrize("does", [row[1] for row in HOLDS], ids=[row[0] for row in HOLDS])
def test_held_until_the_connection_is_reset(single, does):
    with single.raw(capabilities=FLAGS) as client, single.raw() as other:
        say(client, does)
        assert not single.turn(other)
        client.ok(wire.RESET_CONNECTION)
        assert other.result() == [[b"turn"]]


# How a client leaves matters little to what it has held: two leave without a word.
@pytest.mark.parametrize("does, leave", [(row[1], "quit") for row in HOLDS] + [
    (row[1], "vanish") for row in HOLDS if row[0] in ("a transaction", "a temporary table")])
def test_held_until_the_client_leaves_and_then_gone(single, does, leave):
    client = single.raw(capabilities=FLAGS)
    say(client, does)
    if leave == "quit":
        client.command(wire.QUIT)
    client.close()
    with single.raw() as other:
        assert not other.ping().status & wire.IN_TRANS
        for sql in ("select * from mine", "select * from of_procedure", "execute it"):
            with pytest.raises(wire.Error, match="1146|1243"):
                other.query(sql)
        assert other.value("select is_free_lock('weir') + is_free_lock('one')") == "2"
        # No lock on the table, and no transaction that others wait for.
        other.query("replace into held values (1, 'a')")
        assert single.server.query("select trx_id from information_schema.innodb_trx") == ()


@pytest.mark.parametrize("does", FREE, ids=["; ".join(row) for row in FREE])
def test_not_held(single, does):
    with single.raw(capabilities=FLAGS) as client:
        for sql in does:
            client.queries(sql)
        assert single.another_gets_a_turn()


def test_reading_metadata_without_autocommit_holds_where_the_server_says_so(single):
    """MySQL's data dictionary lives in tables: SHOW TABLES is a read like another."""
    with single.raw() as client:
        client.query("set autocommit = 0")
        status = client.query("show tables").status
        assert bool(status & wire.IN_TRANS) == (single.server.family == "mysql")
        assert single.another_has_to_wait() == (single.server.family == "mysql")
        client.query("rollback")
        assert single.another_gets_a_turn()


def test_a_temporary_table_made_by_a_prepared_statement_is_held(single):
    with single.raw() as client:
        client.execute(client.prepare("create temporary table mine (n int)"))
        assert single.another_has_to_wait()
        client.execute(client.prepare("drop temporary table mine"))
        assert single.another_gets_a_turn()


def test_a_lock_taken_by_a_prepared_statement_is_held(single):
    with single.raw() as client:
        take, give = client.prepare("select get_lock(?, 0)"), client.prepare("select release_lock(?)")
        for name in ("weir", "it's", "\u00e9t\u00e9"):
            client.execute(take, name)
            client.execute(take, "another")
            assert single.another_has_to_wait()
            client.execute(give, name)
            assert single.another_has_to_wait()
            assert client.value("select is_used_lock('another') = connection_id()") == "1"
            client.execute(give, "another")
            assert single.another_gets_a_turn()


# What takes locks named one and two, and what releases the last of them at last. None of it but the last frees them.
LOCKS = [
    ("taken twice", ["select get_lock('one', 0)"] * 2, ["select release_lock('one')"] * 2),
    ("taken twice in one statement", ["select get_lock('one', 0), get_lock('one', 0)"],
     ["do release_lock('one')", "do release_lock('one')"]),
    ("released in another order", ["select get_lock('one', 0)", "select get_lock('two', 0)"],
     ["select release_lock('one')", "select release_lock('two')"]),
    ("released with others", ["select get_lock('one', 0)", "select get_lock('two', 0)"],
     ["select release_lock('no such')", "select release_lock('two')", "select release_lock(\"one\")"]),
    ("released in one statement", ["select get_lock('one', 0), get_lock('two', 0)"],
     ["select release_lock('one'), release_lock('two')"]),
    ("released by an expression", ["select get_lock('one', 0)"], ["select release_lock(concat('o', 'ne'))"]),
    ("released in a procedure", ["select get_lock('one', 0)"] * 2, ["call releases('one')"] * 2),
    ("released in a function", ["select get_lock('one', 0)"], ["select f_releases('one')"]),
    ("with a quote in its name", ["select get_lock('it''s', 0)"], ["select release_lock('it''s')"]),
    ("taken in a transaction", ["begin", "select get_lock('one', 0)", "commit"], ["select release_lock('one')"]),
    ("all released", ["select get_lock(concat('o', 'ne'), 0), get_lock('two', 0)"],
     ["select release_lock('one')", "select release_all_locks()"]),
]


@pytest.mark.parametrize("does, ends", [row[1:] for row in LOCKS], ids=[row[0] for row in LOCKS])
def test_a_lock_is_held_until_the_last_is_released(single, does, ends):
    single.server.execute(
        "drop procedure if exists app.releases", "drop function if exists app.f_releases",
        "create procedure app.releases(name varchar(64)) do release_lock(name)",
        "create function app.f_releases(name varchar(64)) returns int no sql return release_lock(name)")
    with single.raw() as client:
        for sql in does:
            client.query(sql)
        for sql in ends:
            assert single.another_has_to_wait(), sql
            client.query(sql)
        assert single.another_gets_a_turn()


def test_a_lock_that_was_not_had_holds_nothing(single):
    with single.raw() as client, single.server.connect() as owner:
        with owner.cursor() as cursor:
            cursor.execute("select get_lock('one', 0)")
        take = client.prepare("select get_lock(?, 0)")
        assert client.value("select get_lock('one', 0)") == "0"
        assert single.another_gets_a_turn()
        client.execute(take, "one")
        assert single.another_gets_a_turn()
        # Neither does a release that failed end anything.
        client.query("select get_lock('two', 0)")
        assert client.value("select release_lock('one')") == "0"
        assert client.value("select release_lock('no such')") is None
        assert single.another_has_to_wait()
        assert client.value("select release_lock('two')") == "1"
        assert single.another_gets_a_turn()


def test_a_lock_is_had_while_its_name_means_something_else(single):
    with single.raw() as client:
        client.query("select get_lock('\u00e9t\u00e9', 0)")
        client.query("set names latin1")
        client.query("select release_lock('no such')")
        assert single.another_has_to_wait()
        client.query("set names utf8mb4")
        client.query("select release_lock('\u00e9t\u00e9')")
        assert single.another_gets_a_turn()


def test_what_a_statement_with_locks_has_said_can_be_asked_for(single):
    with single.raw() as client:
        client.query("select get_lock('one', 0)")
        assert client.query("select release_lock('no such'), cast('x' as signed)").warnings == 1
        assert client.value("select @@warning_count") == "1"
        (level, code, text), = client.query("show warnings")
        assert (level, code) == (b"Warning", b"1292") and b"'x'" in text
        client.query("select get_lock('one', 0) union all select 7")
        assert client.value("select found_rows()") == "2"
        with pytest.raises(wire.Error, match="1146"):
            client.query("select release_lock('no such') from nowhere")
        (level, code, text), = client.query("show errors")
        assert (level, code) == (b"Error", b"1146")
        assert client.value("select is_used_lock('one') = connection_id()") == "1"


def test_an_open_cursor_is_held(single):
    with single.raw() as client:
        statement = client.prepare("select * from held")
        for end in ("fetch", "reset", "close"):
            client.execute(statement, cursor=1)
            client.fetch(statement, 1)
            assert single.another_has_to_wait()
            if end == "fetch":
                while not client.fetch(statement, 10).status & wire.LAST_ROW_SENT:
                    pass
            elif end == "reset":
                client.ok(wire.STMT_RESET, statement.number.to_bytes(4, "little"))
            else:
                client.close_statement(statement)
            assert single.another_gets_a_turn()


def test_a_deadlock_ends_the_transaction_and_a_lock_timeout_does_not(kept_weir, database_server):
    via = Single(database_server, kept_weir(database_server, pool_size=2, max_overflow=0, pool_timeout="3s"))
    via.table("locked", rows="(1, 'a'), (2, 'b')")
    with via.raw() as a, via.raw() as b:
        a.query("set innodb_lock_wait_timeout = 1")
        for client, n in ((a, 1), (b, 2)):
            client.query("begin")
            client.query(f"update locked set name = 'x' where id = {n}")
        with pytest.raises(wire.Error, match="1205"):
            a.query("update locked set name = 'y' where id = 2")
        assert a.ping().status & wire.IN_TRANS
        assert via.another_has_to_wait()
        b.query("set innodb_lock_wait_timeout = 20")
        b.command(wire.QUERY, "update locked set name = 'y' where id = 1")
        wait_for(lambda: via.server.query("select count(*) from information_schema.innodb_trx"
                                          " where trx_state = 'LOCK WAIT'")[0][0], "the second lock")
        with pytest.raises(wire.Error, match="1213"):
            a.query("update locked set name = 'y' where id = 2")
        b.result()
        assert via.another_gets_a_turn()
        b.query("rollback")


def test_a_user_variable_is_the_client_s_own(kept_weir, database_server):
    via = Via(database_server, kept_weir(database_server, pool_size=2, max_overflow=0, pool_timeout="3s"))
    for assign in ("set @mine = 7", "select @mine := 7", "select 7 into @mine"):
        with via.raw() as a, via.raw() as b, via.raw() as c:
            a.query(assign)
            for _ in range(3):
                assert b.value("select @mine") is None
                assert c.value("select @mine") is None
                assert a.value("select @mine") == "7"


def test_the_session_s_own_things_work_while_held(single):
    with single.raw() as client:
        client.query("create temporary table mine (n int)")
        client.query("insert into mine values (1)")
        client.query("begin")
        client.query("insert into mine values (2)")
        client.query("commit")
        client.query("prepare it from 'select sum(n) from mine'")
        assert client.value("execute it") == "3"
        client.query("lock tables held read")
        with pytest.raises(wire.Error, match="1099"):
            client.query("update held set name = 'c'")
        client.query("unlock tables")


def test_show_pins_gives_the_reason(single):
    reasons = set()
    for does in (["create temporary table mine (n int)"], ["select get_lock('weir', 0)"], ["lock tables held read"],
                 ["prepare it from 'select 1'"]):
        with single.raw() as client:
            say(client, does)
            row, = single.weir.mysql_console("show pins")
            reasons.add(row["pin"])
            client.ok(wire.RESET_CONNECTION)
            assert single.weir.mysql_console("show pins") == []
    assert len(reasons) == 4


def test_waiting_takes_as_long_as_pool_timeout_says(start_weir, database_server, things):
    single = Via(database_server, start_weir(database_server, pool_size=1, max_overflow=0, pool_timeout="300ms"))
    with single.raw() as holder, single.raw() as waiter:
        holder.query("begin")
        holder.query("select * from held")
        started = time.monotonic()
        with pytest.raises(wire.Error) as error:
            waiter.query("select 1")
        assert 0.25 < time.monotonic() - started < 2
        assert error.value.code == 1203
        holder.query("commit")
        assert waiter.value("select 1") == "1"
