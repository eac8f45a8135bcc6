"""PostgreSQL, MariaDB and MySQL in the same words, for tests that ask the same of all of them."""

import contextlib
import os
import signal
import socket
import struct

import conftest
import mysql_servers
import mysql_wire
import pymysql
import wire


class Failure(Exception):
    """An error that a client was told: `code` is the SQLSTATE, or MySQL's number."""

    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code, self.text = str(code), text


class Client:
    """One by hand, logged in."""

    def value(self, sql):
        """The one value that a statement gives; None: no row."""
        self.start(sql)
        return self.finish()

    run = value

    def fails(self, sql):
        """The code of the error that a statement gives."""
        self.start(sql)
        return self.failure()

    def failure(self):
        """The code of the error that the statement that was started gives."""
        try:
            value = self.finish()
        except Failure as failure:
            return failure.code
        raise AssertionError(f"no error, but {value!r}")

    def reset(self):
        """Vanishes without a word."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class PostgresClient(Client):
    def __init__(self, weir, **login):
        self.wire = wire.Client(weir.port).login(**login)
        assert not self.wire.error, self.wire.error
        self.socket, self.key = self.wire.socket, self.wire.key

    def start(self, sql):
        self.wire.send(wire.query(sql))

    def prepare(self, sql):
        self.wire.send(wire.parse("prepared", sql), wire.SYNC)
        self.wire.ready()
        return "prepared"

    def start_prepared(self, statement):
        self.wire.send(wire.bind(statement), wire.execute(), wire.SYNC)

    def finish(self):
        messages = self.wire.ready()
        for kind, content in messages:
            if kind == b"E":
                error = wire.Error(content)
                raise Failure(error.code, error["M"])
        rows = wire.Client.rows(messages)
        return rows[0][0].decode() if rows and rows[0][0] is not None else None

    def farewell(self):
        """The code of the last words."""
        (kind, content), = self.wire.until_closed()
        assert kind == b"E"
        return wire.Error(content).code

    def close(self):
        self.wire.close()


class MySQLClient(Client):
    def __init__(self, weir, **login):
        self.wire = mysql_wire.Client(weir.mysql_port, **login)
        self.socket = self.wire.socket

    def start(self, sql):
        self.binary = False
        self.wire.command(mysql_wire.QUERY, sql)

    def prepare(self, sql):
        return self.wire.prepare(sql)

    def start_prepared(self, statement):
        self.binary = True
        self.wire.command(mysql_wire.STMT_EXECUTE, self.wire.execution(statement))

    def finish(self):
        try:
            result = self.wire.results(self.binary)[0]
        except mysql_wire.Error as error:
            raise Failure(error.code, error.text) from error
        return result[0][0].decode() if isinstance(result, list) and result and result[0][0] is not None else None

    def farewell(self):
        return str(self.wire.farewell()[0])

    def close(self):
        self.wire.close()


class Side:
    def __init__(self, server):
        self.server = server

    def port_of(self, weir):
        return weir.port

    def client(self, weir, **login):
        return self.client_class(weir, **login)

    def clear(self):
        """Ends what tests have left on the server, so that `ids` are weir's."""
        for number in self.ids():
            self.end(number)
        conftest.wait_for(lambda: not self.ids(), "the server to end what was left")

    def wait_running(self, text):
        """The server's ids of the connections that run a statement with that text; waits for one."""
        return conftest.wait_for(lambda: self.running(text), f"{text} to run")


class Postgres(Side):
    name = "postgresql"
    client_class = PostgresClient
    codes = {"pool_timeout": "53300", "query_timeout": "57014", "client_idle_timeout": "57P05",
             "transaction_timeout": "25P04", "idle_in_transaction_timeout": "25P03", "client_login_timeout": "08P01",
             "connect_timeout": "08001", "failed": "25P02", "idle_in_transaction_timeout_pinned": "25P03"}
    pins = "listen pinned"

    def sleep(self, seconds):
        return f"select pg_sleep({seconds})"

    def megabytes(self, n):
        return f"select repeat('x', 1000000) from generate_series(1, {n})"

    def running(self, text):
        return [pid for pid, in self.server.query(
            "select pid from pg_stat_activity where state = 'active' and query like %s and pid <> pg_backend_pid()",
            [f"%{text}%"])]

    def ids(self):
        """Those of all connections that weir has."""
        return sorted(pid for pid, in self.server.query("select pid from pg_stat_activity where usename = 'app'"))

    def end(self, number):
        self.server.query("select pg_terminate_backend(%s)", [number])

    def table(self, name):
        with self.server.connect(dbname="app", user="app") as db:
            db.execute(f"drop table if exists {name}; create table {name} (n int)")

    def cancel(self, weir, client):
        """A CancelRequest, whose end says that weir has taken it."""
        with socket.create_connection(("127.0.0.1", weir.port), 20) as s:
            s.sendall(struct.pack("!II", len(client.key) + 8, 80877102) + client.key)
            assert s.recv(1) == b""

    def stall(self):
        """Nothing is answered, and no cancel is carried out, while statements go on."""
        self.server.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.server.process.send_signal(signal.SIGCONT)


class MySQL(Side):
    client_class = MySQLClient
    codes = {"pool_timeout": "1203", "query_timeout": "3024", "client_idle_timeout": "4031",
             "transaction_timeout": "1213", "idle_in_transaction_timeout": "1213", "client_login_timeout": "1159",
             "connect_timeout": "1429", "idle_in_transaction_timeout_pinned": "1213"}
    pins = "set @pinned = 1"

    def __init__(self, server):
        super().__init__(server)
        self.name = server.family
        self.table("one_row")
        self.table("thousand")
        server.execute("insert into app.one_row values (1)",
                       "insert into app.thousand (n) with recursive s as (select 1 as n union all select n + 1 from s"
                       " where n < 1000) select n from s")

    def port_of(self, weir):
        return weir.mysql_port

    # A SELECT SLEEP() without a table is not an error to MySQL when it is killed.
    def sleep(self, seconds):
        return f"select sleep({seconds}) from one_row"

    def megabytes(self, n):
        return f"select repeat('x', 1000000) from thousand limit {n}"

    def running(self, text):
        return [row[0] for row in self.server.processes() if row[3] and text in row[3]]

    def ids(self):
        return sorted(row[0] for row in self.server.processes())

    def end(self, number):
        with contextlib.suppress(pymysql.OperationalError):
            self.server.execute(f"kill {number}")

    def table(self, name):
        self.server.execute(f"drop table if exists app.{name}", f"create table app.{name} (n int)")

    def cancel(self, weir, client):
        killer = self.client(weir)
        killer.run(f"kill query {client.wire.thread_id}")
        killer.close()

    def stall(self):
        os.killpg(self.server.process.pid, signal.SIGSTOP)

    def go_on(self):
        os.killpg(self.server.process.pid, signal.SIGCONT)


def side_of(server):
    return MySQL(server) if isinstance(server, mysql_servers.Server) else Postgres(server)


