"""Each command of the protocol, and the shapes of its answer. The answers are the server's own."""

import struct
import time

import mysql_wire as wire
import pytest
from conftest import wait_for


@pytest.fixture
def db(via):
    with via.raw() as client:
        yield client


def refused(client, code, content=b""):
    with pytest.raises(wire.Error) as error:
        client.command(code, content)
        client.receive()
    assert client.ping().status == wire.AUTOCOMMIT
    return error.value.code, error.value.state


def test_the_greeting_is_the_server_s_own(via):
    with wire.Client(via.server.port, login=False) as direct, via.raw(login=False) as client:
        assert client.version.removeprefix("5.5.5-") == via.server.version
        assert client.version == direct.version
        assert client.greeting_status == wire.AUTOCOMMIT
        assert 0 not in client.scramble and ord("$") not in client.scramble
        for flag in (wire.PROTOCOL_41, wire.SECURE_CONNECTION, wire.PLUGIN_AUTH, wire.FOUND_ROWS, wire.SESSION_TRACK,
                     wire.MULTI_STATEMENTS, wire.MULTI_RESULTS, wire.PS_MULTI_RESULTS, wire.CONNECT_ATTRS):
            assert client.offered & flag, hex(flag)


def test_no_two_clients_get_the_same_scramble_or_number(via):
    clients = [via.raw() for _ in range(5)]
    assert len({client.scramble for client in clients}) == 5
    assert len({client.thread_id for client in clients}) == 5
    for client in clients:
        client.close()


def test_ping(db):
    ok = db.ping()
    assert (ok.status, ok.affected, ok.warnings) == (wire.AUTOCOMMIT, 0, 0)
    db.query("set autocommit = 0")
    assert db.ping().status == 0
    db.query("begin")
    assert db.ping().status & wire.IN_TRANS


def test_init_db(db):
    assert db.ok(wire.INIT_DB, "app2").status == wire.AUTOCOMMIT
    assert db.value("select database()") == "app2"


def test_init_db_of_an_unknown_database_keeps_the_old_one(db):
    assert refused(db, wire.INIT_DB, "nowhere") == (1044, "42000")
    assert db.value("select database()") == "app"


def test_field_list(via, db):
    via.table("fielded", "id int, name varchar(10)")
    db.command(wire.FIELD_LIST, b"fielded\0%")
    columns = []
    while not db.is_end(payload := db.receive()):
        columns.append(wire.Column(payload).name)
    assert columns == [b"id", b"name"]
    assert db.value("select 1") == "1"


def test_statistics(db):
    db.command(wire.STATISTICS)
    assert db.receive().startswith(b"Uptime: ")
    assert db.value("select 1") == "1"


@pytest.mark.parametrize("code", [0, 5, 6, 11, 15, 16, 19, 29, 40, 0xfb, 0xfe])
def test_unknown_commands(db, code):
    assert refused(db, code) == (1047, "08S01")


def test_an_empty_packet_is_an_unknown_command(db):
    db.sequence = 0
    db.send(b"")
    with pytest.raises(wire.Error, match="1047"):
        db.receive()
    assert db.ping().status == wire.AUTOCOMMIT


@pytest.mark.parametrize("code, content", [(7, b"\1"), (8, b"\0"), (13, b""), (18, b""), (21, b"")])
def test_commands_of_administrators_are_refused(via, db, code, content):
    code, state = refused(db, code, content)
    assert code in (1227, 1045, 1047) and state in ("42000", "28000", "08S01")
    assert via.server.is_up()


def test_set_option_turns_several_statements_on_and_off(db):
    with pytest.raises(wire.Error, match="1064"):
        db.queries("select 1; select 2")
    db.command(wire.SET_OPTION, struct.pack("<H", 0))
    assert db.is_end(db.receive())
    assert db.queries("select 1; select 2") == [[[b"1"]], [[b"2"]]]
    db.command(wire.SET_OPTION, struct.pack("<H", 1))
    assert db.is_end(db.receive())
    with pytest.raises(wire.Error, match="1064"):
        db.queries("select 1; select 2")
    assert refused(db, wire.SET_OPTION, struct.pack("<H", 7)) == (1047, "08S01")


def test_several_statements_for_one_client_are_not_for_the_next(via, db):
    with via.raw(capabilities=wire.USUAL | wire.MULTI_STATEMENTS) as other:
        for _ in range(2):
            assert other.queries("select 1; select 2") == [[[b"1"]], [[b"2"]]]
            with pytest.raises(wire.Error, match="1064"):
                db.queries("select 1; select 2")


def test_an_error_ends_several_statements(via):
    with via.raw(capabilities=wire.USUAL | wire.MULTI_STATEMENTS) as client:
        client.command(wire.QUERY, "select 1; select nothing; select 3")
        assert client.result() == [[b"1"]]
        with pytest.raises(wire.Error, match="1054"):
            client.result()
        assert client.value("select 4") == "4"


