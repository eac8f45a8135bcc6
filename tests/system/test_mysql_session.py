"""Each client has its own session, whatever the others do on the same server connection."""

import random
import threading

import mysql_wire as wire
import pytest
from conftest import Via

# (what a client says, what it then reads, what it gets)
SETTINGS = [
    ("set names latin1", "select concat_ws(' ', @@character_set_client, @@character_set_results,"
     " @@character_set_connection, @@collation_connection)", "latin1 latin1 latin1 latin1_swedish_ci"),
    ("set names utf8mb4 collate utf8mb4_bin", "select @@collation_connection", "utf8mb4_bin"),
    ("set collation_connection = utf8mb4_unicode_ci", "select @@collation_connection", "utf8mb4_unicode_ci"),
    ("set character_set_results = null", "select @@character_set_results is null", "1"),
    ("set sql_mode = ''", "select concat('<', @@sql_mode, '>')", "<>"),
    ("set sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'", "select @@sql_mode", "ANSI_QUOTES,NO_BACKSLASH_ESCAPES"),
    ("set time_zone = '+05:30'", "select timestampdiff(minute, utc_timestamp(), now())", "330"),
    ("set session transaction isolation level serializable", "select @@ISOLATION", "SERIALIZABLE"),
    ("set autocommit = 0", "select @@autocommit", "0"),
    ("set sql_select_limit = 2", "select count(*) from (select 1) as t where @@sql_select_limit = 2", "1"),
    ("set group_concat_max_len = 4", "select group_concat(n) from (select 1234567 as n) as t", "1234"),
    ("set foreign_key_checks = 0", "select @@foreign_key_checks", "0"),
    ("set unique_checks = off, sql_safe_updates = on", "select concat(@@unique_checks + 0, @@sql_safe_updates + 0)", "01"),
    ("set long_query_time = 1.5", "select @@long_query_time", "1.500000"),
    ("set lc_time_names = 'de_DE'", "select monthname('2026-03-01')", "März"),
    ("set @@session.div_precision_increment = 1", "select 1 / 3", "0.3"),
    ("set session wait_timeout = 77", "select @@wait_timeout", "77"),
    ("set default_week_format = 1, net_read_timeout = 5", "select concat(@@default_week_format, @@net_read_timeout)", "15"),
    ("set timestamp = 1000000000", "select unix_timestamp() < 1500000000", "1"),
    ("set last_insert_id = 77", "select last_insert_id()", "77"),
    ("use app2", "select database()", "app2"),
    ("set innodb_lock_wait_timeout = 9", "select @@innodb_lock_wait_timeout", "9"),
    ("set session transaction read only", "select @@READ_ONLY", "1"),
    ("set @mine = 'one'", "select @mine", "one"),
]


@pytest.fixture
def shared(via, kept_weir):
    """weir with two connections, since some settings may hold one, or the server itself."""
    if not via.weir:
        return via
    return Via(via.server, kept_weir(via.server, pool_size=2, max_overflow=0, pool_timeout="3s"))


@pytest.mark.parametrize("change, read, expected", SETTINGS, ids=[row[0] for row in SETTINGS])
def test_a_setting_stays_with_its_client(shared, change, read, expected):
    name = shared.server.isolation_variable
    read = read.replace("@@ISOLATION", f"@@{name}").replace(
        "@@READ_ONLY", f"@@{name.replace('isolation', 'read_only')}")
    with shared.raw() as a, shared.raw() as b, shared.raw() as c:
        usual = b.value(read)
        assert usual != expected
        a.query(change)
        for _ in range(2):
            assert a.value(read) == expected
            assert b.value(read) == c.value(read) == usual
        a.ok(wire.RESET_CONNECTION)
        assert b.value(read) == c.value(read) == usual
        # The schema stays, and MySQL 9 goes to its own collation instead of that of the login.
        if change != "use app2" and "collation" not in read:
            assert a.value(read) == usual


def test_a_setting_goes_back_to_the_default(via):
    with via.raw() as a, via.raw() as b:
        usual = a.value("select @@sql_mode")
        a.query("set sql_mode = 'ANSI'")
        assert b.value("select @@sql_mode") == usual
        a.query("set sql_mode = default")
        assert a.value("select @@sql_mode") == b.value("select @@sql_mode") == usual


