"""MySQL and MariaDB: weir, MySQL Router (where it is to be had) and the relay in front of one server."""

import os
import pathlib
import re
import socket
import statistics
import subprocess
import threading
import time

import mysql_servers
import mysql_wire
from conftest import Weir, free_port, wait_for
from measure import (ROOT, Proxy, count_calls, print_calls, print_costs, print_heading, processor_seconds, ratios,
                     resident_bytes)

CLIENTS, CONNECTIONS = 32, 16
MODES = {"text": "disable", "prepared": "auto"}

# Router shares connections only between clients whose password it has seen, which takes TLS; here it is a relay that
# knows the protocol.
ROUTER = """[DEFAULT]
logging_folder =
plugin_folder = /usr/lib/mysqlrouter/plugin
runtime_folder = {folder}
data_folder = {folder}
[routing:classic]
bind_address = 127.0.0.1
bind_port = {port}
destinations = 127.0.0.1:{server}
routing_strategy = first-available
protocol = classic
connection_sharing = 1
client_ssl_mode = DISABLED
server_ssl_mode = DISABLED
max_connect_errors = 4294967295
"""


class Field:
    """One server, and the proxies in front of it."""

    def __init__(self, base, kind):
        self.base = base / kind.family
        self.base.mkdir()
        self.server = kind(pathlib.Path(subprocess.check_output(["mktemp", "-d"], text=True).strip()))
        self.server.prepare()
        self.started, self.daemons = [], []
        self.relay = self.start_relay()
        self.weir = self.start_weir("weir", CONNECTIONS)
        self.proxies = [self.relay, self.weir]
        if kind.family == "mysql":
            self.start_router()
        self.sysbench(Proxy("direct", self.server.port, 0), "prepare", "--table-size=10000")

    def start(self, name, port, *command):
        log = open(self.base / f"{name}.log", "wb")
        process = subprocess.Popen(command, stdout=log, stderr=log)
        self.started.append(process)
        return Proxy(name, port, process.pid)

    def start_relay(self):
        port = free_port()
        return self.start("relay", port, ROOT / "build" / "tests" / "bench" / "relay", str(port),
                          str(self.server.port))

    def start_weir(self, name, pool_size):
        (self.base / name).mkdir()
        daemon = Weir(self.base / name, f"""[weir]
listen_postgresql = 127.0.0.1:@PORT@
listen_mysql = 127.0.0.1:@MYSQL_PORT@
workers = 1
admin_users = app
[database app]
url = {self.server.url(params="?ssl_mode=DISABLED")}
pool_size = {pool_size}
max_overflow = 0
""")
        self.daemons.append(daemon)
        return Proxy("weir", daemon.mysql_port, daemon.process.pid)

    def start_router(self):
        tree = pathlib.Path(mysql_servers.MYSQL9)
        if not (tree / "usr/bin/mysqlrouter").exists():
            print("(no MySQL Router beside MySQL 9: left out)")
            return
        port = free_port()
        folder = tree / "tmp" / f"router-{port}"
        folder.mkdir()
        inside = f"/{folder.relative_to(tree)}"
        (folder / "router.conf").write_text(ROUTER.format(port=port, server=self.server.port, folder=inside))
        router = self.start("mysqlrouter", port, "chroot", tree, "mysqlrouter", "-c", f"{inside}/router.conf")

        def listens():
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", port)) == 0

        wait_for(listens, "MySQL Router")
        self.proxies.append(router)

    def sysbench(self, proxy, command, *options, test="oltp_point_select"):
        """Returns the number of transactions, and the report."""
        ended = subprocess.run(
            ["sysbench", test, "--db-driver=mysql", "--mysql-host=127.0.0.1", f"--mysql-port={proxy.port}",
             "--mysql-user=app", "--mysql-password=secret", "--mysql-db=app", "--mysql-ssl=off", "--tables=1",
             *options, command], capture_output=True, text=True)
        report = ended.stdout + ended.stderr
        if ended.returncode:
            raise RuntimeError(f"{proxy.name}: {report}")
        done = re.search(r"transactions:\s+(\d+)", report)
        return int(done[1]) if done else 0, report

    def close(self):
        for process in self.started:
            process.terminate()
            process.wait()
        for daemon in self.daemons:
            daemon.stop()
        self.server.remove()


