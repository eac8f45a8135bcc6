"""What goes through: queries of every kind and size, COPY, FunctionCall, notices."""

import asyncio
import io
import struct

import asyncpg
import psycopg
import pytest

from wire import SYNC, Client, Error, bind, execute, message, parse, query


def test_many_syncs_in_flight(weir):
    client = Client(weir.port).login()
    n = 500
    client.send(*(parse("", f"select {i}") + bind() + execute() + SYNC for i in range(n)))
    for i in range(n):
        assert client.rows(client.ready()) == [[str(i).encode()]]


def test_one_byte_at_a_time(weir):
    client = Client(weir.port).login()
    data = (query("select 'simple'") + parse("s", "select 'extended', $1::text")
            + bind("s", values=[b"v"]) + execute() + SYNC)
    for i in range(len(data)):
        client.send(data[i:i + 1])
    assert client.rows(client.ready()) == [[b"simple"]]
    assert client.rows(client.ready()) == [[b"extended", b"v"]]


def test_multiple_statements_and_empty_queries(weir):
    client = Client(weir.port).login()
    client.send(query("select 1; select 2; ; select 3"))
    assert client.rows(client.ready()) == [[b"1"], [b"2"], [b"3"]]
    client.send(query(""), query(" ; "))
    assert client.kinds() == b"IZ"
    assert client.kinds() == b"IZ"
    client.send(parse("", ""), bind(), execute(), SYNC)
    assert client.kinds() == b"12IZ"


@pytest.mark.parametrize("megabytes", [1, pytest.param(100, marks=pytest.mark.thorough)])
def test_large_values_both_ways(weir, megabytes):
    size = megabytes << 20
    with weir.connect() as db:
        value = db.execute("select repeat('x', %s)", [size]).fetchone()[0]
        assert len(value) == size
        assert db.execute("select length(%s::text)", ["y" * size]).fetchone() == (size,)
        literal = "z" * size
        assert db.execute(f"select length('{literal}')").fetchone() == (size,)
        assert db.execute("select 1").fetchone() == (1,)


def test_many_rows(weir):
    with weir.connect() as db:
        rows = db.execute("select i, repeat('x', i % 300) from generate_series(1, 100000) i").fetchall()
        assert len(rows) == 100000
        assert all(len(text) == i % 300 for i, text in rows)


def test_copy_in_and_out(weir):
    with weir.connect() as db:
        db.execute("drop table if exists copied")
        db.execute("create table copied (a int, b text)")
        with db.cursor().copy("copy copied from stdin") as copy:
            for i in range(100000):
                copy.write_row((i, f"row {i}"))
        assert db.execute("select count(*), max(a) from copied").fetchone() == (100000, 99999)
        with db.cursor().copy("copy (select * from copied order by a) to stdout") as copy:
            rows = list(copy.rows())
        assert len(rows) == 100000 and rows[-1] == ("99999", "row 99999")


def test_asyncpg_copies_records(weir):
    async def program():
        db = await asyncpg.connect(weir.url().replace("+asyncpg", ""))
        await db.execute("drop table if exists records")
        await db.execute("create table records (a int, b text)")
        await db.copy_records_to_table("records", records=[(i, str(i)) for i in range(10000)])
        out = io.BytesIO()
        await db.copy_from_query("select * from records", output=out)
        assert out.getvalue().count(b"\n") == 10000
        await db.close()

    asyncio.run(program())


def test_copy_that_fails_at_the_server(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0)
    client = Client(weir.port).login()
    client.query("drop table if exists numbers; create table numbers (n int)")
    client.send(query("copy numbers from stdin"))
    assert client.receive()[0] == b"G"
    client.send(message(b"d", b"not a number\n"), *([message(b"d", b"1\n")] * 1000))
    kinds = client.kinds()
    assert kinds == b"EZ"
    # What is still on its way belongs to nobody.
    other = Client(weir.port).login()
    assert other.query("select 1") == [[b"1"]]
    client.send(message(b"d", b"2\n"), message(b"c"))
    assert client.query("select count(*) from numbers") == [[b"0"]]
    assert other.query("select 2") == [[b"2"]]


