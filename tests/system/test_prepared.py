"""Prepared statements are the client's own, whichever server connection it gets."""

import asyncio

import asyncpg
import psycopg
import pytest

from wire import (SYNC, FLUSH, Client, Error, bind, close, describe, execute, parse, query)


def errors(messages):
    return [Error(content) for kind, content in messages if kind == b"E"]


def test_asyncpg_with_its_default_cache(start_weir, postgres):
    weir = start_weir(postgres, pool_size=3, max_overflow=0)

    async def one(n):
        db = await asyncpg.connect(weir.url().replace("+asyncpg", ""))
        for i in range(30):
            assert await db.fetchval("select $1::int + $2::int", n, i) == n + i
            assert await db.fetchval(f"select {i % 7} + $1::int", n) == n + i % 7
            await asyncio.sleep(0)
        await db.close()

    async def program():
        await asyncio.gather(*(one(n) for n in range(20)))

    asyncio.run(program())
    assert postgres.connections() <= 3


def test_psycopg_prepares_at_once(start_weir, postgres):
    weir = start_weir(postgres, pool_size=2, max_overflow=0)
    clients = [weir.connect(prepare_threshold=0) for _ in range(5)]
    for i in range(20):
        for n, db in enumerate(clients):
            assert db.execute("select %s::int * 2", [n + i]).fetchone() == (2 * (n + i),)
            assert db.execute(f"select {n}, %s::text", ["x"]).fetchone() == (n, "x")
    for db in clients:
        db.close()


def test_same_name_different_texts(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0)
    a, b = Client(weir.port).login(), Client(weir.port).login()
    for client, sql in ((a, "select 'a'"), (b, "select 'b'")):
        client.send(parse("s", sql), SYNC)
        assert client.kinds() == b"1Z"
    for _ in range(3):
        for client, value in ((a, b"a"), (b, b"b")):
            client.send(bind("s"), execute(), SYNC)
            assert client.rows(client.ready()) == [[value]]


def test_same_text_by_many_clients_is_prepared_once(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0)
    for _ in range(5):
        client = Client(weir.port).login()
        client.send(parse("mine", "select 42"), describe(b"S", "mine"), SYNC)
        assert client.kinds() == b"1tTZ"
        n = client.query("select count(*) from pg_prepared_statements")
        assert n == [[b"1"]]


def test_unnamed_statement_between_two_syncs(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0)
    a, b = Client(weir.port).login(), Client(weir.port).login()
    for _ in range(3):
        a.send(parse("", "select 'a', $1::text"), SYNC)
        assert a.kinds() == b"1Z"
        b.send(parse("", "select 'b'"), SYNC)
        assert b.kinds() == b"1Z"
        a.send(bind("", values=[b"x"]), execute(), SYNC)
        assert a.rows(a.ready()) == [[b"a", b"x"]]
        b.send(bind(""), execute(), SYNC)
        assert b.rows(b.ready()) == [[b"b"]]


def test_nobody_else_s_unnamed_statement_is_found(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0)
    a, b = Client(weir.port).login(), Client(weir.port).login()
    a.send(parse("", "select 'secret'"), SYNC)
    a.ready()
    b.send(bind(""), execute(), SYNC)
    assert [e.code for e in errors(b.ready())] == ["26000"]


def test_unknown_statement_is_the_servers_error_and_the_connection_stays(weir):
    client = Client(weir.port).login()
    for name in ("nowhere", "weir_1"):
        client.send(bind(name), execute(), SYNC)
        found = errors(client.ready())
        assert [e.code for e in found] == ["26000"]
        assert client.query("select 1") == [[b"1"]]


def test_a_name_that_is_taken(weir):
    client = Client(weir.port).login()
    client.send(parse("s", "select 1"), SYNC)
    client.ready()
    client.send(parse("s", "select 2"), SYNC)
    found = errors(client.ready())
    assert [e.code for e in found] == ["42P05"]
    assert '"s"' in found[0]["M"]
    client.send(bind("s"), execute(), SYNC)
    assert client.rows(client.ready()) == [[b"1"]]


def test_close_frees_the_name(weir):
    client = Client(weir.port).login()
    for value in (b"1", b"2"):
        client.send(parse("s", f"select {value.decode()}"), bind("s"), execute(), close(b"S", "s"), SYNC)
        messages = client.ready()
        assert client.rows(messages) == [[value]]
        assert [k for k, _ in messages] == [b"1", b"2", b"D", b"C", b"3", b"Z"]
    client.send(bind("s"), SYNC)
    assert [e.code for e in errors(client.ready())] == ["26000"]


