"""From the first byte to the greeting."""

import struct

import psycopg
import pytest

from wire import Client, Error, startup


def test_ssl_and_gss_requests_are_answered_no(weir):
    client = Client(weir.port)
    client.send(struct.pack("!II", 8, 80877103))
    assert client.read(1) == b"N"
    client.send(struct.pack("!II", 8, 80877104))
    assert client.read(1) == b"N"
    assert client.login().error is None


@pytest.mark.parametrize("version, options, newest, unknown", [
    (3 << 16 | 9999, {}, 3 << 16 | 2, []),
    (3 << 16 | 2, {"_pq_.whatever": "1"}, 3 << 16 | 2, [b"_pq_.whatever"]),
    (3 << 16, {"_pq_.a": "1", "_pq_.b": "2"}, 3 << 16, [b"_pq_.a", b"_pq_.b"]),
])
def test_what_is_unknown_of_the_protocol_is_negotiated(weir, version, options, newest, unknown):
    client = Client(weir.port).login(version=version, **options)
    assert client.error is None
    told, n = struct.unpack("!II", client.negotiated[:8])
    assert told == newest
    assert client.negotiated[8:].split(b"\0")[:n] == unknown
    assert client.query("select 1") == [[b"1"]]


@pytest.mark.parametrize("version, length", [(3 << 16, 4), (3 << 16 | 2, 32)])
def test_cancel_keys_are_long_from_3_2_on(weir, version, length):
    assert len(Client(weir.port).login(version=version).key) == 4 + length


def test_greeting_is_a_real_servers_in_its_spelling(weir, postgres):
    client = Client(weir.port).login(client_encoding="latin-1", TimeZone="europe/berlin")
    assert client.parameters["client_encoding"] == "LATIN1"
    assert client.parameters["server_encoding"] == "UTF8"
    assert client.parameters["TimeZone"] == "Europe/Berlin"
    assert client.parameters["server_version"] == postgres.query("show server_version")[0][0]
    again = Client(weir.port).login(client_encoding="latin-1", TimeZone="europe/berlin")
    assert again.parameters == client.parameters


def test_startup_parameters_are_honoured(weir):
    client = Client(weir.port).login(
        search_path="pg_catalog, public", options="-c statement_timeout=4321 --work_mem=5MB",
        application_name="me")
    other = Client(weir.port).login()
    for _ in range(3):
        assert client.query("show search_path") == [[b"pg_catalog, public"]]
        assert other.query("show search_path") == [[b'"$user", public']]
        assert client.query("show statement_timeout") == [[b"4321ms"]]
        assert client.query("show work_mem") == [[b"5MB"]]
        assert other.query("show work_mem") == [[b"4MB"]]
        assert client.query("show application_name") == [[b"me"]]


def test_reset_leads_to_the_startup_value(weir):
    client = Client(weir.port).login(search_path="pg_catalog", TimeZone="Asia/Tokyo",
                                     statement_timeout="4321")
    for reset in ("reset all", "discard all"):
        client.query("set search_path to public")
        client.query("set timezone to utc")
        client.query("set statement_timeout to 1")
        client.query(reset)
        assert client.query("show search_path") == [[b"pg_catalog"]]
        assert client.query("show timezone") == [[b"Asia/Tokyo"]]
        assert client.query("show statement_timeout") == [[b"4321ms"]]
    client.query("set timezone to utc")
    client.query("reset timezone")
    assert client.query("show timezone") == [[b"Asia/Tokyo"]]


def test_a_bad_startup_parameter_is_refused_in_the_servers_words(weir):
    client = Client(weir.port).login(client_encoding="no-such")
    assert client.error.code == "22023"
    assert client.error["S"] == "FATAL"
    assert Client(weir.port).login().query("select 1") == [[b"1"]]


def test_unknown_database(weir):
    client = Client(weir.port).login(database="nowhere")
    assert client.error.code == "3D000"
    assert client.error["M"] == 'database "nowhere" does not exist'


@pytest.mark.parametrize("user, password", [("app", "wrong"), ("nobody", "secret"), ("app", "")])
def test_wrong_password_and_unknown_user_are_told_alike(weir, user, password):
    client = Client(weir.port).login(user=user, password=password or "x")
    assert client.error.code == "28P01"
    assert client.error["M"] == f'password authentication failed for user "{user}"'


def test_a_secret_in_a_form_of_mysql_s_lets_nobody_in_and_is_told_once(start_weir, postgres):
    secret = "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7"  # of "secret"
    weir = start_weir(postgres, user=f"[user hashed]\npassword = {secret}")
    for password in ("secret", secret, "wrong"):
        client = Client(weir.port).login(user="hashed", password=password)
        assert client.error.code == "28P01"
    assert weir.log().count("event=useless_secret") == 1
    assert 'event=useless_secret user="hashed"' in weir.log()
    assert secret not in weir.log()


def test_replication_is_refused(weir):
    client = Client(weir.port)
    client.send(startup({"user": "app", "replication": "database"}))
    kind, content = client.receive()
    assert kind == b"E" and "replication" in Error(content)["M"]


def test_psycopg_sees_an_ordinary_server(weir):
    with weir.connect() as db:
        assert db.info.server_version >= 150000
        assert db.info.encoding == "utf-8"
        with pytest.raises(psycopg.errors.DivisionByZero):
            db.execute("select 1/0")
        assert db.execute("select 1").fetchone() == (1,)


def test_a_client_that_has_logged_in_may_be_silent_for_longer_than_a_login_may_take(start_weir, postgres):
    weir = start_weir(postgres, weir="client_login_timeout = 1s")
    first = Client(weir.port).login()
    # Its greeting is known by now: it needs no server connection.
    second = Client(weir.port).login()
    slow = Client(weir.port)
    slow.send(startup({"user": "app", "database": "app"}))
    assert slow.until_closed()[-1][0] == b"E"
    assert first.query("select 1") == second.query("select 1") == [[b"1"]]
