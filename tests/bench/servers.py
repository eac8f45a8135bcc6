"""Servers of their own for the commands that are no comparison with other programs."""

import contextlib
import pathlib
import shutil
import signal
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

import conftest  # noqa: E402
import mysql_servers  # noqa: E402
import sides  # noqa: E402

NAMES = ["postgresql", "mariadb", *(["mysql"] if mysql_servers.have_mysql9() else [])]


def end_in_order():
    """A command that is told to end leaves nothing running, as one that is interrupted does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


@contextlib.contextmanager
def weir(ini):
    """One that is gone in the end, whatever happened."""
    with tempfile.TemporaryDirectory() as base:
        daemon = conftest.Weir(pathlib.Path(base), ini)
        try:
            yield daemon
        except BaseException:
            daemon.kill()
            raise
        daemon.stop()


@contextlib.contextmanager
def running(name):
    if name != "postgresql":
        kind = mysql_servers.MariaDB if name == "mariadb" else mysql_servers.MySQL
        with mysql_servers.running(kind) as server:
            yield sides.side_of(server)
        return
    base = pathlib.Path(tempfile.mkdtemp())
    try:
        server = conftest.Postgres(base)
        try:
            yield sides.side_of(server)
        finally:
            # It may have been stopped by what was interrupted.
            server.process.send_signal(signal.SIGCONT)
            server.stop()
    finally:
        shutil.rmtree(base)
