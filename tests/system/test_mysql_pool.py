"""The pool and its limits, watched from the server; errors that weir itself makes; KILL; clients that vanish."""

import contextlib
import signal
import socket
import struct
import threading
import time

import mysql_wire as wire
import pytest
from conftest import Via, wait_for


@pytest.fixture
def pool(kept_weir, database_server):
    """pool(pool_size=1, ...): weir on a server that the test leaves running."""
    return lambda **options: Via(database_server, kept_weir(
        database_server, **({"pool_size": 1, "max_overflow": 0} | options)))


@pytest.fixture
def fresh_pool(start_weir, database_server):
    """The same with a weir of the test's own."""
    return lambda **options: Via(database_server, start_weir(
        database_server, **({"pool_size": 1, "max_overflow": 0} | options)))


@pytest.fixture
def own_pool(start_weir, own_database_server):
    """The same on a server that the test may stop."""
    return lambda **options: Via(own_database_server, start_weir(
        own_database_server, **({"pool_size": 1, "max_overflow": 0} | options)))


def warm_logins(via):
    """How many logins the server has seen when weir has its connection."""
    with via.raw() as client:
        client.query("select 1")
    return via.server.logins()


def error_of(work, *args):
    with pytest.raises(wire.Error) as error:
        work(*args)
    return error.value.code, error.value.state


def running(via, text):
    """Whether the server works on such a statement."""
    return [row for row in via.server.processes() if row[3] and text in row[3]]


def say_slow(client, seconds=20):
    client.command(wire.QUERY, f"select sleep({seconds}) from one_row")


def finish(client):
    """The answer to a statement that was killed: MariaDB's error, as MySQL's of a SELECT FROM a table."""
    with pytest.raises(wire.Error) as error:
        client.result()
    return error.value.code, error.value.state


def one_row(via):
    return via.table("one_row", "n int", "(1)")


# Limits

def test_never_more_connections_than_the_limit(pool):
    via = pool(pool_size=2, max_overflow=1)
    most = 0
    stop = threading.Event()

    def work():
        with via.raw() as client:
            while not stop.is_set():
                client.query("begin")
                client.query("do sleep(0.002)")
                client.query("commit")

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        most = max(most, via.server.connections())
    stop.set()
    for thread in threads:
        thread.join(20)
    assert most == 3


def test_waiting_clients_are_served_first_come_first_served(pool):
    via = pool()
    one_row(via)
    holder = via.raw()
    holder.query("begin")
    waiters = []
    for n in range(5):
        client = via.raw()
        client.command(wire.QUERY, f"select {n}, n from one_row")
        wait_for(lambda: int(via.weir.mysql_console("show pools")[0]["cl_waiting"]) > n, "the queue")
        waiters.append(client)
    holder.query("commit")
    for n, client in enumerate(waiters):
        assert client.result() == [[str(n).encode(), b"1"]]
        client.close()
    holder.close()


def test_pool_timeout_costs_the_client_nothing_but_the_statement(pool):
    via = pool(pool_timeout="200ms")
    with via.raw() as holder, via.raw() as waiter:
        waiter.query("set sql_mode = 'ANSI_QUOTES'")
        holder.query("begin")
        holder.ping()
        with pytest.raises(wire.Error) as error:
            waiter.query("select 1")
        assert (error.value.code, error.value.state) == (1203, "42000")
        assert "weir" in error.value.text and "idle in transaction" in error.value.text
        assert error_of(waiter.prepare, "select 1") == (1203, "42000")
        holder.query("commit")
        assert waiter.value("select @@sql_mode") == "ANSI_QUOTES"


def test_max_clients(start_weir, database_server):
    weir = start_weir(database_server, weir="max_clients = 2")
    with wire.Client(weir.mysql_port) as a, wire.Client(weir.mysql_port) as b:
        with pytest.raises(wire.Error) as error:
            wire.Client(weir.mysql_port)
        assert (error.value.code, error.value.state) == (1040, "08004")
        assert a.value("select 1") == b.value("select 1") == "1"


def test_idle_connections_are_kept_and_overflow_ones_closed(pool):
    via = pool(pool_size=1, max_overflow=2, overflow_linger="100ms")
    clients = [via.raw() for _ in range(3)]
    for client in clients:
        client.query("begin")
        client.query("do 1")
    assert via.server.connections() == 3
    for client in clients:
        client.query("rollback")
        client.close()
    wait_for(lambda: via.server.connections() == 1, "the overflow to go")


# Timeouts

