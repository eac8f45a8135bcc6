"""A server connection changes hands when nothing of its last client is under way any more: no cancel, no answer."""

import asyncio
import socket
import struct
import threading

import aiomysql
import asyncmy
import mysql_wire
import pytest
from conftest import wait_for

from sides import Failure, MySQL, side_of


def cancel(weir, client):
    """A CancelRequest, whose end says that weir has taken it."""
    with socket.create_connection(("127.0.0.1", weir.port), 20) as s:
        s.sendall(struct.pack("!II", len(client.key) + 8, 80877102) + client.key)
        assert s.recv(1) == b""


# --- cancels ---

@pytest.fixture
def side_stalled(postgres):
    """A server that takes no cancel until it goes on."""
    side = side_of(postgres)
    side.clear()
    yield side
    side.go_on()


def cancel_on_its_way(weir, side, client):
    """The statement of `client` has ended, and its cancel has not arrived."""
    client.start(side.sleep(0.3))
    side.wait_running("pg_sleep")
    side.stall()
    cancel(weir, client)
    client.finish()


def test_nobody_gets_a_connection_to_which_a_cancel_is_on_its_way(start_weir, side_stalled):
    side = side_stalled
    weir = start_weir(side.server, pool_size=1, max_overflow=0, connect_timeout="20s")
    client, other = side.client(weir), side.client(weir)
    before = client.value("select pg_backend_pid()")
    cancel_on_its_way(weir, side, client)
    other.start("select pg_backend_pid() from pg_sleep(0.3)")
    wait_for(lambda: [row["state"] for row in weir.console("show servers")] == ["being_canceled"], "it to be held")
    assert weir.pool()["cl_waiting"] == 1
    side.go_on()
    assert other.finish() == before


def test_in_session_mode_a_client_s_own_next_statement_waits_for_its_cancel(start_weir, side_stalled):
    side = side_stalled
    weir = start_weir(side.server, pool_mode="session", pool_size=1, max_overflow=0, connect_timeout="20s")
    client = side.client(weir)
    before = client.value("select pg_backend_pid()")
    cancel_on_its_way(weir, side, client)
    client.start("select pg_backend_pid() from pg_sleep(0.3)")
    client.socket.settimeout(0.5)
    with pytest.raises(TimeoutError):
        client.finish()
    side.go_on()
    client.socket.settimeout(20)
    assert client.finish() == before


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_start_and_cancel_at_any_moment(start_weir, postgres, mode):
    """Forty at once; what each runs next is its own, and is not cancelled."""
    side = side_of(postgres)
    side.clear()
    n_servers = 40 if mode == "session" else 4
    weir = start_weir(side.server, workers=2, pool_mode=mode, pool_size=n_servers, max_overflow=0, pool_timeout="1min")
    wrong, n_cancelled = [], []

    def work(n):
        client = side.client(weir)
        client.socket.settimeout(60)
        for i in range(15):
            client.start(f"select '{n}-{i}' from pg_sleep({(0, 0.001, 0.005, 0.02)[i % 4]})")
            cancel(weir, client)
            try:
                if client.finish() != f"{n}-{i}":
                    wrong.append((n, i))
            except Failure as failure:
                n_cancelled.append(failure.code)
            try:
                if client.value(f"select 'next {n}-{i}' from pg_sleep(0.001)") != f"next {n}-{i}":
                    wrong.append((n, i, "next"))
            except Failure as failure:
                wrong.append((n, i, failure))
        client.close()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and set(n_cancelled) == {"57014"}
    # A client may be through before the last one comes, which then has its connection.
    wait_for(lambda: weir.pool()["sv_active"] == 0 and weir.pool()["sv_idle"] == side.server.connections(),
             "all connections to be free")


# --- a driver that is out of step ---

@pytest.fixture
def out_of_step(start_weir, database_server):
    side = MySQL(database_server)
    side.clear()
    return side, start_weir(database_server, pool_size=1, max_overflow=0)


@pytest.fixture
def many_out_of_step(start_weir, database_server):
    side = MySQL(database_server)
    side.clear()
    return side, start_weir(database_server, pool_size=30, cancel_grace="20s")


def overlaps(weir):
    return [line for line in weir.log().splitlines() if "event=overlap" in line]


def test_a_command_before_the_last_answer_closes_the_client(out_of_step):
    side, weir = out_of_step
    client, other = side.client(weir), side.client(weir)
    client.run("select 1")
    before = side.ids()
    client.start("select 'the \"first\"\n' /* " + "x" * 300 + " */, sleep(30) from one_row")
    side.wait_running("sleep")
    client.start("select 'the second'")
    with pytest.raises((mysql_wire.Closed, Failure)):
        client.finish()
    line, = overlaps(weir)
    # Both statements, in one line, escaped and shortened.
    assert "the second" in line and "first" in line and "x" * 150 not in line and len(line) < 500
    # Its connection serves others, cancelled and drained.
    assert other.value("select 'mine'") == "mine" and side.ids() == before
    assert not side.running("sleep")


def test_the_log_does_not_grow_with_each_of_them(many_out_of_step):
    side, weir = many_out_of_step
    # They all wait for their answer first, so that what they send next is no pipeline.
    clients = [side.client(weir) for _ in range(30)]
    for client in clients:
        client.start(side.sleep(30))
    wait_for(lambda: len(side.running("sleep")) == 30, "all to run")
    for client in clients:
        client.start("select 2")
    for client in clients:
        with pytest.raises((mysql_wire.Closed, Failure)):
            client.finish()
    wait_for(lambda: not side.running("sleep"), "all to be cancelled")
    assert 1 <= len(overlaps(weir)) <= 20


@pytest.mark.parametrize("driver", [asyncmy, aiomysql])
def test_a_driver_that_goes_on_after_a_timeout_gets_nothing_that_is_not_its_own(out_of_step, driver):
    side, weir = out_of_step

    async def program():
        db = await driver.connect(host="127.0.0.1", port=weir.mysql_port, user="app", password="secret", db="app")
        cursor = db.cursor()
        if driver is aiomysql:
            cursor = await cursor
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(cursor.execute("select 'stale' from one_row where sleep(1) = 0"), 0.2)
        try:
            await asyncio.wait_for(cursor.execute("select 'fresh'"), 10)
            return (await cursor.fetchone())[0]
        except Exception as error:
            return type(error)

    found = asyncio.run(program())
    assert found != "stale"
    assert found == "fresh" or issubclass(found, Exception), found
