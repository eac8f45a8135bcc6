"""What pooling costs: the same load through weir, through PgBouncer, and through a relay that looks at nothing.

Processor time is the proxy's own, of all its threads, as the kernel accounts for it. Rounds are interleaved, so that a
noisy neighbour meets everyone; what is printed are medians, and ratios to the relay of the same round.
"""

import argparse
import asyncio
import contextlib
import hashlib
import os
import pathlib
import pwd
import re
import resource
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "system"))

from conftest import Postgres, Weir, free_port, wait_for  # noqa: E402

PG_BENCH = "/usr/lib/postgresql/15/bin/pgbench"
CLIENTS, CONNECTIONS = 32, 16
ACCOUNT = {"PGUSER": "app", "PGPASSWORD": "secret", "PGDATABASE": "app", "PGSSLMODE": "disable",
           "PGGSSENCMODE": "disable"}


def processor_seconds(pid):
    """Of all threads, those that have ended excepted."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def resident_bytes(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024


class Proxy:
    def __init__(self, name, port, pid):
        self.name, self.port, self.pid = name, port, pid


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


def ratios(rounds, name):
    return statistics.median(row[name] / row["relay"] for row in rounds)


# --- the cases ---


def point_selects(field, options):
    print(f"Point selects: pgbench -S, {CLIENTS} clients, {CONNECTIONS} server connections, transaction mode.")
    print(f"{'':24}{'processor time':>16}{'to the relay':>14}{'throughput':>14}")
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
                row[proxy.name] = (processor_seconds(proxy.pid) - before) / n * 1e6
                rates[proxy.name].append(n / (time.monotonic() - start))
            rounds.append(row)
        for proxy in proxies:
            cost = statistics.median(row[proxy.name] for row in rounds)
            print(f"  {mode:10} {proxy.name:11}{cost:13.1f} us{ratios(rounds, proxy.name):14.2f}"
                  f"{statistics.median(rates[proxy.name]):12.0f}/s")
        sys.stdout.flush()


def system_calls(field, options):
    print("System calls of weir per transaction: strace -f -c over 10,000 pgbench -S transactions.")
    for mode in ("simple", "extended", "prepared"):
        for n_clients in (1, CLIENTS):
            counts = count_calls(field, field.weir, mode, n_clients)
            n = 10000 // n_clients * n_clients
            total = sum(counts.values())
            listed = ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda x: -x[1])[:5])
            print(f"  {mode:10}{n_clients:4} client{'s' if n_clients > 1 else ' '}{total / n:8.2f}   ({listed})")
            sys.stdout.flush()


def count_calls(field, proxy, mode, n_clients):
    report = field.base / "strace"
    strace = subprocess.Popen(["strace", "-f", "-c", "-o", report, "-p", str(proxy.pid)], stderr=subprocess.PIPE)
    wait_for(lambda: b"attached" in strace.stderr.readline(), "strace")
    field.pgbench(proxy, "-M", mode, "-c", str(n_clients), "-t", str(10000 // n_clients))
    strace.send_signal(2)
    strace.wait()
    counts = {}
    for line in report.read_text().splitlines():
        fields = line.split()
        if len(fields) >= 5 and fields[3].isdigit() and fields[-1] != "total":
            counts[fields[-1]] = int(fields[3])
    return counts


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


def main():
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__.split("\n")[0])
    parser.add_argument("--only", choices=CASES, metavar="NAME", help="one of: " + ", ".join(CASES))
    parser.add_argument("--quick", action="store_true", help="shorter and fewer rounds")
    options = parser.parse_args()
    options.rounds, options.seconds = (3, 2) if options.quick else (5, 6)
    base = pathlib.Path(tempfile.mkdtemp())
    base.chmod(0o755)
    field = Field(base)
    try:
        for name, case in CASES.items():
            if options.only in (None, name):
                case(field, options)
                print(flush=True)
    finally:
        field.close()
        shutil.rmtree(base)


if __name__ == "__main__":
    main()
