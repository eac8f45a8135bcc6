"""The usual load generator: transactions of reads and writes, many more threads than server connections."""

import re
import subprocess

import pytest

pytestmark = pytest.mark.thorough


def sysbench(port, command, *options):
    ended = subprocess.run(
        ["sysbench", "oltp_read_write", "--db-driver=mysql", "--mysql-host=127.0.0.1", f"--mysql-port={port}",
         "--mysql-user=app", "--mysql-password=secret", "--mysql-db=app", "--mysql-ssl=off", "--tables=4",
         "--table-size=2000", *options, command], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_64_threads_on_8_connections(start_weir, database_server):
    weir = start_weir(database_server, pool_size=8, max_overflow=0)
    database_server.execute(*(f"drop table if exists app.sbtest{n}" for n in range(1, 5)))
    sysbench(weir.mysql_port, "prepare")
    logins = database_server.logins()
    # Deadlocks are the load's own: sysbench runs those transactions again. No other error is ignored.
    report = sysbench(weir.mysql_port, "run", "--threads=64", "--time=5", "--mysql-ignore-errors=1213,1020")
    assert int(re.search(r"transactions: +(\d+)", report)[1]) > 100
    assert database_server.logins() - logins <= 8
    assert database_server.connections() <= 8