@pytest.mark.parametrize("flags", [wire.USUAL, wire.USUAL | wire.SESSION_TRACK])
def test_the_status_bit_is_the_client_s_own(via, flags):
    with via.raw(capabilities=flags) as off, via.raw(capabilities=flags) as on:
        off.query("set autocommit = 0")
        for _ in range(3):
            assert not off.ping().status & wire.AUTOCOMMIT
            assert on.ping().status & wire.AUTOCOMMIT
            assert not off.query("select 1").status & wire.AUTOCOMMIT
            assert on.query("select 1").status & wire.AUTOCOMMIT
            assert not off.query("rollback").status & wire.AUTOCOMMIT


def test_the_charset_of_the_login(via):
    """asyncmy and aiomysql say nothing more about it."""
    read = "select concat_ws(' ', @@character_set_client, @@character_set_results, @@collation_connection)"
    with via.raw(charset=wire.LATIN1) as a, via.raw(charset=wire.UTF8MB4) as b, via.raw(charset=33) as c, \
            via.raw(charset=224) as d:
        for _ in range(3):
            assert a.value(read) == "latin1 latin1 latin1_swedish_ci"
            assert b.value(read) == "utf8mb4 utf8mb4 utf8mb4_general_ci"
            assert c.value(read) == "utf8mb3 utf8mb3 utf8mb3_general_ci"
            assert d.value(read) == "utf8mb4 utf8mb4 utf8mb4_unicode_ci"
            assert a.query("select 'é'".encode("latin1")) == [["é".encode("latin1")]]
            assert b.query("select 'é'") == [["é".encode()]]


def test_texts_are_stored_as_their_client_meant_them(via):
    via.table("lettered", "id int primary key, t varchar(20)")
    with via.raw(charset=wire.LATIN1) as latin1, via.raw() as utf8:
        latin1.query("insert into lettered values (1, 'é')".encode("latin1"))
        utf8.query("insert into lettered values (2, '😀')")
        assert latin1.query("select t from lettered where id = 1") == [["é".encode("latin1")]]
        assert utf8.query("select t from lettered order by id") == [["é".encode()], ["😀".encode()]]


def test_ignore_space_of_the_login_is_a_setting_like_another(via):
    with via.raw(capabilities=wire.USUAL | 0x100) as ignores, via.raw() as other:
        for _ in range(2):
            assert "IGNORE_SPACE" in ignores.value("select @@sql_mode")
            assert "IGNORE_SPACE" not in other.value("select @@sql_mode")


def test_found_rows_of_the_login_counts_matched_rows(start_weir, via):
    where = via if not via.weir else Via(via.server, start_weir(via.server, pool_size=2, max_overflow=0))
    where.table("matched", rows="(1, 'a'), (2, 'a')")
    with where.raw(capabilities=wire.USUAL | wire.FOUND_ROWS) as found, where.raw() as changed:
        for _ in range(3):
            assert found.query("update matched set name = 'a'").affected == 2
            assert changed.query("update matched set name = 'a'").affected == 0


def test_found_rows_shares_the_limit(start_weir, database_server):
    """Both kinds of client on a pool of one: never two connections, and nobody starves."""
    weir = start_weir(database_server, pool_size=1, max_overflow=0)
    via = Via(database_server, weir)
    via.table("matched", rows="(1, 'a')")
    with via.raw(capabilities=wire.USUAL | wire.FOUND_ROWS) as found, via.raw() as changed:
        for _ in range(5):
            assert found.query("update matched set name = 'a'").affected == 1
            assert database_server.connections() <= 1
            assert changed.query("update matched set name = 'a'").affected == 0
            assert database_server.connections() <= 1


def test_last_insert_id_is_the_client_s_own(via):
    via.table("numbered", "id int auto_increment primary key, name varchar(10)")
    via.table("child", "parent int")
    with via.raw() as a, via.raw() as b:
        assert a.query("insert into numbered (name) values ('a')").insert_id == 1
        assert b.query("insert into numbered (name) values ('b'), ('c')").insert_id == 2
        b.query("select 1")
        assert a.value("select last_insert_id()") == "1"
        assert b.value("SELECT LAST_INSERT_ID() ;") == "2"
        assert a.value("select @@identity") == "1"
        a.query("insert into child values (last_insert_id())")
        assert a.value("select parent from child") == "1"
        assert a.query("select last_insert_id() as it").columns[0].name == b"it"
        # Zero rows, or an id of the client's own making, count too.
        a.query("update numbered set id = last_insert_id(41) where id = 1")
        b.query("select 2")
        assert a.value("select last_insert_id()") == "41"


