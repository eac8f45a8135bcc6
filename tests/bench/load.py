"""Runs the load generator, and the same load through several proxies in turn."""

import contextlib
import json
import os
import select
import signal
import statistics
import subprocess
import tempfile

import measure
from conftest import ROOT

PROGRAM = ROOT / "build" / "tests" / "bench" / "load"


class Lost(Exception):
    """The load could not be served."""


class Load:
    """Clients that are logged in, and wait for the word."""

    def __init__(self, proxy, work, clients, account="app"):
        field = proxy.field
        user, password = field.accounts[account]
        self.proxy = proxy
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [PROGRAM, field.protocol, str(proxy.port), user, password, "app", str(clients), work, str(field.rows),
             *(["tls"] if proxy.tls else [])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, start_new_session=True)
        try:
            self.answer(120)
        except Lost:
            self.close(kill=True)
            raise

    def answer(self, timeout):
        ready, _, _ = select.select([self.process.stdout], [], [], timeout)
        line = self.process.stdout.readline() if ready else b""
        if line:
            return json.loads(line)
        if ready:
            self.process.wait()
        self.errors.seek(0)
        said = self.errors.read().decode(errors="replace").strip().split("\n")[0]
        raise Lost(said or ("ended without a word" if ready else f"no answer within {timeout} s"))

    def tell(self, command, timeout):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(command.encode() + b"\n")
            self.process.stdin.flush()
        return self.answer(timeout)

    def run(self, seconds, rate=0, n=0):
        return self.tell(f"run {seconds} {rate} {n}", min(seconds, 120) + 90)

    def logins(self, seconds, processes):
        return self.tell(f"logins {seconds} {processes}", seconds + 60)

    def close(self, kill=False):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(0 if kill else 60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)  # it may have children
            self.process.wait()
        self.process.stdout.close()
        self.errors.close()


class Figures:
    """One proxy's samples: dictionaries by round. A figure is the median."""

    def __init__(self):
        self.samples = []

    def median(self, name):
        values = [sample[name] for sample in self.samples if name in sample]
        return statistics.median(values) if values else None

    def ratio(self, name, other):
        """The median of the ratios to the other's sample of the same round."""
        pairs = [(a[name], b[name]) for a, b in zip(self.samples, other.samples) if name in a and name in b]
        pairs = [(a, b) for a, b in pairs if b]
        return statistics.median(a / b for a, b in pairs) if pairs else None


def sample(load, order):
    """Carries out order(load), and adds what it cost the proxy for each transaction."""
    before = measure.processor_seconds(load.proxy.pid)
    done = order(load)
    if load.proxy.pid:
        done["processor"] = (measure.processor_seconds(load.proxy.pid) - before) / max(done["n"], 1)
    done["rate"] = done["n"] / done["seconds"]
    return done


def compare(bench, loads, order, rounds=None):
    """The same through each in turn, several times. {proxy's name: Figures}; a proxy that fails is named and left out."""
    found = {name: Figures() for name in loads}
    for _ in range(rounds or bench.rounds):
        for name, load in list(loads.items()):
            try:
                found[name].samples.append(sample(load, order))
            except Lost as lost:
                bench.lost(load.proxy, lost)
                loads.pop(name).close(kill=True)
                del found[name]
    return found


class Crowd:
    """The same clients at each of several proxies."""

    def __init__(self, bench, proxies, work, clients, account="app"):
        self.loads = {}
        for proxy in proxies:
            try:
                self.loads[proxy.name] = Load(proxy, work, clients, account)
            except Lost as lost:
                bench.lost(proxy, lost, f"{work.split(':')[0]}, {clients} clients")

    def __enter__(self):
        return self.loads

    def __exit__(self, *_):
        for load in self.loads.values():
            load.close()


def same_load(bench, proxies, work, clients, seconds=None, rate=0, n=0, rounds=None, account="app"):
    """The usual case: logs in, warms up, and measures."""
    seconds = (seconds or 1) * bench.scale
    with Crowd(bench, proxies, work, clients, account) as loads:
        compare(bench, loads, lambda load: load.run(min(0.2, seconds), rate, n), 1)
        return compare(bench, loads, lambda load: load.run(seconds if not n else 3600, rate, n), rounds)