@pytest.mark.parametrize("deallocate", ["deallocate s", "deallocate all", "discard all"])
def test_deallocate_in_sql(start_weir, postgres, deallocate):
    weir = start_weir(postgres, pool_size=2, max_overflow=0)
    client, other = Client(weir.port).login(), Client(weir.port).login()
    for c in (client, other):
        c.send(parse("s", "select 7"), bind("s"), execute(), SYNC)
        assert c.rows(c.ready()) == [[b"7"]]
    client.query(deallocate)
    client.send(bind("s"), SYNC)
    assert [e.code for e in errors(client.ready())] == ["26000"]
    client.send(parse("s", "select 8"), bind("s"), execute(), SYNC)
    assert client.rows(client.ready()) == [[b"8"]]
    other.send(bind("s"), execute(), SYNC)
    assert other.rows(other.ready()) == [[b"7"]]


def test_deallocate_through_the_extended_protocol(weir):
    with weir.connect(prepare_threshold=0) as db:
        db.prepared_max = 2
        for i in range(10):
            assert db.execute(f"select {i}, %s::int", [i]).fetchone() == (i, i)
    client = Client(weir.port).login()
    client.send(parse("s", "select 7"), SYNC)
    client.ready()
    client.send(parse("", "deallocate s"), bind(""), execute(), SYNC)
    assert not errors(client.ready())
    client.send(bind("s"), SYNC)
    assert [e.code for e in errors(client.ready())] == ["26000"]


def test_execute_in_sql_of_a_protocol_statement(weir):
    client = Client(weir.port).login()
    client.send(parse("s", "select 7"), SYNC)
    client.ready()
    for _ in range(2):
        assert client.query("execute s") == [[b"7"]]
    assert Client(weir.port).login().query(
        "select name from pg_prepared_statements where name = 's'") == []


def test_least_recently_used_statements_go(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0, prepared_statements=2)
    client = Client(weir.port).login()
    for i in range(6):
        client.send(parse(f"s{i}", f"select {i}"), SYNC)
        assert client.kinds() == b"1Z"
    for i in (0, 5, 3, 0, 1, 2):
        client.send(bind(f"s{i}"), execute(), SYNC)
        assert client.rows(client.ready()) == [[str(i).encode()]]
    assert int(client.query("select count(*) from pg_prepared_statements")[0][0]) <= 2


def test_an_error_undoes_what_the_server_skipped(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0)
    client = Client(weir.port).login()
    client.send(parse("bad", "select * from nowhere"), parse("good", "select 5"), bind("good"),
                execute(), SYNC)
    messages = client.ready()
    assert [k for k, _ in messages] == [b"E", b"Z"]
    for name in ("bad", "good"):
        client.send(bind(name), SYNC)
        assert [e.code for e in errors(client.ready())] == ["26000"]
    client.send(parse("good", "select 5"), bind("good"), execute(), SYNC)
    assert client.rows(client.ready()) == [[b"5"]]


def test_an_error_in_the_middle_of_a_pipeline(weir):
    client = Client(weir.port).login()
    client.send(parse("s", "select 1/$1::int"))
    for value in (b"1", b"0", b"1"):
        client.send(bind("s", values=[value]), execute(), SYNC)
    first, second, third = client.ready(), client.ready(), client.ready()
    assert client.rows(first) == [[b"1"]]
    assert [e.code for e in errors(second)] == ["22012"]
    assert client.rows(third) == [[b"1"]]


def test_a_statement_that_cannot_be_prepared_elsewhere_is_the_clients_error(start_weir, postgres):
    weir = start_weir(postgres, pool_size=2, max_overflow=0)
    a, b = Client(weir.port).login(), Client(weir.port).login()
    a.query("create table if not exists passing (n int)")
    a.send(parse("s", "select n from passing"), SYNC)
    a.ready()
    b.query("begin")
    a.query("begin")
    b.query("commit")
    a.query("drop table passing")
    a.query("commit")
    a.send(bind("s"), execute(), SYNC)
    assert len(errors(a.ready())) == 1
    assert a.query("select 1") == [[b"1"]]


def test_a_changed_table_is_told_once(start_weir, postgres):
    weir = start_weir(postgres, pool_size=2, max_overflow=0)
    admin = weir.connect()
    admin.execute("drop table if exists migrated")
    admin.execute("create table migrated (a int)")

    async def program():
        clients = [await asyncpg.connect(weir.url().replace("+asyncpg", "")) for _ in range(3)]
        for db in clients:
            await db.fetch("select * from migrated")
        admin.execute("alter table migrated add b int")
        for db in clients:
            told = 0
            for _ in range(4):
                try:
                    rows = await db.fetch("select * from migrated")
                    assert rows == []
                except asyncpg.InvalidCachedStatementError:
                    told += 1
            assert told <= 1
        for db in clients:
            await db.close()

    asyncio.run(program())
    admin.close()


