"""Clients that are there and say nothing: what they take, and what they cost those that work."""

import measure
from load import Crowd, Figures, Load, Lost, compare
from report import CostTable

FIRST, FEW, MANY = 500, 1000, 15000
MEMORY = [("resident bytes for each", "bytes", 1)]
BUSY = [("per second", "rate", 1), ("processor time, µs", "processor", 1e6), ("p99, µs", "p99", 1)]
CHEAP = {"pgsql": "md5"}  # the login that costs the least


def grow(proxy, crowds, n):
    """Lets n more clients in. Returns what each takes."""
    before = measure.resident_bytes(proxy.pid)
    crowds.append(Load(proxy, "simple", n, CHEAP.get(proxy.field.protocol, "app")))
    return (measure.resident_bytes(proxy.pid) - before) / n


def let_in(bench, proxies, crowds, n):
    """n more idle clients at each. {name: figures of memory}; a proxy that fails is dropped."""
    memory = {}
    for proxy in list(proxies):
        try:
            memory[proxy.name] = Figures()
            memory[proxy.name].samples.append({"bytes": grow(proxy, crowds, n)})
        except Lost as lost:
            bench.lost(proxy, lost, f"{n:,} idle clients")
            proxies.remove(proxy)
            del memory[proxy.name]
    return memory


def measure_all(bench, proxies, many, taken, cost):
    crowds = []
    let_in(bench, proxies, crowds, FIRST)
    try:
        with Crowd(bench, proxies, "simple", 32) as loads:
            compare(bench, loads, lambda load: load.run(0.3), 1)
            for n, more in ((0, 0), (FEW, FEW), (many, many - FEW)):
                if more:
                    taken.add(f"{n:,} idle", let_in(bench, proxies, crowds, more))
                cost.add(f"beside {n:,}", compare(bench, loads, lambda load: load.run(bench.scale)))
    finally:
        for load in crowds:
            load.close()


def idle_clients(bench, field):
    many = MANY // 10 if bench.options.quick else MANY
    kinds = [field.WEIR] if field.protocol == "mysql" else [field.WEIR, field.PGBOUNCER, field.ODYSSEY]
    taken = CostTable(f"{field.title}: memory of idle clients",
                      f"logged in, and silent; the first {FIRST} are not counted, since what is allocated once is not theirs; the"
                      f" second figure is of the clients beyond {FEW:,}", MEMORY)
    cost = CostTable(f"{field.title}: 32 busy clients beside idle ones",
                     "point selects, simple (text) protocol", BUSY, yardstick="weir")
    # Of new processes: what earlier clients have left would be used again.
    for proxy in field.pick(*kinds):
        field.retire(proxy)
    measure_all(bench, field.pick(*kinds), many, taken, cost)
    yield taken
    yield cost
