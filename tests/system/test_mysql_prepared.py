"""Prepared statements: each client has its own, whichever server connection it gets."""

import struct
import threading

import mysql.connector
import mysql_wire as wire
import pytest
from conftest import Via
from mysql_wire import strings


@pytest.fixture
def db(via):
    with via.raw() as client:
        yield client


@pytest.fixture
def two(kept_weir, database_server):
    """weir with two server connections."""
    return Via(database_server, kept_weir(database_server, pool_size=2, max_overflow=0, pool_timeout="2s"))


def unknown(client, code, content):
    with pytest.raises(wire.Error) as error:
        client.command(code, content)
        client.receive()
    assert error.value.code == 1243 and error.value.state == "HY000"


def test_prepare_execute_close(db):
    statement = db.prepare("select ?, upper(?)")
    assert (len(statement.parameters), len(statement.columns)) == (2, 2)
    assert strings(db.execute(statement, "a", "b")[0], 2) == [b"a", b"B"]
    assert strings(db.execute(statement, None, "c")[0], 2) == [None, b"C"]
    db.close_statement(statement)
    unknown(db, wire.STMT_EXECUTE, db.execution(statement, "a", "b"))
    assert db.value("select 1") == "1"


def test_a_statement_without_parameters_or_rows(via, db):
    via.table("plain")
    statement = db.prepare("insert into plain values (1, 'a')")
    assert (statement.parameters, statement.columns) == ([], [])
    assert db.execute(statement).affected == 1
    with pytest.raises(wire.Error, match="1062"):
        db.execute(statement)
    assert db.ok(wire.STMT_RESET, struct.pack("<I", statement.number)).status == wire.AUTOCOMMIT


def test_types_are_sent_once(db):
    statement = db.prepare("select concat(?, ?)")
    assert strings(db.execute(statement, "a", "b")[0], 1) == [b"ab"]
    for value in ("c", "d" * 300):
        assert strings(db.execute(statement, value, "e", types=False)[0], 1) == [value.encode() + b"e"]


def test_types_that_change(db):
    statement = db.prepare("select concat(?, '')")
    assert strings(db.execute(statement, "text")[0], 1) == [b"text"]
    assert strings(db.execute(statement, -77)[0], 1) == [b"-77"]
    assert strings(db.execute(statement, -78, types=False)[0], 1) == [b"-78"]
    assert strings(db.execute(statement, "text", )[0], 1) == [b"text"]


def test_types_left_out_at_the_first_execution_are_an_error(db):
    statement = db.prepare("select ?")
    with pytest.raises(wire.Error, match="1210"):
        db.execute(statement, "a", types=False)
    assert strings(db.execute(statement, "a")[0], 1) == [b"a"]


def test_an_error_in_prepare(db):
    for sql, code in (("selec ?", 1064), ("select * from nowhere", 1146), ("select 1; select 2", 1064)):
        with pytest.raises(wire.Error) as error:
            db.prepare(sql)
        assert error.value.code == code
    assert db.value("select 1") == "1"


def test_two_clients_with_the_same_text(via):
    with via.raw() as a, via.raw() as b:
        of_a, of_b = a.prepare("select concat(?, 'x')"), b.prepare("select concat(?, 'x')")
        assert strings(a.execute(of_a, "a")[0], 1) == [b"ax"]
        assert strings(b.execute(of_b, 12)[0], 1) == [b"12x"]
        for _ in range(3):
            assert strings(a.execute(of_a, "aa", types=False)[0], 1) == [b"aax"]
            assert strings(b.execute(of_b, 13, types=False)[0], 1) == [b"13x"]
        a.close_statement(of_a)
        assert strings(b.execute(of_b, 14, types=False)[0], 1) == [b"14x"]


