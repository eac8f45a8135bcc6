"""What a proxy adds to the latency when nothing is saturated."""

from load import same_load
from report import CostTable

RATE = 2500  # transactions a second: each of these proxies takes several times as many
COLUMNS = [("p50, µs", "p50", 1), ("p99, µs", "p99", 1), ("p99.9, µs", "p999", 1),
           ("processor time, µs", "processor", 1e6)]


def fixed_rate(bench, field):
    table = CostTable(
        f"{field.title}: latency below saturation",
        f"32 clients, {RATE:,} point selects a second that begin at random moments whether or not others are late; a latency"
        " counts from the moment the select was due. Subtract the direct connection's.", COLUMNS, telling=("p99", "processor"))
    kinds = [field.DIRECT, *field.SOME]
    for mode in ("simple", "prepared"):
        table.add("text" if mode == "simple" and field.protocol == "mysql" else mode,
                  same_load(bench, field.pick(*kinds), mode, 32, seconds=1.2, rate=RATE))
    yield table
