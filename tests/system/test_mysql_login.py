"""Logins of clients at weir and of weir at the servers, each authentication plugin, and input that makes no sense."""

import contextlib
import os
import socket
import struct

import mysql_drivers
import mysql_wire as wire
import pytest
from conftest import Via, wait_for
from mysql_drivers import ERRORS, number


def ini(server, user="app", password="secret", accounts=(), extra=""):
    """weir.ini with one database whose URL has that user (none: each client logs in as itself)."""
    sections = "\n".join(f"[user {name}]\npassword = {secret}" for name, secret in accounts)
    return ("[weir]\nlisten_postgresql = 127.0.0.1:@PORT@\nlisten_mysql = 127.0.0.1:@MYSQL_PORT@\nworkers = 1\n"
            f"[database app]\nurl = {server.url(user, password)}\npool_size = 1\nmax_overflow = 0\n{extra}\n{sections}\n")


def refused(work):
    with pytest.raises(wire.Error) as error:
        work()
    return error.value.code, error.value.state


# What every server does, too

def test_a_wrong_password_and_an_unknown_user_look_the_same(via):
    for user, password in (("app", "wrong"), ("nobody", "secret")):
        with pytest.raises(wire.Error) as error:
            via.raw(user, password)
        assert (error.value.code, error.value.state) == (1045, "28000")
        assert error.value.text.startswith(f"Access denied for user '{user}'")


def test_a_refused_client_is_closed(via):
    client = via.raw(login=False)
    with pytest.raises(wire.Error, match="1045"):
        client.login("app", "wrong")
    assert client.is_closed()


@pytest.mark.parametrize("plugin", ["mysql_native_password", "caching_sha2_password", "mysql_clear_password", "", "x" * 100])
def test_a_client_that_begins_with_another_plugin(via, plugin):
    with via.raw(plugin=plugin) as client:
        assert client.value("select 1") == "1"


def test_a_client_without_plugins(via):
    """As asyncmy packs it when a greeting has no plugin it knows; there is nothing to switch with on MySQL."""
    flags = wire.USUAL & ~(wire.PLUGIN_AUTH | wire.LENENC_AUTH)
    if via.server.family == "mariadb":
        with via.raw(capabilities=flags, plugin="mysql_native_password") as client:
            assert client.value("select 1") == "1"


def test_attributes_are_accepted(via):
    attributes = {"_client_name": "weir's test", "program_name": "é" * 20, "empty": "", "long": "x" * 1000}
    with via.raw(attributes=attributes) as client:
        assert client.value("select 1") == "1"


def test_a_client_without_a_response_to_its_password(via):
    with pytest.raises(wire.Error, match="1045"):
        via.raw("app", "")


@pytest.mark.parametrize("length", [0, 1, 2, 4, 8, 31, 32, 33, 36, 40, 60])
def test_a_handshake_cut_short(via, length):
    client = via.raw(login=False)
    whole = (struct.pack("<IIB23x", wire.USUAL | wire.CONNECT_WITH_DB, 0xffffff, 45) + b"app\0" + b"\x14" + b"x" * 20 +
             b"app\0mysql_native_password\0")
    client.send(whole[:length])
    with pytest.raises((wire.Error, wire.Closed)) as error:
        while True:
            payload = client.receive()
            # A server may ask for another plugin's answer first.
            assert payload[:1] == b"\xfe"
            client.send(b"")
    if error.type is wire.Error:
        assert error.value.code in (1043, 1044, 1045, 1047, 1156, 1158, 1159, 1251, 1835)
    client.close()
    with via.raw() as another:
        assert another.value("select 1") == "1"


@pytest.mark.parametrize("garbage", [
    b"GET / HTTP/1.1\r\nHost: weir\r\n\r\n", os.urandom(300), b"\0" * 300, b"\xff" * 300, b"\x16\x03\x01\x02\0\1\0",
    struct.pack("<I", 0x01fffffe), b"\0\0\0\3\0\1\0\0"], ids=range(7))