def test_no_client_can_execute_another_s(via):
    with via.raw() as a, via.raw() as b:
        statement = a.prepare("select 'private'")
        unknown(b, wire.STMT_EXECUTE, b.execution(statement))
        unknown(b, wire.STMT_FETCH, struct.pack("<II", statement.number, 1))
        unknown(b, wire.STMT_RESET, struct.pack("<I", statement.number))
        b.close_statement(statement)
        assert strings(a.execute(statement)[0], 1) == [b"private"]


def test_many_statements_open_at_once(via, db):
    statements = [db.prepare(f"select concat(?, '{n}')") for n in range(300)]
    assert len({statement.number for statement in statements}) == 300
    with via.raw() as other:
        other.query("select 1")
    for n, statement in enumerate(statements):
        assert strings(db.execute(statement, "n")[0], 1) == [f"n{n}".encode()]
    for statement in statements[::2]:
        db.close_statement(statement)
    for n, statement in enumerate(statements):
        if n % 2:
            assert strings(db.execute(statement, "m", types=False)[0], 1) == [f"m{n}".encode()]


@pytest.mark.parametrize("types", [True, False])
def test_a_statement_follows_its_client_to_another_server_connection(two, types):
    with two.raw() as client, two.raw() as holder:
        statement = client.prepare("select concat(?, connection_id() * 0)")
        assert strings(client.execute(statement, "one")[0], 1) == [b"one0"]
        for value in ("two", "three"):
            holder.query("begin")
            holder.query("select 1")
            assert strings(client.execute(statement, value, types=types)[0], 1) == [value.encode() + b"0"]
            client.query("begin")
            holder.query("commit")
            assert strings(client.execute(statement, value, types=types)[0], 1) == [value.encode() + b"0"]
            client.query("commit")


def test_a_statement_prepared_in_a_transaction_outlives_it(two):
    with two.raw() as client, two.raw() as holder:
        client.query("begin")
        statement = client.prepare("select ?")
        client.query("rollback")
        holder.query("begin")
        holder.query("select 1")
        assert strings(client.execute(statement, "kept")[0], 1) == [b"kept"]


def test_the_server_prepares_a_text_once(start_weir, database_server):
    weir = start_weir(database_server, pool_size=1, max_overflow=0)
    before = database_server.status("Com_stmt_prepare")
    clients = [wire.Client(weir.mysql_port) for _ in range(20)]
    for n, client in enumerate(clients):
        statement = client.prepare("select concat('once', ?)")
        assert strings(client.execute(statement, str(n))[0], 1) == [f"once{n}".encode()]
        client.close()
    assert database_server.status("Com_stmt_prepare") - before <= 2


def test_the_number_of_statements_on_the_server_is_bounded(start_weir, database_server):
    weir = start_weir(database_server, pool_size=1, max_overflow=0)
    with wire.Client(weir.mysql_port) as client:
        for n in range(1500):
            client.close_statement(client.prepare(f"select {n}"))
        assert client.value("select 1") == "1"
        assert database_server.status("Prepared_stmt_count") <= 1000


def test_long_data(db):
    statement = db.prepare("select concat(length(?), ?, ?)")
    for part in (b"x" * 70_000, b"", b"y" * 30_000):
        db.long_data(statement, 0, part)
    db.long_data(statement, 2, b"third")
    assert strings(db.execute(statement, ..., "second", ...)[0], 1) == [b"100000secondthird"]
    # It counts for one execution.
    assert strings(db.execute(statement, "abc", "-", "-")[0], 1) == [b"3--"]


def test_long_data_waits_while_others_work(via):
    with via.raw() as client, via.raw() as other:
        statement = client.prepare("select concat(?, 'x')")
        client.long_data(statement, 0, b"my own ")
        with_same_text = other.prepare("select concat(?, 'x')")
        assert strings(other.execute(with_same_text, "other")[0], 1) == [b"otherx"]
        client.long_data(statement, 0, b"words")
        assert other.value("select 1") == "1"
        assert strings(client.execute(statement, ...)[0], 1) == [b"my own wordsx"]


