"""What an operator types and writes: arguments, weir.ini, URLs, and a reload for living clients."""

import re
import signal
import socket
import subprocess
import threading

import psycopg
import pytest

from conftest import WEIR_BIN, Weir, wait_for


def run(*arguments):
    return subprocess.run([WEIR_BIN, *map(str, arguments)], capture_output=True, text=True, timeout=20,
                          stdin=subprocess.DEVNULL)


@pytest.fixture
def check(tmp_path):
    def check(text):
        path = tmp_path / "weir.ini"
        path.write_text(text)
        result = run("-c", path, "--check")
        return result.returncode, result.stdout, result.stderr.replace(str(path), "weir.ini")
    return check


# --- arguments ---

def test_version_and_help():
    result = run("--version")
    assert result.returncode == 0 and re.fullmatch(r"weir \d+\.\d+\.\d+\n", result.stdout)
    assert run("-V").stdout == result.stdout
    result = run("--help")
    assert result.returncode == 0 and result.stderr == "" and run("-h").stdout == result.stdout
    for option in ("--config", "--check", "--options", "--version", "--help"):
        assert option in result.stdout


def test_options_lists_every_option_with_default_range_and_reload():
    result = run("--options")
    assert result.returncode == 0 and result.stderr == ""
    assert ("[defaults, database] pool_size (number)\n    default: 5\n    allowed: a number from 0 to 100000\n"
            "    reload: yes\n    connections kept\n") in result.stdout
    assert "[weir] workers (number)\n    default: auto\n" in result.stdout
    assert "[defaults, database, user] query_timeout (duration)" in result.stdout
    assert result.stdout.count("    reload: ") == result.stdout.count("    allowed: ") > 30


@pytest.mark.parametrize("arguments, words", [
    (["--nonsense"], "usage: weir"), (["-c"], "usage: weir"), (["-x"], "usage: weir"),
    (["start"], "start is no URL"), (["/etc/weir/weir.ini"], "--config"),
    (["-c", "/x.ini", "postgresql://a:b@h/d"], "not both"),
])
def test_bad_usage_exits_with_2(arguments, words):
    result = run(*arguments)
    assert result.returncode == 2 and words in result.stderr and result.stdout == ""


@pytest.mark.parametrize("url, words", [
    ("http://a:b@h/d", "unknown scheme: allowed are postgresql://"),
    ("postgresql://a@h/d", "needs a user and a password"),
    ("postgresql://h/d", "needs a user and a password"),
    ("postgresql://a:b@h:99999/d", "bad port: allowed are numbers from 1 to 65535"),
    ("postgresql://a:top%secret@h/d", "bad percent-encoding"),
])
def test_a_wrong_url_exits_with_1_and_keeps_its_password(url, words):
    for options in ([], ["--check"]):
        result = run(*options, url)
        assert result.returncode == 1 and words in result.stderr, result.stderr
        assert "secret" not in result.stderr


def test_a_url_needs_no_file(postgres, tmp_path):
    weir = Weir(tmp_path, arguments=[postgres.url()], expect_start=False)
    weir.port = 6432
    wait_for(lambda: "6432" in weir.log(), "weir to start, or to say why not")
    if "Address already in use" in weir.log():
        # Someone else has the port of this case: then that is what is to be said.
        assert weir.process.wait(20) == 1
        return
    try:
        with weir.connect() as db:
            assert db.execute("select current_user").fetchone() == ("app",)
        assert weir.console("show databases")[0]["name"] == "app", "the URL's account may use the console"
        with weir.connect(dbname="weir", cursor_factory=psycopg.ClientCursor) as db:
            with pytest.raises(psycopg.Error, match="started with URLs: there is no file to read"):
                db.execute("reload")
    finally:
        weir.stop()


# --- --check ---