def test_query_timeout(pool):
    via = pool(query_timeout="300ms")
    one_row(via)
    with via.raw() as client:
        for _ in range(3):
            say_slow(client)
            started = time.monotonic()
            assert finish(client) == (3024, "HY000")
            assert time.monotonic() - started < 5
            assert client.value("select 1") == "1"
        assert not running(via, "sleep")
        assert via.server.connections() == 1


def test_idle_in_transaction_timeout(pool):
    via = pool(idle_in_transaction_timeout="200ms")
    via.table("idled", rows="(1, 'a')")
    with via.raw() as client, via.raw() as other:
        client.query("begin")
        client.query("update idled set name = 'b'")
        assert other.value("select name from idled") == "a"
        assert error_of(client.query, "select * from idled") == (1213, "40001")
        client.query("rollback")
        assert client.value("select name from idled") == "a"
    assert via.server.connections() == 1


def test_transaction_timeout(pool):
    via = pool(transaction_timeout="300ms")
    via.table("idled", rows="(1, 'a')")
    with via.raw() as client, via.raw() as other:
        client.query("begin")
        client.query("update idled set name = 'b'")
        assert other.value("select name from idled") == "a"
        assert error_of(client.query, "select 1") == (1213, "40001")
        assert client.value("select name from idled") == "a"


def test_client_idle_timeout(pool):
    via = pool(client_idle_timeout="300ms")
    client = via.raw()
    client.query("select 1")
    assert client.farewell() == (4031, "HY000")


def test_what_weir_answers_itself_keeps_a_client_from_being_idle(pool):
    via = pool(client_idle_timeout="400ms")
    client = via.raw()
    client.query("select 1")
    until = time.monotonic() + 1
    while time.monotonic() < until:
        client.ping()
        client.query("rollback")
    assert client.value("select 2") == "2"
    assert client.farewell() == (4031, "HY000")


def test_the_server_s_wait_timeout_does_not_reach_the_client(fresh_pool):
    """MySQL says farewell with an error 4031 that nobody asked for."""
    via = fresh_pool()
    via.server.execute("set global wait_timeout = 1")
    try:
        with via.raw() as client:
            client.query("set @@session.sql_mode = 'ANSI_QUOTES'")
            wait_for(lambda: not via.server.processes(), "the server to close it")
            assert client.value("select @@sql_mode") == "ANSI_QUOTES"
    finally:
        via.server.execute("set global wait_timeout = 28800")


# The server goes away

def test_a_restart_while_idle_is_not_seen(own_pool):
    via = own_pool(pool_size=3)
    clients = [via.raw() for _ in range(6)]
    statement = clients[0].prepare("select concat(?, 'x')")
    for client in clients:
        client.query("select 1")
    clients[1].query("set sql_mode = 'ANSI_QUOTES'")
    via.server.stop()
    via.server.start()
    for n, client in enumerate(clients):
        assert client.value(f"select {n}") == str(n)
    assert wire.strings(clients[0].execute(statement, "a")[0], 1) == [b"ax"]
    assert clients[1].value("select @@sql_mode") == "ANSI_QUOTES"
    for client in clients:
        client.close()


def test_a_server_that_is_away_for_a_moment(own_pool):
    via = own_pool(pool_timeout="1s")
    with via.raw() as client:
        via.server.stop(signal.SIGKILL)
        assert error_of(client.query, "select 1") == (1429, "HY000")
        via.server.start()
        wait_for(lambda: answers(client), "weir to connect again")


def answers(client):
    with contextlib.suppress(wire.Error):
        return client.value("select 1") == "1"


def test_a_server_killed_while_it_works(own_pool):
    via = own_pool()
    one_row(via)
    with via.raw() as client:
        say_slow(client)
        wait_for(lambda: running(via, "sleep"), "the statement")
        via.server.stop(signal.SIGKILL)
        assert finish(client) == (1927, "70100")
        via.server.start()
        wait_for(lambda: answers(client), "weir to connect again")


def test_a_server_killed_between_the_statements_of_a_transaction(own_pool):
    via = own_pool()
    with via.raw() as client:
        client.query("begin")
        client.query("select 1")
        via.server.stop(signal.SIGKILL)
        via.server.start()
        assert error_of(client.query, "select 1") == (1927, "70100")
        wait_for(lambda: answers(client), "weir to connect again")
        assert not client.ping().status & wire.IN_TRANS


def test_an_orderly_stop_of_the_server_while_it_works(own_pool):
    via = own_pool()
    one_row(via)
    with via.raw() as client:
        say_slow(client)
        wait_for(lambda: running(via, "sleep"), "the statement")
        via.server.stop()
        code, state = finish(client)
        assert code in (1927, 1053, 1317) and state in ("70100", "08S01")
        via.server.start()
        wait_for(lambda: answers(client), "weir to connect again")


