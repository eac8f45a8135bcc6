"""Servers that change roles, several hosts, and names with several addresses."""

import contextlib
import ctypes
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import mysql_servers
import psycopg
import pymysql
import pytest
from conftest import PG_BIN, Postgres, Weir, free_port, need_mysql9, wait_for
from fault_relay import FaultRelay

ERRORS = (psycopg.Error, pymysql.Error)

# From when a server that takes writes can be reached until the last write that was refused for the role. (Some seconds
# between two attempts, and the logins.)
SOON = 8


class Standby(Postgres):
    """A copy of `primary` that follows it."""

    def __init__(self, base, primary):
        self.base, self.data, self.port = base, base / "data", free_port()
        self.as_postgres = primary.as_postgres
        base.chmod(0o755)
        if self.as_postgres:
            shutil.chown(base, "postgres")
        subprocess.run([PG_BIN / "pg_basebackup", "-h", primary.data, "-p", str(primary.port), "-U", "postgres",
                        "-D", self.data, "-R", "-X", "stream", "--checkpoint=fast", "--no-sync"],
                       check=True, capture_output=True, cwd="/", **self.as_postgres)
        self.start()


def promote(server):
    subprocess.run([PG_BIN / "pg_ctl", "promote", "-D", server.data], check=True, capture_output=True, cwd="/",
                   **server.as_postgres)


def follow(server, primary):
    """A server that was stopped in order comes back as the standby of its own standby."""
    (server.data / "standby.signal").touch()
    if server.as_postgres:
        shutil.chown(server.data / "standby.signal", "postgres")
    with open(server.data / "postgresql.auto.conf", "a") as conf:
        conf.write(f"primary_conninfo = 'host={primary.data} port={primary.port} user=postgres'\n")
    server.start()


@pytest.fixture
def pair(own_postgres):
    """(primary, standby)"""
    with own_postgres.connect(dbname="app") as db:
        db.execute("create table written (n int)")
        db.execute("grant all on written to app")
    base = pathlib.Path(tempfile.mkdtemp())
    standby = Standby(base, own_postgres)
    yield own_postgres, standby
    for server in (standby, own_postgres):
        if server.process.poll() is None:
            server.stop(signal.SIGQUIT)
    shutil.rmtree(base)


class Load:
    """Threads that write, each on a connection that it keeps, and what becomes of that."""

    def __init__(self, connect, n=8):
        self.connect = connect
        self.done, self.errors = [], []     # when; (when, code, text)
        self.broken = []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.write) for _ in range(n)]
        for thread in self.threads:
            thread.start()

    def write(self):
        try:
            with self.connect() as db:
                while not self.stopping.is_set():
                    self.write_one(db)
        except BaseException as e:      # told by stop()
            self.broken.append(e)

    def write_one(self, db):
        try:
            with db.cursor() as cursor:
                cursor.execute("insert into written values (1)")
            self.done.append(time.monotonic())
        except ERRORS as e:
            code = e.sqlstate if isinstance(e, psycopg.Error) else e.args[0]
            self.errors.append((time.monotonic(), code, str(e)))
            self.stopping.wait(0.02)

    def wait_for_writes(self, n=50, timeout=30):
        goal = len(self.done) + n
        wait_for(lambda: self.broken or len(self.done) >= goal, "writes", timeout)
        assert not self.broken, self.broken

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        assert not self.broken, self.broken

    def codes(self):
        return {code for _, code, _ in self.errors}

    def report(self, what, since, code):
        """How long it took, from `since` on, until the first success and the last refusal."""
        first = min(t for t in self.done if t > since) - since
        late = [t - since for t, c, _ in self.errors if c == code]
        last = max([0, *late])
        print(f"{what}: first write after {first:.2f} s, last refused for the role after {last:.2f} s, "
              f"{len(late)} refused")
        return first, last


def pg_ini(url, **options):
    lines = "\n".join(f"{key} = {value}" for key, value in options.items())
    return ("[weir]\nlisten_postgresql = 127.0.0.1:@PORT@\nlisten_mysql = 127.0.0.1:@MYSQL_PORT@\nworkers = 2\n"
            f"admin_users = app\n[database app]\nurl = {url}\n{lines}\n")


@contextlib.contextmanager
def loaded(connect):
    load = Load(connect)
    try:
        load.wait_for_writes()
        yield load
    finally:
        load.stop()


