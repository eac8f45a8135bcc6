"""Who waits, who is served next, and who may not even wait: on all workers together, for both protocols."""

import collections
import contextlib
import selectors
import time

import mysql_wire
import pytest
import wire
from conftest import wait_for
from test_pool import Watch, pids


class Refused(Exception):
    pass


class Postgres:
    """Clients by hand, so that one thread can have many statements under way."""

    nap = "select pg_sleep({})"
    now = "select extract(epoch from clock_timestamp()) * 1000000"
    full = "53300"

    def __init__(self, weir, **kwargs):
        self.client = wire.Client(weir.port).login(**{"user": "app", "password": "secret"} | kwargs)
        self.socket = self.client.socket

    def ask(self, sql):
        self.client.send(wire.query(sql))

    def answer(self):
        messages = self.client.ready()
        for kind, content in messages:
            if kind == b"E":
                error = wire.Error(content)
                raise Refused(error.code, error["M"], error.get("D", ""))
        return self.client.rows(messages)

    def close(self):
        self.client.close()


class MySQL:
    nap = "do sleep({})"
    now = "select unix_timestamp(now(6)) * 1000000"
    full = 1203

    def __init__(self, weir, **kwargs):
        self.client = mysql_wire.Client(weir.mysql_port, **kwargs)
        self.socket = self.client.socket

    def ask(self, sql):
        self.client.command(mysql_wire.QUERY, sql)

    def answer(self):
        try:
            return self.client.result()
        except mysql_wire.Error as error:
            raise Refused(error.code, str(error), "") from None

    def close(self):
        self.client.close()


class Bank:
    def __init__(self, weir, kind, stack):
        self.weir, self.kind, self.stack = weir, kind, stack

    def client(self, **kwargs):
        return self.stack.enter_context(contextlib.closing(self.kind(self.weir, **kwargs)))

    def say(self, client, sql):
        client.ask(sql)
        return client.answer()

    def wait_for_waiters(self, n):
        wait_for(lambda: self.weir.pool()["cl_waiting"] == n, f"{n} to wait")


@pytest.fixture(params=["postgres", "mariadb"])
def bank(request, start_weir):
    """bank(pool_size=3, ...): clients of a weir in front of that server."""
    with contextlib.ExitStack() as stack:
        def start(**options):
            server = request.getfixturevalue(request.param)
            weir = start_weir(server, **options)
            return Bank(weir, Postgres if request.param == "postgres" else MySQL, stack)
        yield start


USERS = "".join(f"[user {name}]\npassword = secret\n" for name in ("few", "some", "many"))


def test_clients_are_served_by_age_across_workers(bank):
    bank = bank(workers=4, pool_size=3, max_overflow=0)
    holders = [bank.client() for _ in range(3)]
    for holder in holders:
        bank.say(holder, "begin")
        bank.say(holder, "select 1")
    waiters = [bank.client() for _ in range(13)]
    for n, waiter in enumerate(waiters, 1):
        waiter.ask(bank.kind.now)
        bank.wait_for_waiters(n)
    # Through this one they pass one by one.
    bank.say(holders[1], "commit")
    moments = [float(waiter.answer()[0][0]) for waiter in waiters]
    assert moments == sorted(moments)


def work_of_workers(weir, clients, n=100):
    """How often each worker has woken up while each client, one after the other, has run some statements."""
    for client in clients:
        client.query("select 1")
    before = weir.wakeups()
    for client in clients:
        for _ in range(n):
            client.query("select 1")
    after = weir.wakeups()
    return [after[name] - before[name] for name in before]


def test_few_clients_keep_all_workers_busy(start_weir, postgres):
    weir = start_weir(postgres, workers=4, pool_size=8)
    clients = [wire.Client(weir.port).login() for _ in range(8)]
    work = work_of_workers(weir, clients)
    assert len(work) == 4
    # Each has two of them; a client's 100 statements take at least as many wake-ups, which the two may share.
    assert min(work) >= 100, work
    # So it stays when clients come and go.
    for client in clients[:4]:
        client.close()
    wait_for(lambda: weir.pool()["cl_active"] == 4, "four to be gone")
    work = work_of_workers(weir, clients[4:] + [wire.Client(weir.port).login() for _ in range(4)])
    assert min(work) >= 100, work


