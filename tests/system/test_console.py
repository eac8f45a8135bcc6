"""The console: PgBouncer's tables by name, order and type, and numbers that are true."""

import asyncio
import contextlib
import os
import re
import socket
import subprocess
import threading
import time

import asyncpg
import psycopg
import pytest

from conftest import wait_for
from wire import SYNC, Client, Error, bind, cstr, describe, execute, message, parse, query

TEXT, INT4, INT8, NUMERIC = 25, 23, 20, 1700

COUNTERS = ("server_assignment_count xact_count query_count received sent xact_time query_time wait_time "
            "client_parse_count server_parse_count bind_count client_login_count").split()
AVERAGES = [name.replace("received", "recv") for name in COUNTERS]
PEERS = ("type:t user:t database:t replication:t state:t addr:t port:i local_addr:t local_port:i connect_time:t "
         "request_time:t wait:i wait_us:i close_needed:i ptr:t link:t remote_pid:i tls:t application_name:t "
         "prepared_statements:i id:i")
WHO = "database:t user:t application_name:t addr:t port:i "
TOPICS = {
    "pools": "database:t user:t cl_active:i cl_waiting:i cl_active_cancel_req:i cl_waiting_cancel_req:i sv_active:i "
             "sv_active_cancel:i sv_being_canceled:i sv_idle:i sv_used:i sv_tested:i sv_login:i maxwait:i maxwait_us:i "
             "pool_mode:t load_balance_hosts:t | sv_closing:i",
    "clients": PEERS,
    "servers": PEERS + " | overflow:i",
    "stats": "database:t " + " ".join(f"total_{name}:N" for name in COUNTERS) + " " +
             " ".join(f"avg_{name}:N" for name in AVERAGES),
    "stats_totals": "database:t server_assignment_count:N xact_count:N query_count:N bytes_received:N bytes_sent:N "
                    "xact_time:N query_time:N wait_time:N client_parse_count:N server_parse_count:N bind_count:N "
                    "client_login_count:N",
    "stats_averages": "database:t server_assignment_count:N xact_count:N query_count:N bytes_received:N bytes_sent:N "
                      "xact_time:N query_time:N wait_time:N avg_client_parse_count:N avg_server_parse_count:N "
                      "avg_bind_count:N avg_client_login_count:N",
    "totals": "name:t value:N",
    "databases": "name:t host:t port:i database:t force_user:t pool_size:i min_pool_size:i reserve_pool_size:i "
                 "server_lifetime:i pool_mode:t load_balance_hosts:t max_connections:i current_connections:i "
                 "max_client_connections:i current_client_connections:i paused:i disabled:i",
    "users": "name:t pool_size:t reserve_pool_size:t pool_mode:t max_user_connections:i current_connections:i "
             "max_user_client_connections:i current_client_connections:i",
    "lists": "list:t items:i",
    "config": "key:t value:t default:t changeable:t",
    "version": "version:t",
    "state": "key:t value:t",
    "mem": "name:t size:i used:i free:i memtotal:i",
    "holders": WHO + "state:t pin:t age_us:q transaction_us:q state_us:q statement:t server_pid:i client_id:i server_id:i",
    "pins": WHO + "state:t pin:t since:t age_us:q statement:t server_pid:i client_id:i server_id:i",
    "waiters": WHO + "wait_us:q place:i statement:t client_id:i",
}
LISTS = ("databases users peers pools peer_pools free_clients used_clients login_clients free_servers used_servers "
         "dns_names dns_zones dns_queries dns_pending").split()
TOTALS = [f"{kind}_{name}" for kind in ("total", "avg") for name in (
    "server_assignment_count xact_count query_count client_bytes server_bytes xact_time query_time wait_time "
    "ps_client_parse_count ps_server_parse_count ps_bind_count client_login_count").split()]


@pytest.fixture(params=[1, 4], ids=["1-worker", "4-workers"])
def weir_of_workers(request, start_weir, postgres):
    """One truth, on however many workers."""
    def start(weir="", **options):
        return start_weir(postgres, weir=weir, workers=request.param, **options)
    return start


@pytest.fixture
def console(weir):
    with weir.connect(dbname="weir", cursor_factory=psycopg.ClientCursor) as db:
        yield db