# --- PostgreSQL ---

def test_primary_and_standby_change_roles_behind_one_name(start_weir, pair):
    """The name leads to the old server for a while, which is a standby by then."""
    old, new = pair
    relay = FaultRelay(old.port)
    weir = start_weir(ini=pg_ini(f"postgresql://app:secret@127.0.0.1:{relay.port}/app?sslmode=disable",
                                 pool_size=4, max_overflow=0))
    with loaded(weir.connect) as load:
        old.stop()
        promote(new)
        follow(old, new)
        # Its connections have been replaced in vain.
        wait_for(lambda: weir.log().count("event=demoted") >= 3, "the old one to be left")
        assert "25006" in load.codes()
        relay.to_port = new.port
        moved = time.monotonic()
        load.wait_for_writes(200)
    first, last = load.report("PostgreSQL behind a name that moves", moved, "25006")
    assert first < SOON and last < SOON
    assert load.codes() <= {"25006", "57P01", "57P03", "08006", "08001"}, load.errors
    assert "event=demoted" in weir.log()
    # All of them lead to the new one.
    assert old.connections() == 0
    relay.stop()


def test_primary_and_standby_change_roles_behind_several_hosts(start_weir, pair):
    one, two = pair
    weir = start_weir(ini=pg_ini(f"postgresql://app:secret@127.0.0.1:{one.port},127.0.0.1:{two.port}/app"
                                 "?sslmode=disable&target_session_attrs=read-write", pool_size=4, max_overflow=0))
    with loaded(weir.connect) as load:
        for old, new in ((one, two), (two, one)):
            old.stop()
            promote(new)
            promoted = time.monotonic()
            follow(old, new)
            load.wait_for_writes(200)
            first, last = load.report("PostgreSQL with several hosts", promoted, "25006")
            assert first < SOON
            assert old.connections() == 0
    # Nobody was led to a standby.
    assert load.codes() <= {"57P01", "08006"}, load.errors


def test_a_clients_own_read_only_transaction_condemns_nobody(start_weir, postgres):
    weir = start_weir(postgres)
    with weir.connect() as db:
        db.execute("create temporary table own (n int)")
        db.execute("drop table own")
        db.execute("begin read only")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            db.execute("create table refused (n int)")
        db.execute("rollback")
        db.execute("set default_transaction_read_only = on")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            db.execute("create table refused (n int)")
    assert "event=demoted" not in weir.log()


def test_a_standby_is_read_through_a_pool_of_its_own(start_weir, pair):
    """Someone writes to it by mistake, again and again: the readers keep their connections for most of the time."""
    _, standby = pair
    weir = start_weir(standby, pool_size=2, max_overflow=0)
    with weir.connect() as reader, weir.connect() as writer:
        n_before = standby.logins()
        end = time.monotonic() + 4
        while time.monotonic() < end:
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                writer.execute("insert into written values (1)")
            assert reader.execute("select count(*) from written").fetchone()
        # After 0, 0.5, 1.5, 3.5 s.
        assert weir.log().count("event=demoted") <= 4
        assert standby.logins() - n_before <= 16


# --- MySQL and MariaDB ---

@pytest.fixture(params=["mariadb", "mysql"])
def kind(request):
    if request.param == "mysql":
        need_mysql9()
    return request.param


@pytest.fixture
def two_servers(kind):
    made = mysql_servers.MariaDB if kind == "mariadb" else mysql_servers.MySQL
    with mysql_servers.running(made) as one, mysql_servers.running(made) as two:
        for server in (one, two):
            server.execute("create table app.written (n int)")
        yield one, two


def my_connect(weir):
    return pymysql.connect(host="127.0.0.1", port=weir.mysql_port, user="app", password="secret", database="app",
                           autocommit=True)