def test_flush_without_sync(weir):
    client = Client(weir.port).login()
    client.send(parse("s", "select $1::int"), describe(b"S", "s"), FLUSH)
    assert client.kinds(b"T") == b"1tT"
    client.send(bind("s", values=[b"3"]), execute(), FLUSH)
    assert client.kinds(b"C") == b"2DC"
    client.send(SYNC)
    assert client.kinds() == b"Z"


def test_a_simple_query_drops_the_unnamed_statement(weir):
    client = Client(weir.port).login()
    client.send(parse("", "select 1"), SYNC)
    client.ready()
    client.query("select 2")
    client.send(bind(""), SYNC)
    assert [e.code for e in errors(client.ready())] == ["26000"]


def test_psycopg_pipeline_mode(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0)
    with weir.connect(prepare_threshold=0) as db:
        with db.pipeline():
            cursors = [db.execute("select %s::int", [i]) for i in range(200)]
        assert [c.fetchone()[0] for c in cursors] == list(range(200))
        with pytest.raises(psycopg.errors.DivisionByZero):
            with db.pipeline():
                db.execute("select 1")
                db.execute("select 1/0")
                db.execute("select 2")
        assert db.execute("select 3").fetchone() == (3,)


def test_named_portals_in_a_transaction(weir):
    client = Client(weir.port).login()
    client.query("begin")
    client.send(parse("s", "select generate_series(1, 5)"), bind("s", "cursor"),
                execute("cursor", 2), SYNC)
    assert [k for k, _ in client.ready()] == [b"1", b"2", b"D", b"D", b"s", b"Z"]
    client.send(execute("cursor", 0), close(b"P", "cursor"), SYNC)
    assert [k for k, _ in client.ready()] == [b"D", b"D", b"D", b"C", b"3", b"Z"]
    client.query("commit")


def test_many_statements_in_one_write(weir):
    client = Client(weir.port).login()
    n = 3000
    client.send(*(parse(f"s{i}", f"select {i % 50}") + bind(f"s{i}") + execute() for i in range(n)), SYNC)
    assert client.rows(client.ready()) == [[str(i % 50).encode()] for i in range(n)]


def test_simple_and_extended_in_turns(weir):
    client = Client(weir.port).login()
    client.send(query("select 1"), parse("", "select 2"), bind(), execute(), SYNC, query("select 3"))
    assert client.rows(client.ready()) == [[b"1"]]
    assert client.rows(client.ready()) == [[b"2"]]
    assert client.rows(client.ready()) == [[b"3"]]


def refused(messages):
    return [(error.code, "client_memory" in error["M"]) for error in errors(messages)] == [("53200", True)]


def test_a_client_s_statements_are_bounded_in_bytes(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0, client_memory="256kB")
    client, other = Client(weir.port).login(), Client(weir.port).login()
    kept = 0
    while True:
        client.send(parse(f"s{kept}", f"select {kept} /* {'x' * 10_000} */"), SYNC)
        messages = client.ready()
        if errors(messages):
            break
        kept += 1
    assert 10 < kept < 26 and refused(messages)
    # What it has goes on to work, and so does what it gives up for another.
    client.send(bind("s3"), execute(), SYNC)
    assert client.rows(client.ready()) == [[b"3"]]
    assert client.query("select 1") == [[b"1"]]
    client.send(parse("", "select 'unnamed'"), bind(""), execute(), SYNC)
    assert client.rows(client.ready()) == [[b"unnamed"]]
    for _ in range(3):
        client.send(close(b"S", "s0"), parse("s0", f"select 0 /* {'y' * 10_000} */"), bind("s0"), execute(), SYNC)
        assert client.rows(client.ready()) == [[b"0"]]
        client.send(parse("more", f"select 0 /* {'z' * 10_000} */"), SYNC)
        assert refused(client.ready())
    # In the middle of a batch, and of a transaction, it is an error like another.
    client.send(parse("", "begin"), bind(""), execute(), SYNC)
    client.ready()
    client.send(bind("s1"), execute(), parse("more", f"select {'1' * 10_000}"), bind("s2"), execute(), SYNC)
    messages = client.ready()
    assert refused(messages)
    assert [kind for kind, _ in messages] == [b"2", b"D", b"C", b"E", b"Z"] and messages[-1] == (b"Z", b"E")
    client.query("rollback")
    other.send(parse("s", "select 'mine'"), bind("s"), execute(), SYNC)
    assert other.rows(other.ready()) == [[b"mine"]]
    client.query("deallocate all")
    client.send(parse("more", f"select 0 /* {'z' * 10_000} */"), bind("more"), execute(), SYNC)
    assert client.rows(client.ready()) == [[b"0"]]


