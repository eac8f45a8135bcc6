"""weir is replaced by another weir under load, and no program notices: with pool_pre_ping=True, as SQLAlchemy's users have
it, no transaction fails, no connect is refused, and nothing that was committed is missing."""

import asyncio
import contextlib
import itertools
import os
import socket
import threading
import time

import psycopg
import pymysql
import pytest
from conftest import WEIR_BIN, Weir, free_port, wait_for
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

pytestmark = pytest.mark.thorough

RESTARTS = int(os.environ.get("WEIR_RESTARTS", "10"))
DRIVERS = {"asyncpg": "postgresql", "psycopg": "postgresql", "asyncmy": "mysql", "aiomysql": "mysql"}
TASKS = 8


class Ports:
    def __init__(self, postgresql, mysql):
        self.postgresql, self.mysql = postgresql, mysql

    def url(self, driver):
        kind = DRIVERS[driver]
        return f"{kind}+{driver}://app:secret@127.0.0.1:{getattr(self, kind)}/{kind}"


class Load:
    """Programs at work in a thread of their own, until they are told to stop."""

    def __init__(self, ports):
        self.ports = ports
        self.ids = itertools.count(1)
        self.committed = {driver: [] for driver in DRIVERS}
        self.failed = []
        self.enough = False
        self.thread = threading.Thread(target=lambda: asyncio.run(self.work()), daemon=True)

    async def task(self, driver, engine):
        while not self.enough:
            number = next(self.ids)
            try:
                async with engine.begin() as db:
                    assert (await db.execute(text(f"select {number}"))).scalar() == number
                    await db.execute(text("insert into restarted values (:n)"), {"n": number})
                self.committed[driver].append(number)
            except Exception as error:
                self.failed.append((driver, repr(error)))
            # A pool's connections are idle now and then. And the processors have more to do than this test.
            await asyncio.sleep((number % 5) / 25)

    async def work(self):
        engines = {driver: create_async_engine(self.ports.url(driver), pool_pre_ping=True, pool_size=4)
                   for driver in DRIVERS}
        await asyncio.gather(*(self.task(driver, engine) for driver, engine in engines.items() for _ in range(TASKS)))
        for engine in engines.values():
            await engine.dispose()

    def n_committed(self):
        return {driver: len(numbers) for driver, numbers in self.committed.items()}

    def goes_on(self):
        """Every driver has committed something since."""
        before = self.n_committed()
        wait_for(lambda: self.failed or all(n > before[driver] for driver, n in self.n_committed().items()), "the load")


class Knocker:
    """Logs in again and again, to both ports."""

    def __init__(self, ports):
        self.ports = ports
        self.enough = False
        self.refused, self.n = [], 0
        self.thread = threading.Thread(target=self.work, daemon=True)

    def work(self):
        login = {"user": "app", "password": "secret", "host": "127.0.0.1"}
        while not self.enough:
            with self.counted():
                psycopg.connect(port=self.ports.postgresql, dbname="postgresql", **login).close()
            with self.counted():
                pymysql.connect(port=self.ports.mysql, database="mysql", **login).close()
            time.sleep(0.005)

    @contextlib.contextmanager
    def counted(self):
        try:
            yield
            self.n += 1
        except Exception as error:
            self.refused.append(repr(error))


@pytest.fixture
def table(postgres, mariadb):
    with postgres.connect(dbname="app") as db:
        db.execute("drop table if exists restarted")
        db.execute("create table restarted (n int)")
        db.execute("grant all on restarted to app")
    mariadb.execute("drop table if exists app.restarted", "create table app.restarted (n int)")

    def rows():
        found = {n for n, in postgres.query("select n from restarted", dbname="app")}
        return found | {n for n, in mariadb.query("select n from app.restarted")}
    return rows


def ini(ports, postgres, mariadb, weir=""):
    return f"""[weir]
listen_postgresql = 127.0.0.1:{ports.postgresql}
listen_mysql = 127.0.0.1:{ports.mysql}
workers = 2
{weir}
[defaults]
pool_size = 5
max_overflow = 5
[database postgresql]
url = {postgres.url()}
[database mysql]
url = {mariadb.url()}
"""


@contextlib.contextmanager
def under_load(ports, table):
    load, knocker = Load(ports), Knocker(ports)
    load.thread.start()
    knocker.thread.start()
    load.goes_on()
    yield load
    load.goes_on()
    load.enough = knocker.enough = True
    load.thread.join(60)
    knocker.thread.join(60)
    assert not load.failed, (len(load.failed), load.failed[:10])
    assert not knocker.refused, (len(knocker.refused), knocker.refused[:10])
    assert {n for numbers in load.committed.values() for n in numbers} == table()
    print(f"{sum(load.n_committed().values())} transactions and {knocker.n} logins, none failed")


def new_folder(base, number):
    folder = base / str(number)
    folder.mkdir()
    return folder


def test_a_newer_weir_takes_over_the_port(tmp_path, postgres, mariadb, table):
    ports = Ports(free_port(), free_port())
    text_of_ini = ini(ports, postgres, mariadb, "reuse_port = true\nshutdown_timeout = 5s")
    weir = Weir(new_folder(tmp_path, 0), text_of_ini)
    try:
        with under_load(ports, table) as load:
            for number in range(1, RESTARTS + 1):
                old, weir = weir, None
                weir = Weir(new_folder(tmp_path, number), text_of_ini)
                old.stop()
                load.goes_on()
    finally:
        if weir:
            weir.stop()


def test_the_service_manager_keeps_the_ports_open(tmp_path, postgres, mariadb, table):
    """As with weir.socket: one weir ends before the next one starts."""
    with contextlib.ExitStack() as stack:
        doors = [stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=4096)) for _ in range(2)]
        ports = Ports(*(door.getsockname()[1] for door in doors))
        text_of_ini = ini(Ports(1, 2), postgres, mariadb, "shutdown_timeout = 5s")

        def start(number):
            folder = new_folder(tmp_path, number)
            (folder / "weir.ini").write_text(text_of_ini)

            def inherit():
                copies = [os.dup(door.fileno()) for door in doors]
                for place, copy in enumerate(copies, 3):
                    os.dup2(copy, place)
            command = ["-c", 'LISTEN_PID=$$ exec "$0" -c "$1"', WEIR_BIN, str(folder / "weir.ini")]
            return Weir(folder, arguments=command, executable="/bin/sh", preexec_fn=inherit, pass_fds=(3, 4),
                        env=os.environ | {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "postgresql:mysql"})

        weir = start(0)
        try:
            with under_load(ports, table) as load:
                for number in range(1, RESTARTS + 1):
                    weir.stop()
                    weir = start(number)
                    load.goes_on()
        finally:
            weir.stop()
