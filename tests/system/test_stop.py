"""Stopping: nobody's transaction is cut, everybody is told, and the server sees an orderly goodbye."""

import signal
import socket
import subprocess
import threading
import time

import psycopg
import pytest

from conftest import WEIR_BIN, wait_for
from wire import Client, Error, query


def told(client):
    """The code of a client's last words."""
    kind, content = client.until_closed()[-1]
    assert kind == b"E" and Error(content)["S"] == "FATAL"
    return Error(content).code


def ended(weir, timeout=20):
    assert weir.process.wait(timeout) == 0, weir.log()
    assert weir.log().endswith("event=stopped\n")
    return True


def refuses(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.fixture(params=[1, 4], ids=["1-worker", "4-workers"])
def start(request, start_weir, postgres):
    return lambda **options: start_weir(postgres, workers=request.param, **options)


@pytest.fixture
def no_unexpected_eof(postgres):
    log = postgres.base / "postgresql.log"
    before = len(log.read_bytes())
    yield
    wait_for(lambda: postgres.connections() == 0, "the server connections to end")
    text = log.read_bytes()[before:].decode(errors="replace")
    assert "unexpected EOF" not in text and "reset by peer" not in text, text


@pytest.mark.parametrize("how", ["TERM", "SHUTDOWN"])
def test_a_transaction_gets_to_its_end_and_idle_clients_are_told(how, start, no_unexpected_eof):
    weir = start()
    idle = [Client(weir.port).login() for _ in range(4)]
    pinned = Client(weir.port).login()
    pinned.query("create temp table t (x int)")
    inside = weir.connect()
    inside.execute("begin")
    running = Client(weir.port).login()
    running.send(query("select pg_sleep(1)"))
    wait_for(lambda: weir.pool()["sv_active"] == 3, "the statement to run")
    if how == "TERM":
        weir.process.send_signal(signal.SIGTERM)
    else:
        with weir.connect(dbname="weir", cursor_factory=psycopg.ClientCursor) as admin:
            assert admin.execute("shutdown").statusmessage == "SHUTDOWN"
    assert {told(client) for client in [*idle, pinned]} == {"57P01"}
    assert refuses(weir.port)
    assert inside.execute("select 42").fetchone() == (42,)
    assert running.kinds() == b"TDCZ", "a statement gets its whole answer"
    assert told(running) == "57P01"
    assert weir.process.poll() is None
    inside.execute("commit")
    assert ended(weir, 5)


def test_who_is_in_a_queue_still_gets_an_answer(start, no_unexpected_eof):
    weir = start(pool_size=1, max_overflow=0)
    waiting = weir.connect()
    waiting.execute("select 1")
    inside = weir.connect()
    inside.execute("begin")
    answer = []
    thread = threading.Thread(target=lambda: answer.append(waiting.execute("select 7").fetchone()), daemon=True)
    thread.start()
    wait_for(lambda: weir.pool()["cl_waiting"] == 1, "the waiter")
    weir.process.send_signal(signal.SIGTERM)
    weir.wait_for_log("event=draining")
    inside.execute("commit")
    thread.join(20)
    assert answer == [(7,)]
    assert ended(weir, 5)


def test_after_shutdown_timeout_the_rest_is_closed(start, postgres, no_unexpected_eof):
    weir = start(weir="shutdown_timeout = 1s")
    inside = Client(weir.port).login()
    inside.query("begin")
    inside.query("create table of_a_stopped_weir (x int)")
    began = time.monotonic()
    weir.process.send_signal(signal.SIGTERM)
    assert told(inside) == "57P01"
    assert 0.9 < time.monotonic() - began < 3
    assert ended(weir, 5)
    assert postgres.query("select to_regclass('of_a_stopped_weir')", dbname="app") == [(None,)], "it is rolled back"


@pytest.mark.parametrize("signals", [[signal.SIGTERM, signal.SIGTERM], [signal.SIGINT], [signal.SIGTERM, signal.SIGINT]])
def test_a_second_term_and_int_stop_at_once(signals, start, no_unexpected_eof):
    weir = start()
    inside = Client(weir.port).login()
    inside.query("begin")
    began = time.monotonic()
    for signo in signals:
        weir.process.send_signal(signo)
        if len(signals) > 1:
            weir.wait_for_log("event=draining")
    assert told(inside) == "57P01"
    assert ended(weir, 5)
    assert time.monotonic() - began < 5


def test_a_running_statement_is_cancelled_when_weir_stops_at_once(start, postgres, no_unexpected_eof):
    weir = start()
    db = weir.connect()
    errors = []

    def sleep():
        try:
            db.execute("select pg_sleep(60)")
        except psycopg.OperationalError as error:
            errors.append(error)
    thread = threading.Thread(target=sleep, daemon=True)
    thread.start()
    wait_for(lambda: postgres.query("select 1 from pg_stat_activity where query like 'select pg_sleep(60)' "
                                    "and state = 'active'"), "the statement to run")
    weir.process.send_signal(signal.SIGINT)
    thread.join(10)
    assert errors and errors[0].sqlstate == "57P01"
    assert ended(weir, 5)
    assert postgres.connections() == 0


def test_no_number_of_signals_makes_it_a_process_that_was_killed(start):
    for signo in (signal.SIGTERM, signal.SIGINT):
        weir = start()
        while weir.process.poll() is None:
            weir.process.send_signal(signo)
        assert weir.process.returncode == 0


def test_an_idle_weir_stops_without_delay(start, no_unexpected_eof):
    weir = start(min_size=3)
    wait_for(lambda: (pool := weir.pool()) and pool["sv_idle"] == 3, "the connections")
    began = time.monotonic()
    weir.process.send_signal(signal.SIGTERM)
    assert ended(weir, 5)
    assert time.monotonic() - began < 2


def test_a_console_that_stays_open_does_not_keep_weir_from_stopping(start):
    weir = start()
    admin = Client(weir.port).login(database="weir")
    inside = Client(weir.port).login()
    inside.query("begin")
    weir.process.send_signal(signal.SIGTERM)
    weir.wait_for_log("event=draining")
    assert admin.query("show clients"), "the console answers while weir drains"
    inside.query("commit")
    assert told(inside) == "57P01"
    assert told(admin) == "57P01"
    assert ended(weir, 5)


def test_a_paused_weir_stops(start):
    weir = start(weir="shutdown_timeout = 1s")
    waiting = Client(weir.port).login()
    weir.console("pause")
    waiting.send(query("select 1"))
    wait_for(lambda: weir.pool()["cl_waiting"] == 1, "the waiter")
    weir.process.send_signal(signal.SIGTERM)
    assert told(waiting) == "57P01"
    assert ended(weir, 5)


def test_weir_stops_although_a_server_does_not_answer(start_weir):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        weir = start_weir(ini=f"""[weir]
listen_postgresql = 127.0.0.1:@PORT@
[database app]
url = postgresql://app:secret@127.0.0.1:{silent.getsockname()[1]}/app?sslmode=disable
""")
        client = Client(weir.port)
        thread = threading.Thread(target=client.login, daemon=True)
        thread.start()
        silent.accept()
        began = time.monotonic()
        weir.process.send_signal(signal.SIGINT)
        assert ended(weir, 10)
        assert time.monotonic() - began < 8


def test_a_unix_socket_is_removed_and_a_stale_one_replaced(start_weir, postgres, tmp_path):
    path = tmp_path / ".s.PGSQL.6432"
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(path))
    ini = f"[weir]\nlisten_postgresql = unix:{path}, 127.0.0.1:@PORT@\n[database app]\nurl = {postgres.url()}\n"
    weir = start_weir(ini=ini)
    with psycopg.connect(host=str(tmp_path), port=6432, user="app", password="secret", dbname="app") as db:
        assert db.execute("select 1").fetchone() == (1,)
        weir.process.send_signal(signal.SIGTERM)
        weir.wait_for_log("event=draining")
        assert not path.exists()
        db.rollback()
    assert ended(weir, 5)
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(path))
        alive.listen()
        other = tmp_path / "other.ini"
        other.write_text(ini.replace("@PORT@", "0"))
        result = subprocess.run([WEIR_BIN, "-c", other], capture_output=True, text=True, timeout=20)
        assert result.returncode == 1 and "Address already in use" in result.stderr
        assert path.exists(), "a living one is left alone"
