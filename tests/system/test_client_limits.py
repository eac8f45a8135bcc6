"""How many clients there may be: in all, of one user, of one database."""

import concurrent.futures

import pytest
from conftest import wait_for

from wire import Client, startup


def test_too_many_clients_and_the_console_stays_reachable(start_weir, postgres):
    weir = start_weir(postgres, weir="max_clients = 3")
    clients = [Client(weir.port).login() for _ in range(3)]
    for _ in range(3):
        late = Client(weir.port).login()
        assert (late.error.code, late.error["S"]) == ("53300", "FATAL")
        late.close()
    assert len(weir.console("show clients")) >= 3
    clients.pop().close()
    wait_for(lambda: Client(weir.port).login().error is None, "room for another one")
    assert all(client.query("select 1") == [[b"1"]] for client in clients)


def few(limit):
    return f"[user few]\npassword = x\nmax_clients = {limit}\n"


def log_in_as_few(weir):
    """None, or the code of the error."""
    client = Client(weir.port).login(user="few", password="x")
    if client.error:
        client.close()
    return client


@pytest.mark.parametrize("workers", [1, 4])
def test_too_many_clients_of_one_user(start_weir, postgres, workers):
    weir = start_weir(postgres, workers=workers, user=few(3))
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        clients = list(threads.map(lambda _: log_in_as_few(weir), range(12)))
    codes = [client.error.code if client.error else None for client in clients]
    assert sorted(codes, key=str) == ["53300"] * 9 + [None] * 3
    assert Client(weir.port).login().error is None
    inside = [client for client in clients if not client.error]
    for _ in range(3):
        inside.pop(0).close()
        inside.append(wait_for(lambda: (client := log_in_as_few(weir)).error is None and client, "room"))
        assert log_in_as_few(weir).error.code == "53300"
        assert all(client.query("select 1") == [[b"1"]] for client in inside)


@pytest.mark.parametrize("workers", [1, 4])
def test_too_many_clients_of_one_database(start_weir, postgres, workers):
    weir = start_weir(postgres, workers=workers, max_clients=3, user=few(2) + f"[database other]\nurl = {postgres.url()}\n")
    inside = [Client(weir.port).login(), log_in_as_few(weir), Client(weir.port).login()]
    assert not any(client.error for client in inside)
    late = Client(weir.port).login()
    assert (late.error.code, late.error["S"]) == ("53300", "FATAL")
    assert late.error["M"] == "weir: too many clients already: max_clients of the database"
    late.close()
    elsewhere = Client(weir.port).login(user="few", password="x", database="other")
    assert elsewhere.error is None, "the limit is that database's"
    assert "max_clients of the user" in Client(weir.port).login(user="few", password="x", database="other").error["M"]
    row, = (row for row in weir.console("show databases") if row["name"] == "app")
    assert row["max_client_connections"] == row["current_client_connections"] == 3
    inside.pop(0).close()
    wait_for(lambda: Client(weir.port).login().error is None, "room for another one")


def test_a_client_that_leaves_while_it_is_admitted_takes_no_place(start_weir, postgres):
    weir = start_weir(postgres, workers=4, user=few(2))
    for _ in range(30):
        client = Client(weir.port)
        client.send(startup({"user": "few", "database": "app"}))
        client.receive()
        client.scram("x")
        client.close()
    inside = [wait_for(lambda: (client := log_in_as_few(weir)).error is None and client, "room") for _ in range(2)]
    assert log_in_as_few(weir).error.code == "53300"
    assert all(client.query("select 1") == [[b"1"]] for client in inside)


def test_the_number_of_clients_of_one_database_follows_a_reload(start_weir, postgres):
    weir = start_weir(postgres, workers=4, user=few(9))
    text = weir.ini_path.read_text()
    # Some are counted already, for their user's sake.
    inside = [Client(weir.port).login(), Client(weir.port).login(), log_in_as_few(weir), log_in_as_few(weir)]
    for limit in (4, 5):
        n = weir.log().count("event=reloaded")
        weir.reload(text.replace("[database app]", f"[database app]\nmax_clients = {limit}"))
        wait_for(lambda: weir.log().count("event=reloaded") > n, "the reload")
        inside += [Client(weir.port).login() for _ in range(limit - len(inside))]
        assert Client(weir.port).login().error.code == "53300"
        assert all(client.query("select 1") == [[b"1"]] for client in inside)


def test_the_number_of_clients_of_one_user_follows_a_reload(start_weir, postgres):
    weir = start_weir(postgres, workers=4, user=few(-1))
    text = weir.ini_path.read_text()
    inside = [log_in_as_few(weir) for _ in range(4)]

    def reload(limit):
        n = weir.log().count("event=reloaded")
        weir.reload(text.replace(few(-1), few(limit)))
        wait_for(lambda: weir.log().count("event=reloaded") > n, "the reload")

    for limit in (4, 5):
        reload(limit)
        inside += [log_in_as_few(weir) for _ in range(limit - len(inside))]
        assert log_in_as_few(weir).error.code == "53300"
    reload(2)
    assert all(client.query("select 1") == [[b"1"]] for client in inside)
    for _ in range(3):
        inside.pop().close()
        assert log_in_as_few(weir).error.code == "53300"
    inside.pop().close()
    inside.append(wait_for(lambda: (client := log_in_as_few(weir)).error is None and client, "room"))
    reload(-1)
    inside += [log_in_as_few(weir) for _ in range(4)]
    assert all(client.query("select 1") == [[b"1"]] for client in inside)
