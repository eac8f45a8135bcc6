"""How exact the clocks are, where they are set, and what they cost."""

import re
import signal
import subprocess
import threading
import time

import clocks
import pytest
import sides

pytestmark = pytest.mark.thorough


@pytest.fixture
def measure(start_weir, side):
    side.clear()
    silent = clocks.Silent()
    yield clocks.Measure(side, start_weir(ini=clocks.ini(side, silent)), silent)
    silent.close()


def check_exact(clock, late):
    """Within 10 ms, and never early. A machine that runs other tests meanwhile may be late with anything, so that the
    best of some tries counts; but none is later than half a second."""
    assert min(late) >= -0.001, (clock, late)
    assert max(late) < clocks.LATE, (clock, late)
    assert min(late) <= clocks.EXACT, (clock, late)


def test_they_are_exact(measure, side):
    for clock in clocks.CLOCKS:
        check_exact(clock, clocks.lateness(getattr(measure, clock), 25, clocks.EXACT))


def test_a_reload_sets_those_of_living_clients(start_weir, side):
    side.clear()
    weir = start_weir(side.server)
    client = side.client(weir)
    client.run("select 1")
    weir.reload(weir.ini_path.read_text() + f"query_timeout = {clocks.msec(clocks.T)}\n")

    def measure():
        begin = time.monotonic()
        assert client.fails(side.sleep(30)) == side.codes["query_timeout"]
        return time.monotonic() - begin

    check_exact("query_timeout", clocks.lateness(measure, 25, clocks.EXACT))


def test_each_statement_has_its_own_clock_and_its_own_cancel(start_weir, side):
    """One right after the other was cancelled: whatever of the first one is still under way."""
    side.clear()
    weir = start_weir(side.server, pool_size=1, max_overflow=0, query_timeout="50ms", cancel_grace="1s")
    client = side.client(weir)
    before = client.value("select 1") and side.ids()
    for _ in range(60):
        assert client.fails(side.sleep(30)) == side.codes["query_timeout"]
    assert side.ids() == before and "cancel_grace" not in weir.log()


# --- where they are set ---

def both(name, of_database, of_user):
    return {name: of_database, "user": f"[user other]\npassword = other-secret\n{name} = {of_user}\n"}


def hit(side, weir, name, **login):
    """Whether that clock ends what a client does; it goes on for a second otherwise."""
    if name == "client_idle_timeout":
        client = side.client(weir, **login)
        client.run("select 1")
        client.socket.settimeout(1)
        try:
            return client.farewell() == side.codes[name]
        except TimeoutError:
            return False
    client, other = side.client(weir, **login), side.client(weir)
    release = threading.Timer(1, other.run, ["rollback"])
    if name == "query_timeout":
        client.start(side.sleep(1))
    elif name == "pool_timeout":
        other.run("begin")
        other.run("select 1")
        release.start()
        client.start("select 1")
    else:
        client.run("begin")
        client.run("select 1")
        time.sleep(1)
        client.start("select 1")
    try:
        client.finish()
    except sides.Failure as failure:
        return failure.code == side.codes[name]
    finally:
        if release.is_alive():
            release.join()
    return False


@pytest.mark.parametrize("name", ["query_timeout", "transaction_timeout", "idle_in_transaction_timeout",
                                  "client_idle_timeout", "pool_timeout"])
def test_a_user_s_clock_goes_before_its_database_s(start_weir, side, name):
    for of_database, of_user in (("30s", "200ms"), ("200ms", "30s"), ("200ms", "0")):
        weir = start_weir(side.server, pool_size=1, max_overflow=0, **both(name, of_database, of_user))
        assert hit(side, weir, name) == (of_database == "200ms")
        assert hit(side, weir, name, user="other", password="other-secret") == (of_user == "200ms")


# --- what they cost ---

def system_calls(weir, work):
    """By name, those of the whole process during `work`, which is called when they are being counted."""
    strace = subprocess.Popen(["strace", "-f", "-c", "-p", str(weir.process.pid)], stderr=subprocess.PIPE, text=True)
    for line in strace.stderr:
        if "attached" in line:
            break
    work()
    strace.send_signal(signal.SIGINT)
    table = strace.stderr.read()
    strace.wait()
    # % time, seconds, usecs/call, calls, errors if there were, name
    rows = re.findall(r"^ +[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", table, re.M)
    return {name: int(n) for n, name in rows if name != "total"}


def test_they_cost_no_system_call(start_weir, side):
    """Ordinary statements and transactions, with all clocks set and with none."""
    n = 400
    found = []
    for options in ({}, dict.fromkeys(("query_timeout", "transaction_timeout", "idle_in_transaction_timeout",
                                       "client_idle_timeout", "client_write_timeout"), "20s")):
        weir = start_weir(side.server, pool_size=1, max_overflow=0, **({"client_write_timeout": "0"} | options))
        client = side.client(weir)
        client.run("select 1")

        def work():
            for _ in range(n):
                client.run("select 1")
                client.run("begin")
                client.run("select 2")
                client.run("commit")

        calls = system_calls(weir, work)
        # How often the loop wakes depends on who is quicker: what is done then does not.
        found.append({name: round(calls[name] / n, 1) for name in calls
                      if not name.startswith("epoll_wait") and calls[name] > n / 10})
    assert found[0] == found[1] and sum(found[0].values()) >= 16, found
