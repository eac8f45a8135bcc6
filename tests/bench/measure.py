"""What the kernel says of a process, and medians of interleaved rounds."""

import contextlib
import pathlib
import re
import statistics
import subprocess

from conftest import wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]


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


def ratios(rounds, name):
    return statistics.median(row[name] / row["relay"] for row in rounds)


def count_calls(pid, report, work):
    """System calls by name, of all threads, while work() runs."""
    strace = subprocess.Popen(["strace", "-f", "-c", "-o", report, "-p", str(pid)], stderr=subprocess.PIPE)
    wait_for(lambda: b"attached" in strace.stderr.readline(), "strace")
    work()
    strace.send_signal(2)
    strace.wait()
    counts = {}
    for line in pathlib.Path(report).read_text().splitlines():
        fields = line.split()
        if len(fields) >= 5 and fields[3].isdigit() and fields[-1] != "total":
            counts[fields[-1]] = int(fields[3])
    return counts


def print_calls(name, n_clients, counts, n):
    total = sum(counts.values())
    listed = ", ".join(f"{call} {count}" for call, count in sorted(counts.items(), key=lambda x: -x[1])[:5])
    print(f"  {name:10}{n_clients:4} client{'s' if n_clients > 1 else ' '}{total / n:8.2f}   ({listed})", flush=True)


def print_heading():
    print(f"{'':25}{'processor time':>15}{'to the relay':>14}{'throughput':>14}")


def print_costs(name, proxies, rounds, rates):
    """Rows of processor time per transaction (rounds: seconds by proxy), to the relay, and throughput."""
    for proxy in proxies:
        cost = statistics.median(row[proxy.name] for row in rounds)
        print(f"  {name:10} {proxy.name:12}{cost * 1e6:12.1f} us{ratios(rounds, proxy.name):14.2f}"
              f"{statistics.median(rates[proxy.name]):12.0f}/s", flush=True)