def psql(weir, command, *options, database="weir", user="app", password="secret"):
    return subprocess.run(
        ["psql", "-X", "-h", "127.0.0.1", "-p", str(weir.port), "-U", user, database, "-c", command, *options],
        env=os.environ | {"PGPASSWORD": password}, capture_output=True, text=True, timeout=30)


def columns_of(cursor):
    return [(column.name, column.type_code) for column in cursor.description]


def expected_columns(topic):
    codes = {"t": TEXT, "i": INT4, "q": INT8, "N": NUMERIC}
    pairs = (word.split(":") for word in TOPICS[topic].replace("|", "").split())
    return [(name, codes[kind]) for name, kind in pairs]


def row_of(weir, topic, **wanted):
    return next(row for row in weir.console(f"show {topic}")
                if all(row[key] == value for key, value in wanted.items()))


# --- the tables ---

@pytest.mark.parametrize("database", ["weir", "pgbouncer"])
@pytest.mark.parametrize("topic", TOPICS)
def test_show_has_these_columns_in_this_order(topic, database, weir):
    with weir.connect(dbname=database, cursor_factory=psycopg.ClientCursor) as db:
        cursor = db.execute(f"SHOW {topic.upper()};")
        assert columns_of(cursor) == expected_columns(topic)
        assert cursor.statusmessage == "SHOW"
        cursor.fetchall()


def test_rows_stand_in_pgbouncers_order(weir_of_workers):
    weir = weir_of_workers()
    assert [row["list"] for row in weir.console("show lists")] == LISTS
    assert [row["name"] for row in weir.console("show totals")] == TOTALS
    assert [row["key"] for row in weir.console("show state")] == ["active", "paused", "suspended"]
    keys = [row["key"] for row in weir.console("show config")]
    assert keys == sorted(keys) and len(set(keys)) == len(keys) and "max_clients" in keys
    names = [row["database"] for row in weir.console("show pools")]
    assert names == ["app", "pgbouncer"]


def test_show_config_says_what_holds_and_what_a_reload_takes(weir):
    rows = {row["key"]: row for row in weir.console("show config")}
    assert rows["workers"] == {"key": "workers", "value": "1", "default": "auto", "changeable": "no"}
    assert rows["max_clients"]["value"] == "10000" and rows["max_clients"]["changeable"] == "yes"
    assert rows["admin_users"]["value"] == "app" and rows["admin_users"]["default"] == ""


def test_show_version(weir):
    assert re.fullmatch(r"weir \d+\.\d+\.\d+", weir.console("show version")[0]["version"])


def test_show_help_is_a_notice_that_names_every_topic_and_command(console):
    notices = []
    console.add_notice_handler(lambda notice: notices.append((notice.message_primary, notice.message_detail)))
    cursor = console.execute("show help")
    assert cursor.statusmessage == "SHOW" and cursor.description is None
    assert notices[0][0] == "Console usage"
    for word in [*TOPICS, "PAUSE", "RESUME", "RECONNECT", "RELOAD", "SHUTDOWN", "KILL_CLIENT"]:
        assert word in notices[0][1]


def test_psql_prints_the_tables(weir):
    for database in ("weir", "pgbouncer"):
        out = psql(weir, "show databases", "-A", database=database)
        assert out.returncode == 0 and out.stderr == ""
        header, row, _ = out.stdout.splitlines()
        assert header.startswith("name|host|port|") and row.startswith("app|127.0.0.1|")
    assert "KILL_CLIENT id" in psql(weir, "show help").stderr


def test_show_databases_knows_each_protocols_usual_port(weir):
    weir.write(weir.ini_path.read_text() + "[database m]\nurl = mysql://a:b@127.0.0.1/m\n"
               "[database p]\nurl = postgresql://a:b@127.0.0.1/p\n")
    with weir.connect(dbname="weir", cursor_factory=psycopg.ClientCursor) as admin:
        admin.execute("reload")
    assert row_of(weir, "databases", name="m")["port"] == 3306
    assert row_of(weir, "databases", name="p")["port"] == 5432


# --- who may do what ---

USERS = "[user watcher]\npassword = w\n[user guest]\npassword = g"


