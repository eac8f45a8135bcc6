"""As a service: what the manager is told, sockets it passes, and what is installed where."""

import contextlib
import os
import pathlib
import signal
import socket
import stat
import subprocess

import psycopg
import pymysql
import pytest

from conftest import ROOT, WEIR_BIN, Weir
from test_queue import work_of_workers
from wire import Client

BUILD = pathlib.Path(WEIR_BIN).parent


class Manager:
    """What systemd is to a service: a socket for its words, and listening sockets for it to inherit."""

    def __init__(self, base):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.path = str(base / "notify")
        self.socket.bind(self.path)
        self.socket.settimeout(20)

    def next(self):
        """The next message, as a dictionary."""
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().splitlines())

    def next_with(self, key):
        while key not in (message := self.next()):
            pass
        return message


@pytest.fixture
def manager(tmp_path):
    manager = Manager(tmp_path)
    yield manager
    manager.socket.close()


@pytest.fixture
def start(manager, tmp_path):
    with contextlib.ExitStack() as stack:
        def start(ini, sockets=(), names="", **environment):
            def inherit():
                copies = [os.dup(s.fileno()) for s in sockets]
                for number, copy in enumerate(copies, 3):
                    os.dup2(copy, number)
            environment = os.environ | {"NOTIFY_SOCKET": manager.path} | environment
            arguments = {"env": environment}
            if sockets:
                # The process's own number is only known in the process.
                environment |= {"LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": names}
                arguments |= {"preexec_fn": inherit, "pass_fds": range(3, 3 + len(sockets))}
                path = tmp_path / "weir.ini"
                path.write_text(ini)
                arguments["executable"] = "/bin/sh"
                command = ["-c", 'LISTEN_PID=$$ exec "$0" -c "$1"', WEIR_BIN, str(path)]
                daemon = Weir(tmp_path, arguments=command, **arguments)
            else:
                daemon = Weir(tmp_path, ini, **arguments)
            stack.callback(daemon.stop)
            return daemon
        yield start


INI = "[weir]\nlisten_postgresql = 127.0.0.1:@PORT@\nadmin_users = app\n{weir}\n[database app]\nurl = {url}\n"


def test_the_manager_is_told_when_weir_is_ready_reloads_and_stops(manager, start, postgres):
    weir = start(INI.format(url=postgres.url(), weir=""))
    ready = manager.next()
    assert ready == {"READY": "1", "STATUS": f"listening on 127.0.0.1:{weir.port}"}
    with weir.connect() as db:
        assert db.execute("select 1").fetchone() == (1,), "ready means ready"
    for ini in (INI.format(url=postgres.url(), weir="max_clients = 9"), "nonsense"):
        weir.write(ini)
        weir.process.send_signal(signal.SIGHUP)
        reloading = manager.next()
        assert reloading["RELOADING"] == "1" and int(reloading["MONOTONIC_USEC"]) > 0
        assert manager.next()["READY"] == "1"
    weir.process.send_signal(signal.SIGTERM)
    assert manager.next()["STOPPING"] == "1"
    assert weir.process.wait(20) == 0


def test_the_manager_is_told_when_weir_stops_at_once(manager, start, postgres):
    weir = start(INI.format(url=postgres.url(), weir=""))
    weir.process.send_signal(signal.SIGINT)
    assert manager.next_with("STOPPING")["STOPPING"] == "1"


def test_a_failed_start_is_not_called_ready(manager, tmp_path):
    path = tmp_path / "bad.ini"
    path.write_text("[weir]\nworkers = none\n")
    assert subprocess.run([WEIR_BIN, "-c", path], env=os.environ | {"NOTIFY_SOCKET": manager.path},
                          capture_output=True, timeout=20).returncode == 1
    manager.socket.settimeout(0.1)
    with pytest.raises(TimeoutError):
        manager.next()


def listening(family=socket.AF_INET, address=("127.0.0.1", 0)):
    s = socket.socket(family)
    s.bind(address)
    s.listen()
    return s


def test_sockets_that_are_passed_take_the_place_of_the_files(start, postgres, tmp_path):
    path = tmp_path / ".s.PGSQL.5000"
    with listening() as first, listening() as second, listening(socket.AF_UNIX, str(path)) as unix, \
            listening() as taken:
        # The address in the file is taken: it must not even be tried.
        ini = INI.replace("@PORT@", str(taken.getsockname()[1])).format(url=postgres.url(), weir="")
        weir = start(ini, [first, second, unix], "postgresql:whatever:postgresql")
        assert "systemd:postgresql systemd:postgresql systemd:postgresql" in weir.log()
        for s in (first, second):
            client = Client(s.getsockname()[1]).login()
            assert client.query("select 1") == [[b"1"]]
        with psycopg.connect(host=str(tmp_path), port=5000, user="app", password="secret", dbname="app") as db:
            assert db.execute("select 1").fetchone() == (1,)
        weir.process.send_signal(signal.SIGTERM)
        weir.wait_for_log("event=draining")
    assert weir.process.wait(20) == 0
    assert path.exists(), "who has made it removes it"


