"""Short statements: what a transaction costs."""

import measure
from load import Crowd, Lost, compare, same_load
from report import CostTable

MODES = {"pgsql": ["simple", "extended", "prepared"], "mysql": ["simple", "prepared"]}
WORDS = {"mysql": {"simple": "text"}}


def count_calls(bench, loads, figures, n):
    """System calls per transaction, in a run of its own: strace slows everything down."""
    for name, load in loads.items():
        if name in figures:
            try:
                counts = measure.count_calls(load.proxy.pid, bench.base / "strace", lambda: load.run(60, 0, n))
                figures[name].samples[0]["calls"] = sum(counts.values()) / n
            except Lost as lost:
                bench.lost(load.proxy, lost, "under strace")


def kinds_for(field, n_clients):
    if n_clients == 32:
        return field.ALL
    kinds = [kind for kind in field.SOME if kind.__name__ != "RouterSharing"]
    # A server connection for each of 2,000 clients measures the server.
    return [kind for kind in kinds if n_clients < 2000 or kind.__name__ not in ("Relay", "Router")]


def point_selects(bench, field):
    table = CostTable(
        f"{field.title}: point selects",
        "32 clients: all peers, and system calls counted by strace in a run of their own; other numbers: some peers, without"
        " strace. The relay and MySQL Router without sharing open a server connection for each client, and are left out at"
        " 2,000.")
    for n_clients in (1, 32, 256, 2000):
        for mode in MODES[field.protocol]:
            with Crowd(bench, field.pick(*kinds_for(field, n_clients)), mode, n_clients) as loads:
                compare(bench, loads, lambda load: load.run(0.2, 0, 0), 1)
                seconds = bench.scale * (1 if n_clients == 32 else 0.5)
                figures = compare(bench, loads, lambda load: load.run(seconds, 0, 0))
                if n_clients == 32:
                    count_calls(bench, loads, figures, 400 if bench.options.quick else 3000)
            word = WORDS.get(field.protocol, {}).get(mode, mode)
            table.add(f"{word}, {n_clients:,} client{'s' if n_clients > 1 else ''}", figures)
    yield table


def transactions(bench, field):
    table = CostTable(f"{field.title}: transactions of 5 statements",
                      "begin, select, update, select, commit, by the simple (text) protocol, each a round trip; 32 clients")
    table.add("5 statements", same_load(bench, field.pick(*field.SOME), "transaction", 32))
    yield table


def pipelines(bench, field):
    table = CostTable(f"{field.title}: pipelines",
                      "32 executions of a prepared point select, and one Sync; 16 clients; figures are of a pipeline")
    table.add("32 deep", same_load(bench, field.pick(*field.SOME), "pipeline", 16))
    yield table
