"""Clients that do not take their answers: what they hold, and for how long."""

import threading
import time

import pytest
from conftest import SANITIZED, wait_for

from wire import Client, query

TIMEOUT = 0.4
# The kernel's buffers fill before anything is stuck, and the machine runs other tests meanwhile.
LATE = 2.5


def start(start_weir, side, **options):
    side.clear()
    return start_weir(side.server, **({"pool_size": 1, "max_overflow": 0,
                                       "client_write_timeout": f"{TIMEOUT * 1000:.0f}ms"} | options))


def closed(weir, n=1):
    wait_for(lambda: weir.log().count("reason=client_write_timeout") >= n, "it to be closed")


def memory(weir):
    """What the process has in memory, in kB."""
    with open(f"/proc/{weir.process.pid}/status") as status:
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1])


def take(socket, n):
    got = 0
    while got < n:
        data = socket.recv(min(n - got, 1 << 20))
        assert data, f"closed after {got} of {n} bytes"
        got += len(data)


def test_one_that_stops_reading_is_closed_and_its_server_connection_free(start_weir, side):
    weir = start(start_weir, side)
    with_it, other = side.client(weir), side.client(weir)
    with_it.run("select 1")
    before = side.ids()
    begin = time.monotonic()
    with_it.start(side.megabytes(500))
    # It waits for nobody but the one that does not read.
    assert other.value("select 2") == "2"
    took = time.monotonic() - begin
    closed(weir)
    assert TIMEOUT - 0.02 < took < TIMEOUT + LATE, took
    # Cancelled, drained, used again.
    assert side.ids() == before and not side.running("repeat")
    with pytest.raises((ConnectionError, AssertionError)):
        take(with_it.socket, 500_000_000)
    assert other.value("select 3") == "3"


def test_its_transaction_is_rolled_back(start_weir, side):
    weir = start(start_weir, side)
    side.table("slowly")
    client, other = side.client(weir), side.client(weir)
    client.run("begin")
    client.run("insert into slowly values (1)")
    client.start(side.megabytes(500))
    assert other.value("select count(*) from slowly") == "0"
    closed(weir)


def test_one_that_reads_slowly_is_not_closed(start_weir, side):
    """It takes far less in client_write_timeout than makes the kernel ask for more."""
    weir = start(start_weir, side)
    client = side.client(weir)
    client.start(side.megabytes(40))
    until = time.monotonic() + 6 * TIMEOUT
    n = 0
    while time.monotonic() < until:
        take(client.socket, 20_000)
        n += 20_000
        # As slow as it reads: this is what the test is about.
        time.sleep(0.05)
    take(client.socket, 40_000_000 - n)
    assert "client_write_timeout" not in weir.log()


def test_an_idle_client_and_a_slow_statement_have_nothing_to_take(start_weir, side):
    weir = start(start_weir, side)
    client, idle = side.client(weir), side.client(weir)
    client.run(side.sleep(3 * TIMEOUT))
    assert client.value("select 1") == idle.value("select 1") == "1"


def test_per_user_and_none_at_all(start_weir, side):
    weir = start(start_weir, side, client_write_timeout="100ms", pool_size=2,
                 user="[user patient]\npassword = x\nclient_write_timeout = 0\n")
    patient, hasty = side.client(weir, user="patient", password="x"), side.client(weir)
    patient.start(side.megabytes(20))
    hasty.start(side.megabytes(20))
    closed(weir)
    line, = [line for line in weir.log().splitlines() if "reason=client_write_timeout" in line]
    assert 'user="app"' in line
    take(patient.socket, 20_000_000)


def test_many_that_do_not_read_cost_little_memory(start_weir, side):
    weir = start(start_weir, side, pool_size=10, client_write_timeout="3s",
                 cancel_grace="20s")
    clients = [side.client(weir) for _ in range(10)]
    for client in clients:
        client.run("select 1")
    before = memory(weir)
    for client in clients:
        client.start(side.megabytes(40))
    most = 0
    while "reason=client_write_timeout" not in weir.log():
        most = max(most, memory(weir))
        time.sleep(0.02)
    # Each has at most 256 kB unsent, and what was received last. Sanitizers keep what was freed: that says nothing.
    assert most - before < 10 * 512 or SANITIZED, (before, most)
    closed(weir, 10)
    wait_for(lambda: weir.pool()["sv_idle"] == 10, "all connections to be free")


def test_a_console_client_that_does_not_read(start_weir, postgres):
    weir = start_weir(postgres, weir="", ini=None)
    weir.reload(weir.ini_path.read_text().replace("[database app]", "[defaults]\nclient_write_timeout = 400ms\n[database app]"))
    client = Client(weir.port).login(database="weir")
    client.socket.settimeout(0.2)

    def ask():
        try:
            while True:
                client.send(query("show help") * 1000)
        except OSError:
            pass

    asking = threading.Thread(target=ask)
    asking.start()
    closed(weir)
    asking.join(20)