@pytest.mark.parametrize("how", ["name", "hosts"])
def test_a_server_that_becomes_read_only_is_left(start_weir, two_servers, kind, how):
    old, new = two_servers
    relay = FaultRelay(old.port)
    hosts = f"127.0.0.1:{relay.port}" if how == "name" else f"127.0.0.1:{old.port},127.0.0.1:{new.port}"
    weir = start_weir(ini=pg_ini(f"mysql://app:secret@{hosts}/app", pool_size=4, max_overflow=0))
    with loaded(lambda: my_connect(weir)) as load:
        assert old.connections() and not new.connections()
        old.execute("set global read_only = on")
        if how == "name":
            wait_for(lambda: weir.log().count("event=demoted") >= 3, "the old one to be left")
            relay.to_port = new.port
        moved = time.monotonic()
        load.wait_for_writes(200)
    first, last = load.report(f"{kind} read_only, {how}", moved, 1290)
    assert first < SOON and last < SOON
    assert load.codes() == {1290}, load.errors
    wait_for(lambda: old.connections() == 0, "the last connection to be gone")
    relay.stop()


def test_a_read_only_transaction_condemns_only_if_the_server_is(start_weir, two_servers):
    server, _ = two_servers
    weir = start_weir(server, workers=2)
    with my_connect(weir) as db, db.cursor() as cursor:
        def write_in_read_only_transaction():
            cursor.execute("start transaction read only")
            with pytest.raises(pymysql.Error) as error:
                cursor.execute("insert into written values (1)")
            cursor.execute("rollback")
            return error.value.args[0]

        assert write_in_read_only_transaction() == 1792
        cursor.execute("select 1")
        assert "event=demoted" not in weir.log()
        server.execute("set global read_only = on")
        assert write_in_read_only_transaction() in (1290, 1792)
        weir.wait_for_log("event=demoted")


# --- several hosts, several addresses ---

CLONE_NEWNS, MS_BIND, MS_PRIVATE, MS_REC = 0x20000, 0x1000, 1 << 18, 0x4000


@pytest.fixture
def start_with_hosts(tmp_path):
    """start(hosts, ini): a weir with an /etc/hosts of its own."""
    running = []

    def start(hosts, ini):
        base = tmp_path / f"named{len(running)}"
        base.mkdir()
        (base / "hosts").write_text(hosts)
        libc = ctypes.CDLL(None, use_errno=True)
        calls = [(libc.unshare, CLONE_NEWNS), (libc.mount, b"none", b"/", None, MS_REC | MS_PRIVATE, None),
                 (libc.mount, bytes(base / "hosts"), b"/etc/hosts", None, MS_BIND, None)]

        def enter():
            for function, *arguments in calls:
                if function(*arguments) != 0:
                    raise OSError(ctypes.get_errno(), str(arguments))

        running.append(Weir(base, ini, preexec_fn=enter))
        return running[-1]

    yield start
    for weir in running:
        weir.stop()


@pytest.fixture(params=["postgres", "mariadb", "mysql"])
def some_server(request):
    return request.getfixturevalue(request.param)


def connect_to(weir, server):
    return weir.connect() if isinstance(server, Postgres) else my_connect(weir)


def url_of(server, hosts):
    if isinstance(server, Postgres):
        return f"postgresql://app:secret@{hosts}/app?sslmode=disable"
    return f"mysql://app:secret@{hosts}/app?ssl_mode=disabled"


def one_answers(weir, server):
    with connect_to(weir, server) as db, db.cursor() as cursor:
        cursor.execute("select 1")
        return cursor.fetchone() == (1,)


def test_a_name_with_several_addresses(start_with_hosts, some_server):
    """Nothing listens at the first, and whoever listens at the second does not answer."""
    relay = FaultRelay(some_server.port, host="127.0.0.3")
    with socket.create_server(("127.0.0.2", relay.port)) as deaf:
        weir = start_with_hosts("127.0.0.1 db.test\n127.0.0.2 db.test\n127.0.0.3 db.test\n",
                                pg_ini(url_of(some_server, f"db.test:{relay.port}"),
                                       connect_timeout="1s", pool_timeout="10s"))
        assert one_answers(weir, some_server)
        assert "event=dial_failed" not in weir.log()
        deaf.setblocking(False)
        assert deaf.accept()
    relay.stop()


def test_hosts_that_fail_are_skipped(start_weir, some_server):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        hosts = f"127.0.0.1:1,127.0.0.1:{deaf.getsockname()[1]},no-such-host.invalid:1,127.0.0.1:{some_server.port}"
        weir = start_weir(ini=pg_ini(url_of(some_server, hosts), connect_timeout="1s", pool_timeout="10s"))
        assert one_answers(weir, some_server)
        assert "event=dial_failed" not in weir.log()