def test_clients_of_a_passed_socket_are_spread_over_the_workers(start, postgres):
    with listening() as passed:
        weir = start(INI.format(url=postgres.url(), weir="workers = 4"), [passed], "postgresql")
        clients = [Client(passed.getsockname()[1]).login() for _ in range(8)]
        work = work_of_workers(weir, clients)
    assert len(work) == 4
    assert min(work) >= 100, work


def test_a_socket_for_mysql_is_told_by_its_name(start, postgres, mariadb):
    with listening() as first, listening() as second, listening() as taken:
        ini = INI.replace("@PORT@", "1").format(
            url=postgres.url(), weir=f"listen_mysql = 127.0.0.1:{taken.getsockname()[1]}")
        start(f"{ini}[database shop]\nurl = {mariadb.url()}\n", [first, second], "mysql:postgresql")
        with pymysql.connect(host="127.0.0.1", port=first.getsockname()[1], user="app", password="secret",
                             database="shop") as db, db.cursor() as cursor:
            cursor.execute("select version()")
            assert cursor.fetchone() == (mariadb.version,)
        assert Client(second.getsockname()[1]).login().query("select 1") == [[b"1"]]


def test_a_client_that_came_before_weir_is_served(start, postgres):
    with listening() as door:
        early = Client(door.getsockname()[1])
        start(INI.replace("@PORT@", "1").format(url=postgres.url(), weir=""), [door], "postgresql")
        assert early.login().query("select 1") == [[b"1"]]


def test_the_journal_gets_priorities(start, postgres, tmp_path):
    log = tmp_path / "weir.log"
    log.touch()
    st = log.stat()
    weir = start(INI.format(url=postgres.url(), weir=""), JOURNAL_STREAM=f"{st.st_dev}:{st.st_ino}")
    assert "\n<6>weir " in f"\n{weir.log()}"
    weir.write("nonsense")
    weir.process.send_signal(signal.SIGHUP)
    weir.wait_for_log("<3>event=reload_refused")


# --- what is installed ---

UNITS = ["weir.service", "weir.socket", "weir-mysql.socket"]


class Installed:
    def __init__(self, root):
        self.root = root
        self.install()

    def install(self):
        subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", self.root], check=True,
                       capture_output=True, timeout=60)

    def find(self, *names):
        """The path of the first of these that is there."""
        return next(self.root / name for name in names if (self.root / name).exists())

    def unit(self, name):
        return self.find(f"lib/systemd/system/{name}", f"usr/lib/systemd/system/{name}")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return Installed(tmp_path_factory.mktemp("root"))


def test_everything_is_where_an_administrator_looks(installed):
    assert os.access(installed.root / "usr/sbin/weir", os.X_OK)
    for page in ("man8/weir.8", "man5/weir.ini.5"):
        assert installed.find(f"usr/share/man/{page}", f"usr/share/man/{page}.gz")
    for name in ("usr/lib/sysusers.d/weir.conf", "usr/lib/tmpfiles.d/weir.conf", "usr/share/doc/weir/examples/weir.ini"):
        assert (installed.root / name).is_file()
    assert all(installed.unit(name) for name in UNITS)


def test_the_configuration_is_not_for_everybody_and_never_overwritten(installed):
    path = installed.root / "etc/weir/weir.ini"
    assert path.read_text() == (ROOT / "conf/weir.ini").read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.write_text("[weir]\n# mine\n")
    installed.install()
    assert path.read_text() == "[weir]\n# mine\n"
    tmpfiles = (installed.root / "usr/lib/tmpfiles.d/weir.conf").read_text()
    assert "/etc/weir/weir.ini 0640 root weir" in tmpfiles


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_finds_nothing_wrong_with_the_units(unit, installed, tmp_path):
    for name in UNITS:
        text = installed.unit(name).read_text().replace("/usr/sbin/weir", WEIR_BIN)
        (tmp_path / name).write_text(text)
    result = subprocess.run(["systemd-analyze", "verify", "--man=no", tmp_path / unit], capture_output=True, text=True,
                            timeout=60)
    about_weir = [line for line in result.stderr.splitlines() if "weir" in line]
    assert result.returncode == 0 and not about_weir, result.stderr


def test_the_service_is_shut_in(installed):
    result = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=20",
                             installed.unit("weir.service")], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout


def test_a_reload_with_a_bad_file_fails(installed):
    reloads = [line for line in installed.unit("weir.service").read_text().splitlines() if line.startswith("ExecReload=")]
    assert reloads == ["ExecReload=/usr/sbin/weir --check", "ExecReload=/bin/kill -HUP $MAINPID"]
