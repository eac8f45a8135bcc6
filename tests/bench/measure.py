"""What the kernel says of a proxy's processes."""

import contextlib
import os
import pathlib
import re
import subprocess

from conftest import wait_for

TICK = os.sysconf("SC_CLK_TCK")


def family(pid):
    """The process and all its descendants."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for task in pathlib.Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def threads(pid):
    """Processor seconds by thread."""
    found = {}
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found[int(task.name)] = int((task / "schedstat").read_text().split()[0]) / 1e9
    return found


def processor_seconds(pid):
    """Of all threads of the process and its descendants, and of those descendants that have ended."""
    total = 0
    for each in family(pid):
        total += sum(threads(each).values())
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = pathlib.Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[13]) + int(fields[14])) / TICK
    return total


def resident_bytes(pid):
    """Of the process and its descendants; what they share counts once for each."""
    total = 0
    for each in family(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            status = pathlib.Path(f"/proc/{each}/status").read_text()
            total += int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024
    return total


def count_calls(pid, report, work):
    """System calls by name, of all threads, while work() runs."""
    traced = [argument for each in family(pid) for argument in ("-p", str(each))]
    strace = subprocess.Popen(["strace", "-f", "-c", "-o", report, *traced], stderr=subprocess.PIPE)
    wait_for(lambda: b"attached" in strace.stderr.readline(), "strace")
    try:
        work()
    finally:
        strace.send_signal(2)
        strace.communicate()
    counts = {}
    for line in pathlib.Path(report).read_text().splitlines():
        fields = line.split()
        if len(fields) >= 5 and fields[3].isdigit() and fields[-1] != "total":
            counts[fields[-1]] = int(fields[3])
    return counts


def machine():
    """A line about the machine."""
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = int(re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())[1])
    system = pathlib.Path("/etc/os-release").read_text()
    return (f"{os.cpu_count()} × {model[1] if model else os.uname().machine}, {memory / 2**20:.0f} GB, "
            f"{re.search(r'PRETTY_NAME=.(.*).', system)[1]}, Linux {os.uname().release}")
