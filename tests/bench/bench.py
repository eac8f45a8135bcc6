"""What pooling costs: the same load through weir, through each peer, and through a relay that looks at nothing.

Processor time is the proxy's own, of all its threads and processes, as the kernel accounts for it. Rounds are
interleaved, so that a noisy neighbour meets everyone; what is printed are medians, and ratios to the relay of the same
round.
"""

import argparse
import datetime
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

import cases_bulk  # noqa: E402
import cases_idle  # noqa: E402
import cases_instructions  # noqa: E402
import cases_latency  # noqa: E402
import cases_login  # noqa: E402
import cases_point  # noqa: E402
import cases_sqlalchemy  # noqa: E402
import cases_workers  # noqa: E402
import fields  # noqa: E402
import measure  # noqa: E402
import mysql_servers  # noqa: E402
import programs  # noqa: E402
import report  # noqa: E402
import targets  # noqa: E402
from conftest import ROOT  # noqa: E402

PG, MARIADB, MYSQL = fields.PostgresField, fields.MariaDbField, fields.MySql9Field

# name: (function, field). A new case is a row here, and a function in the file of its theme: it gets this run
# (class Bench) and the field, and gives tables (class CostTable, or Table).
CASES = {
    "point": (cases_point.point_selects, PG),
    "transactions": (cases_point.transactions, PG),
    "pipelines": (cases_point.pipelines, PG),
    "copy": (cases_bulk.copy, PG),
    "answers": (cases_bulk.answers, PG),
    "logins": (cases_login.logins, PG),
    "latency": (cases_latency.fixed_rate, PG),
    "idle": (cases_idle.idle_clients, PG),
    "workers": (cases_workers.two_workers, PG),
    "sqlalchemy": (cases_sqlalchemy.tasks, PG),
    "mariadb-point": (cases_point.point_selects, MARIADB),
    "mariadb-transactions": (cases_point.transactions, MARIADB),
    "mariadb-answers": (cases_bulk.answers, MARIADB),
    "mariadb-logins": (cases_login.logins, MARIADB),
    "mariadb-latency": (cases_latency.fixed_rate, MARIADB),
    "mariadb-idle": (cases_idle.idle_clients, MARIADB),
    "mariadb-sqlalchemy": (cases_sqlalchemy.tasks, MARIADB),
    "mysql-point": (cases_point.point_selects, MYSQL),
    "mysql-transactions": (cases_point.transactions, MYSQL),
    "mysql-answers": (cases_bulk.answers, MYSQL),
    "mysql-logins": (cases_login.logins, MYSQL),
    "mysql-latency": (cases_latency.fixed_rate, MYSQL),
    "mysql-sqlalchemy": (cases_sqlalchemy.tasks, MYSQL),
    "instructions": (cases_instructions.instructions, PG),
}
# Only if asked for by name: it takes minutes, and valgrind.
ASKED_FOR = {"instructions"}


class Bench:
    """One run."""

    def __init__(self, options):
        self.options = options
        self.rounds, self.scale = (1, 0.2) if options.quick else (3, 1)
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="weir-bench-"))
        self.base.chmod(0o755)
        self.programs = programs.Programs(options.peers)
        self.programs_described, self.missing, self.failures = {}, [], []
        self.machine = measure.machine()
        self.date = datetime.date.today().isoformat()
        commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True)
        told = subprocess.run([ROOT / "build" / "weir", "--version"], capture_output=True, text=True, check=True).stdout
        self.version = " ".join(filter(None, [told.split()[-1], commit.stdout.strip()]))

    def folder(self, name):
        made = self.base / name
        made.mkdir()
        made.chmod(0o777)
        return made

    def describe(self, proxy):
        row = (proxy.name, proxy.version, proxy.how)
        if self.programs_described.setdefault((proxy.name, proxy.field.family), row) is row:
            print(f"  {row[0]} {row[1]}: {row[2]}", flush=True)

    def described(self):
        return dict.fromkeys(self.programs_described.values())

    def miss(self, proxy, reason):
        text = f"{proxy.name} is not measured: {reason.splitlines()[0]}"
        if proxy.program and not proxy.found:
            text += " (tests/bench/peers builds a tree that has it)"
        if text not in self.missing:
            self.missing.append(text)
            print(f"\n*** {text} ***\n", flush=True)

    def lost(self, proxy, error, what=""):
        """A load was not served. The next case gets a new process of that proxy: this one may hang."""
        proxy.field.retire(proxy)
        text = f"{proxy.field.title}{', ' if what else ''}{what}: {proxy.name}: {error}"
        if text not in self.failures:
            self.failures.append(text)
            print(f"  *** {text}", flush=True)


def run_field(bench, kind, cases):
    """All cases of one server. Returns their tables by case."""
    print(f"\n=== {kind.product}", flush=True)
    field, tables = kind(bench), {}
    try:
        field.prepare()
        for name, case in cases:
            print(f"\n--- {name}", flush=True)
            start = time.monotonic()
            tables[name] = []
            for table in case(bench, field):
                table.note_absent([peer.name for peer in field.ALL])
                table.print()
                tables[name].append(table)
            print(f"  ({name}: {time.monotonic() - start:.0f} s)", flush=True)
    finally:
        field.close()
    return tables


def run(bench, chosen):
    tables = {}
    for kind in (PG, MARIADB, MYSQL):
        cases = [(name, CASES[name][0]) for name in chosen if CASES[name][1] is kind]
        if cases and kind is MYSQL and not mysql_servers.have_mysql9():
            text = "MySQL 9 is not measured: it could not be installed, or this is not root"
            bench.missing.append(text)
            print(f"\n*** {text} ***")
        elif cases:
            tables |= run_field(bench, kind, cases)
    return tables


def arguments():
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__.split("\n")[0])
    parser.add_argument("--only", action="append", choices=list(CASES), metavar="NAME", help="this case; may be repeated")
    parser.add_argument("--all", action="store_true", help="also the cases that run only if asked for")
    parser.add_argument("--quick", action="store_true", help="one short round: whether it works, not how fast")
    parser.add_argument("--peers", metavar="DIR", help="the tree with the peers (else .cache/peers, .cache/mysql9, PATH)")
    parser.add_argument("--markdown", metavar="FILE", help="fill the marked section of FILE (docs/benchmarks.md)")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    return parser.parse_args()


def main():
    options = arguments()
    if options.list:
        print("\n".join(f"{name}{' (only if asked for)' if name in ASKED_FOR else ''}" for name in CASES))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped
    start = time.monotonic()
    bench = Bench(options)
    print(f"weir {bench.version}, {bench.machine}")
    try:
        tables = run(bench, options.only or [name for name in CASES if options.all or name not in ASKED_FOR])
    finally:
        bench.programs.clean()
        shutil.rmtree(bench.base, ignore_errors=True)
    reached = targets.judge(tables)
    if reached.rows:
        reached.print()
    for text in [*bench.missing, *bench.failures]:
        print(f"*** {text}")
    if options.markdown:
        report.write_markdown(options.markdown, bench, [*sum(tables.values(), []), reached])
    print(f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
