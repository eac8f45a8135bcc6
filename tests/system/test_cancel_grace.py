"""Cancels that the server does not carry out: what becomes of the statement's connection, and of its client."""

import signal
import threading
import time

import psycopg
import pytest
from conftest import wait_for

from sides import side_of

TIMEOUT, GRACE = 1, 0.4
# What a machine that runs other tests meanwhile may add.
LATE = 0.5

# It catches its cancels.
STUBBORN = """do $$ begin
    for i in 1 .. 1000 loop
        begin
            perform pg_sleep(1);
        exception when query_canceled then null;
        end;
    end loop;
end $$"""


@pytest.fixture
def stalled(side):
    """stalled(): from now on the server answers no cancel, nor anybody who connects."""
    yield side.stall
    side.go_on()


def start(start_weir, side, **options):
    side.clear()
    return start_weir(side.server, **({"pool_size": 1, "max_overflow": 0, "pool_pre_ping": "false",
                                       "cancel_grace": f"{GRACE * 1000:.0f}ms"} | options))


def timed(work, *args):
    begin = time.monotonic()
    result = work(*args)
    return time.monotonic() - begin, result


def closings(weir):
    return [line for line in weir.log().splitlines() if "server=" in line and "reason=cancel_grace" in line]


def test_query_timeout_of_a_statement_that_cannot_be_cancelled(start_weir, side, stalled):
    weir = start(start_weir, side, query_timeout=f"{TIMEOUT * 1000:.0f}ms", pool_timeout="20s")
    client = side.client(weir)
    client.run("select 1")
    before, = side.ids()
    client.start(side.sleep(60))
    begin = time.monotonic()
    side.wait_running("sleep")
    stalled()
    assert client.failure() == side.codes["query_timeout"]
    took = time.monotonic() - begin
    assert TIMEOUT + GRACE - 0.1 < took < TIMEOUT + GRACE + LATE, took
    line, = closings(weir)
    assert f"pid={before}" in line
    # The client's own connection is as good as ever.
    side.go_on()
    assert client.value("select 2") == "2"
    assert before not in side.ids() or side.name == "postgresql"


def test_one_that_obeys_in_time_keeps_its_connection(start_weir, side, stalled):
    weir = start(start_weir, side, query_timeout=f"{TIMEOUT * 1000:.0f}ms", cancel_grace="20s")
    client = side.client(weir)
    client.run("select 1")
    before = side.ids()
    client.start(side.sleep(60))
    side.wait_running("sleep")
    stalled()
    time.sleep(TIMEOUT + 0.3)
    side.go_on()
    assert client.failure() == side.codes["query_timeout"]
    assert client.value("select 2") == "2"
    assert side.ids() == before and not closings(weir)


def test_in_a_transaction_the_client_learns_that_it_is_lost(start_weir, side, stalled):
    weir = start(start_weir, side, query_timeout=f"{TIMEOUT * 1000:.0f}ms", pool_timeout="20s")
    side.table("ungraceful")
    client = side.client(weir)
    client.run("begin")
    client.run("insert into ungraceful values (1)")
    client.start(side.sleep(60))
    side.wait_running("sleep")
    stalled()
    assert client.failure() == side.codes["query_timeout"]
    side.go_on()
    # It must not go on as if the first half were there.
    expected = side.codes.get("failed", side.codes["transaction_timeout"])
    assert client.fails("insert into ungraceful values (2)") == expected
    client.run("rollback")
    assert client.value("select count(*) from ungraceful") == "0"


@pytest.mark.parametrize("vanish", ["close", "reset"])
def test_a_vanished_client_s_statement_that_cannot_be_cancelled(start_weir, side, stalled, vanish):
    weir = start(start_weir, side)
    client = side.client(weir)
    client.start(side.sleep(60))
    side.wait_running("sleep")
    before, = side.ids()
    stalled()
    getattr(client, vanish)()
    took, _ = timed(wait_for, lambda: closings(weir), "the connection to be given up")
    assert GRACE - 0.1 < took < GRACE + LATE, took
    side.go_on()
    other = side.client(weir)
    assert other.value("select 3") == "3"
    assert f"pid={before}" in closings(weir)[0]


