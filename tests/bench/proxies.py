"""What the proxies have in common; the relay, weir and the direct connection, which know both protocols."""

import os
import random
import signal
import socket
import subprocess

from conftest import ROOT, free_port, wait_for

CONNECTIONS = 16  # server connections of each pooler
MANY = 17000  # clients that each must let in


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def short_port():
    """A free one of four digits: pgagroal 2.1 has no room for a fifth."""
    for port in random.sample(range(5500, 10000), 4500):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port of four digits is free")


class Proxy:
    """One that runs. A subclass starts its process in `start`, and says in `how` how it is configured."""

    name = how = version = ""
    tls = False  # its clients use TLS
    workers = 1
    program = None  # name of what is to be found in PATH or the tree
    account = None  # who it runs as, where it refuses to be root
    home = None

    def __init__(self, field):
        self.field, self.bench = field, field.bench
        self.found = self.bench.programs.find(self.program) if self.program else None
        self.port = free_port()
        self.process = None

    def absent(self):
        """Why it cannot be had, or None."""
        return f"there is no {self.program}" if self.program and not self.found else None

    def run(self, *command, before=(), **kwargs):
        """Starts it, and waits until it listens."""
        if self.found:
            command, more = self.found.command(*command, account=self.account, before=before)
            kwargs |= more
        if self.home:
            kwargs["env"] = kwargs.get("env", os.environ) | {"HOME": self.home}
        self.log = self.field.base / f"{self.name.replace(' ', '-')}.log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, **kwargs)
        self.pid = self.process.pid
        wait_for(lambda: listens(self.port) or self.process.poll() is not None, self.name, 60)
        if self.process.poll() is not None:
            said = self.log.read_text(errors="replace").strip() or "without a word"
            raise RuntimeError(f"it ended: {said.splitlines()[-1]}")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Direct(Proxy):
    name = "direct"
    how = "no proxy: the clients log in to the server"
    pid = 0  # nobody's

    @property
    def version(self):
        return self.field.title.split()[-1]

    def start(self):
        self.port = self.field.server.port


class Relay(Proxy):
    name = "relay"
    how = "moves bytes and looks at none; one server connection for each client"
    version = "–"

    def start(self, before=()):
        self.run(*before, ROOT / "build" / "tests" / "bench" / "relay", str(self.port), str(self.field.server.port))


class WeirProxy(Proxy):
    name = "weir"

    @property
    def how(self):
        return f"workers = {self.workers}, pool_size = {CONNECTIONS}, max_overflow = 0"

    @property
    def version(self):
        return self.bench.version

    def limits(self):
        return f"pool_size = {CONNECTIONS}\nmax_overflow = 0"

    def ini(self):
        secrets = "".join(f"[user {name}]\npassword = {secret}\n" for name, secret in self.field.secrets.items()
                          if name != "app")
        return f"""[weir]
listen_{self.field.family} = 127.0.0.1:{self.port}
listen_{self.field.other_family} =
workers = {self.workers}
max_clients = {MANY}
log_level = warning
[database app]
url = {self.field.url()}
{self.limits()}
{secrets}"""

    def start(self, before=()):
        ini = self.field.base / f"{self.name.replace(' ', '-')}.ini"
        ini.write_text(self.ini())
        self.run(*before, ROOT / "build" / "weir", "-c", ini)


class WeirTwo(WeirProxy):
    name = "weir, 2 workers"
    workers = 2


class WeirDefaults(WeirProxy):
    name = "weir, defaults"
    how = "nothing said: workers = auto, pool_size = 5, max_overflow = 10"
    workers = "auto"

    def limits(self):
        return ""