def test_a_client_s_settings_count_too(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0, client_memory="64kB")
    client = Client(weir.port).login()
    for n in range(100):
        client.query(f"set app.v{n} = '{'x' * 1000}'")
    assert [row["pin"] for row in weir.console("show pins")] == ["settings"]
    assert client.query("select length(current_setting('app.v99'))") == [[b"1000"]]
    client.send(parse("s", "select 1"), SYNC)
    assert not errors(client.ready())
    client.send(parse("t", f"select 1 /* {'x' * 10_000} */"), SYNC)
    assert refused(client.ready())
    client.query("reset all")
    assert weir.console("show pins") == []
    client.send(parse("t", f"select 1 /* {'x' * 10_000} */"), SYNC)
    assert not errors(client.ready())


def moves(weir):
    return weir.log().count("event=moved")


def test_statements_stay_prepared_on_a_connection_that_goes_from_worker_to_worker(start_weir, postgres):
    weir = start_weir(postgres, weir="log_level = debug", workers=4, pool_size=1, max_overflow=0)

    async def program():
        # One on each worker.
        clients = [await asyncpg.connect(weir.url().replace("+asyncpg", "")) for _ in range(4)]
        seen, before = [], moves(weir)
        for i in range(5):
            for n, db in enumerate(clients):
                assert await db.fetchval("select $1::int * 10 + $2::int", n, i) == 10 * n + i
                assert await db.fetchval("select 'x' || $1::text", str(n)) == f"x{n}"
            seen.append(await clients[i % 4].fetch("select name, statement, prepare_time, pg_backend_pid()"
                                                   " from pg_prepared_statements where statement not like '%prepared%'"))
        assert moves(weir) - before >= 19, "it was to go round"
        for db in clients:
            await db.close()
        return seen

    seen = asyncio.run(program())
    assert len(seen[0]) == 2 and all(rows == seen[0] for rows in seen)


def test_the_statements_of_four_workers_are_not_mixed_up(start_weir, postgres):
    """Each worker counts its own, and prepares them on connections of the others."""
    weir = start_weir(postgres, weir="log_level = debug", workers=4, pool_size=3, max_overflow=0, prepared_statements=10)

    async def one(n):
        db = await asyncpg.connect(weir.url().replace("+asyncpg", ""))
        for i in range(60):
            k = (5 * n + i) % 16
            assert await db.fetchval(f"select {k} + $1::int + $2::int", n, i) == k + n + i
        await db.close()

    async def program():
        await asyncio.gather(*(one(n) for n in range(24)))

    asyncio.run(program())
    assert moves(weir) > 50
    assert max(row["prepared_statements"] for row in weir.console("show servers")) <= 10


def test_a_change_of_a_table_is_told_once_wherever_the_next_connection_comes_from(start_weir, postgres):
    weir = start_weir(postgres, weir="log_level = debug", workers=2, pool_size=2, max_overflow=0)
    with postgres.connect(dbname="app") as admin:
        admin.execute("create table grown (a int)")
        admin.execute("grant all on grown to app")
    # In turn on the one worker and the other.
    here, there, guard = (Client(weir.port).login() for _ in range(3))
    for client in (here, there):
        client.query("begin")
        client.send(parse("s", "select * from grown"), bind("s"), execute(), SYNC)
        assert client.rows(client.ready()) == []
    for client in (there, here):
        client.query("commit")
    with postgres.connect(dbname="app") as admin:
        admin.execute("alter table grown add b int")
    here.send(bind("s"), execute(), SYNC)
    assert [e.code for e in errors(here.ready())] == ["0A000"]
    before = moves(weir)
    guard.query("begin")
    here.send(bind("s"), execute(), SYNC)
    assert errors(here.ready()) == [] and moves(weir) == before + 1
    guard.query("commit")


def test_statements_that_are_too_much_to_go_along_are_prepared_again(start_weir, postgres):
    weir = start_weir(postgres, weir="log_level = debug", workers=2, pool_size=1, max_overflow=0)
    clients = [Client(weir.port).login() for _ in range(2)]
    for n, client in enumerate(clients):
        client.send(*(parse(f"s{i}", f"select {n} + {i} /* {'x' * 150_000} */") for i in range(5)), SYNC)
        assert errors(client.ready()) == []
    before = moves(weir)
    for _ in range(3):
        for n, client in enumerate(clients):
            client.send(*(message for i in range(5) for message in (bind(f"s{i}"), execute())), SYNC)
            assert client.rows(client.ready()) == [[str(n + i).encode()] for i in range(5)]
    assert moves(weir) > before