def test_reset_drops_long_data(db):
    statement = db.prepare("select concat(?, 'x')")
    db.long_data(statement, 0, b"forgotten")
    db.ok(wire.STMT_RESET, struct.pack("<I", statement.number))
    assert strings(db.execute(statement, "new")[0], 1) == [b"newx"]


def test_megabytes_of_long_data(db):
    statement = db.prepare("select concat(length(?), '')")
    for _ in range(20):
        db.long_data(statement, 0, b"x" * 1_000_000)
    assert strings(db.execute(statement, ...)[0], 1) == [b"20000000"]


def test_long_data_for_a_statement_that_is_not_there(db):
    statement = db.prepare("select 1")
    db.close_statement(statement)
    db.long_data(statement, 0, b"lost")
    assert db.value("select 1") == "1"


def test_closing_is_not_answered(db):
    """The next answer belongs to the next command."""
    for _ in range(20):
        statement = db.prepare("select ?")
        data = struct.pack("<I", statement.number)
        packets = [b"\x19" + data, b"\x0e", b"\x19" + data, b"\x03select 5"]
        db.socket.sendall(b"".join(struct.pack("<I", len(p)) + p for p in packets))
        db.sequence = 1
        assert isinstance(db.result(), wire.Ok)
        db.sequence = 1
        assert db.result() == [[b"5"]]


def test_a_cursor_is_fetched_bit_by_bit(via, db):
    via.table("rows_", "n int", ",".join(f"({n})" for n in range(10)))
    statement = db.prepare("select n from rows_ order by n")
    opened = db.execute(statement, cursor=1)
    assert opened == [] and opened.status & wire.CURSOR_EXISTS
    got = []
    while not (rows := db.fetch(statement, 4)).status & wire.LAST_ROW_SENT:
        got += rows
        db.ping()
    got += rows
    assert [struct.unpack("<i", row[2:6])[0] for row in got] == list(range(10))
    with pytest.raises(wire.Error, match="1421"):
        db.fetch(statement, 1)


def test_a_cursor_is_left_alone_by_others(two):
    two.table("rows_", "n int", "(1), (2), (3)")
    with two.raw() as a, two.raw() as b, two.raw() as c:
        statement = a.prepare("select n from rows_ order by n")
        a.execute(statement, cursor=1)
        first = a.fetch(statement, 1)
        for other in (b, c):
            assert other.value("select 1") == "1"
            other.query("begin")
            other.query("rollback")
        second = a.fetch(statement, 1)
        assert [struct.unpack("<i", row[2:6])[0] for row in first + second] == [1, 2]


def test_a_statement_means_what_its_client_s_sql_mode_says(via):
    with via.raw() as plain, via.raw() as ansi:
        plain.query("set sql_mode = ''")
        ansi.query("set sql_mode = 'ANSI_QUOTES'")
        via.table("quoted", "word varchar(10)", "('column')")
        text = 'select "word" from quoted'
        of_plain, of_ansi = plain.prepare(text), ansi.prepare(text)
        for _ in range(3):
            assert strings(plain.execute(of_plain)[0], 1) == [b"word"]
            assert strings(ansi.execute(of_ansi)[0], 1) == [b"column"]


def test_a_statement_means_the_schema_it_was_prepared_in(via):
    via.server.execute("drop table if exists app.here, app2.here", "create table app.here (n int)",
                       "create table app2.here (n int)", "insert into app.here values (1)",
                       "insert into app2.here values (2)")
    with via.raw() as a, via.raw() as b:
        b.query("use app2")
        text = "select concat(n, '') from here"
        of_a, of_b = a.prepare(text), b.prepare(text)
        for _ in range(3):
            assert strings(a.execute(of_a)[0], 1) == [b"1"]
            assert strings(b.execute(of_b)[0], 1) == [b"2"]
        a.query("use app2")
        assert strings(a.execute(of_a)[0], 1) == [b"1"]


