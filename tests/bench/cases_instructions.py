"""Instructions in user space per transaction, counted by callgrind: they do not depend on the machine's mood.

Of one client, so that each run opens one server connection, and by a server that trusts: a SCRAM login takes as many
instructions as thousands of transactions.
"""

import re
import subprocess

from load import Figures, Load, Lost
from report import CostTable

COLUMNS = [("instructions", "instructions", 1)]
FIRST, SECOND = 500, 2500


def total(proxy, work, n):
    """Of a process of its own, from start to end."""
    counted = type(proxy)(proxy.field)
    counted.start(before=["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"])
    try:
        load = Load(counted, work, 1)
        try:
            load.run(3600, 0, n)
        finally:
            load.close()
    finally:
        counted.stop()
    log = counted.log.read_text(errors="replace")
    return int(re.findall(r"Collected : (\d+)", log)[-1])


def count(bench, proxy, work):
    try:
        counts = [total(proxy, work, n) for n in (FIRST, SECOND)]
    except (Lost, RuntimeError, AssertionError, IndexError, subprocess.SubprocessError) as error:
        bench.lost(proxy, error, f"{work} under callgrind")
        return None
    figures = Figures()
    figures.samples.append({"instructions": (counts[1] - counts[0]) / (SECOND - FIRST)})
    return figures


def instructions(bench, field):
    proxies = field.pick(field.RELAY, field.WEIR, field.PGBOUNCER)
    table = CostTable(
        f"{field.title}: instructions in user space per transaction",
        f"callgrind; one client; the difference between a run of {SECOND:,} point selects and one of {FIRST:,}, so that start,"
        " logins and end do not count", COLUMNS)
    with field.trusting():
        for work in ("simple", "extended", "prepared"):
            table.add(work, {name: found for name, found in
                             ((proxy.name, count(bench, proxy, work)) for proxy in proxies) if found})
    yield table
