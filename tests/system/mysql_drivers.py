"""Five drivers behind one face, so that a test can say once what holds for all of them."""

import asyncio

import aiomysql
import asyncmy
import MySQLdb
import mysql.connector
import pymysql

ERRORS = (pymysql.MySQLError, MySQLdb.MySQLError, mysql.connector.Error, asyncmy.errors.MySQLError)


def number(error):
    """The server's number of any driver's exception."""
    return error.errno if isinstance(error, mysql.connector.Error) else error.args[0]


class Blocking:
    def __init__(self, db):
        self.db = db
        self.lastrowid = self.rowcount = None

    def run(self, sql, args=None):
        cursor = self.db.cursor()
        try:
            cursor.execute(sql, args)
            self.lastrowid, self.rowcount = cursor.lastrowid, cursor.rowcount
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []
        finally:
            cursor.close()

    def many(self, sql, rows):
        cursor = self.db.cursor()
        cursor.executemany(sql, rows)
        cursor.close()

    def stream(self, sql):
        cursor = self.unbuffered()
        cursor.execute(sql)
        yield from cursor
        cursor.close()

    def ping(self):
        self.db.ping()

    def commit(self):
        self.db.commit()

    def rollback(self):
        self.db.rollback()

    def close(self):
        self.db.close()


class PyMySQL(Blocking):
    def __init__(self, **settings):
        super().__init__(pymysql.connect(**settings))

    def unbuffered(self):
        return self.db.cursor(pymysql.cursors.SSCursor)

    def ping(self):
        self.db.ping(reconnect=False)


class MySQLClient(Blocking):
    def __init__(self, autocommit=False, **settings):
        super().__init__(MySQLdb.connect(**settings))
        self.db.autocommit(autocommit)

    def unbuffered(self):
        return self.db.cursor(MySQLdb.cursors.SSCursor)


class Connector(Blocking):
    def __init__(self, **settings):
        super().__init__(mysql.connector.connect(use_pure=True, **settings))

    def unbuffered(self):
        return self.db.cursor(buffered=False)

    def ping(self):
        self.db.ping(reconnect=False)


class Asynchronous:
    """On an event loop of its own."""

    def __init__(self, module, **settings):
        self.module = module
        self.loop = asyncio.new_event_loop()
        self.lastrowid = self.rowcount = None
        try:
            self.db = self.wait(module.connect(**{self.rename(k): v for k, v in settings.items()}))
        except BaseException:
            self.loop.close()
            raise

    def rename(self, setting):
        return {"database": "db"}.get(setting, setting) if self.module is aiomysql else setting

    def wait(self, work):
        async def task():
            return await work
        return self.loop.run_until_complete(asyncio.wait_for(task(), 60))

    def run(self, sql, args=None):
        async def work():
            async with self.db.cursor() as cursor:
                await cursor.execute(sql, args)
                self.lastrowid, self.rowcount = cursor.lastrowid, cursor.rowcount
                return [tuple(row) for row in await cursor.fetchall()] if cursor.description else []
        return self.wait(work())

    def many(self, sql, rows):
        async def work():
            async with self.db.cursor() as cursor:
                await cursor.executemany(sql, rows)
        self.wait(work())

    def stream(self, sql):
        kind = asyncmy.cursors.SSCursor if self.module is asyncmy else aiomysql.SSCursor

        async def work():
            async with self.db.cursor(kind) as cursor:
                await cursor.execute(sql)
                return [tuple(row) async for row in cursor]
        yield from self.wait(work())

    def ping(self):
        self.wait(self.db.ping(reconnect=False))

    def commit(self):
        self.wait(self.db.commit())

    def rollback(self):
        self.wait(self.db.rollback())

    def close(self):
        async def work():
            self.db.close()
            await asyncio.sleep(0)
        if not self.loop.is_closed():
            self.loop.run_until_complete(work())
            self.loop.close()


def Asyncmy(**settings):
    return Asynchronous(asyncmy, **settings)


def Aiomysql(**settings):
    return Asynchronous(aiomysql, **settings)


DRIVERS = {"asyncmy": Asyncmy, "aiomysql": Aiomysql, "pymysql": PyMySQL, "mysqlclient": MySQLClient,
           "mysql-connector": Connector}


def connect(driver, port, user="app", password="secret", database="app", **settings):
    return DRIVERS[driver](host="127.0.0.1", port=port, user=user, password=password, database=database, **settings)
