"""PostgreSQL: weir, PgBouncer and the relay in front of one server."""

import asyncio
import hashlib
import os
import pwd
import re
import resource
import statistics
import struct
import subprocess
import time

from conftest import Postgres, Weir, free_port
from measure import (ROOT, Proxy, count_calls, print_calls, print_costs, print_heading, processor_seconds, ratios,
                     resident_bytes)

PG_BENCH = "/usr/lib/postgresql/15/bin/pgbench"
CLIENTS, CONNECTIONS = 32, 16
ACCOUNT = {"PGUSER": "app", "PGPASSWORD": "secret", "PGDATABASE": "app", "PGSSLMODE": "disable",
           "PGGSSENCMODE": "disable"}


class Field:
    """The server, and the proxies in front of it."""

    def __init__(self, base):
        self.base = base
        (base / "pg").mkdir()
        self.server = Postgres(base / "pg")
        self.run(PG_BENCH, "-i", "-q", "-s", "10", port=self.server.port)
        self.started = []
        self.relay = self.start_relay()
        self.weir = self.start_weir()
        self.pgbouncer = self.start_pgbouncer()

    def start(self, name, port, *command, **kwargs):
        log = open(self.base / f"{name}.log", "wb")
        process = subprocess.Popen(command, stdout=log, stderr=log, **kwargs)
        self.started.append(process)
        return Proxy(name, port, process.pid)

    def start_relay(self):
        port = free_port()
        return self.start("relay", port, ROOT / "build" / "tests" / "bench" / "relay", str(port),
                          str(self.server.port))

    def start_weir(self):
        md5 = "md5" + hashlib.md5(b"idle-secretidle").hexdigest()
        self.daemon = Weir(self.base, f"""[weir]
listen_postgresql = 127.0.0.1:@PORT@
workers = 1
max_clients = 15000
admin_users = app
[database app]
url = {self.server.url()}
pool_size = {CONNECTIONS}
max_overflow = 0
[user idle]
password = {md5}
""")
        return Proxy("weir", self.daemon.port, self.daemon.process.pid)

    def start_pgbouncer(self):
        port = free_port()
        ini = self.base / "pgbouncer.ini"
        ini.write_text(f"""[databases]
app = host=127.0.0.1 port={self.server.port} dbname=app user=app password=secret
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {CONNECTIONS}
max_client_conn = 1000
ignore_startup_parameters = extra_float_digits
""")
        account = {}
        if os.getuid() == 0:
            user = pwd.getpwnam("postgres")
            account = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        return self.start("pgbouncer", port, "/usr/sbin/pgbouncer", ini, **account)

    def run(self, *command, port, check=True, **kwargs):
        environment = os.environ | ACCOUNT | {"PGHOST": "127.0.0.1", "PGPORT": str(port)}
        return subprocess.run(command, env=environment, check=check, capture_output=True, text=True, **kwargs)

    def pgbench(self, proxy, *arguments):
        """Returns the number of transactions, and the report."""
        ended = self.run(PG_BENCH, "-n", "-S", *arguments, port=proxy.port, check=False)
        report = ended.stdout + ended.stderr
        if ended.returncode:
            raise RuntimeError(f"{proxy.name}: {report}")
        return int(re.search(r"actually processed: (\d+)", report)[1]), report

    def close(self):
        for process in self.started:
            process.terminate()
            process.wait()
        self.daemon.stop()
        self.server.stop()