def test_stats_users_may_look_and_nothing_else(start_weir, postgres):
    weir = start_weir(postgres, weir="stats_users = watcher", user=USERS)
    with weir.connect("watcher", "w", "weir", cursor_factory=psycopg.ClientCursor) as db:
        for topic in [*TOPICS, "help"]:
            db.execute(f"show {topic}")
        db.execute("set x = 1")
        for command in ("pause", "resume", "pause app", "reconnect", "reload", "shutdown", "kill_client 1"):
            with pytest.raises(psycopg.errors.ProtocolViolation, match="^admin access needed$"):
                db.execute(command)
        assert db.execute("show state").fetchall()[0] == ("active", "yes")


def test_others_are_refused_and_told_who_may(start_weir, postgres):
    weir = start_weir(postgres, user=USERS)
    for database in ("weir", "pgbouncer"):
        client = Client(weir.port).login("guest", "g", database)
        assert client.error.code == "42501"
        assert "admin_users and stats_users" in client.error["M"]
    assert Client(weir.port).login("guest", "wrong", "weir").error.code == "28P01"


# --- what can be typed ---

@pytest.mark.parametrize("command", [
    "SHOW POOLS", "show pools;", "  sHoW\tpOoLs ; \n", "SELECT pools", "select POOLS;", 'show "pools"', "show pools;;"])
def test_one_command_can_be_written_in_many_ways(console, command):
    assert console.execute(command).description[2].name == "cl_active"


@pytest.mark.parametrize("command", [
    "nonsense", "show", "show nonsense", "show pools clients", "select 1", "begin", "show pools; show clients",
    "'", '"', "show 'pools", "=", "pause app extra", "shutdown tomorrow", "x" * 3000, "show " + "y" * 64,
    "kill_client", "éù", "-- comment", "select * from pools"])
def test_what_is_no_command_is_an_error_and_the_connection_stays(console, command):
    with pytest.raises(psycopg.errors.ProtocolViolation, match="^invalid command '.*', use SHOW HELP;$"):
        console.execute(command)
    assert console.execute("show version").fetchone()


def test_a_command_without_end_closes_the_connection_with_a_reason(weir):
    client = Client(weir.port).login(database="weir")
    client.send(query("show " + "x" * 5000))
    last = client.until_closed()[-1]
    assert last[0] == b"E" and Error(last[1])["S"] == "FATAL" and "too long" in Error(last[1])["M"]


def test_an_empty_query_is_answered_as_such(weir):
    client = Client(weir.port).login(database="weir")
    client.send(query(""), query(" ; "))
    assert client.kinds() == b"IZ" and client.kinds() == b"IZ"


def test_several_queries_in_one_packet_are_answered_in_turn(weir):
    client = Client(weir.port).login(database="weir")
    client.send(query("show version"), query("nonsense"), query("show lists"))
    assert client.kinds() == b"TDCZ"
    assert client.kinds() == b"EZ"
    assert client.kinds() == b"T" + b"D" * len(LISTS) + b"CZ"


def test_drivers_parameters_can_be_asked_for_and_set(console):
    for name, value in (("client_encoding", "UTF8"), ("default_transaction_isolation", "read committed"),
                        ("standard_conforming_strings", "on"), ("datestyle", "ISO"), ("TimeZone", "GMT")):
        cursor = console.execute(f"SHOW {name}")
        assert cursor.fetchall() == [(value,)]
        assert columns_of(cursor) == [(name.lower(), TEXT)]
    notices = []
    console.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    for command in ("SET extra_float_digits = 3", "set client_encoding to 'utf-8'", "SET DateStyle = 'ISO, MDY';"):
        assert console.execute(command).statusmessage == "SET"
    assert notices == ["SET ignored"] * 3


def test_set_of_an_option_is_not_silently_ignored(console):
    with pytest.raises(psycopg.errors.ProtocolViolation, match="pool_size is changed in the configuration file"):
        console.execute("set pool_size = 50")


def test_unknown_startup_parameters_are_accepted(weir):
    client = Client(weir.port).login(
        database="pgbouncer", extra_float_digits="2", datestyle="ISO, MDY", client_encoding="UTF8",
        application_name="pgbouncer_exporter", options="-c geqo=off", search_path="public")
    assert client.error is None
    for topic in ("version", "config", "lists", "databases", "pools", "stats", "stats_totals"):
        assert client.query(f"SHOW {topic.upper()};")
    assert client.parameters["server_encoding"] == "UTF8"
    assert client.parameters["standard_conforming_strings"] == "on"


# --- the extended protocol ---

