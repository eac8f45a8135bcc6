"""One connection of each driver under the same four words, for programs that do not care which it is."""

import contextlib
import os
import socket

import aiomysql
import asyncmy
import asyncpg
import psycopg


class Asyncpg:
    family = "postgresql"

    async def open(self, port):
        self.db = await asyncpg.connect(host="127.0.0.1", port=port, user="app", password="secret", database="pg",
                                        ssl=False, timeout=20)

    async def value(self, sql, *args):
        """The first column of the first row. `{}` stands for a parameter, which is a number."""
        return await self.db.fetchval(sql.format(*(f"${n}::bigint" for n in range(1, len(args) + 1))), *args)

    def drop(self):
        """The connection is gone, without a word to the server."""
        self.db.terminate()


class Psycopg:
    family = "postgresql"

    async def open(self, port):
        self.db = await psycopg.AsyncConnection.connect(
            f"host=127.0.0.1 port={port} user=app password=secret dbname=pg sslmode=disable connect_timeout=20",
            autocommit=True)

    async def value(self, sql, *args):
        cursor = await self.db.execute(sql.format(*("%s::bigint" for _ in args)), args or None)
        return (await cursor.fetchone())[0] if cursor.description else None

    def drop(self):
        with contextlib.suppress(psycopg.OperationalError, OSError):  # it is lost already
            with socket.socket(fileno=os.dup(self.db.fileno())) as s:
                s.shutdown(socket.SHUT_RDWR)


class Mysql:
    family = "mysql"

    async def open(self, port):
        self.db = await self.module.connect(host="127.0.0.1", port=port, user="app", password="secret", db="my",
                                            autocommit=True, connect_timeout=20)

    async def value(self, sql, *args):
        async with self.db.cursor() as cursor:
            await cursor.execute(sql.format(*("%s" for _ in args)), args or None)
            row = await cursor.fetchone()
            return row[0] if row else None

    def drop(self):
        self.db.close()


class Asyncmy(Mysql):
    module = asyncmy


class Aiomysql(Mysql):
    module = aiomysql


DRIVERS = [Asyncpg, Psycopg, Asyncmy, Aiomysql]