def test_a_server_that_was_never_there(start_weir, mariadb):
    ini = ("[weir]\nlisten_postgresql = 127.0.0.1:@PORT@\nlisten_mysql = 127.0.0.1:@MYSQL_PORT@\nworkers = 1\n"
           "[database app]\nurl = mysql://app:secret@127.0.0.1:1/app\nconnect_timeout = 1s\npool_timeout = 1s\n")
    weir = start_weir(ini=ini)
    with pytest.raises(wire.Error) as error:
        wire.Client(weir.mysql_port).query("select 1")
    assert (error.value.code, error.value.state) == (1429, "HY000")


# Clients go away

def test_a_client_that_vanishes_in_a_transaction(pool):
    via = pool()
    via.table("vanished", rows="(1, 'a')")
    n_logins = warm_logins(via)
    for _ in range(5):
        client = via.raw()
        client.query("begin")
        client.query("update vanished set name = 'b'")
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        with via.raw() as other:
            assert other.value("select name from vanished for update") == "a"
    assert via.server.logins() == n_logins


def test_a_client_that_vanishes_during_its_statement(pool):
    via = pool()
    one_row(via)
    n_logins = warm_logins(via)
    for _ in range(5):
        client = via.raw()
        say_slow(client)
        wait_for(lambda: running(via, "sleep"), "the statement")
        client.close()
        wait_for(lambda: not running(via, "sleep"), "the statement to be killed")
        with via.raw() as other:
            assert other.value("select 1") == "1"
    # The connection is the same; KILL came by another that is no part of the pool.
    assert via.server.connections() <= 2
    assert via.server.logins() <= n_logins + 5


def test_a_client_that_vanishes_in_the_queue(pool):
    via = pool()
    with via.raw() as holder:
        holder.query("begin")
        holder.query("select 1")
        for _ in range(5):
            client = via.raw()
            client.command(wire.QUERY, "create table app.never (n int)")
            wait_for(lambda: int(via.weir.mysql_console("show pools")[0]["cl_waiting"]), "the queue")
            client.close()
            wait_for(lambda: not int(via.weir.mysql_console("show pools")[0]["cl_waiting"]), "the queue to be empty")
        holder.query("rollback")
    with via.raw() as other:
        with pytest.raises(wire.Error, match="1146"):
            other.query("select * from never")


def test_a_client_that_vanishes_in_the_middle_of_a_result(pool):
    via = pool()
    warm_logins(via)
    n_opened = via.weir.log().count("event=opened")
    for n in range(3):
        client = via.raw()
        client.command(wire.QUERY, "select repeat('x', 1000) from information_schema.collations a,"
                                   " information_schema.collations b")
        client.receive()
        client.close()
        with via.raw() as other:
            assert other.value(f"select {n}") == str(n)
    # The server sees more logins than that: each KILL QUERY has a connection of its own.
    assert via.weir.log().count("event=opened") == n_opened


def test_half_a_close_is_a_goodbye(pool):
    """A client that will send no more, while the server works for it, is gone for weir: so is its statement."""
    via = pool()
    one_row(via)
    with via.raw() as client, via.raw() as other:
        say_slow(client)
        wait_for(lambda: running(via, "sleep"), "the statement")
        client.socket.shutdown(socket.SHUT_WR)
        assert client.is_closed()
        wait_for(lambda: not running(via, "sleep"), "the statement to be killed", 5)
        assert other.value("select 1") == "1"


# Sanitizers keep what has been freed, so that its memory says nothing there.
@pytest.mark.thorough
def test_a_slow_reader_costs_little_memory_and_stops_nobody(fresh_pool):
    via = fresh_pool(pool_size=2)
    with via.raw() as slow, via.raw() as other:
        slow.command(wire.QUERY, "select repeat('x', 1000000) from information_schema.collations limit 200")
        slow.receive()
        for n in range(100):
            assert other.value(f"select {n}") == str(n)
        before = memory(via.weir)
        for _ in "column", "end of columns":
            slow.receive()
        rows = 0
        while not slow.is_end(slow.receive()):
            rows += 1
        assert rows == 200
        assert max(before, memory(via.weir)) < 64 << 20
        assert slow.value("select 1") == "1"