def test_copy_that_the_client_gives_up(weir):
    client = Client(weir.port).login()
    client.query("drop table if exists given_up; create table given_up (n int)")
    client.send(query("copy given_up from stdin"))
    assert client.receive()[0] == b"G"
    client.send(message(b"d", b"1\n"), message(b"f", b"changed my mind\0"))
    messages = client.ready()
    assert Error(messages[0][1]).code == "57014"
    assert client.query("select count(*) from given_up") == [[b"0"]]


def test_copy_through_the_extended_protocol(weir):
    client = Client(weir.port).login()
    client.query("drop table if exists extended; create table extended (n int)")
    # As libpq does: a Sync before the data, which the server ignores, and one behind it.
    client.send(parse("", "copy extended from stdin"), bind(), execute(), SYNC)
    assert client.kinds(b"G") == b"12G"
    client.send(message(b"d", b"1\n2\n"), message(b"c"), SYNC)
    assert client.kinds() == b"CZ"
    assert client.query("select sum(n) from extended") == [[b"3"]]
    # All at once.
    client.send(parse("", "copy extended from stdin"), bind(), execute(),
                message(b"d", b"4\n"), message(b"c"), SYNC)
    assert client.kinds() == b"12GCZ"
    assert client.query("select sum(n) from extended") == [[b"7"]]


def test_copy_out_is_left_in_the_middle(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0)
    client = Client(weir.port).login()
    client.send(query("copy (select repeat('x', 1000) from generate_series(1, 1000000)) to stdout"))
    assert client.receive()[0] == b"H"
    client.close()
    assert weir.connect().execute("select 1").fetchone() == (1,)


def test_function_call(weir):
    client = Client(weir.port).login()
    oid = int(client.query("select 'int4pl'::regproc::oid::int")[0][0])
    content = struct.pack("!IHHH", oid, 1, 1, 2)
    content += struct.pack("!Ii", 4, 40) + struct.pack("!Ii", 4, 2) + struct.pack("!H", 1)
    client.send(message(b"F", content))
    kinds = client.ready()
    assert [k for k, _ in kinds] == [b"V", b"Z"]
    assert kinds[0][1] == struct.pack("!Ii", 4, 42)


def test_notices_come_through(weir):
    with weir.connect() as db:
        notices = []
        db.add_notice_handler(lambda d: notices.append(d.message_primary))
        db.execute("do $$ begin raise notice 'look'; end $$")
        assert notices == ["look"]


def test_notifications_come_through(weir):
    with weir.connect() as listener, weir.connect() as sender:
        listener.execute("listen news")
        sender.execute("notify news, 'hello'")
        found = next(listener.notifies(timeout=10))
        assert (found.channel, found.payload) == ("news", "hello")


def test_a_slow_reader_of_a_large_result_keeps_nothing_in_memory(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0)

    def resident():
        with open(f"/proc/{weir.process.pid}/statm") as f:
            return int(f.read().split()[1]) * 4096

    client = Client(weir.port).login()
    before = resident()
    client.send(query("select repeat('x', 10000) from generate_series(1, 20000)"))
    client.read(5_000_000)
    assert resident() - before < 20 << 20
    assert len(client.rows([(b"x", b"")])) == 0
    client.close()
    with weir.connect() as db:
        assert db.execute("select 1").fetchone() == (1,)


def test_a_failed_transaction_stays_failed_until_rollback(weir):
    with weir.connect(autocommit=False) as db:
        with pytest.raises(psycopg.errors.DivisionByZero):
            db.execute("select 1/0")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            db.execute("select 1")
        db.rollback()
        assert db.execute("select 1").fetchone() == (1,)
        db.rollback()