def test_garbage_instead_of_a_login(via, garbage):
    with socket.create_connection(("127.0.0.1", via.port), 10) as client:
        client.recv(1000)
        with contextlib.suppress(OSError):
            client.sendall(garbage)
            client.shutdown(socket.SHUT_WR)
            while client.recv(1000):
                pass
    with via.raw() as another:
        assert another.value("select 1") == "1"


def test_clients_that_leave_before_they_log_in(via):
    for _ in range(50):
        via.raw(login=False).close()
    with via.raw() as another:
        assert another.value("select 1") == "1"


# Weir's own

def test_an_unknown_database(start_weir, database_server):
    weir = start_weir(database_server)
    with pytest.raises(wire.Error) as error:
        wire.Client(weir.mysql_port, database="nowhere")
    assert (error.value.code, error.value.state) == (1049, "42000")
    assert "nowhere" in error.value.text


def test_a_client_that_never_logs_in_is_closed(start_weir, database_server):
    weir = start_weir(database_server, weir="client_login_timeout = 300ms")
    client = wire.Client(weir.mysql_port, login=False)
    with pytest.raises((wire.Error, wire.Closed)):
        client.receive()
    assert client.is_closed()


@pytest.mark.parametrize("driver", mysql_drivers.DRIVERS)
def test_each_driver_logs_in_as_each_kind_of_account(start_weir, database_server, driver):
    """The URL has no user: weir logs in as the client is called, with the server's plugin of that account."""
    accounts = [(name, password) for name, (password, _) in database_server.accounts.items()]
    weir = start_weir(ini=ini(database_server, "", accounts=accounts))
    for name, password in accounts:
        db = mysql_drivers.connect(driver, weir.mysql_port, name, password, autocommit=True)
        assert db.run("select current_user()") == [(f"{name}@%",)]
        db.close()
        with pytest.raises(ERRORS) as error:
            mysql_drivers.connect(driver, weir.mysql_port, name, "wrong")
        assert number(error.value) == 1045


def test_the_account_of_the_url_may_have_any_plugin(start_weir, database_server):
    for name, (password, _) in database_server.accounts.items():
        weir = start_weir(ini=ini(database_server, name, password, [("client", "its-own")]))
        with wire.Client(weir.mysql_port, "client", "its-own") as client:
            assert client.value("select current_user()") == f"{name}@%"


def test_a_client_s_secret_may_be_the_server_s_hash(start_weir, mariadb):
    weir = start_weir(ini=ini(mariadb, accounts=[("hashed", mariadb.secret("hashed"))]))
    for _ in range(2):
        with wire.Client(weir.mysql_port, "hashed", "hashed-secret") as client:
            assert client.value("select 1") == "1"
    with pytest.raises(wire.Error, match="1045"):
        wire.Client(weir.mysql_port, "hashed", "wrong")


@pytest.mark.parametrize("rounds", [5000, 10000])
def test_a_client_s_secret_may_be_mysql_s_hash_in_hexadecimal(start_weir, mysql, rounds):
    """The salt may have bytes that a configuration file cannot hold. MySQL 8 hashes 5000 times, MySQL 9 more often."""
    (before,), = mysql.query("select @@caching_sha2_password_digest_rounds")
    mysql.execute(f"set global caching_sha2_password_digest_rounds = {rounds}",
                  "alter user hashed@'%' identified by 'hashed-secret'",
                  f"set global caching_sha2_password_digest_rounds = {before}")
    (hashed,), = mysql.query("select hex(authentication_string) from mysql.user where user = 'hashed'")
    weir = start_weir(ini=ini(mysql, accounts=[("hashed", f"0x{hashed}")]))
    for _ in range(2):
        with wire.Client(weir.mysql_port, "hashed", "hashed-secret") as client:
            assert client.value("select 1") == "1"
    with pytest.raises(wire.Error, match="1045"):
        wire.Client(weir.mysql_port, "hashed", "wrong")