def test_check_prints_the_worst_case_per_server(check):
    assert check("""[defaults]
pool_size = 3
[database one]
url = postgresql://a:b@db1/x
[database two]
url = postgresql+asyncpg://a:b@db1:5432/y
pool_size = 10
max_overflow = 0
[database each]
url = postgresql://db2:6000/z
[database endless]
url = postgresql://a:b@db3/x
max_overflow = -1
[user u]
password = p
[user only_one]
password = p
databases = one
""") == (0, "server db1:5432: at most 23 connections\nserver db2:6000: at most 26 connections\n"
         "server db3:5432: no limit on the number of connections\n", "")
    assert check("[weir]\n") == (0, "no databases are configured\n", "")


def test_check_names_file_and_line_of_every_problem(check):
    status, out, err = check("""[weir]
max_clients = 0
listen = 127.0.0.1:1
[database a]
url = postgresql://a:b@h/a
pool_size = 5
pool_size = 6
pool_timeout = soon
[database b]
url = mongodb://h/b
no equals sign
""")
    assert status == 1 and out == ""
    lines = err.splitlines()
    for number, words in ((2, "max_clients"), (3, 'unknown key "listen"'), (7, "twice"), (8, "pool_timeout"),
                          (10, "unknown scheme"), (11, "key = value")):
        assert any(line.startswith(f"weir.ini:{number}: ") and words in line for line in lines), (number, err)
    assert len(lines) == 6, err


def test_check_names_the_line_of_a_url_with_a_bad_parameter(check):
    status, out, err = check("""[database a]
pool_size = 5
url = mysql://a:b@h/a?ssl_mode=on
[database b]
url = mariadb://a:b@h/b?sslmode=require
pool_size = 5
[database c]
url = postgresql://a:b@h/c?ssl_mode=required
""")
    assert status == 1 and out == ""
    lines = err.splitlines()
    for line, number, words in zip(lines, (3, 5, 8), ("verify_ca", '"sslmode": allowed are', '"ssl_mode"'), strict=True):
        assert line.startswith(f"weir.ini:{number}: url: ") and words in line, err


def test_check_tells_servers_of_one_host_apart(check):
    assert check("""[database a]
url = postgresql://a:b@h/a
[database b]
url = mysql://a:c@h/b
[database c]
url = mariadb://a:c@h:3306/c
""") == (0, "server h:5432: at most 15 connections\nserver h:3306: at most 30 connections\n", "")


def test_check_finds_what_only_the_whole_shows(check):
    status, _, err = check("[weir]\nadmin_users = nobody\n[database a]\npool_size = 1\n[user u]\npassword = p\n"
                           "databases = zzz\n[user v]\nmax_clients = 1\n")
    assert status == 1
    for words in ("admin_users names nobody", "database a has no url", "databases names zzz", "user v has no password"):
        assert words in err


def test_a_bad_file_or_none_exits_with_1(tmp_path):
    assert run("-c", "/nonexistent/weir.ini").returncode == 1
    assert "/nonexistent/weir.ini:0: cannot be read: No such file" in run("-c", "/nonexistent/weir.ini").stderr
    path = tmp_path / "weir.ini"
    path.write_text("[weir]\nworkers = none\n")
    result = run("-c", path)
    assert result.returncode == 1 and f"{path}:2: workers" in result.stderr