def point_selects(field, options):
    print(f"{field.server.version}: sysbench oltp_point_select, {CLIENTS} threads, {CONNECTIONS} server connections,"
          " transaction mode.")
    print_heading()
    for mode, ps_mode in MODES.items():
        rounds, rates = [], {proxy.name: [] for proxy in field.proxies}
        arguments = ["--table-size=10000", f"--db-ps-mode={ps_mode}", f"--threads={CLIENTS}"]
        for proxy in field.proxies:
            field.sysbench(proxy, "run", *arguments, "--events=2000", "--time=0")
        for _ in range(options.rounds):
            row = {}
            for proxy in field.proxies:
                before = processor_seconds(proxy.pid)
                n, _ = field.sysbench(proxy, "run", *arguments, f"--time={options.seconds}")
                row[proxy.name] = (processor_seconds(proxy.pid) - before) / n
                rates[proxy.name].append(n / options.seconds)
            rounds.append(row)
        print_costs(mode, field.proxies, rounds, rates)


def system_calls(field, options):
    print(f"{field.server.version}: system calls of weir per autocommit statement, over 10,000.")
    for mode, ps_mode in MODES.items():
        for n_clients in (1, CLIENTS):
            counts = count_calls(field.weir.pid, field.base / "strace", lambda: field.sysbench(
                field.weir, "run", "--table-size=10000", f"--db-ps-mode={ps_mode}", f"--threads={n_clients}",
                "--events=10000", "--time=0"))
            print_calls(mode, n_clients, counts, 10000)


LARGE = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 1000)" \
        " select repeat('x', 1000) from n a, n b limit 200000"


def large_result(field, options):
    print(f"{field.server.version}: a result of 200 MB.")
    rounds = []
    for _ in range(options.rounds):
        row = {}
        for proxy in field.proxies[:2]:
            before = processor_seconds(proxy.pid)
            subprocess.run(["mariadb", "-h", "127.0.0.1", "-P", str(proxy.port), "-u", "app", "-psecret", "--quick",
                            "-N", "-B", "app", "-e", LARGE], check=True, stdout=subprocess.DEVNULL)
            row[proxy.name] = processor_seconds(proxy.pid) - before
        rounds.append(row)
    for proxy in field.proxies[:2]:
        cost = statistics.median(row[proxy.name] for row in rounds)
        print(f"  {proxy.name:22}{cost * 1e3:12.0f} ms{ratios(rounds, proxy.name):14.2f}")
    slow_reader(field)


def slow_reader(field):
    """1 MB a second, for five seconds."""
    with mysql_wire.Client(field.weir.port) as client:
        client.value("select 1")
        before, most = resident_bytes(field.weir.pid), 0
        client.sequence = 0
        client.send(bytes([mysql_wire.QUERY]) + LARGE.encode())
        for _ in range(50):
            start = time.monotonic()
            left = 100_000
            while left:
                got = len(client.socket.recv(min(left, 65536)))
                assert got, "the answer broke off"
                left -= got
            most = max(most, resident_bytes(field.weir.pid) - before)
            threading.Event().wait(max(0, 0.1 - (time.monotonic() - start)))
        client.socket.close()
    print(f"  a reader of 1 MB/s: weir's resident memory grew by {most / 1024:.0f} kB")


def read_write(field, options):
    few = field.start_weir("few", 8)
    n, report = field.sysbench(few, "run", "--table-size=10000", "--threads=64",
                               f"--time={options.seconds * 2}", "--mysql-ignore-errors=1213,1020,1205",
                               test="oltp_read_write")
    print(f"{field.server.version}: sysbench oltp_read_write, 64 threads on 8 connections: {n} transactions,"
          f" {re.search(r'ignored errors: *([0-9]+)', report)[1]} deadlocks, no other error.")


CASES = {"mysql-point": point_selects, "mysql-calls": system_calls, "mysql-large": large_result,
         "mysql-write": read_write}


def kinds():
    """The servers that are here."""
    return [mysql_servers.MariaDB] + ([mysql_servers.MySQL] if mysql_servers.have_mysql9() else [])
