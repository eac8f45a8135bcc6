"""Real servers, the real daemon, real drivers. Nothing here sleeps where it can wait for a condition."""

import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import hostile
import mysql_servers
import mysql_wire
import psycopg
import pymysql
import pytest
import sides

def pytest_configure(config):
    config.addinivalue_line("markers", "thorough: shows nothing new under sanitizers; tests/run leaves it out there")


def pytest_collection_modifyitems(items):
    """For --dist loadgroup: what one process runs in a row is a module's tests against one server."""
    for item in items:
        params = getattr(item, "callspec", None)
        server = [params.params[name] for name in ("database_server", "own_database_server", "side", "kind",
                                                   "some_server")
                  if params and name in params.params]
        group = "-".join([item.path.stem, *server])
        item.add_marker(pytest.mark.xdist_group(group))


ROOT = pathlib.Path(__file__).resolve().parents[2]
WEIR_BIN = os.environ.get("WEIR_BIN", str(ROOT / "build" / "weir"))
SANITIZED = b"__asan_init" in pathlib.Path(WEIR_BIN).read_bytes()
PG_BIN = pathlib.Path("/usr/lib/postgresql/15/bin")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(condition, what="the condition", timeout=20):
    """Waits until `condition` gives something true, and returns that."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {timeout} s for {what}"
        time.sleep(0.01)


class Postgres:
    """A throwaway cluster on loopback."""

    def __init__(self, base):
        self.base = base
        self.data = base / "data"
        self.port = free_port()
        self.process = None
        self.as_postgres = {}
        base.chmod(0o755)
        if os.getuid() == 0:
            account = pwd.getpwnam("postgres")
            self.as_postgres = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            self.data.mkdir()
            os.chown(self.data, account.pw_uid, account.pw_gid)
        subprocess.run(
            [PG_BIN / "initdb", "-D", self.data, "-U", "postgres", "--auth-local=trust",
             "--auth-host=scram-sha-256", "--no-sync"],
            check=True, capture_output=True, cwd="/", **self.as_postgres)
        hba = self.data / "pg_hba.conf"
        hba.write_text("local all all trust\n"
                       "local replication all trust\n"
                       "host all md5user 127.0.0.1/32 md5\n"
                       "host all all 127.0.0.1/32 scram-sha-256\n")
        self.start()
        with self.connect() as db:
            for sql in (
                "create role app login password 'secret'",
                "create role other login password 'other-secret'",
                "set password_encryption = md5",
                "create role md5user login password 'md5-secret'",
                "create database app owner app",
            ):
                db.execute(sql)
        with self.connect(dbname="app") as db:
            db.execute("grant all on schema public to public")

    def start(self):
        self.log = open(self.base / "postgresql.log", "ab")
        self.process = subprocess.Popen(
            [PG_BIN / "postgres", "-D", self.data, "-p", str(self.port),
             "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.data}",
             "-c", "fsync=off", "-c", "max_connections=200", "-c", "log_connections=on"],
            stdout=self.log, stderr=self.log, cwd="/", start_new_session=True, **self.as_postgres)
        try:
            wait_for(self.is_up, "PostgreSQL to start", 60)
        except BaseException:
            # Nobody else has it yet.
            self.stop(signal.SIGKILL)
            raise

    def is_up(self):
        try:
            self.connect().close()
            return True
        except psycopg.OperationalError:
            return False

    def children(self):
        """The postmaster's processes, each of which is a session of its own."""
        found = []
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if int(stat.read_text().rpartition(")")[2].split()[1]) == self.process.pid:
                    found.append(int(stat.parent.name))
        return found

    def stop(self, how=signal.SIGINT):
        """SIGINT: fast shutdown. SIGKILL: the postmaster and everything it started."""
        children = self.children() if how == signal.SIGKILL else []
        self.process.send_signal(how)
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)
        self.process.wait(60)
        with contextlib.suppress(FileNotFoundError):
            if how == signal.SIGKILL:
                (self.data / "postmaster.pid").unlink()

    def connect(self, **kwargs):
        settings = {"host": str(self.data), "port": self.port, "user": "postgres",
                    "dbname": "postgres", "autocommit": True}
        return psycopg.connect(**(settings | kwargs))

    def query(self, sql, *args, **kwargs):
        with self.connect(**kwargs) as db:
            return db.execute(sql, *args).fetchall()

    def connections(self, user="app"):
        return self.query("select count(*) from pg_stat_activity where usename = %s", [user])[0][0]

    def logins(self):
        return (self.base / "postgresql.log").read_text(errors="replace").count(
            "connection authorized: user=app")

    def end_sessions(self):
        """Ends what ordinary users have left here, such as a statement whose client was killed: it would be counted."""
        self.query("select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename <> 'postgres'")

    def url(self, user="app", password="secret", dbname="app", params="?sslmode=disable"):
        login = f"{user}:{password}@" if user else ""
        return f"postgresql+asyncpg://{login}127.0.0.1:{self.port}/{dbname}{params}"