def test_a_table_changed_under_a_statement(via, db):
    via.table("changing", "n int", "(1)")
    statement = db.prepare("select * from changing")
    assert len(db.execute(statement).columns) == 1
    via.server.execute("alter table app.changing add column m int")
    rows = db.execute(statement)
    assert len(rows.columns) == 2 and len(rows) == 1
    via.server.execute("drop table app.changing")
    with pytest.raises(wire.Error, match="1146"):
        db.execute(statement)
    via.server.execute("create table app.changing (m int)")
    assert len(db.execute(statement).columns) == 1


def test_the_statement_prepared_last_has_another_number_too(request, start_weir):
    """MariaDB's alone."""
    server = request.getfixturevalue("mariadb")
    weir = start_weir(server, pool_size=1, max_overflow=0)
    for port in (server.port, weir.mysql_port):
        with wire.Client(port) as client, wire.Client(port) as other:
            statement = client.prepare("select concat('mine', ?)")
            other.prepare("select 'other'")
            statement.number = 0xffffffff
            assert strings(client.execute(statement, "!")[0], 1) == [b"mine!"]


def test_more_parameters_than_there_may_be(db):
    with pytest.raises(wire.Error, match="1390"):
        db.prepare("select " + ",".join("?" * 65536))
    assert db.value("select 1") == "1"


def test_a_prepared_insert_has_its_id(via):
    via.table("numbered", "id int auto_increment primary key, name varchar(10)")
    with via.raw() as a, via.raw() as b:
        of_a = a.prepare("insert into numbered (name) values (?)")
        of_b = b.prepare("insert into numbered (name) values (?)")
        assert a.execute(of_a, "a").insert_id == 1
        assert b.execute(of_b, "b").insert_id == 2
        last = a.prepare("select concat(last_insert_id(), '')")
        assert strings(a.execute(last)[0], 1) == [b"1"]
        assert b.value("select last_insert_id()") == "2"


def test_mysql_connector_s_prepared_cursor(via):
    via.table("connected", "n int, name varchar(20)")
    with mysql.connector.connect(host="127.0.0.1", port=via.port, user="app", password="secret", database="app",
                                 use_pure=True) as db:
        cursor = db.cursor(prepared=True)
        for n in range(20):
            cursor.execute("insert into connected values (%s, %s)", (n, f"name {n}"))
        db.commit()
        cursor.execute("select n from connected where name = %s", ("name 7",))
        assert cursor.fetchall() == [(7,)]
        cursor.execute("select n from connected where name = %s", ("name 8",))
        assert cursor.fetchall() == [(8,)]
        cursor.close()


def test_what_is_known_of_a_temporary_table_is_not_told_to_others(start_weir, database_server):
    weir = start_weir(database_server, pool_size=2, max_overflow=0)
    database_server.execute("drop table if exists app.shadowed", "create table app.shadowed (n int, name varchar(5))")
    with wire.Client(weir.mysql_port) as one, wire.Client(weir.mysql_port) as other:
        one.query("create temporary table shadowed (only_mine int)")
        assert len(one.prepare("select * from shadowed").columns) == 1
        assert len(other.prepare("select * from shadowed").columns) == 2
        assert len(one.prepare("select * from shadowed limit 1").columns) == 1
        assert len(other.prepare("select * from shadowed limit 1").columns) == 2