def test_never_more_connections_than_three_on_four_workers(start_weir, postgres):
    weir = start_weir(postgres, workers=4, pool_size=3, max_overflow=0)
    with contextlib.ExitStack() as stack, Watch(postgres) as watch:
        bank = Bank(weir, Postgres, stack)
        counts = serve(bank, [bank.client() for _ in range(24)], 2)
    assert sum(counts.values()) > 100
    assert watch.n_looks > 20
    assert watch.most == 3
    assert len(pids(postgres)) == 3


def serve(bank, clients, seconds, nap=0.003):
    """How many statements each client gets through while all of them always want one."""
    counts = collections.Counter()
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.socket, selectors.EVENT_READ, client)
            client.ask(bank.kind.nap.format(nap))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for key, _ in selector.select(1):
                key.data.answer()
                counts[key.data] += 1
                key.data.ask(bank.kind.nap.format(nap))
    for client in clients:
        client.answer()
    return counts


def jain(shares):
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))


def shares_of_three(bank, **kwargs):
    clients = {name: [bank.client(user=name, **kwargs) for _ in range(n)]
               for name, n in [("few", 5), ("some", 15), ("many", 45)]}
    counts = serve(bank, sum(clients.values(), []), 2)
    return [sum(counts[client] for client in of_one) for of_one in clients.values()]


@pytest.mark.thorough
@pytest.mark.parametrize("workers", [1, 4])
def test_users_with_few_clients_get_as_much_as_those_with_many(bank, workers):
    shares = shares_of_three(bank(workers=workers, pool_size=3, max_overflow=0, user=USERS))
    assert sum(shares) > 300
    assert jain(shares) >= 0.99, shares


@pytest.mark.thorough
def test_by_age_alone_users_get_as_much_as_they_have_clients(bank):
    shares = shares_of_three(bank(workers=2, pool_size=3, max_overflow=0, fair_by="none", user=USERS))
    assert shares[2] > 5 * shares[0], shares


@pytest.mark.thorough
def test_applications_take_turns(start_weir, postgres):
    weir = start_weir(postgres, workers=2, pool_size=2, max_overflow=0, fair_by="application")
    with contextlib.ExitStack() as stack:
        bank = Bank(weir, Postgres, stack)
        web = [bank.client(application_name="web") for _ in range(4)]
        batch = [bank.client(application_name="batch") for _ in range(30)]
        counts = serve(bank, web + batch, 2)
    assert jain([sum(counts[c] for c in of_one) for of_one in (web, batch)]) >= 0.99


@pytest.mark.parametrize("workers", [1, 4])
def test_one_more_than_max_waiting_is_refused_at_once(bank, workers):
    bank = bank(workers=workers, pool_size=1, max_overflow=1, max_waiting=2, pool_timeout="20s")
    holders = [bank.client() for _ in range(2)]
    for holder in holders:
        bank.say(holder, "begin")
        bank.say(holder, "select 1")
    waiters = [bank.client() for _ in range(2)]
    others = [bank.client() for _ in range(5)]
    for n, waiter in enumerate(waiters, 1):
        waiter.ask("select 1")
        bank.wait_for_waiters(n)
    before = time.monotonic()
    for client in others:
        with pytest.raises(Refused) as refused:
            bank.say(client, "select 1")
        assert refused.value.args[0] == bank.kind.full
        assert "max_waiting" in refused.value.args[1]
    assert time.monotonic() - before < 5
    # Those that wait are served, and those that were refused can be, on the same connection.
    for holder in holders:
        bank.say(holder, "commit")
    for client in waiters:
        client.answer()
    for client in others:
        bank.say(client, "select 1")
