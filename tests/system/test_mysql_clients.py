"""The command-line clients of MariaDB and MySQL."""

import subprocess

import mysql_servers
import pytest
from conftest import need_mysql9

pytestmark = pytest.mark.thorough


@pytest.fixture(params=["mariadb", "mysql"])
def client(request, via):
    """client(SQL, option...): what the command-line client prints."""
    command = ["mariadb", "--no-defaults"]
    if request.param == "mysql":
        need_mysql9()
        command = ["chroot", mysql_servers.MYSQL9, "mysql", "--no-defaults"]

    def run(sql, *options, password="secret", database="app", expect=0):
        ran = subprocess.run(
            [*command, "-h", "127.0.0.1", "-P", str(via.port), "-u", "app", f"-p{password}", "-N", "-B", *options,
             database], input=sql, capture_output=True, text=True, timeout=30)
        assert ran.returncode == expect, ran.stderr
        return ran.stdout if expect == 0 else ran.stderr

    return run


def test_statements(via, client):
    via.table("typed")
    assert client("insert into typed values (1, 'é'); select id, hex(name) from typed; select database();",
                  "--default-character-set=utf8mb3") == "1\tC3A9\napp\n"


def test_another_delimiter_and_a_procedure(client):
    assert client("drop procedure if exists two;\ndelimiter //\ncreate procedure two() begin select 1; select 2; end //\n"
                  "delimiter ;\ncall two();\nselect 3;\n") == "1\n2\n3\n"


def test_use(via, client):
    assert client("use app2;\nselect database();\nuse app;\nselect database();\n") == "app2\napp\n"
    assert client("select version();") == f"{via.server.version}\n"


def test_an_error_ends_the_script(client):
    assert "ERROR 1064 (42000) at line 2" in client("select 1;\nselec;\nselect 2;\n", expect=1)


def test_warnings_are_shown(client):
    assert "Warning (Code 1292): Truncated incorrect" in client("select 'a' + 1;", "--show-warnings")


def test_a_wrong_password(client):
    assert "ERROR 1045 (28000)" in client("select 1;", password="wrong", expect=1)
