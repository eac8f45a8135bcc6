"""Two workers against one, on a machine where load, server and weir share the cores.

Each worker thread gets a tenth of a core from the kernel (a control group with a quota of its own), so that weir is what
limits the throughput, and the rest of the machine is left to the load and the server. Two workers may then do twice as
much as one; what is missing to that is what sharing costs. Where there is no such control group, only the second way is
left: the processor time per transaction of the busiest worker, whose inverse is the throughput at which it is saturated.
"""

import os
import pathlib

import measure
from load import Crowd, Figures, Lost
from report import CostTable

PERIOD_USEC, QUOTA_USEC = 20000, 2000
COLUMNS = [("per second", "rate", 1), ("busiest worker, µs", "busiest", 1e6), ("all threads, µs", "processor", 1e6),
           ("p99, µs", "p99", 1)]


class Quota:
    """A control group for each thread. With version 1 of control groups threads may be in any; with version 2 only in
    threaded ones below the process's own."""

    def __init__(self):
        self.made = []

    def hold(self, pid):
        v1 = pathlib.Path("/sys/fs/cgroup/cpu")
        root = v1 if v1.is_dir() else pathlib.Path("/sys/fs/cgroup")
        if root is not v1:
            root = self.make(root / f"weir-bench-{pid}")
            (root.parent / "cgroup.subtree_control").write_text("+cpu")
            (root / "cgroup.procs").write_text(str(pid))
        for thread in os.listdir(f"/proc/{pid}/task"):
            group = self.make(root / f"weir-bench-{thread}")
            if root is not v1:
                (group / "cgroup.type").write_text("threaded")
                (root / "cgroup.subtree_control").write_text("+cpu")
                (group / "cpu.max").write_text(f"{QUOTA_USEC} {PERIOD_USEC}")
                (group / "cgroup.threads").write_text(thread)
            else:
                (group / "cpu.cfs_period_us").write_text(str(PERIOD_USEC))
                (group / "cpu.cfs_quota_us").write_text(str(QUOTA_USEC))
                (group / "tasks").write_text(thread)

    def make(self, path):
        path.mkdir()
        self.made.append(path)
        return path

    def remove(self):
        """After the process has ended."""
        for path in reversed(self.made):
            path.rmdir()


def run_once(load, seconds, rate=0):
    pid = load.proxy.pid
    before, total = measure.threads(pid), measure.processor_seconds(pid)
    done = load.run(seconds, rate)
    done["busiest"] = max(used - before.get(thread, 0) for thread, used in measure.threads(pid).items()) / done["n"]
    done["processor"] = (measure.processor_seconds(pid) - total) / done["n"]
    done["rate"] = done["n"] / done["seconds"]
    return done


def rounds_of(bench, loads, rate):
    found = {name: Figures() for name in loads}
    for _ in range(bench.rounds):
        for name, load in loads.items():
            found[name].samples.append(run_once(load, 1.5 * bench.scale, rate))
    return found


def two_workers(bench, field):
    proxies = field.pick(field.WEIR, field.WEIR2)
    table = CostTable(
        f"{field.title}: two workers against one",
        "32 clients, simple protocol, without TLS. \"throttled\": each of weir's threads has a control group with a quota of"
        f" {100 * QUOTA_USEC // PERIOD_USEC} % of a core, so that weir limits the throughput. \"2,000 a second\": a fixed"
        " rate without quotas; the inverse of the busiest worker's time is the throughput at which it would be saturated.",
        COLUMNS, yardstick="weir")
    with Crowd(bench, proxies, "simple", 32) as loads:
        table.add("2,000 a second", rounds_of(bench, loads, 2000))
        quotas = []
        try:
            for proxy in proxies:
                quotas.append(Quota())
                quotas[-1].hold(proxy.pid)
            table.add("throttled", rounds_of(bench, loads, 0))
        except (OSError, Lost) as error:
            bench.lost(proxies[0], error, "no quota for each thread: the throttled rows are missing")
    for proxy in proxies:
        field.retire(proxy)
    for quota in quotas:
        quota.remove()
    yield table