def test_a_taken_port_is_named(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        path = tmp_path / "weir.ini"
        path.write_text(f"[weir]\nlisten_postgresql = {address}\n[database a]\nurl = postgresql://a:b@h/a\n")
        result = run("-c", path)
    assert result.returncode == 1
    assert f'cannot listen on \\"{address}\\": Address already in use' in result.stderr
    assert " ready " not in result.stderr


# --- reload ---

INI = """[weir]
listen_postgresql = 127.0.0.1:@PORT@
workers = 2
admin_users = app
{weir}
[defaults]
{defaults}
[database app]
url = {url}
{app}
{more}
"""


class Reloadable:
    def __init__(self, start_weir, postgres, **parts):
        self.postgres = postgres
        self.parts = {"weir": "", "defaults": "", "app": "", "more": "", "url": postgres.url()} | parts
        self.weir = start_weir(ini=INI.format(**self.parts))

    def reload(self, expect="event=reloaded", **parts):
        self.parts |= parts
        self.weir.write(INI.format(**self.parts))
        return self.hang_up(expect)

    def hang_up(self, expect="event=reloaded"):
        before = len(self.weir.log())
        self.weir.process.send_signal(signal.SIGHUP)
        wait_for(lambda: expect in self.weir.log()[before:], f"{expect} in the log")
        return self.weir.log()[before:]


@pytest.fixture
def reloadable(start_weir, postgres):
    return lambda **parts: Reloadable(start_weir, postgres, **parts)


def cancelled_by_query_timeout(db):
    with pytest.raises(psycopg.errors.QueryCanceled, match="query_timeout"):
        db.execute("select pg_sleep(10)")
    return True


def test_a_reload_gives_living_clients_new_limits_and_clocks(reloadable, postgres):
    it = reloadable(app="pool_size = 1\nmax_overflow = 0")
    clients = [it.weir.connect() for _ in range(3)]
    clients[0].execute("begin")
    waiting = threading.Thread(target=clients[1].execute, args=("select 1",), daemon=True)
    waiting.start()
    wait_for(lambda: it.weir.pool()["cl_waiting"] == 1, "a waiter")
    log = it.reload(app="pool_size = 2\nmax_overflow = 1\nquery_timeout = 200ms")
    assert "database app: pool_size 1 -> 2" in log and "database app: query_timeout 0 -> 200ms" in log
    waiting.join(20)
    assert not waiting.is_alive(), "who waits gets the connection that is allowed now"
    assert cancelled_by_query_timeout(clients[2])
    clients[0].execute("commit")
    for db in clients:
        db.execute("begin")
    assert postgres.connections() == 3
    it.reload(app="pool_size = 1\nmax_overflow = 0\nclient_idle_timeout = 300ms")
    for db in clients:
        db.execute("commit")
    wait_for(lambda: postgres.connections() == 1, "the connections that are too many to be closed")
    wait_for(lambda: it.weir.pool()["cl_active"] == 0, "idle clients to be closed")
    with pytest.raises(psycopg.errors.IdleSessionTimeout):
        clients[0].execute("select 1")


def test_a_users_own_clocks_are_reloaded(reloadable):
    it = reloadable(more="[user app]\npassword = secret")
    with it.weir.connect() as db:
        it.reload(more="[user app]\npassword = secret\nquery_timeout = 200ms")
        assert cancelled_by_query_timeout(db)
        it.reload(more="[user app]\npassword = secret")
        db.execute("select pg_sleep(0.3)")


def is_gone(db):
    """Told goodbye right after its COMMIT: libpq may take the words for a notice that came with that."""
    with pytest.raises(psycopg.OperationalError):
        db.execute("select 1")
    return True


def test_users_and_passwords_come_and_go(reloadable):
    it = reloadable(more="[user guest]\npassword = one")
    stays = it.weir.connect("guest", "one")
    log = it.reload(more="[user guest]\npassword = two\n[user fresh]\npassword = f")
    assert "user guest: password changed" in log and "user fresh: added" in log
    assert "one" not in log.replace("done", "") and "two" not in log
    assert stays.execute("select 1").fetchone() == (1,), "a new password is asked of who logs in"
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        it.weir.connect("guest", "one")
    it.weir.connect("guest", "two").close()
    it.weir.connect("fresh", "f").close()
    stays.execute("begin")
    log = it.reload(more="[user fresh]\npassword = f")
    assert "user guest: removed" in log
    assert stays.execute("select 2").fetchone() == (2,), "its transaction gets to its end"
    stays.execute("commit")
    assert is_gone(stays)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        it.weir.connect("guest", "two")


def test_a_user_that_may_not_use_a_database_any_more_is_told(reloadable, postgres):
    other = f"[database other]\nurl = {postgres.url()}\n"
    it = reloadable(more=other + "[user guest]\npassword = g")
    clients = {name: it.weir.connect("guest", "g", name) for name in ("app", "other")}
    it.reload(more=other + "[user guest]\npassword = g\ndatabases = other")
    with pytest.raises(psycopg.errors.AdminShutdown, match="does not let this user in"):
        clients["app"].execute("select 1")
    assert clients["other"].execute("select 1").fetchone() == (1,)


def test_the_console_follows_admin_users(reloadable):
    users = "[user boss]\npassword = b"
    it = reloadable(weir="stats_users = boss", more=users)
    boss = it.weir.connect("boss", "b", "weir", cursor_factory=psycopg.ClientCursor)
    with pytest.raises(psycopg.Error, match="admin access needed"):
        boss.execute("reconnect")
    it.parts["weir"] = ""
    text = INI.format(**it.parts).replace("admin_users = app", "admin_users = app, boss")
    it.weir.write(text)
    it.hang_up()
    boss.execute("reconnect")
    it.reload(weir="")
    with pytest.raises(psycopg.errors.AdminShutdown):
        boss.execute("show pools")


def test_auth_file_is_read_again(reloadable):
    it = reloadable()
    accounts = it.weir.base / "userlist.txt"
    accounts.write_text('"lister" "one"\n')
    it.reload(weir="auth_file = userlist.txt")
    it.weir.connect("lister", "one").close()
    accounts.write_text('"lister" "two"\n')
    it.hang_up()
    it.weir.connect("lister", "two").close()
    accounts.write_text("not quoted\n")
    log = it.hang_up("event=reload_refused")
    assert "userlist.txt:1: " in log
    it.weir.connect("lister", "two").close()


def test_databases_come_and_go(reloadable, postgres):
    it = reloadable()
    with pytest.raises(psycopg.OperationalError, match='database "second" does not exist'):
        it.weir.connect(dbname="second")
    assert "database second: added" in it.reload(more=f"[database second]\nurl = {postgres.url()}\npool_size = 1")
    idle, busy = it.weir.connect(dbname="second"), it.weir.connect(dbname="second")
    busy.execute("begin")
    log = it.reload(more="")
    assert "database second: removed" in log
    with pytest.raises(psycopg.errors.AdminShutdown, match="the database was taken out of the configuration"):
        idle.execute("select 1")
    assert busy.execute("select 1").fetchone() == (1,)
    busy.execute("commit")
    assert is_gone(busy)
    wait_for(lambda: postgres.connections() == 0, "its connections to be closed")
    it.reload(more=f"[database second]\nurl = {postgres.url()}")
    with it.weir.connect(dbname="second") as db:
        assert db.execute("select 1").fetchone() == (1,)


def test_a_new_url_replaces_the_connections_and_keeps_the_clients(reloadable, postgres):
    it = reloadable()
    with it.weir.connect() as idle, it.weir.connect() as busy:
        busy.execute("begin")
        pids = {db.execute("select pg_backend_pid()").fetchone()[0] for db in (busy, idle)}
        log = it.reload(url=postgres.url(params="?sslmode=disable&application_name=moved"))
        assert "database app: url changed, its connections are replaced" in log and "secret" not in log
        assert busy.execute("select pg_backend_pid()").fetchone()[0] in pids
        busy.execute("commit")
        for db in (busy, idle):
            assert db.execute("select pg_backend_pid()").fetchone()[0] not in pids


def test_another_account_at_the_server_makes_clients_log_in_again(reloadable, postgres):
    it = reloadable(app="pool_size = 1\nmax_overflow = 1", more="[user app]\npassword = secret")
    idle, busy = it.weir.connect(), it.weir.connect()
    busy.execute("begin")
    it.reload(url=postgres.url("other", "other-secret"))
    with pytest.raises(psycopg.errors.AdminShutdown, match="reached as another user now"):
        idle.execute("select 1")
    assert busy.execute("select current_user").fetchone() == ("app",)
    busy.execute("commit")
    assert is_gone(busy)
    fresh = [it.weir.connect() for _ in range(2)]
    for db in fresh:
        db.execute("begin")
        assert db.execute("select current_user").fetchone() == ("other",)
    assert (postgres.connections("app"), postgres.connections("other")) == (0, 2)
    for db in fresh:
        db.execute("commit")


def test_the_log_level_is_reloaded(reloadable):
    it = reloadable()
    it.hang_up()
    it.weir.write(INI.format(**(it.parts | {"weir": "log_level = warning"})))
    it.weir.process.send_signal(signal.SIGHUP)
    it.weir.wait_for_log("log_level info -> warning")
    assert it.weir.console("show version")
    assert "event=login" not in it.weir.log()
    it.reload(weir="log_level = debug")
    it.weir.console("show version")
    it.weir.wait_for_log("event=login")
    assert "debug: " in it.weir.log()
    it.reload(weir="log_level = info")
    before = len(it.weir.log())
    it.weir.console("show version")
    wait_for(lambda: "event=login" in it.weir.log()[before:], "the login")
    assert "debug: " not in it.weir.log()[before:]


def test_what_needs_a_restart_is_said_and_not_done(reloadable):
    it = reloadable()
    text = INI.format(**it.parts).replace("workers = 2", "workers = 3").replace(
        "127.0.0.1:@PORT@", "127.0.0.1:@PORT@, 127.0.0.1:1")
    it.weir.write(text)
    log = it.hang_up()
    assert "workers 2 -> 3: needs a restart" in log
    assert re.search(r"listen_postgresql 127\.0\.0\.1:\d+ -> 127\.0\.0\.1:\d+, 127\.0\.0\.1:1: needs a restart", log)
    assert it.weir.console("show version")


def test_a_bad_file_changes_nothing(reloadable):
    it = reloadable(app="pool_size = 3")
    client = it.weir.connect()
    good = it.weir.console("show databases"), it.weir.console("show config"), it.weir.console("show users")
    for part in ({"app": "pool_size = 4\nnonsense = 1"}, {"app": "pool_size = 4", "weir": "admin_users = nobody"},
                 {"app": "pool_size = 4", "weir": "", "url": "mysql://a:b@127.0.0.1/app"},
                 {"url": "postgresql://a:b@h/x?nonsense=1"}):
        log = it.reload("event=reload_refused", **part)
        assert "event=bad_config" in log and "weir.ini:" in log and "the configuration stays as it was" in log
        now = it.weir.console("show databases"), it.weir.console("show config"), it.weir.console("show users")
        assert now[1:] == good[1:] and now[0][0]["pool_size"] == 3
    it.weir.ini_path.unlink()
    assert "cannot be read" in it.hang_up("event=reload_refused")
    assert client.execute("select 1").fetchone() == (1,)


def test_a_reload_under_load_loses_nobody(reloadable):
    it = reloadable(app="pool_size = 3\nmax_overflow = 1")
    stop, failures, done = threading.Event(), [], []

    def work(number):
        try:
            with it.weir.connect() as db:
                while not stop.is_set():
                    assert db.execute("select %s::int", [number]).fetchone() == (number,)
                    with db.transaction():
                        db.execute("set local work_mem = '5MB'")
                        assert db.execute("show work_mem").fetchone() == ("5MB",)
                    done.append(number)
        except Exception as error:  # noqa: BLE001 - whatever it is, a client was lost
            failures.append(error)
    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(8)]
    for thread in threads:
        thread.start()
    for round_ in range(12):
        n = len(done)
        it.reload(app=f"pool_size = {1 + round_ % 4}\nmax_overflow = {round_ % 3}",
                  more=f"[database extra{round_}]\nurl = {it.parts['url']}")
        wait_for(lambda: len(done) > n + 8 or failures, "work to go on")
    stop.set()
    for thread in threads:
        thread.join(20)
    assert not failures and {0, 1, 2, 3, 4, 5, 6, 7} == set(done)
