"""A storm of cancels: workers start statements that carry a nonce and give up on them in every way there is, while others
read back their own nonces. Used by a test, short, and by a command that does it in full."""

import asyncio
import contextlib
import os
import random
import socket
import struct
import time

import aiomysql
import asyncmy
import asyncpg
import conftest
import psycopg

# The shortest is over before the cancel comes, the longest never.
SECONDS = (0, 0.002, 0.01, 30)
PATIENCE = (0.0005, 0.03)


def ini(side, n_servers):
    """Several workers, and room for everybody who waits."""
    return ("[weir]\nlisten_postgresql = 127.0.0.1:@PORT@\nlisten_mysql = 127.0.0.1:@MYSQL_PORT@\nworkers = 2\n"
            # One process plays all the clients: how quickly they log in is not what this is about.
            f"client_login_timeout = 2min\nadmin_users = app\n[database app]\nurl = {side.server.url()}\npool_size = {n_servers}\nmax_overflow = 0\n"
            "pool_timeout = 2min\ncancel_grace = 20s\n")


class Count:
    def __init__(self):
        self.foreign_rows, self.foreign_cancels, self.errors = [], [], []
        self.n_answered = self.n_given_up = self.n_read = 0


def abort(sock):
    """Its end is a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Asyncpg:
    def __init__(self, weir):
        self.weir = weir

    async def connect(self):
        self.db = await asyncpg.connect(self.weir.url().replace("+asyncpg", ""))

    async def ask(self, nonce, seconds):
        return await self.db.fetchval("select $1::text from pg_sleep($2)", nonce, seconds)

    def is_closed(self):
        return self.db.is_closed()

    def kill(self):
        if self.db.is_closed():
            return
        abort(self.db._transport.get_extra_info("socket"))
        self.db.terminate()

    async def close(self):
        await self.db.close()

    cancelled = asyncpg.QueryCanceledError
    survives = True


class Psycopg:
    def __init__(self, weir):
        self.weir = weir

    async def connect(self):
        # It would prepare what it has run a few times, and then run it in a second step: a cancel between the two has
        # nothing to hit, at any server.
        self.db = await psycopg.AsyncConnection.connect(self.weir.dsn(), autocommit=True, prepare_threshold=None)

    async def ask(self, nonce, seconds):
        cursor = await self.db.execute("select %s::text from pg_sleep(%s)", [nonce, seconds])
        return (await cursor.fetchone())[0]

    def is_closed(self):
        return self.db.closed

    async def cancel(self):
        await self.db.cancel_safe(timeout=10)

    def kill(self):
        if self.db.closed:
            return
        # psycopg watches its own descriptor, which must not go from under it.
        with socket.socket(fileno=os.dup(self.db.fileno())) as s:
            abort(s)
            s.shutdown(socket.SHUT_RDWR)

    async def close(self):
        await self.db.close()

    cancelled = psycopg.errors.QueryCanceled
    survives = True


class MySQL:
    """Its drivers cannot go on after a timeout: what they gave up may still be under way."""

    def __init__(self, weir):
        self.weir = weir
        self.settings = {"host": "127.0.0.1", "port": weir.mysql_port, "user": "app", "password": "secret",
                         "db": "app", "autocommit": True}

    async def ask(self, nonce, seconds):
        async with self.db.cursor() as cursor:
            await cursor.execute("select %s from one_row where sleep(%s) = 0", [nonce, seconds])
            row = await cursor.fetchone()
        return row[0]

    async def close(self):
        with contextlib.suppress(Exception):
            await self.db.ensure_closed()

    cancelled = ()
    survives = False

    @staticmethod
    def is_cancelled(error):
        return bool(error.args) and error.args[0] in (1317, 3024)


class Aiomysql(MySQL):
    async def connect(self):
        self.db = await aiomysql.connect(**self.settings)

    async def ask(self, nonce, seconds):
        cursor = await self.db.cursor()
        await cursor.execute("select %s from one_row where sleep(%s) = 0", [nonce, seconds])
        return (await cursor.fetchone())[0]

    async def cancel(self):
        killer = await aiomysql.connect(**self.settings)
        cursor = await killer.cursor()
        # A statement that is over, or not there yet, is no error: the connection is.
        await cursor.execute(f"kill query {self.db.thread_id()}")
        killer.close()

    def kill(self):
        if self.db._writer:
            transport = self.db._writer.transport
            abort(transport.get_extra_info("socket"))
            transport.abort()


class Asyncmy(MySQL):
    async def connect(self):
        self.db = await asyncmy.connect(**self.settings)

    async def cancel(self):
        killer = await asyncmy.connect(**self.settings)
        async with killer.cursor() as cursor:
            await cursor.execute(f"kill query {self.db.thread_id()}")
        await killer.ensure_closed()

    def kill(self):
        # It keeps its socket to itself; this says no farewell.
        self.db.close()


DRIVERS = {"postgresql": (Asyncpg, Psycopg), "mysql": (Asyncmy, Aiomysql)}


def was_cancelled(driver, error):
    if driver.survives:
        return isinstance(error, driver.cancelled)
    return driver.is_cancelled(error)


async def give_up(driver, how, nonce, seconds, count):
    """One statement, and its end. True: the connection can be used on."""
    task = asyncio.create_task(driver.ask(nonce, seconds))
    done, _ = await asyncio.wait([task], timeout=random.uniform(*PATIENCE))
    if done:
        found = await task
        count.n_answered += 1
        if found != nonce:
            count.foreign_rows.append((nonce, found))
        return True
    count.n_given_up += 1
    if how == "cancel":
        await driver.cancel()
        try:
            found = await asyncio.wait_for(task, 20)
            if found != nonce:
                count.foreign_rows.append((nonce, found))
        except Exception as error:
            if not was_cancelled(driver, error):
                count.errors.append(error)
        return True
    if how == "timeout":
        task.cancel()
        with contextlib.suppress(BaseException):
            await task
        if driver.survives and not driver.is_closed():
            return True
        if driver.survives:
            # psycopg closes a connection whose statement goes on although it was cancelled.
            count.errors.append((nonce, "its driver has given up the connection"))
    driver.kill()
    task.cancel()
    with contextlib.suppress(BaseException):
        await task
    if driver.survives:
        with contextlib.suppress(Exception):
            await driver.close()
    return False


async def worker(weir, kind, n, count):
    hows = ["timeout", "kill"] + (["cancel"] if hasattr(kind, "cancel") else [])
    driver, usable = kind(weir), False
    for i in range(n):
        nonce = f"w{id(driver)}-{i}-{random.random()}"
        try:
            if not usable:
                driver = kind(weir)
                await driver.connect()
            usable = await give_up(driver, random.choice(hows), nonce, random.choice(SECONDS), count)
        except Exception as error:
            # Nobody has cancelled this one.
            (count.foreign_cancels if was_cancelled(driver, error) else count.errors).append((nonce, error))
            if hasattr(driver, "db"):
                driver.kill()
            usable = False
    if usable:
        await driver.close()


async def reader(weir, kind, stop, count):
    driver = kind(weir)
    await driver.connect()
    while not stop.is_set():
        nonce = f"r{id(driver)}-{random.random()}"
        try:
            found = await driver.ask(nonce, 0.001)
        except Exception as error:
            (count.foreign_cancels if was_cancelled(driver, error) else count.errors).append((nonce, error))
            break
        count.n_read += 1
        if found != nonce:
            count.foreign_rows.append((nonce, found))
    await driver.close()


async def warm(weir, kind, n):
    """As many connections to the server as there may be."""
    drivers = [kind(weir) for _ in range(n)]
    for driver in drivers:
        await driver.connect()
    await asyncio.gather(*(driver.ask("warm", 0.5) for driver in drivers))
    for driver in drivers:
        await driver.close()


async def storm(weir, side, n_workers, n_each, n_servers):
    """What happened: (count, seconds). Checks that the server has the same connections before and after: a login that
    stays, and one in place of another, would show."""
    kinds = DRIVERS["postgresql" if side.name == "postgresql" else "mysql"]
    count = Count()
    await warm(weir, kinds[0], n_servers)
    before = side.ids()
    logins = side.server.logins()
    assert len(before) == n_servers, before
    stop = asyncio.Event()
    readers = [asyncio.create_task(reader(weir, kinds[n % 2], stop, count)) for n in range(6)]
    begin = time.monotonic()
    await asyncio.gather(*(worker(weir, kinds[n % 2], n_each, count) for n in range(n_workers)))
    took = time.monotonic() - begin
    stop.set()
    await asyncio.gather(*readers)
    await asyncio.to_thread(check_nothing_left, weir, side, before, n_servers)
    if side.name == "postgresql":
        # At the others each KILL QUERY is a login.
        assert side.server.logins() == logins
    return count, took


def check_nothing_left(weir, side, before, n_servers):
    conftest.wait_for(lambda: weir.pool()["sv_idle"] == n_servers, "all connections to be free")
    pool = weir.pool()
    assert pool["cl_active"] == pool["cl_waiting"] == 0, pool
    conftest.wait_for(lambda: not side.running("sleep"), "all statements to end")
    conftest.wait_for(lambda: side.ids() == before, f"the server to have its {before} and no others")