def test_reset_connection(via):
    with via.raw() as client:
        client.ok(wire.INIT_DB, "app2")
        client.query("set @mine = 1")
        client.query("set autocommit = 0")
        client.query("set sql_mode = ''")
        client.query("set time_zone = '+05:00'")
        client.query("create temporary table app.passing (n int)")
        statement = client.prepare("select 1")
        assert client.ok(wire.RESET_CONNECTION).status == wire.AUTOCOMMIT
        mode = client.value("select @@global.sql_mode")
        assert client.query("select database(), @mine, @@autocommit, @@sql_mode, @@time_zone") == [
            [b"app2", None, b"1", mode.encode(), b"SYSTEM"]]
        with pytest.raises(wire.Error, match="1146"):
            client.query("select * from app.passing")
        with pytest.raises(wire.Error, match="1243"):
            client.execute(statement)


def test_reset_connection_rolls_back(via):
    via.table("undone")
    with via.raw() as client:
        client.query("begin")
        client.query("insert into undone values (1, 'a')")
        client.ok(wire.RESET_CONNECTION)
        assert client.query("select * from undone") == []


def test_quit_closes(via, db):
    db.command(wire.QUIT)
    assert db.is_closed()


def test_no_statement_at_all(db):
    assert refused(db, wire.QUERY) == (1065, "42000")
    assert isinstance(db.query("/* only a comment */"), wire.Ok)


def test_results_without_rows_and_with_4096_columns(db):
    empty = db.query("select 1 as one from (select 1 as n) as t where n = 2")
    assert empty == [] and empty.columns[0].name == b"one"
    assert len(db.query("select " + ",".join(["1"] * 4096)).columns) == 4096


def test_procedures_with_no_one_and_several_results(via, db):
    for name, body in (("none_", "do 1"), ("one_", "select 1"), ("three_", "begin select 1; select 2; select 3; end")):
        via.server.execute(f"drop procedure if exists app.{name}", f"create procedure app.{name}() {body}")
    via.server.execute("grant execute on app.* to app@'%'")

    def rows(results):
        return [list(result) for result in results if isinstance(result, wire.Rows)]

    for _ in range(2):
        assert rows(db.queries("call none_()")) == []
        assert rows(db.queries("call one_()")) == [[[b"1"]]]
        results = db.queries("call three_()")
        assert rows(results) == [[[b"1"]], [[b"2"]], [[b"3"]]]
        assert isinstance(results[-1], wire.Ok) and not results[-1].status & wire.MORE_RESULTS


def test_out_parameters(via, db):
    via.server.execute("drop procedure if exists app.out_", "create procedure app.out_(in a int, out b int, inout c int)"
                       " begin set b = a + 1; set c = c + a; end")
    db.query("set @c = 5")
    db.queries("call out_(3, @b, @c)")
    assert db.query("select @b, @c") == [[b"4", b"8"]]
    statement = db.prepare("call out_(?, ?, ?)")
    db.command(wire.STMT_EXECUTE, db.execution(statement, 3, None, 5))
    first, *_ = db.results(binary=True)
    assert first == [b"\0\0" + struct.pack("<ii", 4, 8)]
    assert db.value("select 1") == "1"


def test_a_result_whose_first_row_begins_like_the_end(db):
    (value,), = db.query("select unhex(repeat('fe', 16777300))")
    assert value == b"\xfe" * 16777300
    assert db.value("select 1") == "1"


@pytest.mark.parametrize("length", [0xffffff - 5, 0xffffff - 4, 0xffffff - 3, 0xffffff, 0xffffff + 1])
def test_answers_about_as_long_as_one_packet_can_be(db, length):
    assert len(db.value(f"select repeat('x', {length})")) == length
    assert db.ping().status == wire.AUTOCOMMIT


@pytest.mark.parametrize("length", [0xffffff - 1, 0xffffff, 0xffffff + 1, 2 * 0xffffff])
def test_statements_about_as_long_as_one_packet_can_be(db, length):
    """`length` counts the command's byte."""
    shell = "select length('')"
    assert db.value(shell[:-2] + "x" * (length - 1 - len(shell)) + "')") == str(length - 1 - len(shell))
    assert db.ping().status == wire.AUTOCOMMIT


def test_several_commands_in_one_write(db):
    """Servers answer them in order."""
    packets = [b"\x03set @mine = 5", b"\x03select @mine", b"\x0e", b"\x03select nothing", b"\x03select 6"]
    db.socket.sendall(b"".join(struct.pack("<I", len(p)) + p for p in packets))
    for expected in (wire.Ok, [[b"5"]], wire.Ok, 1054, [[b"6"]]):
        db.sequence = 1
        if expected == 1054:
            with pytest.raises(wire.Error, match="1054"):
                db.result()
        elif expected is wire.Ok:
            assert isinstance(db.result(), wire.Ok)
        else:
            assert db.result() == expected


def test_a_command_one_byte_at_a_time(db):
    for byte in struct.pack("<I", 9) + b"\x03select 7":
        db.socket.sendall(bytes([byte]))
    db.sequence = 1
    assert db.result() == [[b"7"]]


