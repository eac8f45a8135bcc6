"""Settings are the client's own, and nobody else's."""

import asyncio

import asyncpg
import pytest

from conftest import wait_for
from wire import Client, SYNC, bind, execute, parse


@pytest.fixture
def two(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0)
    return Client(weir.port).login(), Client(weir.port).login()


@pytest.mark.parametrize("name, values", [
    ("client_encoding", ("LATIN1", "UTF8")),
    ("DateStyle", ("SQL, DMY", "ISO, MDY")),
    ("TimeZone", ("Asia/Tokyo", "Etc/UTC")),
    ("application_name", ("it''s me", "other \\ \"one\"")),
    ("search_path", ("pg_catalog", "public")),
    ("statement_timeout", ("1234ms", "0")),
    ("work_mem", ("5MB", "6MB")),
    ("app.tenant", ("a", "b")),
])
def test_each_client_has_its_own(two, name, values):
    a, b = two
    a.query(f"set {name} to '{values[0]}'")
    b.query(f"set {name} to '{values[1]}'")
    for _ in range(3):
        for client, value in ((a, values[0]), (b, values[1])):
            assert client.query(f"show {name}") == [[value.replace("''", "'").encode()]]


def test_nothing_leaks_to_who_sets_nothing(two):
    a, b = two
    before = b.query("select name, setting from pg_settings order by name")
    a.query("set search_path to pg_catalog, \"$user\"; set work_mem = '7MB'; set timezone to 'Asia/Tokyo'")
    a.query("set session characteristics as transaction isolation level serializable, read only")
    a.query("set role none; set statement_timeout = 500")
    assert b.query("select name, setting from pg_settings order by name") == before
    assert a.query("show default_transaction_isolation") == [[b"serializable"]]
    assert a.query("show search_path") == [[b'pg_catalog, "$user"']]
    a.close()
    assert b.query("select name, setting from pg_settings order by name") == before


def test_nothing_leaks_to_other_workers(start_weir, postgres):
    weir = start_weir(postgres, workers=2, pool_size=1, max_overflow=0)
    a = Client(weir.port).login()
    a.query("set datestyle = 'German'; set timezone = 'Asia/Tokyo'")
    others = []
    for _ in range(4):
        assert a.query("show datestyle") == [[b"German, DMY"]]
        others.append(Client(weir.port).login())
        for other in others:
            assert other.query("show datestyle") == [[b"ISO, MDY"]]
            assert other.query("show timezone") != [[b"Asia/Tokyo"]]


def test_a_rolled_back_set_is_undone(two):
    a, b = two
    a.query("set work_mem = '5MB'; set timezone to 'Asia/Tokyo'")
    a.query("begin")
    a.query("set work_mem = '9MB'")
    a.query("set timezone to 'Europe/Paris'")
    assert a.query("show work_mem") == [[b"9MB"]]
    a.query("rollback")
    for _ in range(2):
        assert b.query("show work_mem") == [[b"4MB"]]
        assert a.query("show work_mem") == [[b"5MB"]]
        assert a.query("show timezone") == [[b"Asia/Tokyo"]]


def test_a_set_of_a_failed_string_is_undone(two):
    a, b = two
    with pytest.raises(RuntimeError):
        a.query("set work_mem = '9MB'; select 1/0")
    b.query("select 1")
    assert a.query("show work_mem") == [[b"4MB"]]


def test_reset_all_leaves_the_role(start_weir, postgres):
    with postgres.connect() as admin:
        admin.execute("drop role if exists another")
        admin.execute("create role another")
        admin.execute("grant another to app")
    weir = start_weir(postgres, pool_size=1, max_overflow=0)
    first, second = weir.connect(), weir.connect()
    first.execute("set role another")
    first.execute("set work_mem = '7MB'")
    first.execute("reset all")
    for _ in range(2):
        assert second.execute("select current_user").fetchone() == ("app",)
        assert first.execute("select current_user, current_setting('work_mem')").fetchone() == ("another", "4MB")
    first.execute("discard all")
    assert first.execute("select current_user").fetchone() == ("app",)
    first.close()
    assert weir.connect().execute("select current_user").fetchone() == ("app",)


def test_set_local_ends_with_the_transaction(two):
    a, b = two
    a.query("begin; set local work_mem = '9MB'; set local timezone to 'Asia/Tokyo'")
    assert a.query("show work_mem") == [[b"9MB"]]
    a.query("commit")
    for client in (b, a):
        assert client.query("show work_mem") == [[b"4MB"]]
        assert client.query("show timezone") == [[b"Etc/UTC"]]