def test_a_client_without_an_insert_id_has_none(via):
    via.table("numbered", "id int auto_increment primary key, name varchar(10)")
    with via.raw() as a, via.raw() as b:
        a.query("insert into numbered (name) values ('a')")
        assert b.value("select last_insert_id()") == "0"


class Busy:
    """Another client that keeps the only connection busy."""

    def __init__(self, via, sql):
        self.client = via.raw()
        self.sql = sql
        self.stopping = False
        self.n = 0
        self.thread = threading.Thread(target=self.work)

    def work(self):
        while not self.stopping:
            self.client.query(self.sql)
            self.n += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.thread.join(20)
        self.client.close()
        assert self.n > 0


def test_warnings_are_those_of_the_client_s_own_statement(via):
    """asyncmy and aiomysql send SHOW WARNINGS after each statement that warned."""
    with via.raw() as client, Busy(via, "select cast('busy' as signed)"):
        for n in range(30):
            result = client.query(f"select cast('mine{n}' as signed)")
            assert result.warnings == 1
            (level, code, text), = client.query("show warnings")
            assert (level, code) == (b"Warning", b"1292") and f"'mine{n}'".encode() in text
            with pytest.raises(wire.Error, match="1146"):
                client.query(f"select * from missing{n}")
            assert f"missing{n}".encode() in client.query("show errors")[0][2]


def test_row_count_and_found_rows_are_those_of_the_client_s_own_statement(via):
    via.table("rowed", "n int", "(1), (2), (3)")
    via.table("busy", "n int", "(1)")
    with via.raw() as client, Busy(via, "update busy set n = n + 1"):
        for n in range(30):
            client.query(f"update rowed set n = n + {n + 1}")
            assert client.value("select row_count()") == "3"
            client.query("select sql_calc_found_rows n from rowed limit 1")
            assert client.value("select found_rows()") == "3"


def test_a_setting_changed_by_a_function_is_not_the_next_client_s(via):
    via.server.execute(
        "drop function if exists app.setter", "create function app.setter() returns int no sql"
        " begin set @@session.max_sort_length = 100; set @@session.time_zone = '+01:00'; return 1; end",
        "drop procedure if exists app.setter_too", "create procedure app.setter_too()"
        " begin set @@session.max_sort_length = 100; set @@session.time_zone = '+01:00'; end")
    read = "select concat_ws(' ', @@max_sort_length, @@time_zone)"
    for change in ("call setter_too()", "select setter()"):
        with via.raw() as a, via.raw() as b:
            usual = b.value(read)
            a.queries(change)
            assert a.value(read) == "100 +01:00"
            a.command(wire.QUIT)
            assert b.value(read) == usual


def test_a_prepared_set_is_the_client_s_own(via):
    with via.raw() as a, via.raw() as b:
        usual = b.value("select @@sql_mode")
        a.execute(a.prepare("set sql_mode = 'ANSI_QUOTES'"))
        assert b.value("select @@sql_mode") == usual
        assert a.value("select @@sql_mode") == "ANSI_QUOTES"


def test_a_setting_in_several_statements_is_the_client_s_own(via):
    with via.raw(capabilities=wire.USUAL | wire.MULTI_STATEMENTS) as a, via.raw() as b:
        usual = b.value("select @@sql_mode")
        a.queries("select 1; set sql_mode = 'ANSI_QUOTES'; select 2")
        assert b.value("select @@sql_mode") == usual
        assert a.value("select @@sql_mode") == "ANSI_QUOTES"


def test_an_unknown_setting_is_the_server_s_error(via):
    with via.raw() as a, via.raw() as b:
        for sql, code in (("set nothing = 1", 1193), ("set sql_mode = 'nothing'", 1231),
                          ("set names nothing", 1115), ("set time_zone = 'nowhere'", 1298)):
            with pytest.raises(wire.Error) as error:
                a.query(sql)
            assert error.value.code == code
            assert b.value("select 1") == a.value("select 1") == "1"


def test_quotes_and_backslashes_in_a_setting(via):
    with via.raw() as a, via.raw() as b:
        a.query("set sql_mode = 'NO_BACKSLASH_ESCAPES'")
        b.query("set lc_messages = 'en_US'")
        assert a.query(r"select 'a\b'") == [[rb"a\b"]]
        assert b.query(r"select 'a\\b'") == [[rb"a\b"]]