def test_a_client_s_statements_are_bounded_in_bytes(start_weir, database_server):
    weir = start_weir(database_server, pool_size=1, max_overflow=0, client_memory="256kB")
    with wire.Client(weir.mysql_port) as client, wire.Client(weir.mysql_port) as other:
        statements = []
        with pytest.raises(wire.Error, match="client_memory") as error:
            while True:
                statements.append(client.prepare(f"select {len(statements)}, ? /* {'x' * 10_000} */"))
        assert (error.value.code, error.value.state) == (1041, "HY000")
        assert 10 < len(statements) < 26
        # What it has goes on to work, and so does what it gives up for another.
        assert len(client.execute(statements[3], "a")) == 1
        assert client.value("select 1") == "1"
        for _ in range(3):
            client.close_statement(statements.pop())
            statements.append(client.prepare(f"select 0, ? /* {'y' * 10_000} */"))
            assert len(client.execute(statements[-1], "a")) == 1
            with pytest.raises(wire.Error, match="1041.*client_memory"):
                client.prepare(f"select 0, ? /* {'z' * 10_000} */")
        assert len(other.execute(other.prepare("select 'mine'"))) == 1
        client.ok(wire.RESET_CONNECTION)
        assert len(client.execute(client.prepare(f"select 0, ? /* {'z' * 10_000} */"), "a")) == 1


def test_what_is_known_of_a_table_that_has_changed_is_not_told_to_others(start_weir, database_server):
    weir = start_weir(database_server, pool_size=1, max_overflow=0)
    database_server.execute("drop table if exists app.grown", "create table app.grown (n int)")
    with wire.Client(weir.mysql_port) as one, wire.Client(weir.mysql_port) as other:
        statement = one.prepare("select * from grown")
        before = database_server.status("Com_stmt_prepare")
        assert len(other.prepare("select * from grown").columns) == 1
        assert database_server.status("Com_stmt_prepare") == before, "it was known"
        for n in range(2, 4):
            database_server.execute(f"alter table app.grown add column n{n} int")
            assert len(one.execute(statement).columns) == n
            with wire.Client(weir.mysql_port) as fresh:
                assert len(fresh.prepare("select * from grown").columns) == n


def test_statements_stay_prepared_on_a_connection_that_goes_from_worker_to_worker(start_weir, database_server):
    weir = start_weir(database_server, weir="log_level = debug", workers=4, pool_size=1, max_overflow=0)
    # One on each worker.
    clients = [mysql.connector.connect(host="127.0.0.1", port=weir.mysql_port, user="app", password="secret",
                                       database="app", autocommit=True, use_pure=True) for _ in range(4)]
    cursors = [db.cursor(prepared=True) for db in clients]

    def run(n, i):
        cursors[n].execute("select connection_id(), ? * 10 + ?", (n, i))
        (number, value), = cursors[n].fetchall()
        assert value == 10 * n + i
        return number

    number = run(0, 0)
    for n in range(1, 4):
        assert run(n, 0) == number
    before, n_moved = database_server.status("Com_stmt_prepare"), weir.log().count("event=moved")
    assert {run(n, i) for i in range(5) for n in range(4)} == {number}
    assert weir.log().count("event=moved") - n_moved >= 19, "it was to go round"
    assert database_server.status("Com_stmt_prepare") == before
    assert [row["prepared_statements"] for row in weir.console("show servers")] == [1]
    for db in clients:
        db.close()


def test_the_statements_of_four_workers_are_not_mixed_up(start_weir, database_server):
    """Servers number them, and each worker knows others of them."""
    weir = start_weir(database_server, weir="log_level = debug", workers=4, pool_size=3, max_overflow=0,
                      prepared_statements=6)
    right, wrong = [], []

    def work(n):
        schema = "app2" if n % 3 else "app"
        with wire.Client(weir.mysql_port) as client:
            client.query(f"use {schema}")
            statements = {}
            for i in range(40):
                k = (5 * n + i) % 9
                if k not in statements:
                    statements[k] = client.prepare(f"select concat(schema(), ' {k} ', ?)")
                value, = strings(client.execute(statements[k], f"{n}-{i}")[0], 1)
                (right if value == f"{schema} {k} {n}-{i}".encode() else wrong).append((n, i, value))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and len(right) == 16 * 40
    assert weir.log().count("event=moved") > 20
    assert max(row["prepared_statements"] for row in weir.console("show servers")) <= 6