def test_a_wrong_sequence_number_ends_the_connection(via, db):
    db.sequence = 3
    db.send(bytes([wire.PING]))
    db.sequence = 0
    with pytest.raises((wire.Error, AssertionError, wire.Closed)):
        db.receive()
    wait_for(db.is_closed, "the connection to close")
    with via.raw() as another:
        assert another.value("select 1") == "1"


@pytest.mark.parametrize("content", [b"", b"\1", struct.pack("<IBI", 77, 0, 1), b"\xff" * 40])
def test_an_execute_that_makes_no_sense_is_an_error(db, content):
    code, state = refused(db, wire.STMT_EXECUTE, content)
    assert code in (1243, 1835, 1210) and state == "HY000"


def test_session_tracking_for_those_who_ask(via, db):
    with via.raw(capabilities=wire.USUAL | wire.SESSION_TRACK) as client:
        assert client.query("use app2").tracked
        ok = client.query("set autocommit = 0")
        assert ok.variables()["autocommit"] == "OFF"
    ok = db.query("set autocommit = 0")
    assert not ok.status & wire.SESSION_STATE_CHANGED and not ok.info


def test_the_text_of_an_ok_is_the_server_s(via, db):
    via.table("informed", rows="(1, 'a'), (2, 'b')")
    for capabilities in (wire.USUAL, wire.USUAL | wire.SESSION_TRACK):
        with via.raw(capabilities=capabilities) as client:
            ok = client.query("update informed set name = 'c'")
            assert ok.info.endswith(b"Rows matched: 2  Changed: 2  Warnings: 0")
            client.query("update informed set name = 'd'")


def test_local_infile_is_refused_unless_allowed(via):
    via.table("loaded", "line varchar(20)")
    # A client that cannot do it is refused by the servers themselves; weir refuses those that could.
    with via.raw(capabilities=wire.USUAL | (wire.LOCAL_FILES if via.weir else 0)) as client:
        with pytest.raises(wire.Error) as error:
            client.query("load data local infile 'weir' into table loaded")
        assert error.value.code == {"mariadb": 4166, "mysql": 3948}[via.server.family]
        assert client.value("select count(*) from loaded") == "0"


def test_local_infile_where_it_is_allowed(start_weir, database_server):
    weir = start_weir(database_server, pool_size=1, max_overflow=0, local_infile="true")
    database_server.execute("drop table if exists app.loaded", "create table app.loaded (line varchar(20))")
    with wire.Client(weir.mysql_port, capabilities=wire.USUAL | wire.LOCAL_FILES) as client:
        for content in (b"one\ntwo\n", b""):
            client.command(wire.QUERY, "load data local infile 'weir' into table loaded")
            assert client.result(infile=content).affected == content.count(b"\n")
        assert client.query("select line from loaded") == [[b"one"], [b"two"]]
    with wire.Client(weir.mysql_port) as client:
        with pytest.raises(wire.Error) as error:
            client.query("load data local infile 'weir' into table loaded")
        assert error.value.code in (4166, 3948)


@pytest.mark.parametrize("before", ["", "select 1; ", "select 1; select 2; do 3; "])
def test_a_client_that_owes_a_file_leaves_no_trace(start_weir, database_server, before):
    weir = start_weir(database_server, pool_size=1, max_overflow=0, local_infile="true")
    database_server.execute("drop table if exists app.loaded", "create table app.loaded (line varchar(20))")
    flags = wire.USUAL | wire.LOCAL_FILES | wire.MULTI_STATEMENTS
    with wire.Client(weir.mysql_port, capabilities=flags) as client:
        client.query("select 1")
        (number, *_), = database_server.processes()
        client.command(wire.QUERY, before + "load data local infile 'weir' into table loaded")
        for _ in range(before.count(";")):
            client.result()
        assert client.receive()[:1] == b"\xfb"
    with wire.Client(weir.mysql_port, capabilities=flags) as other:
        assert other.value("select count(*) from loaded") == "0"
        assert database_server.processes()[0][0] == number


def test_part_of_a_file_is_none(start_weir, database_server):
    """Of a client of the server itself, and of weir's."""
    weir = start_weir(database_server, pool_size=1, max_overflow=0, local_infile="true")
    database_server.execute("drop table if exists app.loaded", "create table app.loaded (line varchar(20))")
    for port in (database_server.port, weir.mysql_port):
        with wire.Client(port, capabilities=wire.USUAL | wire.LOCAL_FILES) as client:
            client.command(wire.QUERY, "load data local infile 'weir' into table loaded")
            assert client.receive()[:1] == b"\xfb"
            for _ in range(3):
                client.send(b"line\n" * 1000)
        with wire.Client(weir.mysql_port) as other:
            # It waits for the rows of the other, if that is not over yet.
            other.query("alter table loaded comment 'it is over'")
            assert other.value("select count(*) from loaded") == "0"


def test_a_server_that_lets_a_client_wait_answers_once(via, db):
    started = time.monotonic()
    assert db.value("select sleep(0.3)") == "0"
    assert time.monotonic() - started > 0.25
