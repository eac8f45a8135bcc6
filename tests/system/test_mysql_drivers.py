"""Each driver, with nothing changed but the port."""

import datetime
import decimal

import mysql_drivers
import pytest
from mysql_drivers import DRIVERS, ERRORS, number

pytestmark = [pytest.mark.parametrize("driver", DRIVERS), pytest.mark.thorough]


@pytest.fixture
def db(via, driver):
    connection = mysql_drivers.connect(driver, via.port)
    yield connection
    connection.close()


def test_values_come_back_as_they_went(via, db):
    via.table("kept", "id int auto_increment primary key, s text, n bigint, d decimal(20,5), t datetime(6), b blob,"
              " f double")
    row = ("naïve 😀 '\"\\\n", -2**63, decimal.Decimal("12345678901.12345"),
           datetime.datetime(2026, 2, 3, 4, 5, 6, 789), bytes(range(256)), 0.1)
    # unhex: aiomysql 0.3.2 cannot send bytes with a PyMySQL of 2026.
    db.run("insert into kept (s, n, d, t, b, f) values (%s, %s, %s, %s, unhex(%s), %s)",
           (*row[:4], row[4].hex(), row[5]))
    db.run("insert into kept (s) values (%s)", (None,))
    assert db.lastrowid == 2
    assert db.run("select s, n, d, t, b, f from kept order by id") == [row, (None,) * 6]


def test_autocommit_off_means_a_transaction(via, db):
    via.table("ledger", rows="(1, 'kept')")
    db.run("update ledger set name = 'lost' where id = 1")
    db.rollback()
    assert db.run("select name from ledger") == [("kept",)]
    db.run("insert into ledger values (2, 'added')")
    assert via.server.query("select count(*) from app.ledger")[0][0] == 1
    db.commit()
    assert via.server.query("select count(*) from app.ledger")[0][0] == 2


def test_many_rows(via, db):
    via.table("many")
    db.many("insert into many (id, name) values (%s, %s)", [(n, f"name {n}") for n in range(2000)])
    db.commit()
    assert db.run("select count(*), sum(id) from many") == [(2000, 1999000)]
    assert [row[0] for row in db.stream("select id from many order by id")] == list(range(2000))
    assert db.run("select 1") == [(1,)]


def test_errors_keep_their_number_and_the_connection(via, db):
    via.table("taken", rows="(1, 'first')")
    for sql, expected in (
            ("selec 1", 1064), ("select * from nowhere", 1146), ("insert into taken values (1, 'again')", 1062),
            ("select nothing from taken", 1054), ("insert into taken values (2, repeat('x', 51))", 1406)):
        with pytest.raises(ERRORS) as error:
            db.run(sql)
        assert number(error.value) == expected
        db.rollback()
        assert db.run("select 1") == [(1,)]


def test_pings(db):
    db.ping()
    assert db.run("select 1") == [(1,)]
    db.ping()


def test_megabytes_both_ways(db):
    text = "x" * 5_000_000
    assert db.run("select %s, length(%s)", (text, text)) == [(text, 5_000_000)]


def test_the_number_of_changed_rows(via, db):
    via.table("counted", rows="(1, 'a'), (2, 'a'), (3, 'b')")
    db.run("update counted set name = 'c' where name = 'a'")
    assert db.rowcount == 2


def test_a_wrong_password(via, driver):
    with pytest.raises(ERRORS) as error:
        mysql_drivers.connect(driver, via.port, password="wrong")
    assert number(error.value) == 1045


def test_clients_take_turns_on_one_server_connection(kept_weir, database_server, driver):
    weir = kept_weir(database_server, pool_size=1, max_overflow=0, pool_timeout="3s")
    clients = [mysql_drivers.connect(driver, weir.mysql_port, autocommit=True) for _ in range(5)]
    clients[0].run("select 1")
    n_logins = database_server.logins()
    for turn in range(3):
        for n, client in enumerate(clients):
            assert client.run(f"select {turn * 10 + n}") == [(turn * 10 + n,)]
    assert database_server.connections() == 1
    assert database_server.logins() == n_logins
    for client in clients:
        client.close()