def test_psycopg_binds_on_the_server(weir, postgres):
    with weir.connect(dbname="weir") as db:
        for binary in (False, True):
            for prepare in (False, True):
                cursor = db.cursor(binary=binary)
                cursor.execute("show databases", prepare=prepare)
                assert columns_of(cursor) == expected_columns("databases")
                assert cursor.fetchone()[:6] == ("app", "127.0.0.1", postgres.port, "app", "app", 5)
                cursor.execute("show stats_totals", prepare=prepare)
                assert cursor.fetchone()[0] == "app"
        with pytest.raises(psycopg.errors.ProtocolViolation, match="no parameters"):
            db.execute("show %s", ["pools"])
        assert db.execute("show version").fetchone()


def test_asyncpg_fetches(weir, postgres):
    async def run():
        db = await asyncpg.connect(host="127.0.0.1", port=weir.port, user="app", password="secret", database="weir")
        for _ in range(3):
            # Of several statements that are prepared, each answers its own question.
            pools = await db.fetch("SHOW POOLS")
            totals = await db.fetch("SHOW TOTALS")
            assert [row["database"] for row in pools] == ["app", "pgbouncer"]
            assert pools[1]["cl_active"] == 1 and pools[1]["load_balance_hosts"] is None
            assert [row["name"] for row in totals] == TOTALS
        assert await db.fetchval("SHOW DATABASES", column=2) == postgres.port
        statement = await db.prepare("SHOW VERSION")
        assert (await statement.fetchrow())["version"].startswith("weir ")
        assert [a.name for a in statement.get_attributes()] == ["version"]
        assert await db.execute("RECONNECT") == "RECONNECT"
        paused = await db.prepare("PAUSE")
        assert (await db.fetch("SHOW STATE"))[0]["value"] == "yes", "preparing a command has run it"
        await paused.fetch()
        assert (await db.fetch("SHOW STATE"))[0]["value"] == "no"
        await db.fetch("RESUME")
        with pytest.raises(asyncpg.PostgresError, match="invalid command"):
            await db.fetch("SHOW NONSENSE")
        assert await db.fetchval("SHOW VERSION")
        await db.close()
    asyncio.run(run())


def test_binary_numbers_are_right(start_weir, postgres):
    weir = start_weir(postgres)
    with weir.connect() as db:
        db.execute("select repeat('x', 12345678)")

    async def run():
        db = await asyncpg.connect(host="127.0.0.1", port=weir.port, user="app", password="secret", database="weir")
        binary = dict((await db.fetch("SHOW STATS_TOTALS"))[0])
        await db.close()
        return binary
    binary = asyncio.run(run())
    assert binary == weir.console("show stats_totals")[0]
    assert binary["bytes_sent"] > 12345678


def test_the_extended_protocols_errors(weir):
    client = Client(weir.port).login(database="weir")

    def error_of(*messages):
        client.send(*messages, SYNC)
        errors = [Error(content).code for kind, content in client.ready() if kind == b"E"]
        return errors
    assert error_of(bind("missing")) == ["26000"]
    assert error_of(describe(b"S", "missing")) == ["26000"]
    assert error_of(execute("missing")) == ["34000"]
    assert error_of(parse("a", "show version")) == []
    assert error_of(parse("a", "show version")) == ["42P05"]
    assert error_of(bind("a", values=[b"1"])) == ["08P01"]
    assert error_of(parse("b", "nonsense"), bind("b"), execute(), execute()) == ["08P01"]
    two_formats = message(b"B", cstr("") + cstr("a") + b"\0\0" + b"\0\0" + b"\0\2\0\0\0\0")
    assert error_of(two_formats, execute()) == ["08P01"]
    assert error_of(bind("a"), execute()) == []
    assert error_of(*(parse(f"s{i}", "show version") for i in range(200))) == ["53400"]
    assert error_of(parse("", "")) == ["53400"]
    client.send(message(b"C", b"S" + cstr("a")), parse("", ""), bind(""), describe(b"P"), execute(), SYNC)
    assert client.kinds() == b"312nIZ"


# --- numbers under a known load ---

@contextlib.contextmanager
def in_thread(function, *args):
    thread = threading.Thread(target=function, args=args, daemon=True)
    thread.start()
    yield thread
    thread.join(20)
    assert not thread.is_alive()


