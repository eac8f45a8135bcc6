"""What goes wrong, once a second."""

import contextlib
import os
import random
import signal
import socket
import time

import psycopg
import pymysql


class Faults:
    def __init__(self, weir, postgres, mariadb, ini, seed):
        self.weir, self.postgres, self.mariadb, self.ini = weir, postgres, mariadb, ini
        self.random = random.Random(seed)
        self.counts = {}

    def one(self, seconds):
        """`seconds` since the start: restarts of servers come at their own times."""
        choices = [self.kill_backend, self.kill_mariadb_connection, self.kill_client, self.reconnect, self.reload,
                   self.pause, self.garbage, self.silence, self.stall_backend]
        if seconds % 60 == 20:
            choices = [self.restart_postgres]
        elif seconds % 60 == 40:
            choices = [self.restart_mariadb]
        elif seconds % 300 == 150:
            choices = [self.crash_postgres]
        fault = self.random.choice(choices)
        self.counts[fault.__name__] = self.counts.get(fault.__name__, 0) + 1
        with contextlib.suppress(psycopg.Error, pymysql.Error, OSError):
            fault()

    def kill_backend(self):
        self.postgres.query("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app' "
                            "order by random() limit 1")

    def kill_mariadb_connection(self):
        processes = self.mariadb.processes()
        if processes:
            self.mariadb.execute(f"kill {self.random.choice(processes)[0]}")

    def kill_client(self):
        clients = [row for row in self.weir.console("show clients") if row["database"] != "weir"]
        if clients:
            self.weir.console(f"kill_client {self.random.choice(clients)['id']}")

    def reconnect(self):
        self.weir.console(self.random.choice(["reconnect pg", "reconnect my"]))

    def reload(self):
        self.weir.write(self.ini(pool_size=self.random.choice([2, 5])))
        self.weir.console("reload")

    def pause(self):
        database = self.random.choice(["pg", "my"])
        # It answers when all connections are closed: long enough, with statements that sleep.
        with self.weir.connect(dbname="weir", cursor_factory=psycopg.ClientCursor, options="") as db:
            try:
                db.execute(f"pause {database}")
            finally:
                self.weir.console(f"resume {database}")

    def garbage(self):
        for port in (self.weir.port, self.weir.mysql_port):
            with socket.create_connection(("127.0.0.1", port), 5) as s:
                s.sendall(self.random.randbytes(self.random.randrange(1, 5000)))

    def silence(self):
        """A client that connects and says nothing, until the next one does."""
        self.silent = [socket.create_connection(("127.0.0.1", port), 5)
                       for port in (self.weir.port, self.weir.mysql_port)]

    def stall_backend(self):
        pid = self.postgres.query("select pid from pg_stat_activity where usename = 'app' order by random() limit 1")
        if pid:
            os.kill(pid[0][0], signal.SIGSTOP)
            time.sleep(0.5)
            os.kill(pid[0][0], signal.SIGCONT)

    def restart_postgres(self):
        self.postgres.stop()
        self.postgres.start()

    def restart_mariadb(self):
        self.mariadb.stop()
        self.mariadb.start()

    def crash_postgres(self):
        self.postgres.stop(signal.SIGKILL)
        self.postgres.start()
