"""Servers of their own for the commands that are no comparison with other programs."""

import contextlib
import pathlib
import shutil
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

import conftest  # noqa: E402
import mysql_servers  # noqa: E402
import sides  # noqa: E402

NAMES = ["postgresql", "mariadb", *(["mysql"] if mysql_servers.have_mysql9() else [])]


@contextlib.contextmanager
def running(name):
    if name != "postgresql":
        kind = mysql_servers.MariaDB if name == "mariadb" else mysql_servers.MySQL
        with mysql_servers.running(kind) as server:
            yield sides.side_of(server)
        return
    base = pathlib.Path(tempfile.mkdtemp())
    server = conftest.Postgres(base)
    try:
        yield sides.side_of(server)
    finally:
        server.stop()
        shutil.rmtree(base)