def test_a_cancel_that_may_still_come_is_met_by_nobody_else(start_weir, postgres):
    """The statement has ended by itself, and its cancel still waits at the server's door."""
    side = side_of(postgres)
    weir = start(start_weir, side, connect_timeout="300ms", pool_timeout="20s")
    client, other = side.client(weir), side.client(weir)
    before = client.value("select pg_backend_pid()")
    client.start(side.sleep(0.2))
    side.wait_running("pg_sleep")
    side.stall()
    try:
        side.cancel(weir, client)
        client.finish()
        other.start("select pg_backend_pid() from pg_sleep(0.5)")
        wait_for(lambda: "reason=stray_cancel" in weir.log(), "the connection to be given up")
    finally:
        side.go_on()
    # The cancel reaches a process that serves nobody.
    assert other.finish() != before


def test_weir_stops_although_a_cancel_is_not_answered(start_weir, side, stalled):
    weir = start(start_weir, side, connect_timeout="1s")
    client = side.client(weir)
    client.start(side.sleep(60))
    side.wait_running("sleep")
    stalled()
    client.reset()
    wait_for(lambda: closings(weir), "the connection to be given up")
    weir.process.send_signal(signal.SIGTERM)
    took, _ = timed(weir.process.wait, 20)
    assert took < 6, took


def test_cancels_that_hang_do_not_hold_up_those_of_another_server(request, start_weir, side, stalled):
    """A few threads cancel; each of them is soon free again, and does not take up what has lost its point."""
    healthy = request.getfixturevalue("own_postgres" if side.name == "postgresql" else "postgres")
    side.clear()
    weir = start_weir(
        ini="[weir]\nlisten_postgresql = 127.0.0.1:@PORT@\nlisten_mysql = 127.0.0.1:@MYSQL_PORT@\nworkers = 1\n"
            "admin_users = app\n[defaults]\ncancel_grace = 400ms\nconnect_timeout = 2s\npool_size = 60\n"
            f"[database app]\nurl = {side.server.url()}\n[database healthy]\nurl = {healthy.url()}\n")
    clients = [side.client(weir) for _ in range(60)]
    for client in clients:
        client.start(side.sleep(60))
    wait_for(lambda: len(side.running("sleep")) == 60, "all to run")
    with weir.connect(dbname="healthy") as db:
        db.execute("select 1")
        db.execute("set statement_timeout = 0")
        stalled()
        for client in clients:
            client.reset()
        timer = threading.Timer(0.1, db.cancel)
        timer.start()
        took, error = timed(execute_cancelled, db)
        timer.join()
    assert "user request" in error and took < 5, (took, error)


def execute_cancelled(db):
    with pytest.raises(psycopg.errors.QueryCanceled) as error:
        db.execute("select pg_sleep(30)")
    return str(error.value)


# --- a statement that will not be cancelled ---

def test_query_timeout_of_a_stubborn_statement(start_weir, postgres):
    side = side_of(postgres)
    weir = start(start_weir, side, query_timeout="1s")
    client = side.client(weir)
    took, code = timed(client.fails, STUBBORN)
    assert code == "57014" and TIMEOUT + GRACE - 0.01 < took < TIMEOUT + GRACE + LATE, (took, code)
    assert client.value("select 2") == "2"


def test_a_vanished_client_s_stubborn_statement(start_weir, postgres):
    side = side_of(postgres)
    weir = start(start_weir, side)
    client = side.client(weir)
    client.start(STUBBORN)
    side.wait_running("query_canceled")
    client.reset()
    took, _ = timed(wait_for, lambda: closings(weir), "the connection to be given up")
    assert GRACE - 0.1 < took < GRACE + LATE, took
    assert side.client(weir).value("select 2") == "2"


def test_each_statement_of_a_vanished_pipeline_has_its_own_grace(start_weir, postgres):
    """One after the other obeys, and all together take longer than cancel_grace."""
    side = side_of(postgres)
    weir = start(start_weir, side, cancel_grace="250ms")
    client = side.client(weir)
    before = client.value("select pg_backend_pid()")
    slow = "do $$ begin perform pg_sleep(60); exception when query_canceled then perform pg_sleep(0.15); end $$"
    client.start("select 'first', pg_sleep(60)")
    side.wait_running("first")
    for _ in range(4):
        client.start(slow)
    client.reset()
    assert side.client(weir).value("select pg_backend_pid()") == before