class Weir:
    """A running daemon."""

    def __init__(self, base, ini=None, arguments=None, expect_start=True, **popen):
        self.base = base
        self.port = free_port()
        self.mysql_port = free_port()
        self.ini_path = base / "weir.ini"
        self.log_path = base / "weir.log"
        self.killed = False
        if ini is not None:
            self.write(ini)
            arguments = ["-c", str(self.ini_path)]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [WEIR_BIN, *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True, **popen)
        if not expect_start:
            return
        try:
            wait_for(lambda: " ready " in self.log() or self.process.poll() is not None,
                     "weir to start")
            assert self.process.poll() is None, self.log()
        except BaseException:
            self.kill()
            raise

    def write(self, ini):
        self.ini_path.write_text(ini.replace("@PORT@", str(self.port))
                                 .replace("@MYSQL_PORT@", str(self.mysql_port)))

    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_for_log(self, text, timeout=20):
        wait_for(lambda: text in self.log(), f"{text!r} in the log", timeout)

    def reload(self, ini=None):
        if ini is not None:
            self.write(ini)
        n = self.log().count("event=reload")
        self.process.send_signal(signal.SIGHUP)
        wait_for(lambda: self.log().count("event=reloaded") + self.log().count(
            "event=reload_refused") and self.log().count("event=reload") > n, "the reload")

    def dsn(self, user="app", password="secret", dbname="app"):
        return f"host=127.0.0.1 port={self.port} user={user} password={password} dbname={dbname}"

    def url(self, user="app", password="secret", dbname="app", driver="asyncpg"):
        return f"postgresql+{driver}://{user}:{password}@127.0.0.1:{self.port}/{dbname}"

    def connect(self, user="app", password="secret", dbname="app", **kwargs):
        return psycopg.connect(self.dsn(user, password, dbname), **({"autocommit": True} | kwargs))

    def console(self, command, user="app", password="secret"):
        """The rows of a console command, as dictionaries."""
        with self.connect(user, password, "weir", cursor_factory=psycopg.ClientCursor) as db:
            cursor = db.execute(command)
            if not cursor.description:
                return []
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row)) for row in cursor.fetchall()]

    def mysql_url(self, user="app", password="secret", dbname="app", driver="asyncmy"):
        return f"mysql+{driver}://{user}:{password}@127.0.0.1:{self.mysql_port}/{dbname}"

    def mysql_console(self, command, user="app", password="secret"):
        """The rows of a console command given on the MySQL port, as dictionaries."""
        with pymysql.connect(host="127.0.0.1", port=self.mysql_port, user=user, password=password,
                             database="weir", cursorclass=pymysql.cursors.DictCursor) as db:
            with db.cursor() as cursor:
                cursor.execute(command)
                return list(cursor.fetchall())

    def wakeups(self):
        """How often each worker has gone to sleep, by name."""
        counts = {}
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            name = (task / "comm").read_text().strip()
            if name.startswith("worker-"):
                counts[name] = int((task / "status").read_text().split("\nvoluntary_ctxt_switches:")[1].split()[0])
        return counts

    def pool(self, database="app", user=None):
        for row in self.console("show pools"):
            if row["database"] == database and user in (None, row["user"]):
                return row
        return None

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError("weir did not stop:\n" + self.log()[-3000:])
        log = self.log()
        assert "ERROR: AddressSanitizer" not in log and "runtime error:" not in log, log
        assert "LeakSanitizer" not in log, log
        assert "invariant does not hold" not in log, log
        assert self.process.returncode == 0, (self.process.returncode, log[-3000:])


@pytest.fixture(scope="session")
def postgres():
    base = pathlib.Path(tempfile.mkdtemp())
    server = Postgres(base)
    yield server
    if server.process.poll() is None:
        server.stop()
    shutil.rmtree(base)


@pytest.fixture(autouse=True)
def sessions_of_earlier_tests_are_gone(request, kept):
    """A test that counts the sessions of the server that all share finds its own alone."""
    if "postgres" in request.fixturenames and not kept.weir:
        request.getfixturevalue("postgres").end_sessions()


@pytest.fixture
def own_postgres():
    """One that a test may stop and kill."""
    base = pathlib.Path(tempfile.mkdtemp())
    server = Postgres(base)
    yield server
    if server.process.poll() is None:
        server.stop()
    shutil.rmtree(base)


@pytest.fixture(scope="session")
def mariadb():
    with mysql_servers.running(mysql_servers.MariaDB) as server:
        yield server


def need_mysql9():
    if not mysql_servers.have_mysql9():
        assert not os.environ.get("WEIR_REQUIRE_MYSQL9"), "there is no MySQL 9"
        pytest.skip("there is no MySQL 9: see install_mysql9 in tests/support.sh")


@pytest.fixture(scope="session")
def mysql():
    need_mysql9()
    with mysql_servers.running(mysql_servers.MySQL) as server:
        yield server