def test_clients_are_counted_by_what_they_do(weir_of_workers):
    weir = weir_of_workers(pool_size=2, max_overflow=0)
    idle = [weir.connect() for _ in range(3)]
    busy = [weir.connect(application_name=f"busy{i}") for i in range(2)]
    late = weir.connect(application_name="late")
    for db in busy:
        db.execute("begin")
        db.execute("select 1")
    with in_thread(late.execute, "select 1"):
        pool = wait_for(lambda: (row := weir.pool()) and row["cl_waiting"] and row, "the waiter")
        assert pool["cl_active"] == 5 and pool["cl_waiting"] == 1
        assert pool["sv_active"] == 2 and pool["sv_idle"] == 0 and pool["sv_login"] == 0
        first = pool["maxwait"] * 1_000_000 + pool["maxwait_us"]
        second = weir.pool()
        assert second["maxwait"] * 1_000_000 + second["maxwait_us"] > first
        assert second["maxwait_us"] < 1_000_000

        states = sorted(row["state"] for row in weir.console("show clients") if row["database"] == "app")
        assert states == ["active"] * 2 + ["idle"] * 3 + ["waiting"]
        waiting = row_of(weir, "clients", application_name="late")
        assert waiting["wait"] * 1_000_000 + waiting["wait_us"] > 0 and waiting["link"] == ""
        waiter, = weir.console("show waiters")
        assert waiter["application_name"] == "late" and waiter["wait_us"] > 0
        assert waiter["client_id"] == waiting["id"]

        holders = weir.console("show holders")
        assert sorted(row["application_name"] for row in holders) == ["busy0", "busy1"]
        assert {row["state"] for row in holders} == {"idle in transaction"}
        clients = {row["ptr"]: row for row in weir.console("show clients")}
        servers = weir.console("show servers")
        for server in servers:
            client = clients[server["link"]]
            assert client["link"] == server["ptr"]
            assert client["application_name"] == server["application_name"]
        assert {row["server_pid"] for row in holders} == {row["remote_pid"] for row in servers}

        assert row_of(weir, "databases", name="app")["current_client_connections"] == 6
        assert row_of(weir, "databases", name="app")["current_connections"] == 2
        user = row_of(weir, "users", name="app")
        assert user["current_client_connections"] == 6 and user["current_connections"] == 2
        lists = {row["list"]: row["items"] for row in weir.console("show lists")}
        assert lists["databases"] == 1 and lists["users"] == 1 and lists["pools"] == 1
        assert lists["used_clients"] == 7, "six, and who asks"
        assert lists["free_servers"] == 0 and lists["used_servers"] == 2
        busy[0].execute("commit")
    busy[1].execute("commit")
    pool = weir.pool()
    assert pool["sv_idle"] == 2 and pool["sv_active"] == 0 and pool["cl_active"] == 6
    assert pool["maxwait"] == pool["maxwait_us"] == 0
    for db in [*idle, *busy, late]:
        db.close()
    wait_for(lambda: weir.pool()["cl_active"] == 0, "all to have left")


def test_who_waits_longest_is_the_maxwait_of_all_workers(start_weir, postgres):
    weir = start_weir(postgres, workers=4, pool_size=1, max_overflow=0)
    others = [weir.connect() for _ in range(4)]
    holder = weir.connect()
    holder.execute("begin")
    with contextlib.ExitStack() as stack:
        for db in others:
            stack.enter_context(in_thread(db.execute, "select 1"))
        wait_for(lambda: weir.pool()["cl_waiting"] == 4, "four waiters")
        for _ in range(20):
            waits = [row["wait_us"] for row in weir.console("show waiters")]
            pool = weir.pool()
            later = [row["wait_us"] for row in weir.console("show waiters")]
            assert max(waits) <= pool["maxwait"] * 1_000_000 + pool["maxwait_us"] <= max(later)
        holder.execute("commit")


def test_pins_name_their_reason(weir):
    with weir.connect(application_name="pinned") as db:
        db.execute("create temp table t (x int)")
        pin, = weir.console("show pins")
        assert pin["application_name"] == "pinned" and "temp" in pin["pin"] and pin["state"] == "pinned"
        assert pin["server_pid"] == db.execute("select pg_backend_pid()").fetchone()[0]
        db.execute("drop table t")
        db.execute("discard all")
    wait_for(lambda: weir.console("show pins") == [], "the pin to end")