def test_set_config_with_literals_and_parameters(two):
    a, b = two
    a.query("select set_config('work_mem', '5MB', false)")
    a.send(parse("", "select set_config('app.me', $1, false)"), bind(values=[b"me"]), execute(), SYNC)
    a.ready()
    a.query("select set_config('app.passing', 'x', true)")
    for _ in range(2):
        assert b.query("show work_mem") == [[b"4MB"]]
        assert b.query("select coalesce(current_setting('app.me', true), '')") == [[b""]]
        assert a.query("show work_mem") == [[b"5MB"]]
        assert a.query("show app.me") == [[b"me"]]


def test_a_set_config_that_cannot_be_known_stays_with_its_client(start_weir, postgres):
    weir = start_weir(postgres, pool_size=2, max_overflow=0)
    a = Client(weir.port).login()
    a.query("select set_config('work_mem', (5 + 1) || 'MB', false)")
    assert a.query("show work_mem") == [[b"6MB"]]
    assert [row["pin"] for row in weir.console("show pins")] == ["settings"]
    b = Client(weir.port).login()
    assert b.query("show work_mem") == [[b"4MB"]]
    a.query("discard all")
    assert weir.console("show pins") == []
    assert a.query("show work_mem") == [[b"4MB"]]


def test_a_changed_setting_is_reported(weir):
    client = Client(weir.port).login()
    client.query("select 1")
    from wire import query
    client.send(query("set timezone to 'Asia/Tokyo'"))
    assert (b"S", b"TimeZone\0Asia/Tokyo\0") in client.ready()
    client.send(query("reset all"))
    client.ready()
    client.send(query("show timezone"))
    told = [content for kind, content in client.ready() if kind == b"S"]
    assert client.query("show timezone") == [[b"Etc/UTC"]]
    assert told in ([], [b"TimeZone\0Etc/UTC\0"])


def test_a_clean_client_costs_no_extra_statement(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0)
    a, b = Client(weir.port).login(application_name="x"), Client(weir.port).login(application_name="x")
    xacts = "select xact_commit + xact_rollback from pg_stat_database where datname = 'app'"
    a.query("select 1")
    for client in (a, b, a, b):
        assert client.query("select 1") == [[b"1"]]
    assert a.query(xacts)


@pytest.mark.parametrize("pin, begin, end", [
    ("listen", "listen x", "unlisten x"),
    ("listen", "listen x", "unlisten *"),
    ("temporary table", "create temp table mine (n int)", "discard temp"),
    ("temporary table", "select 1 as a into temporary mine", "discard all"),
    ("cursor with hold", "declare c cursor with hold for select 1", "close c"),
    ("prepare", "prepare p as select 1", "deallocate p"),
    ("advisory lock", "select pg_advisory_lock(1)", "select pg_advisory_unlock_all()"),
    ("advisory lock", "select pg_advisory_lock(1)", "select pg_advisory_unlock(1)"),
    ("advisory lock", "select pg_advisory_lock(1), pg_advisory_lock(1), pg_advisory_lock_shared(2)",
     "select pg_advisory_unlock(1), pg_advisory_unlock_shared(2); select 1; select pg_advisory_unlock(1)"),
    ("temporary table", "create temp table mine (n int)", "drop table mine"),
    ("temporary table", "create temp table mine (n int); create temp view too as select 1",
     "drop table mine; drop view too"),
    ("settings", "do $$ begin perform set_config('app.me', 'x', false); end $$", "reset all"),
])
def test_what_cannot_move_pins_until_it_ends(start_weir, postgres, pin, begin, end):
    weir = start_weir(postgres, pool_size=2, max_overflow=0)
    a, b = Client(weir.port).login(), Client(weir.port).login()
    a.query(begin)
    assert [row["pin"] for row in weir.console("show pins")] == [pin]
    pid = a.query("select pg_backend_pid()")
    assert b.query("select pg_backend_pid()") != pid
    assert a.query("select pg_backend_pid()") == pid
    a.query(end)
    wait_for(lambda: weir.console("show pins") == [], "the end of the pin")