def test_settings_at_random(via):
    """Several clients change things in turn, and each sees its own, always."""
    chance = random.Random(8)
    choices = {"@@sql_mode": ["''", "'ANSI_QUOTES'", "'STRICT_ALL_TABLES'", "'PIPES_AS_CONCAT'"],
               "@@time_zone": ["'+01:00'", "'-03:00'", "'SYSTEM'"],
               "@@group_concat_max_len": ["4", "99", "1024"],
               "@@foreign_key_checks": ["0", "1"],
               "@@collation_connection": ["utf8mb4_bin", "utf8mb4_unicode_ci", "utf8mb4_general_ci"],
               "@@autocommit": ["0", "1"]}
    clients = [via.raw() for _ in range(4)]
    expected = [{} for _ in clients]
    for _ in range(200):
        which = chance.randrange(len(clients))
        client, own = clients[which], expected[which]
        if chance.random() < 0.5:
            name = chance.choice(list(choices))
            value = chance.choice(choices[name])
            client.query(f"set {name.replace('@@', '@@session.')} = {value}")
            own[name] = value.strip("'")
        elif own:
            row, = client.query("select " + ", ".join(own))
            assert dict(zip(own, (value.decode() for value in row))) == own
        else:
            client.query("select 1")
    for client in clients:
        client.close()


def test_a_session_of_one_s_own_leaves_nothing(start_weir, database_server):
    database_server.execute(
        "drop function if exists app.leaver", "create function app.leaver() returns int no sql"
        " begin set @@session.max_sort_length = 100; set @left = 7; return 1; end")
    weir = start_weir(database_server, pool_size=1, max_overflow=0, pool_mode="session")
    read = "select concat_ws(' ', @@max_sort_length, coalesce(@left, 'none'))"
    with wire.Client(weir.mysql_port) as client:
        usual = client.value(read)
        client.queries("select leaver()")
        assert client.value(read) == "100 7"
        client.command(wire.QUIT)
    with wire.Client(weir.mysql_port) as client:
        assert client.value(read) == usual


def test_a_schema_that_is_gone_costs_nobody_a_connection(start_weir, database_server):
    weir = start_weir(database_server, pool_size=1, max_overflow=0)
    database_server.execute("drop database if exists short_lived", "create database short_lived",
                            "grant all on short_lived.* to app", "drop table if exists app.here",
                            "create table app.here (n int)", "insert into app.here values (1)")
    several = wire.USUAL | wire.MULTI_STATEMENTS
    with wire.Client(weir.mysql_port, capabilities=several) as client, wire.Client(weir.mysql_port) as other:
        client.query("use short_lived")
        client.query("create table here (n int)")
        statement = client.prepare("select * from here")
        connections = database_server.processes()
        assert other.value("select database()") == "app"
        database_server.execute("drop database short_lived")
        for _ in range(3):
            for fails in ("select * from here", "select 1", "delete from here", "set @@sort_buffer_size = 300000"):
                with pytest.raises(wire.Error, match="1049.*short_lived"):
                    client.query(fails)
                assert other.value("select n from here") == "1"
            for attempt in (lambda: client.execute(statement), lambda: client.prepare("select 2"),
                            lambda: client.queries("create database if not exists short_lived; delete from here")):
                with pytest.raises(wire.Error, match="1049.*short_lived"):
                    attempt()
                assert other.value("select n from here") == "1"
            client.ping()
        with pytest.raises(wire.Error, match="(1044|1049).*no_such"):
            client.query("use no_such")
        assert other.value("select database()") == "app"
        client.query("create database short_lived")
        client.query("create table here (n int)")
        assert client.query("select * from here") == []
        assert other.value("select n from here") == "1"
        database_server.execute("drop database short_lived")
        client.ok(wire.INIT_DB, b"app")
        assert client.value("select n from here") == "1"
        assert [row[0] for row in database_server.processes()] == [row[0] for row in connections]


def test_a_client_of_a_schema_that_is_gone_may_leave(start_weir, database_server):
    weir = start_weir(database_server, pool_size=1, max_overflow=0)
    database_server.execute("drop database if exists short_lived", "create database short_lived",
                            "grant all on short_lived.* to app")
    with wire.Client(weir.mysql_port) as other:
        with wire.Client(weir.mysql_port) as client:
            client.query("use short_lived")
            assert other.value("select database()") == "app"
            (number, *_), = database_server.processes()
            database_server.execute("drop database short_lived")
            client.command(wire.QUERY, "select 1")
        assert other.value("select database()") == "app"
        assert database_server.processes()[0][0] == number