def test_a_server_that_has_forgotten_its_passwords(start_weir, mysql):
    """caching_sha2_password: after FLUSH PRIVILEGES the server wants the password itself again."""
    weir = start_weir(mysql, pool_size=1, max_overflow=0)
    for _ in range(3):
        mysql.execute("flush privileges")
        for process, *_ in mysql.processes():
            mysql.execute(f"kill {process}")
        wait_for(lambda: not mysql.processes(), "the connections to end")
        with wire.Client(weir.mysql_port) as client:
            assert client.value("select 1") == "1"


def test_a_wrong_password_in_the_url_is_told_to_the_client(start_weir, database_server):
    weir = start_weir(ini=ini(database_server, "app", "wrong", [("client", "its-own")]))
    with pytest.raises(wire.Error) as error:
        wire.Client(weir.mysql_port, "client", "its-own").query("select 1")
    assert error.value.code in (1045, 1429) and "Access denied" in error.value.text


def test_a_server_behind_a_unix_socket(start_weir, database_server):
    url = database_server.url(params=f"?unix_socket={database_server.socket}")
    weir = start_weir(ini=ini(database_server).replace(database_server.url(), url))
    with wire.Client(weir.mysql_port) as client:
        assert client.value("select user()") == "app@localhost"


def test_change_user(start_weir, database_server):
    weir = start_weir(ini=ini(database_server, "", accounts=[("app", "secret"), ("other", "other-secret")]))
    for port in (database_server.port, weir.mysql_port):
        with wire.Client(port) as client:
            client.query("set @mine = 1, autocommit = 0")
            statement = client.prepare("select 1")
            client.change_user("other", "other-secret", "app2" if port == database_server.port else "app",
                               plugin=client.server_plugin)
            (user, mine, autocommit), = client.query("select current_user(), @mine, @@autocommit")
            assert (user, mine, autocommit) == (b"other@%", None, b"1")
            with pytest.raises(wire.Error, match="1243"):
                client.execute(statement)
            client.change_user(plugin=client.server_plugin)
            assert client.value("select current_user()") == "app@%"
            with pytest.raises(wire.Error, match="1045"):
                client.change_user("other", "wrong", plugin=client.server_plugin)


def test_change_user_to_the_console(start_weir, database_server):
    weir = start_weir(database_server, user="[user other]\npassword = other-secret")
    with wire.Client(weir.mysql_port) as client, wire.Client(weir.mysql_port) as other:
        client.query("begin")
        client.query("do 1")
        client.change_user(database="weir", plugin=client.server_plugin)
        assert client.query("show version")
        with pytest.raises(wire.Error, match="1227|1045|1044"):
            other.change_user("other", "other-secret", "weir", plugin=other.server_plugin)
        assert client.query("show version")
    with wire.Client(weir.mysql_port) as client:
        assert client.value("select 1") == "1"


def test_a_user_may_be_limited_to_databases(start_weir, database_server):
    elsewhere = f"[database elsewhere]\nurl = {database_server.url()}\n"
    weir = start_weir(ini=ini(database_server, accounts=[("limited", "its-own\ndatabases = elsewhere")],
                              extra=elsewhere))
    with pytest.raises(wire.Error) as error:
        wire.Client(weir.mysql_port, "limited", "its-own")
    assert (error.value.code, error.value.state) == (1044, "42000")


def few(limit):
    return f"[user few]\npassword = x\nmax_clients = {limit}\n"


@pytest.mark.parametrize("workers", [1, 4])
def test_the_clients_of_one_user_are_counted_on_all_workers(start_weir, database_server, workers):
    weir = start_weir(database_server, workers=workers, user=few(2))

    def log_in():
        return wire.Client(weir.mysql_port, "few", "x")

    def admitted():
        with contextlib.suppress(wire.Error):
            return log_in()

    inside = [log_in(), log_in()]
    assert [refused(log_in) for _ in range(6)] == [(1040, "08004")] * 6
    for _ in range(3):
        inside.pop(0).close()
        inside.append(wait_for(admitted, "room"))
        assert refused(log_in) == (1040, "08004")
        assert [client.value("select 1") for client in inside] == ["1", "1"]