def test_a_pin_stays_while_something_is_left(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0)
    a = Client(weir.port).login()
    a.query("select pg_advisory_lock(1), pg_advisory_lock(2); create temp table mine (n int); create temp table too (n int)")
    a.query("select pg_advisory_unlock(1)")
    a.query("drop table mine")
    a.query("select 1")
    assert weir.console("show pins") != []
    assert a.query("select count(*) from too") == [[b"0"]]
    a.query("drop table too")
    a.query("select pg_advisory_unlock(2)")
    wait_for(lambda: weir.console("show pins") == [], "the end of the pins")


# What takes advisory locks 1 and 2, and what releases the last of them at last: statements with their parameters.
ADVISORY = [
    ("with parameters", [("select pg_advisory_lock($1)", 1), ("select pg_advisory_lock($1)", 2)],
     [("select pg_advisory_unlock($1)", 2), ("select pg_advisory_unlock($1)", 1)]),
    ("taken twice", [("select pg_advisory_lock($1)", 1), ("select pg_try_advisory_lock($1)", 1)],
     [("select pg_advisory_unlock($1)", 1), ("select pg_advisory_unlock($1)", 1)]),
    ("shared too", [("select pg_advisory_lock_shared($1)", 1), ("select pg_advisory_lock($1)", 1)],
     [("select pg_advisory_unlock_shared($1)", 1), ("select pg_advisory_unlock($1)", 1)]),
    ("after a release that failed", [("select pg_advisory_lock($1::int, $2::int)", 1, 2)],
     [("select pg_advisory_unlock($1)", 1), ("select pg_advisory_unlock($1::int, $2::int)", 1, 2)]),
    ("in a block", [("select pg_advisory_lock($1)", 1)], [("do 'begin perform pg_advisory_unlock(1); end'",), ("reset all",)]),
    ("in a procedure", [("select pg_advisory_lock($1)", 1)], [("call releases($1)", 1)]),
    ("all", [("select pg_advisory_lock($1)", 1), ("select pg_advisory_lock($1)", 1)],
     [("select pg_advisory_unlock($1)", 1), ("select pg_advisory_unlock_all()",)]),
]


@pytest.mark.parametrize("take, give", [row[1:] for row in ADVISORY], ids=[row[0] for row in ADVISORY])
def test_an_advisory_lock_pins_until_the_last_is_released(start_weir, postgres, take, give):
    with postgres.connect(dbname="app") as db:
        db.execute("create or replace procedure releases(n bigint) language plpgsql as"
                   " 'begin perform pg_advisory_unlock(n); end'")
    weir = start_weir(postgres, pool_size=1, max_overflow=0)

    async def program():
        client = await asyncpg.connect(weir.url().replace("+asyncpg", ""))
        for sql, *parameters in take:
            await client.fetch(sql, *parameters)
        for sql, *parameters in give:
            assert [row["pin"] for row in weir.console("show pins")], sql
            await client.fetch(sql, *parameters)
            # The server's answer to the question that follows comes before this one's.
            await client.fetch("select 1")
        wait_for(lambda: weir.console("show pins") == [], "the end of the pin")
        await client.close()

    asyncio.run(program())


def test_an_advisory_lock_that_was_not_had_pins_nothing(start_weir, postgres):
    weir = start_weir(postgres, pool_size=2, max_overflow=0)
    owner, client = Client(weir.port).login(), Client(weir.port).login()
    owner.query("select pg_advisory_lock(1)")
    assert client.query("select pg_try_advisory_lock(1)") == [[b"f"]]
    wait_for(lambda: len(weir.console("show pins")) == 1, "the end of the other pin")
    owner.query("select pg_advisory_unlock(1)")
    wait_for(lambda: weir.console("show pins") == [], "the end of the pin")
    assert client.query("select pg_try_advisory_lock(1)") == [[b"t"]]
    assert len(weir.console("show pins")) == 1


def test_a_client_that_leaves_with_a_pin_leaves_nothing(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0)
    a = Client(weir.port).login()
    a.query("create temp table mine (n int); listen x; prepare p as select 1; "
            "select pg_advisory_lock(77); set work_mem = '9MB'")
    pid = a.query("select pg_backend_pid()")
    a.close()
    b = Client(weir.port).login()
    assert b.query("select pg_backend_pid()") == pid
    assert b.query("select count(*) from pg_class where relname = 'mine'") == [[b"0"]]
    assert b.query("select count(*) from pg_listening_channels()") == [[b"0"]]
    assert b.query("select count(*) from pg_prepared_statements") == [[b"0"]]
    assert b.query("select count(*) from pg_locks where locktype = 'advisory'") == [[b"0"]]
    assert b.query("show work_mem") == [[b"4MB"]]
