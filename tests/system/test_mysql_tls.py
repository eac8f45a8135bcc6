"""Encrypted connections between weir and MySQL servers."""

import subprocess

import mysql_wire as wire
import pytest
from conftest import wait_for
from test_mysql_login import ini


@pytest.fixture
def encrypted(start_weir):
    """encrypted(server, parameters, ...): a weir whose URL for that server has those parameters."""
    def start(server, params, user="app", **kwargs):
        plain = server.url(user)
        assert plain in ini(server, user)
        return start_weir(ini=ini(server, user, **kwargs).replace(plain, f"{plain}?{params}"))
    return start


def cipher(client):
    (_, value), = client.query("show session status like 'Ssl_cipher'")
    return value


@pytest.mark.parametrize("mode", ["PREFERRED", "REQUIRED", "VERIFY_CA"])
def test_weir_encrypts_where_the_url_says_so(encrypted, mysql, mode):
    weir = encrypted(mysql, f"ssl_mode={mode}&ssl_ca={mysql.data}/d/ca.pem")
    with wire.Client(weir.mysql_port) as client:
        assert cipher(client)
        # Through more than one record, and back.
        assert client.value(f"select length('{'x' * 100000}')") == "100000"
        assert client.value("select repeat('y', 300000)") == "y" * 300000


def test_weir_encrypts_by_itself_and_leaves_it_where_told(encrypted, start_weir, mysql):
    with wire.Client(start_weir(mysql).mysql_port) as client:
        assert cipher(client)
    with wire.Client(encrypted(mysql, "ssl_mode=disabled").mysql_port) as client:
        assert not cipher(client)


def test_a_socket_of_this_machine_is_encrypted_only_on_demand(encrypted, mysql):
    for mode, wanted in (("preferred", False), ("required", True)):
        weir = encrypted(mysql, f"unix_socket={mysql.socket}&ssl_mode={mode}")
        with wire.Client(weir.mysql_port) as client:
            assert bool(cipher(client)) == wanted


def refused(weir):
    with pytest.raises(wire.Error) as error:
        wire.Client(weir.mysql_port).query("select 1")
    assert (error.value.code, error.value.state) == (1429, "HY000")
    return error.value.text


def test_no_encryption_means_no_connection_where_the_url_demands_it(encrypted, mariadb):
    """This MariaDB has no certificate."""
    assert "the server has no TLS, which ssl_mode wants" in refused(encrypted(mariadb, "ssl_mode=REQUIRED"))


def certificate(folder, name):
    path = folder / f"{name}.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                    "-keyout", folder / f"{name}-key.pem", "-out", path], check=True, capture_output=True)
    return path


def test_a_certificate_of_somebody_else_is_refused(encrypted, mysql, tmp_path):
    weir = encrypted(mysql, f"ssl_mode=VERIFY_CA&ssl_ca={certificate(tmp_path, 'other')}")
    assert "the server's certificate is refused: self" in refused(weir)


def test_a_certificate_made_out_to_another_name_is_refused(encrypted, mysql):
    weir = encrypted(mysql, f"ssl_mode=VERIFY_IDENTITY&ssl_ca={mysql.data}/d/ca.pem")
    assert "the server's certificate is refused: IP address mismatch" in refused(weir)


def test_a_file_that_is_not_there_is_named(encrypted, mysql, tmp_path):
    assert f'ssl_ca "{tmp_path}/none.pem": No such file' in refused(encrypted(mysql, f"ssl_ca={tmp_path}/none.pem"))


def test_what_the_url_proves_to_the_server_is_proved_again_to_cancel(encrypted, mysql):
    """KILL QUERY goes by a connection of its own, as a user that the server lets in with a certificate only."""
    mysql.execute("drop user if exists certified@'%'",
                  "create user certified@'%' identified by 'secret' require x509", "grant all on app.* to certified@'%'")
    files = "&".join(f"ssl_{what}={mysql.data}/d/{name}.pem"
                     for what, name in (("ca", "ca"), ("cert", "client-cert"), ("key", "client-key")))
    weir = encrypted(mysql, files, "certified", accounts=[("client", "its-own")], extra="query_timeout = 300ms")
    with wire.Client(weir.mysql_port, "client", "its-own") as client:
        with pytest.raises(wire.Error, match="3024"):
            client.query("select sleep(60) from (select 1 union select 2) as two")
        wait_for(lambda: not any(row[1] == "Query" for row in mysql.processes("certified")), "the statement to end", 5)
        assert client.value("select 1") == "1"
    assert "event=cancel_failed" not in weir.log()
