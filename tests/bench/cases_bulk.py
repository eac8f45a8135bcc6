"""Bytes by the megabyte."""

from load import same_load
from report import CostTable

COLUMNS = [("per second", "rate", 1), ("processor time, ms", "processor", 1e3), ("p50, ms", "p50", 1e-3)]
SMALL = [("per second", "rate", 1), ("processor time, µs", "processor", 1e6), ("p50, µs", "p50", 1)]

# bytes: how many answers of that size a round asks for
SIZES = {64: 5000, 4096: 5000, 65536: 1000, 1 << 20: 100, 16 << 20: 8}


def size_name(n):
    return f"{n >> 20} MB" if n >= 1 << 20 else f"{n >> 10} kB" if n >= 1024 else f"{n} bytes"


def fixed(bench, field, work, clients, n):
    n = max(clients, n // (10 if bench.options.quick else 1))
    return same_load(bench, field.pick(*field.SOME), work, clients, n=n)


def copy(bench, field):
    table = CostTable(f"{field.title}: COPY, and rows of 1 MB", "one client; figures are of 100 MB", COLUMNS)
    lines = "sql:copy (select repeat('x', 1000) from generate_series(1, 100000)) to stdout"
    table.add("COPY out", fixed(bench, field, lines, 1, 2))
    table.add("COPY in", fixed(bench, field, "copyin:100", 1, 2))
    table.add("100 rows of 1 MB", fixed(bench, field,
                                        "sql:select repeat('x', 1048576) from generate_series(1, 100)", 1, 2))
    yield table


def answers(bench, field):
    table = CostTable(f"{field.title}: answers of one row", "8 clients, simple (text) protocol; figures are of one answer",
                      SMALL)
    for size, n in SIZES.items():
        table.add(size_name(size), fixed(bench, field, f"sql:select repeat('x', {size})", 8, n))
    yield table
