"""Cancels that meet no statement, since they are quicker than it: each is repeated until its statement ends, and hits nothing
else."""

import pytest
import sides
from conftest import wait_for
from fault_relay import FaultRelay

CANCELLED = ("57014", "1317")


class Path:
    """A weir whose connections to the server can be held up: the one with the statement, or those with cancels."""

    def __init__(self, side, relay, start_weir, options):
        self.side, self.relay = side, relay
        url = side.server.url().replace(f":{side.server.port}/", f":{relay.port}/")
        lines = "".join(f"{name} = {value}\n" for name, value in options.items())
        self.weir = start_weir(
            ini="[weir]\nlisten_postgresql = 127.0.0.1:@PORT@\nlisten_mysql = 127.0.0.1:@MYSQL_PORT@\nworkers = 1\n"
                f"admin_users = app\n[database app]\nurl = {url}\npool_size = 1\nmax_overflow = 0\n"
                f"pool_pre_ping = false\ncancel_grace = 20s\nconnect_timeout = 20s\n{lines}")

    def client(self):
        """One for which there is a connection to the server."""
        client = self.side.client(self.weir)
        client.run("select 1")
        return client

    def cancel(self, client):
        self.side.cancel(self.weir, client)

    def wait_arrived(self, n):
        """Until that many cancels more have been carried out than when it was called."""
        n += self.relay.n_served
        return lambda: wait_for(lambda: self.relay.n_served >= n, "the cancel to be carried out")


@pytest.fixture
def path(start_weir, side):
    side.clear()
    relay = FaultRelay(side.server.port)
    yield lambda **options: Path(side, relay, start_weir, options)
    relay.let_go()
    relay.stop()


def test_a_client_s_cancel_that_overtakes_its_statement(path, side):
    path = path()
    client = path.client()
    before, arrived = side.ids(), path.wait_arrived(1)
    path.relay.hold_old()
    client.start(side.sleep(60))
    path.cancel(client)
    arrived()
    path.relay.let_go()
    assert client.failure() in CANCELLED
    assert client.value("select 2") == "2"
    assert side.ids() == before


def test_query_timeout_s_cancel_that_overtakes_its_statement(path, side):
    path = path(query_timeout="100ms")
    client = path.client()
    before, arrived = side.ids(), path.wait_arrived(1)
    path.relay.hold_old()
    client.start(side.sleep(60))
    arrived()
    path.relay.let_go()
    assert client.failure() == side.codes["query_timeout"]
    assert client.value("select 2") == "2"
    assert side.ids() == before


def test_a_cancel_of_a_statement_that_waits_for_the_cancel_of_the_one_before(path, side):
    """weir holds it back, so that the first cancel does not hit it; the second one has to."""
    path = path()
    client = path.client()
    client.run("begin")
    path.relay.hold_new()
    client.start(side.sleep(0.3))
    path.cancel(client)
    client.finish()
    client.start(side.sleep(60))
    path.cancel(client)
    path.relay.let_go()
    assert client.failure() in CANCELLED
    client.run("rollback")
    assert client.value("select 2") == "2"


@pytest.fixture
def postgres_path(start_weir, postgres):
    side = sides.side_of(postgres)
    side.clear()
    relay = FaultRelay(postgres.port)
    yield Path(side, relay, start_weir, {})
    relay.let_go()
    relay.stop()


def test_it_is_not_repeated_where_it_could_hit_the_next_one_of_a_pipeline(postgres_path):
    path = postgres_path
    client = path.client()
    arrived = path.wait_arrived(1)
    path.relay.hold_old()
    client.start("select 'first' from pg_sleep(0.3)")
    client.start("select 'second' from pg_sleep(0.3)")
    path.cancel(client)
    arrived()
    path.relay.let_go()
    assert [client.finish(), client.finish()] == ["first", "second"]


def test_a_late_cancel_does_not_meet_what_its_client_sends_behind_its_statement(postgres_path):
    path = postgres_path
    client = path.client()
    path.relay.hold_new()
    client.start("select 'first' from pg_sleep(0.3)")
    path.cancel(client)
    client.start("select 'second' from pg_sleep(0.5)")
    assert client.finish() == "first"
    path.relay.let_go()
    assert client.finish() == "second"
