"""The soak: programs at work, faults, and what must be true at the end."""

import argparse
import asyncio
import contextlib
import pathlib
import re
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

import mysql_servers  # noqa: E402
from clients import DRIVERS  # noqa: E402
from conftest import Postgres, Weir, wait_for  # noqa: E402
from faults import Faults  # noqa: E402
from programs import Program, Tally  # noqa: E402

PROGRAMS_PER_DRIVER = 8
LIMIT = 8  # pool_size + max_overflow, at their largest


class Watch:
    """Looks at the servers and at weir's memory, once a second."""

    def __init__(self, weir, postgres):
        self.weir, self.postgres = weir, postgres
        self.most_connections = 0
        self.resident = []

    def look(self):
        status = pathlib.Path(f"/proc/{self.weir.process.pid}/status").read_text()
        self.resident.append(int(re.search(r"VmRSS:\s+(\d+)", status)[1]))
        with contextlib.suppress(Exception):  # the server may be down just now
            self.most_connections = max(self.most_connections, self.postgres.connections())

    def growth(self):
        """Kilobytes between the second quarter and the last: the first fills caches."""
        n = len(self.resident) // 4
        return statistics.median(self.resident[-n:]) - statistics.median(self.resident[n:2 * n]) if n else 0


def ini(postgres, mariadb):
    def text(pool_size=5):
        return f"""[weir]
listen_postgresql = 127.0.0.1:@PORT@
listen_mysql = 127.0.0.1:@MYSQL_PORT@
workers = 2
admin_users = app
client_login_timeout = 5s
[defaults]
pool_size = {pool_size}
max_overflow = 3
pool_timeout = 10s
query_timeout = 20s
[database pg]
url = {postgres.url()}
[database my]
url = {mariadb.url()}
"""
    return text


async def all_at_work(programs):
    await asyncio.gather(*(program.work() for program in programs))


def soak(seconds, seed, weir, postgres, mariadb, make_ini):
    tally = Tally()
    programs = [Program(driver, weir.port if driver.family == "postgresql" else weir.mysql_port,
                        seed * 1000 + 100 * kind + n, tally)
                for kind, driver in enumerate(DRIVERS) for n in range(PROGRAMS_PER_DRIVER)]
    thread = threading.Thread(target=lambda: asyncio.run(all_at_work(programs)), daemon=True)
    faults, watch = Faults(weir, postgres, mariadb, make_ini, seed), Watch(weir, postgres)
    thread.start()
    began = time.monotonic()
    for second in range(1, seconds + 1):
        faults.one(second)
        watch.look()
        if second % 60 == 0:
            print(f"{second:5} s: {tally.right} right, {len(tally.wrong)} wrong, {sum(tally.errors.values())} errors, "
                  f"{watch.resident[-1]} kB", flush=True)
        # The beat of the clock, whatever the fault took.
        time.sleep(max(0.0, began + second - time.monotonic()))
        if weir.process.poll() is not None:
            break
    for program in programs:
        program.enough = True
    thread.join(90)
    return tally, faults, watch, thread.is_alive()


def leaked(weir, postgres, mariadb):
    """Connections that weir or a server counts and the other does not, once all is at rest."""
    def at_rest():
        pools = [row for row in weir.console("show pools") if row["database"] in ("pg", "my")]
        return all(row["cl_active"] == row["cl_waiting"] == row["sv_active"] == row["sv_login"] == 0 for row in pools)
    wait_for(at_rest, "the pools to be at rest", 60)

    def difference():
        servers = [row["database"] for row in weir.console("show servers")]
        return (postgres.connections() - servers.count("pg"), mariadb.connections() - servers.count("my"))
    with contextlib.suppress(AssertionError):
        wait_for(lambda: difference() == (0, 0), "the counts to agree", 20)
    return difference()


def report(tally, faults, watch, hung, lost, log):
    print(f"answers: {tally.right} right, {len(tally.wrong)} wrong; {tally.connects} connects")
    print("errors that programs saw:")
    for kind, n in sorted(tally.errors.items()):
        print(f"{n:8} {kind}" + (f", like {tally.examples[kind]!r:.120}" if tally.examples[kind] else ""))
    print("faults: " + ", ".join(f"{name} {n}" for name, n in sorted(faults.counts.items())))
    print(f"connections to PostgreSQL: {watch.most_connections} at most; left over at the end: {lost[0]} and {lost[1]}")
    print(f"resident memory: {watch.resident[0]} kB at the start, {watch.resident[-1]} kB at the end, "
          f"{watch.growth():+.0f} kB since the second quarter")
    problems = tally.wrong[:20]
    if hung:
        problems.append("a program hangs")
    if lost != (0, 0):
        problems.append("connections are left over")
    if watch.most_connections > LIMIT:
        problems.append(f"more than {LIMIT} connections")
    if watch.growth() > max(2048, watch.resident[0] // 5):
        problems.append("memory has grown")
    if not tally.right:
        problems.append("nothing was answered")
    if re.search("invariant does not hold|AddressSanitizer|runtime error:", log):
        problems.append(f"weir complains: {log[-2000:]}")
    for problem in problems:
        print(f"WRONG: {problem}")
    return not problems


def main():
    parser = argparse.ArgumentParser(prog="tests/soak/run", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1, help="another course of events")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the servers are stopped all the same
    base = pathlib.Path(tempfile.mkdtemp())
    base.chmod(0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, base, ignore_errors=True)
        (base / "pg").mkdir()
        postgres = Postgres(base / "pg")
        stack.callback(lambda: postgres.process.poll() is None and postgres.stop())
        mariadb = stack.enter_context(mysql_servers.running(mysql_servers.MariaDB))
        for server, dbname in ((postgres, "app"), (mariadb, None)):
            table = "soak" if dbname else "app.soak"
            with server.connect(**({"dbname": dbname} if dbname else {})) as db:
                db.cursor().execute(f"create table {table} (n bigint)")
                if dbname:
                    db.execute("grant all on soak to app")
        make_ini = ini(postgres, mariadb)
        weir = Weir(base, make_ini())
        stack.callback(weir.stop)
        *seen, hung = soak(int(options.minutes * 60), options.seed, weir, postgres, mariadb, make_ini)
        dead = weir.process.poll() is not None
        lost = (0, 0) if dead else leaked(weir, postgres, mariadb)
        good = report(*seen, hung, lost, weir.log()) and not dead
    print("soak: passed" if good else "soak: FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