@pytest.mark.parametrize("workers", [1, 4])
def test_the_clients_of_one_database_are_counted_on_all_workers(start_weir, database_server, workers):
    weir = start_weir(database_server, workers=workers, max_clients=2)
    inside = [wire.Client(weir.mysql_port) for _ in range(2)]
    with pytest.raises(wire.Error, match="max_clients of the database") as error:
        wire.Client(weir.mysql_port)
    assert (error.value.code, error.value.state) == (1040, "08004")
    inside.pop(0).close()

    def admitted():
        with contextlib.suppress(wire.Error):
            return wire.Client(weir.mysql_port)
    inside.append(wait_for(admitted, "room"))
    assert [client.value("select 1") for client in inside] == ["1", "1"]


@pytest.mark.parametrize("workers", [1, 4])
def test_change_user_counts_as_a_login_of_that_user(start_weir, database_server, workers):
    weir = start_weir(database_server, workers=workers, user=few(2))
    clients = [wire.Client(weir.mysql_port) for _ in range(4)]

    def change(client, user, password):
        return client.change_user(user, password, plugin=client.server_plugin)

    for client in clients[:2]:
        change(client, "few", "x")
    assert refused(lambda: change(clients[2], "few", "x")) == (1040, "08004")
    # It keeps its place when it becomes the same again, and leaves it when it becomes another.
    change(clients[0], "few", "x")
    change(clients[0], "app", "secret")
    change(clients[3], "few", "x")
    assert refused(lambda: change(clients[0], "few", "x")) == (1040, "08004")
    assert [client.value("select 1") for client in (clients[1], clients[3])] == ["1", "1"]


# The console

def test_the_console_by_every_driver(start_weir, database_server):
    weir = start_weir(database_server)
    with wire.Client(weir.mysql_port) as client:
        client.query("select 1")
        for driver in mysql_drivers.DRIVERS:
            db = mysql_drivers.connect(driver, weir.mysql_port, database="weir")
            rows = db.run("show pools")
            assert any(row[:2] == ("app", "app") for row in rows)
            with pytest.raises(ERRORS):
                db.run("show nothing")
            assert db.run("show clients")
            db.close()


def test_the_console_says_the_same_on_both_ports(start_weir, database_server):
    weir = start_weir(database_server)
    with wire.Client(weir.mysql_port) as client:
        client.query("begin")
        client.query("select 1")
        for topic in ("pools", "databases", "servers", "holders", "users", "config", "lists"):
            by_mysql, by_postgresql = weir.mysql_console(f"show {topic}"), weir.console(f"show {topic}")
            assert by_mysql and [list(row) for row in by_mysql] == [list(row) for row in by_postgresql]
        client.query("rollback")


def test_only_admins_get_the_console(start_weir, database_server):
    weir = start_weir(database_server, user="[user other]\npassword = other-secret\n")
    with pytest.raises(wire.Error) as error:
        wire.Client(weir.mysql_port, "other", "other-secret", "weir").query("show pools")
    assert error.value.code in (1044, 1227)


def test_pools_pause_and_resume_from_the_console(start_weir, database_server):
    weir = start_weir(database_server, pool_size=1)
    via = Via(database_server, weir)
    with via.raw(database="weir") as console, via.raw() as client:
        assert isinstance(console.query("pause"), wire.Ok)
        client.command(wire.QUERY, "select 1")
        wait_for(lambda: int(weir.mysql_console("show pools")[0]["cl_waiting"]), "the client to wait")
        assert isinstance(console.query("resume"), wire.Ok)
        assert client.result() == [[b"1"]]