def test_servers_are_shown_as_the_operating_system_and_postgresql_know_them(weir, postgres):
    with weir.connect(application_name="mine") as db:
        db.execute("begin")
        pid, port, application = db.execute(
            "select pid, client_port, application_name from pg_stat_activity where pid = pg_backend_pid()").fetchone()
        server, = weir.console("show servers")
        assert server["type"] == "S" and server["user"] == server["database"] == "app"
        assert server["state"] == "active" and server["remote_pid"] == pid
        assert (server["addr"], server["port"]) == ("127.0.0.1", postgres.port)
        assert (server["local_addr"], server["local_port"]) == ("127.0.0.1", port)
        assert server["application_name"] == application == "mine"
        client = row_of(weir, "clients", application_name="mine")
        assert (client["local_addr"], client["local_port"]) == ("127.0.0.1", weir.port)
        assert (client["addr"], client["port"]) == ("127.0.0.1", client_port(db))
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \w+", client["connect_time"])
        db.execute("commit")
    server, = weir.console("show servers")
    assert server["state"] == "idle" and server["link"] == ""


def client_port(db):
    copy = socket.socket(fileno=os.dup(db.fileno()))
    with copy:
        return copy.getsockname()[1]


def counters(weir):
    row = row_of(weir, "stats_totals", database="app")
    return {key: value if key == "database" else int(value) for key, value in row.items()}


def test_counts_times_and_bytes_are_those_of_the_load(weir_of_workers):
    weir = weir_of_workers(pool_size=1, max_overflow=0)
    before = counters(weir)
    with weir.connect(cursor_factory=psycopg.ClientCursor) as db, \
            weir.connect(cursor_factory=psycopg.ClientCursor) as other:
        for _ in range(10):
            db.execute("select 1")
        db.execute("begin")
        db.execute("select pg_sleep(0.1)")
        db.execute("select 2")
        with in_thread(other.execute, "select 3"):
            wait_for(lambda: weir.pool()["cl_waiting"] == 1, "the waiter")
            time.sleep(0.1)  # the time that is measured
            db.execute("commit")
        db.execute("select repeat('x', 1000000)")
        db.execute("select length(%s)", ["y" * 300000])
    after = counters(weir)
    more = {key: after[key] - before[key] for key in after if key != "database"}
    assert more["client_login_count"] == 2
    assert more["xact_count"] == 14
    assert more["query_count"] == 17
    assert 14 <= more["server_assignment_count"] <= 16, "a login may need a connection for its greeting"
    assert 1_000_000 < more["bytes_sent"] < 1_020_000
    assert 300_000 < more["bytes_received"] < 305_000
    assert 100_000 < more["query_time"] < 190_000 + 200_000
    assert 200_000 < more["xact_time"]
    assert more["xact_time"] > more["query_time"]
    assert 100_000 < more["wait_time"] < 1_000_000
    stats = row_of(weir, "stats", database="app")
    assert [stats[f"total_{name}"] for name in COUNTERS] == list(after.values())[1:]
    totals = {row["name"]: row["value"] for row in weir.console("show totals")}
    assert totals["total_query_count"] == after["query_count"]
    assert totals["total_client_bytes"] == after["bytes_received"]
    assert totals["total_server_bytes"] == after["bytes_sent"]


def test_parses_and_binds_are_counted(start_weir, postgres):
    weir = start_weir(postgres, pool_size=1, max_overflow=0)
    before = counters(weir)
    clients = [Client(weir.port).login() for _ in range(3)]
    for client in clients:
        client.send(parse("s", "select 42"), SYNC)
        client.ready()
        for _ in range(5):
            client.send(bind("s"), execute(), SYNC)
            client.ready()
    after = counters(weir)
    assert after["client_parse_count"] - before["client_parse_count"] == 3
    assert after["bind_count"] - before["bind_count"] == 15
    assert after["server_parse_count"] - before["server_parse_count"] == 1
    assert after["query_count"] - before["query_count"] == 15