def memory(weir):
    for line in open(f"/proc/{weir.process.pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) << 10
    raise AssertionError("weir has gone")


# KILL

def test_kill_query_takes_weir_s_number(pool):
    via = pool(pool_size=2)
    one_row(via)
    with via.raw() as victim, via.raw() as killer:
        for kill in "kill query {}", "KILL QUERY {} ;", "/* stop */ kill query {}":
            say_slow(victim)
            wait_for(lambda: running(via, "sleep"), "the statement")
            killer.query(kill.format(victim.thread_id))
            assert finish(victim) == (1317, "70100")
            assert victim.value("select 1") == "1"


def test_kill_closes_the_client(pool):
    via = pool(pool_size=2)
    one_row(via)
    for sql in ("kill {}", "kill connection {}"):
        victim, killer = via.raw(), via.raw()
        say_slow(victim)
        wait_for(lambda: running(via, "sleep"), "the statement")
        killer.query(sql.format(victim.thread_id))
        with pytest.raises((wire.Error, wire.Closed)):
            victim.result()
        assert victim.is_closed()
        wait_for(lambda: not running(via, "sleep"), "the statement to end")
        assert killer.value("select 1") == "1"
        killer.close()


def test_kill_of_an_idle_client(pool):
    via = pool()
    with via.raw() as victim, via.raw() as killer:
        # The connection may still be on its way back when the next statement comes.
        for _ in range(30):
            victim.query("set @mine = 1")
            victim.ok(wire.RESET_CONNECTION)
            killer.query(f"kill query {victim.thread_id}")
            assert victim.value("select 1") == "1"
        killer.query(f"kill {victim.thread_id}")
        wait_for(victim.is_closed, "the client to be closed")


def test_kill_query_of_a_client_that_waits(pool):
    via = pool(pool_size=1)
    with via.raw() as holder, via.raw() as victim:
        holder.query("begin")
        holder.query("select 1")
        victim.command(wire.QUERY, "select 1")
        wait_for(lambda: int(via.weir.mysql_console("show pools")[0]["cl_waiting"]), "the queue")
        holder.query(f"kill query {victim.thread_id}")
        assert finish(victim) == (1317, "70100")
        holder.query("commit")
        assert victim.value("select 2") == "2"


def test_kill_of_nobody(via):
    with via.raw() as client:
        assert error_of(client.query, "kill 4000000000") == (1094, "HY000")
        assert error_of(client.query, "kill query 4000000000") == (1094, "HY000")


def test_kill_of_oneself(via):
    with via.raw() as client:
        assert error_of(client.query, f"kill query {client.thread_id}") == (1317, "70100")
        assert client.value("select 1") == "1"
        with pytest.raises((wire.Error, wire.Closed)):
            client.query(f"kill {client.thread_id}")
        assert client.is_closed()


def test_kill_of_another_user_s_client_is_refused(start_weir, database_server):
    weir = start_weir(database_server, pool_size=2, user="[user other]\npassword = other-secret\n")
    with wire.Client(weir.mysql_port) as victim, wire.Client(weir.mysql_port, "other", "other-secret") as killer:
        victim.query("select 1")
        assert error_of(killer.query, f"kill {victim.thread_id}") == (1095, "HY000")
        assert victim.value("select 1") == "1"


def test_process_kill_takes_weir_s_number(pool):
    via = pool(pool_size=2)
    one_row(via)
    with via.raw() as victim, via.raw() as killer:
        say_slow(victim)
        wait_for(lambda: running(via, "sleep"), "the statement")
        killer.ok(wire.PROCESS_KILL, struct.pack("<I", victim.thread_id))
        with pytest.raises((wire.Error, wire.Closed)):
            victim.result()
        assert victim.is_closed()


def test_a_late_kill_hits_nobody_else(pool):
    """The statement ends at about the time that it is killed; what comes after it is never hit."""
    via = pool(pool_size=1)
    one_row(via)
    with via.raw() as victim, via.raw() as other:
        for n in range(60):
            victim.command(wire.QUERY, f"select sleep({n % 6 / 1000}) from one_row")
            other_answer = []
            thread = threading.Thread(target=lambda: other_answer.append(other.value(f"select {n}")))
            thread.start()
            with via.raw() as killer:
                killer.query(f"kill query {victim.thread_id}")
            with contextlib.suppress(wire.Error):
                victim.result()
            thread.join(20)
            assert other_answer == [str(n)]


# Stopping

def test_idle_clients_are_told_that_weir_stops(fresh_pool):
    via = fresh_pool()
    with via.raw() as idle, via.raw() as busy:
        busy.query("begin")
        busy.query("select 1")
        via.weir.process.send_signal(signal.SIGTERM)
        assert idle.farewell() == (1053, "08S01")
        assert busy.value("select 2") == "2"
        busy.query("commit")
        wait_for(busy.is_closed, "the other to be closed")
    wait_for(lambda: via.weir.process.poll() is not None, "weir to stop")
    assert via.server.connections() == 0