def pgbouncer_version():
    text = subprocess.run(["/usr/sbin/pgbouncer", "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in re.search(r"(\d+)\.(\d+)", text).groups())


# --- the cases ---


def point_selects(field, options):
    print(f"Point selects: pgbench -S, {CLIENTS} clients, {CONNECTIONS} server connections, transaction mode.")
    print_heading()
    for mode in ("simple", "extended", "prepared"):
        proxies = [field.relay, field.weir]
        # Before 1.21 it knows nothing of prepared statements.
        if mode != "prepared" or pgbouncer_version() >= (1, 21):
            proxies.append(field.pgbouncer)
        rounds, rates = [], {proxy.name: [] for proxy in proxies}
        for proxy in proxies:
            field.pgbench(proxy, "-M", mode, "-c", str(CLIENTS), "-j", "2", "-t", "50")
        for _ in range(options.rounds):
            row = {}
            for proxy in proxies:
                before, start = processor_seconds(proxy.pid), time.monotonic()
                n, _ = field.pgbench(
                    proxy, "-M", mode, "-c", str(CLIENTS), "-j", str(CLIENTS), "-T", str(options.seconds))
                row[proxy.name] = (processor_seconds(proxy.pid) - before) / n
                rates[proxy.name].append(n / (time.monotonic() - start))
            rounds.append(row)
        print_costs(mode, proxies, rounds, rates)


def system_calls(field, options):
    print("System calls of weir per transaction: strace -f -c over 10,000 pgbench -S transactions.")
    for mode in ("simple", "extended", "prepared"):
        for n_clients in (1, CLIENTS):
            each = 10000 // n_clients
            counts = count_calls(field.weir.pid, field.base / "strace", lambda: field.pgbench(
                field.weir, "-M", mode, "-c", str(n_clients), "-t", str(each)))
            print_calls(mode, n_clients, counts, each * n_clients)


def copy_out(field, options):
    print("COPY of 200 MB to the client.")
    sql = "copy (select repeat('x', 1000) from generate_series(1, 200000)) to stdout"
    proxies = [field.relay, field.weir, field.pgbouncer]
    rounds = []
    for _ in range(options.rounds):
        row = {}
        for proxy in proxies:
            before = processor_seconds(proxy.pid)
            field.run("/usr/bin/psql", "-X", "-q", "-c", sql, "-o", "/dev/null", port=proxy.port)
            row[proxy.name] = processor_seconds(proxy.pid) - before
        rounds.append(row)
    for proxy in proxies:
        cost = statistics.median(row[proxy.name] for row in rounds)
        print(f"  {proxy.name:22}{cost * 1e3:12.0f} ms{ratios(rounds, proxy.name):14.2f}")


class IdleClient:
    """Logs in with md5, which costs little on either side, and then says nothing."""

    async def open(self, port):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
        parameters = b"user\0idle\0database\0app\0\0"
        self.writer.write(struct.pack("!ii", 8 + len(parameters), 196608) + parameters)
        kind, body = await self.message()
        assert (kind, body[:4]) == (b"R", b"\0\0\0\5"), (kind, body)
        inner = hashlib.md5(b"idle-secretidle").hexdigest().encode()
        proof = b"md5" + hashlib.md5(inner + body[4:8]).hexdigest().encode() + b"\0"
        self.writer.write(b"p" + struct.pack("!i", 4 + len(proof)) + proof)
        while kind != b"Z":
            kind, body = await self.message()
            assert kind != b"E", body

    async def message(self):
        head = await self.reader.readexactly(5)
        return head[:1], await self.reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)


async def idle_cost(field, n):
    clients = []
    first = [IdleClient() for _ in range(500)]  # what is allocated once is not theirs
    await asyncio.gather(*(client.open(field.weir.port) for client in first))
    before = resident_bytes(field.weir.pid)
    while len(clients) < n:
        batch = [IdleClient() for _ in range(min(100, n - len(clients)))]
        await asyncio.gather(*(client.open(field.weir.port) for client in batch))
        clients += batch
    return (resident_bytes(field.weir.pid) - before) / n


def idle_clients(field, options):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    n = min(10000, hard - 1000)
    cost = asyncio.run(idle_cost(field, n))
    print(f"Idle clients: {n} of them cost {cost:.0f} bytes of resident memory each.")


CASES = {"point": point_selects, "calls": system_calls, "copy": copy_out, "idle": idle_clients}