def test_averages_are_those_of_all_workers_together(weir_of_workers):
    weir = weir_of_workers(weir="stats_period = 1s", pool_size=4, max_overflow=0)
    clients = [weir.connect(cursor_factory=psycopg.ClientCursor) for _ in range(4)]
    stop = threading.Event()

    def work(db, seconds):
        while not stop.is_set():
            db.execute(f"select pg_sleep({seconds}), repeat('x', 10000)")
    try:
        with contextlib.ExitStack() as stack:
            # Half of the clients are slow: the average is of statements, not of workers.
            for i, db in enumerate(clients):
                stack.enter_context(in_thread(work, db, 0.02 if i % 2 else 0.18))
            start, began = counters(weir), time.monotonic()
            time.sleep(2.2)  # two whole periods
            row = row_of(weir, "stats", database="app")
            end, seconds = counters(weir), time.monotonic() - began
            stop.set()
    finally:
        stop.set()
    per_second = {key: (end[key] - start[key]) / seconds for key in end if key != "database"}
    near = lambda value: pytest.approx(value, rel=0.35)
    assert int(row["avg_query_count"]) == near(per_second["query_count"])
    assert int(row["avg_xact_count"]) == near(per_second["xact_count"])
    assert int(row["avg_sent"]) == near(per_second["bytes_sent"])
    assert int(row["avg_recv"]) == near(per_second["bytes_received"])
    assert int(row["avg_query_time"]) == near(per_second["query_time"] / per_second["query_count"])
    assert int(row["avg_xact_time"]) == near(per_second["xact_time"] / per_second["xact_count"])
    assert row["avg_wait_time"] < 5000
    wait_for(lambda: row_of(weir, "stats_averages", database="app")["query_count"] == 0, "a period of rest")


# --- commands ---

def test_pause_waits_for_transactions_and_resume_lets_go_on(weir_of_workers, postgres):
    weir = weir_of_workers()
    inside = weir.connect()
    inside.execute("begin")
    outside = weir.connect()
    outside.execute("select 1")
    admin = weir.connect(dbname="weir", cursor_factory=psycopg.ClientCursor)
    with in_thread(admin.execute, "PAUSE app") as pausing:
        wait_for(lambda: row_of(weir, "databases", name="app")["paused"] == 1, "the pause")
        with in_thread(outside.execute, "select 2") as waiting:
            wait_for(lambda: weir.pool()["cl_waiting"] == 1, "the waiter")
            assert pausing.is_alive(), "PAUSE does not answer before the transaction has ended"
            assert inside.execute("select 3").fetchone() == (3,)
            inside.execute("commit")
            pausing.join(20)
            assert postgres.connections() == 0
            assert waiting.is_alive()
            assert admin.execute("RESUME app").statusmessage == "RESUME"
    assert row_of(weir, "databases", name="app")["paused"] == 0
    assert inside.execute("select 4").fetchone() == (4,)


def test_pause_and_resume_of_everything(weir_of_workers):
    weir = weir_of_workers()
    with weir.connect(dbname="weir", cursor_factory=psycopg.ClientCursor) as admin:
        assert admin.execute("pause").statusmessage == "PAUSE"
        assert dict(admin.execute("show state").fetchall()) == {"active": "no", "paused": "yes", "suspended": "no"}
        assert row_of(weir, "databases", name="app")["paused"] == 1
        assert admin.execute("resume").statusmessage == "RESUME"
        assert dict(admin.execute("show state").fetchall())["active"] == "yes"
    with weir.connect() as db:
        assert db.execute("select 1").fetchone() == (1,)


def test_pause_and_resume_say_what_is_wrong(weir_of_workers):
    weir = weir_of_workers()
    with weir.connect(dbname="weir", cursor_factory=psycopg.ClientCursor) as admin:
        for command, text in (
                ("pause nowhere", "no such database: nowhere"), ('pause ""', "no such database:.*"),
                ("resume nowhere", "no such database: nowhere"), ("reconnect nowhere", "no such database: nowhere"),
                ("resume", "pooler is not paused/suspended"), ("resume app", "database app is not paused")):
            with pytest.raises(psycopg.errors.ProtocolViolation, match=f"^{text}$"):
                admin.execute(command)
        admin.execute("pause app")
        with pytest.raises(psycopg.errors.ProtocolViolation, match="already suspended/paused"):
            admin.execute("pause app")
        admin.execute("pause")
        with pytest.raises(psycopg.errors.ProtocolViolation, match="already suspended/paused"):
            admin.execute("pause")
        with pytest.raises(psycopg.errors.ProtocolViolation, match="all databases are paused"):
            admin.execute("resume app")
        admin.execute("resume")
        assert row_of(weir, "databases", name="app")["paused"] == 0


