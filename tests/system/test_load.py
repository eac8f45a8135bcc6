"""The load generator of tests/bench: it does what it is asked to, through weir and all, and says when it cannot."""

import json
import pathlib
import subprocess

import pytest
from conftest import WEIR_BIN

LOAD = pathlib.Path(WEIR_BIN).resolve().parent / "tests" / "bench" / "load"
ROWS = 50

pytestmark = pytest.mark.thorough


def load(protocol, port, work, clients=4, user="app", password="secret", command="run 60 0 40"):
    return subprocess.run([LOAD, protocol, str(port), user, password, "app", str(clients), work, str(ROWS)],
                          input=command + "\n", capture_output=True, text=True, timeout=60)


def answers(ended):
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


@pytest.fixture(scope="module")
def table(postgres):
    with postgres.connect(dbname="app", user="app") as db:
        db.execute("create table pgbench_accounts as select i as aid, 0 as abalance from generate_series(1, %s) i", [ROWS])
        db.execute("create table pgbench_lines (line text)")
    yield
    with postgres.connect(dbname="app", user="app") as db:
        db.execute("drop table pgbench_accounts, pgbench_lines")


@pytest.fixture(scope="module")
def mysql_table(database_server):
    rows = ", ".join(f"({i}, 0, 'c')" for i in range(1, ROWS + 1))
    database_server.execute("create table sbtest1 (id int primary key, k int, c char(120))",
                            f"insert into sbtest1 values {rows}", database="app")
    yield
    database_server.execute("drop table sbtest1", database="app")


@pytest.mark.parametrize("work", ["simple", "extended", "prepared", "pipeline", "copyin:1", "sql:select repeat('x', 300000)"])
def test_n_transactions_are_n(kept_weir, postgres, table, work):
    weir = kept_weir(postgres, pool_size=2, max_overflow=0)
    ready, done = answers(load("pgsql", weir.port, work))
    assert (ready["ready"], done["n"]) == (4, 40)
    assert 0 < done["p50"] <= done["p99"] <= done["p999"] <= done["seconds"] * 1e6


def test_transactions_of_five_statements_are_whole(kept_weir, postgres, table):
    weir = kept_weir(postgres, pool_size=2, max_overflow=0)
    before = postgres.query("select sum(abalance) from pgbench_accounts", dbname="app")[0][0]
    answers(load("pgsql", weir.port, "transaction"))
    assert postgres.query("select sum(abalance) from pgbench_accounts", dbname="app")[0][0] - before == 40


def test_rate_is_kept(kept_weir, postgres, table):
    weir = kept_weir(postgres, pool_size=2, max_overflow=0)
    _, done = answers(load("pgsql", weir.port, "simple", command="run 1 200 0"))
    assert 120 <= done["n"] <= 280


@pytest.mark.parametrize("user", ["app", "md5user"])
def test_each_login_is_one(start_weir, postgres, table, user):
    weir = start_weir(postgres, user="[user md5user]\npassword = md5-secret")
    password = {"app": "secret", "md5user": "md5-secret"}[user]
    ready, done = answers(load("pgsql", weir.port, "simple", 0, user, password, "logins 0.2 2"))
    assert ready["ready"] == 0 and done["n"] >= 2
    assert weir.log().count("event=login") >= done["n"]


def test_error_is_told(kept_weir, postgres, table):
    weir = kept_weir(postgres, pool_size=2, max_overflow=0)
    ended = load("pgsql", weir.port, "sql:select 1/0")
    assert ended.returncode == 1 and "division by zero" in ended.stderr
    ended = load("pgsql", weir.port, "simple", password="wrong")
    assert ended.returncode == 1 and "28P01" in ended.stderr


@pytest.mark.parametrize("work", ["simple", "prepared", "sql:select repeat('x', 300000)", "sql:select repeat('x', 17000000)"])
def test_n_transactions_of_mysql_are_n(kept_weir, database_server, mysql_table, work):
    weir = kept_weir(database_server, pool_size=2, max_overflow=0)
    ready, done = answers(load("mysql", weir.mysql_port, work, command="run 60 0 12"))
    assert (ready["ready"], done["n"]) == (4, 12)


def test_transactions_of_mysql_are_whole(kept_weir, database_server, mysql_table):
    weir = kept_weir(database_server, pool_size=2, max_overflow=0)
    before = database_server.query("select sum(k) from app.sbtest1")[0][0]
    answers(load("mysql", weir.mysql_port, "transaction"))
    assert database_server.query("select sum(k) from app.sbtest1")[0][0] - before == 40


def test_error_of_mysql_is_told(kept_weir, database_server, mysql_table):
    weir = kept_weir(database_server, pool_size=2, max_overflow=0)
    ended = load("mysql", weir.mysql_port, "sql:select * from nothing_there")
    assert ended.returncode == 1 and "nothing_there" in ended.stderr