# Of the module, so that pytest runs all its tests against one server before those against the other.
@pytest.fixture(scope="module", params=["mariadb", "mysql"])
def database_server(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["mariadb", "mysql"])
def own_database_server(request):
    """One that a test may stop and kill."""
    if request.param == "mysql":
        need_mysql9()
    kind = mysql_servers.MariaDB if request.param == "mariadb" else mysql_servers.MySQL
    with mysql_servers.running(kind) as server:
        yield server


class Via:
    """Where a test's clients connect: to weir, or to the server itself."""

    def __init__(self, server, weir=None):
        self.server = server
        self.weir = weir
        self.port = weir.mysql_port if weir else server.port

    def url(self, driver, user="app", password="secret", dbname="app"):
        return f"mysql+{driver}://{user}:{password}@127.0.0.1:{self.port}/{dbname}"

    def connect(self, user="app", password="secret", database="app", autocommit=True, **kwargs):
        return pymysql.connect(host="127.0.0.1", port=self.port, user=user, password=password,
                               database=database, autocommit=autocommit, **kwargs)

    def raw(self, *args, **kwargs):
        return mysql_wire.Client(self.port, *args, **kwargs)

    def table(self, name, columns="id int primary key, name varchar(50)", rows=""):
        """A fresh table in the database app."""
        self.server.execute(f"drop table if exists app.{name}", f"create table app.{name} ({columns})",
                            *([f"insert into app.{name} values {rows}"] if rows else []))
        return name


# Whether the server itself does what the tests expect of weir: WEIR_TEST_VIA=direct pytest ...
@pytest.fixture(params=os.environ.get("WEIR_TEST_VIA", "weir").split(","))
def via(request, database_server):
    """With a pool of one connection, so that each client gets what the others have used, also those of other tests."""
    if request.param == "direct":
        return Via(database_server)
    kept = request.getfixturevalue("kept_weir")
    return Via(database_server, kept(database_server, pool_size=1, max_overflow=0, pool_timeout="3s"))


class Kept:
    """The weir that tests leave to each other. One at a time, since tests count the server's connections."""

    def __init__(self, bases):
        self.bases = bases
        self.weir = self.what = None

    def get(self, server, **options):
        what = (server, options)
        if self.weir and (self.what != what or self.weir.process.poll() is not None):
            self.stop()
        if not self.weir:
            self.weir, self.what = Weir(self.bases.mktemp("kept"), ini_for(server, **options)), what
        return self.weir

    def stop(self):
        weir, self.weir = self.weir, None
        if weir:
            weir.stop()


@pytest.fixture(scope="session")
def kept(tmp_path_factory):
    keeper = Kept(tmp_path_factory)
    yield keeper
    keeper.stop()


@pytest.fixture
def kept_weir(kept):
    """kept_weir(mariadb, pool_size=3, ...): like start_weir, for tests that need no weir of their own: it may have served
    others, and serves the next test that asks for the same."""
    yield kept.get
    # One that has not survived the test, or that its sanitizers complain about, is this test's failure.
    if kept.weir and (kept.weir.process.poll() is not None or "runtime error:" in kept.weir.log()):
        kept.stop()


def ini_for(server, weir="", user="", workers=os.environ.get("WEIR_TEST_WORKERS", 1), **options):
    lines = "\n".join(f"{key} = {value}" for key, value in options.items())
    listen = "listen_postgresql = 127.0.0.1:@PORT@"
    if isinstance(server, mysql_servers.Server):
        listen += "\nlisten_mysql = 127.0.0.1:@MYSQL_PORT@"
    return (f"[weir]\n{listen}\nworkers = {workers}\n"
            f"admin_users = app\n{weir}\n"
            f"[database app]\nurl = {server.url()}\n{lines}\n{user}\n")


@pytest.fixture
def start_weir(tmp_path, kept):
    """start_weir(postgres, pool_size=3, ...), start_weir(mariadb, ...) or start_weir(ini=TEXT)."""
    running = []

    def start(server=None, ini=None, **options):
        kept.stop()
        base = tmp_path / f"weir{len(running)}"
        base.mkdir()
        daemon = Weir(base, ini_for(server, **options) if ini is None else ini)
        running.append(daemon)
        return daemon

    yield start
    for daemon in running:
        daemon.stop()


@pytest.fixture
def weir(start_weir, postgres):
    return start_weir(postgres)


@pytest.fixture(scope="module", params=["postgres", "mariadb", "mysql"])
def side(request):
    """PostgreSQL, MariaDB or MySQL, in the same words."""
    return sides.side_of(request.getfixturevalue(request.param))


@pytest.fixture
def target(start_weir, postgres, monkeypatch):
    """A weir with a healthy client; afterwards everything must be as it was."""
    # AddressSanitizer keeps freed memory for a while, which is not weir's own use of it.
    monkeypatch.setenv("ASAN_OPTIONS", "quarantine_size_mb=1")
    weir = start_weir(postgres, pool_size=2, max_overflow=0,
                      weir=f"client_login_timeout = {hostile.LOGIN_TIMEOUT}s\nmax_clients = 30000")
    target = hostile.Target(weir)
    yield target
    target.check()
    target.healthy.close()