def test_cancelling_a_pause_undoes_it(weir_of_workers):
    weir = weir_of_workers()
    db = weir.connect()
    db.execute("begin")
    admin = weir.connect(dbname="weir", cursor_factory=psycopg.ClientCursor)
    outcome = []

    def pause():
        try:
            admin.execute("pause")
        except psycopg.Error as error:
            outcome.append(error)
    with in_thread(pause):
        wait_for(lambda: dict(row.values() for row in weir.console("show state"))["paused"] == "yes", "the pause")
        admin.cancel()
    assert isinstance(outcome[0], psycopg.errors.QueryCanceled)
    wait_for(lambda: dict(row.values() for row in weir.console("show state"))["paused"] == "no", "the resume")
    db.execute("commit")
    assert db.execute("select 1").fetchone() == (1,)
    assert admin.execute("show version").fetchone()


def test_reconnect_replaces_every_connection_when_it_is_free(weir_of_workers, postgres):
    weir = weir_of_workers()
    with weir.connect() as busy, weir.connect() as other:
        busy.execute("begin")
        pids = {db.execute("select pg_backend_pid()").fetchone()[0] for db in (busy, other)}
        weir.console("reconnect app")
        assert row_of(weir, "servers", state="active")["close_needed"] == 1
        assert busy.execute("select pg_backend_pid()").fetchone()[0] in pids
        busy.execute("commit")
        assert not {db.execute("select pg_backend_pid()").fetchone()[0] for db in (busy, other)} & pids
    alive = {row[0] for row in postgres.query("select pid from pg_stat_activity where usename = 'app'")}
    assert not alive & pids


def test_kill_client(weir_of_workers):
    weir = weir_of_workers()
    victims = [weir.connect(application_name=f"victim{i}") for i in range(4)]
    bystander = weir.connect()
    victims[0].execute("begin")
    with weir.connect(dbname="weir", cursor_factory=psycopg.ClientCursor) as admin:
        for i, db in enumerate(victims):
            id_ = row_of(weir, "clients", application_name=f"victim{i}")["id"]
            assert admin.execute(f"KILL_CLIENT {id_}").statusmessage == "KILL_CLIENT"
            with pytest.raises(psycopg.errors.AdminShutdown, match="administrator command"):
                db.execute("select 1")
        for id_ in ("0", "999999", str(2**32 + 1), "nobody", "-1", '""'):
            with pytest.raises(psycopg.errors.ProtocolViolation, match="^client not found$"):
                admin.execute(f"kill_client {id_}")
    assert bystander.execute("select 1").fetchone() == (1,)
    wait_for(lambda: weir.pool()["cl_active"] == 1, "the victims to be gone")


def test_reload_on_the_console(weir_of_workers):
    weir = weir_of_workers()
    text = weir.ini_path.read_text()
    with weir.connect(dbname="weir", cursor_factory=psycopg.ClientCursor) as admin:
        assert admin.execute("reload").statusmessage == "RELOAD"
        weir.ini_path.write_text(text + "pool_size = many\n")
        with pytest.raises(psycopg.Error) as refused:
            admin.execute("reload")
        assert refused.value.sqlstate == "F0000"
        line = len(text.splitlines()) + 1
        assert f"weir.ini:{line}: pool_size" in str(refused.value)
        weir.ini_path.write_text(text.replace("[database app]", "[database other]\nurl = postgresql://a:b@localhost/c\n"
                                              "[database app]\npool_size = 7\n"))
        admin.execute("reload")
        assert row_of(weir, "databases", name="app")["pool_size"] == 7
        assert row_of(weir, "databases", name="other")["force_user"] == "a"


def test_the_console_is_reachable_when_max_clients_is_not(weir_of_workers):
    weir = weir_of_workers(weir="max_clients = 2")
    with weir.connect(dbname="weir", cursor_factory=psycopg.ClientCursor) as admin:
        clients = [weir.connect(), weir.connect()]
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            weir.connect()
        assert admin.execute("show version").fetchone() and weir.console("show pools")
        clients.pop().close()
        wait_for(lambda: weir.pool()["cl_active"] == 1, "it to be gone")
        weir.connect().close()
