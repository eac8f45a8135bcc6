"""What weir is to reach, held against what was measured."""

from load import Figures
from report import Table, number

# (what, case, figure, (load, proxy), (load, proxy) that it is divided by or None, "<=" or ">=", limit)
TARGETS = [
    ("PostgreSQL point select, simple: processor time to the relay's", "point", "processor",
     ("simple, 32 clients", "weir"), ("simple, 32 clients", "relay"), "<=", 1.05),
    ("PostgreSQL point select, prepared: processor time to the relay's", "point", "processor",
     ("prepared, 32 clients", "weir"), ("prepared, 32 clients", "relay"), "<=", 1.15),
    ("PostgreSQL point select, simple: processor time to PgBouncer's", "point", "processor",
     ("simple, 32 clients", "weir"), ("simple, 32 clients", "pgbouncer"), "<=", 0.95),
    ("PostgreSQL point select, prepared: processor time to PgBouncer's", "point", "processor",
     ("prepared, 32 clients", "weir"), ("prepared, 32 clients", "pgbouncer"), "<=", 0.75),
    *((f"{product} point select, {mode}: processor time to the relay's", f"{name}-point", "processor",
       (f"{mode}, 32 clients", "weir"), (f"{mode}, 32 clients", "relay"), "<=", limit)
      for name, product in (("mariadb", "MariaDB"), ("mysql", "MySQL"))
      for mode, limit in (("text", 1.10), ("prepared", 1.20))),
    ("COPY out: processor time to the relay's", "copy", "processor",
     ("COPY out", "weir"), ("COPY out", "relay"), "<=", 1.05),
    ("COPY out: processor time to PgBouncer's", "copy", "processor",
     ("COPY out", "weir"), ("COPY out", "pgbouncer"), "<=", 0.65),
    ("PostgreSQL answers of 1 MB: processor time to the relay's", "answers", "processor",
     ("1 MB", "weir"), ("1 MB", "relay"), "<=", 1.05),
    ("PostgreSQL answers of 1 MB: processor time to PgBouncer's", "answers", "processor",
     ("1 MB", "weir"), ("1 MB", "pgbouncer"), "<=", 0.65),
    ("instructions in user space per simple transaction to PgBouncer's", "instructions", "instructions",
     ("simple", "weir"), ("simple", "pgbouncer"), "<=", 1),
    ("SCRAM login: processor time to PgBouncer's", "logins", "processor",
     ("SCRAM-SHA-256", "weir"), ("SCRAM-SHA-256", "pgbouncer"), "<=", 0.6),
    ("bytes of an idle client", "idle", "bytes", ("15,000 idle", "weir"), None, "<=", 1000),
    ("processor time per transaction beside 15,000 idle clients, to that beside none", "idle", "processor",
     ("beside 15,000", "weir"), ("beside 0", "weir"), "<=", 1.05),
    ("p99 latency below saturation, simple, to PgBouncer's", "latency", "p99",
     ("simple", "weir"), ("simple", "pgbouncer"), "<=", 1),
    ("p99 latency below saturation, prepared, to PgBouncer's", "latency", "p99",
     ("prepared", "weir"), ("prepared", "pgbouncer"), "<=", 1),
    ("throughput of two workers, weir being throttled, to that of one", "workers", "rate",
     ("throttled", "weir, 2 workers"), ("throttled", "weir"), ">=", 1.7),
]
SIGNS = {"<=": "≤", ">=": "≥"}


def find(tables, where):
    """The figures of (load, proxy) in one of the tables."""
    for table in tables:
        found = getattr(table, "figures", {}).get(where[0], {}).get(where[1])
        if found:
            return found
    return Figures()


def judge(tables_of):
    """`tables_of`: the tables by case. A table of the targets whose case was run."""
    table = Table("Figures to reach")
    table.heading = ["figure", "", "to reach", "seen"]
    for what, case, key, of, to, sign, limit in TARGETS:
        tables = tables_of.get(case, [])
        seen = find(tables, of).ratio(key, find(tables, to)) if to else find(tables, of).median(key)
        if seen is not None:
            reached = seen <= limit if sign == "<=" else seen >= limit
            table.rows.append([what, "reached" if reached else "MISSED", f"{SIGNS[sign]} {number(limit)}", number(seen)])
    return table
