"""A server with its data, and the proxies in front of it, which are started when a case first asks for them."""

import contextlib
import hashlib
import pathlib
import subprocess
import tempfile

import mysql_servers
import proxies
import proxies_mysql
import proxies_pgsql
import psycopg
from conftest import PG_BIN, Postgres, wait_for

SERVER_CONNECTIONS = 2300  # the relay opens one for each client


class Field:
    """`accounts`: name: (user, password). `secrets`: what poolers keep of them."""

    def __init__(self, bench):
        self.bench = bench
        self.server = None
        self.proxies, self.absent = {}, set()

    def prepare(self):
        """Starts the server and fills it. It is stopped by close(), also when this fails."""

    def proxy(self, kind):
        """The running proxy, or None if it cannot be had."""
        if kind in self.absent:
            return None
        if kind not in self.proxies:
            proxy = kind(self)
            reason = proxy.absent()
            if not reason:
                try:
                    proxy.start()
                except (RuntimeError, AssertionError, subprocess.CalledProcessError, OSError) as error:
                    proxy.stop()
                    reason = str(error)
            if reason:
                self.absent.add(kind)
                self.bench.miss(proxy, reason)
                return None
            self.proxies[kind] = proxy
            self.bench.describe(proxy)
        return self.proxies[kind]

    def pick(self, *kinds):
        return [proxy for proxy in map(self.proxy, kinds) if proxy]

    def retire(self, proxy):
        """Stops it; the next case that asks for it gets a new one."""
        proxy.stop()
        if self.proxies.get(type(proxy)) is proxy:
            del self.proxies[type(proxy)]

    def close(self):
        for proxy in self.proxies.values():
            proxy.stop()
        if self.server:
            self.stop_server()


class BigPostgres(Postgres):
    """Enough connections for the relay, and no work of its own."""

    def start(self):
        for _ in range(3):  # another may have taken the port meanwhile
            self.port = proxies.short_port()
            self.log = open(self.base / "postgresql.log", "ab")
            self.process = subprocess.Popen(
                [PG_BIN / "postgres", "-D", self.data, "-p", str(self.port), "-c", "listen_addresses=127.0.0.1",
                 "-c", f"unix_socket_directories={self.data}", "-c", "fsync=off", "-c", "synchronous_commit=off",
                 "-c", f"max_connections={SERVER_CONNECTIONS}", "-c", "autovacuum=off", "-c", "max_wal_size=8GB"],
                stdout=self.log, stderr=self.log, cwd="/", start_new_session=True, **self.as_postgres)
            wait_for(lambda: self.process.poll() is not None or self.is_up(), "PostgreSQL to start", 120)
            if self.process.poll() is None:
                return
        raise RuntimeError((self.base / "postgresql.log").read_text(errors="replace")[-1000:])


class PostgresField(Field):
    product, protocol, family, other_family = "PostgreSQL", "pgsql", "postgresql", "mysql"
    rows = 100000
    RELAY, WEIR, WEIR2, WEIR_DEFAULTS, DIRECT = (
        proxies.Relay, proxies.WeirProxy, proxies.WeirTwo, proxies.WeirDefaults, proxies.Direct)
    PGBOUNCER, ODYSSEY, ODYSSEY2, PGAGROAL = (
        proxies_pgsql.PgBouncer, proxies_pgsql.Odyssey, proxies_pgsql.OdysseyTwo, proxies_pgsql.Pgagroal)
    ALL = (RELAY, WEIR, PGBOUNCER, ODYSSEY, ODYSSEY2, PGAGROAL)
    SOME = (RELAY, WEIR, PGBOUNCER, ODYSSEY)

    accounts = {"app": ("app", "secret"), "md5": ("md5user", "md5-secret")}

    def prepare(self):
        self.base = self.bench.folder("postgresql")
        (self.base / "server").mkdir()
        self.server = BigPostgres(self.base / "server")
        with self.server.connect(dbname="app", user="app") as db:
            db.execute(f"create table pgbench_accounts as select aid, 0 as abalance, repeat(' ', 84) as filler"
                       f" from generate_series(1, {self.rows}) aid")
            db.execute("alter table pgbench_accounts add primary key (aid), set (fillfactor = 80)")
            db.execute("create table pgbench_lines (line text)")
        with self.server.connect(dbname="app") as db:
            db.execute("vacuum analyze")
            scram = db.execute("select rolpassword from pg_authid where rolname = 'app'").fetchone()[0]
        md5 = "md5" + hashlib.md5(b"md5-secretmd5user").hexdigest()
        self.secrets = {"app": scram, "md5user": md5}
        self.methods = {"app": (scram, "scram-sha-256"), "md5user": (md5, "md5")}
        self.title = f"{self.product} {self.server.query('show server_version')[0][0].split()[0]}"

    def url(self):
        return self.server.url()

    @contextlib.contextmanager
    def trusting(self):
        """A server that asks for no password."""
        hba = self.server.data / "pg_hba.conf"
        text = hba.read_text()
        hba.write_text("local all all trust\nhost all all 127.0.0.1/32 trust\n")
        self.server.query("select pg_reload_conf()")
        try:
            wait_for(self.trusts, "the server to trust")
            yield
        finally:
            hba.write_text(text)
            self.server.query("select pg_reload_conf()")

    def trusts(self):
        try:
            self.server.connect(host="127.0.0.1", password="wrong").close()
        except psycopg.OperationalError:
            return False
        return True

    def stop_server(self):
        self.server.stop()


class MySqlField(Field):
    protocol, family, other_family = "mysql", "mysql", "postgresql"
    rows = 10000
    kind = None
    RELAY, WEIR, WEIR2, WEIR_DEFAULTS, DIRECT = (
        proxies.Relay, proxies.WeirProxy, proxies.WeirTwo, proxies.WeirDefaults, proxies.Direct)

    def prepare(self):
        self.base = self.bench.folder(self.kind.family)
        self.server = self.kind(pathlib.Path(tempfile.mkdtemp(prefix="w")))
        start = self.server.start
        self.server.start = lambda: start(f"--max-connections={SERVER_CONNECTIONS}", "--max-allowed-packet=64M",
                                          "--back-log=1024", "--innodb-buffer-pool-size=128M")
        self.server.prepare()
        self.server.execute(
            "create table sbtest1 (id int primary key, k int not null default 0, c char(120) not null default '', pad"
            " char(60) not null default '', key (k))",
            "insert into sbtest1 (id, k, c, pad) with recursive n (i) as (select 0 union all select i + 1 from n where"
            " i < 99) select a.i * 100 + b.i + 1, a.i, repeat('c', 100), repeat('p', 50) from n a, n b", database="app")
        self.secrets = dict(self.accounts.values())
        self.title = f"{self.product} {self.server.version.split('-')[0]}"

    def url(self):
        return self.server.url(params="?ssl_mode=DISABLED")

    def stop_server(self):
        self.server.remove()


class MariaDbField(MySqlField):
    kind, product = mysql_servers.MariaDB, "MariaDB"
    ALL = SOME = (MySqlField.RELAY, MySqlField.WEIR)
    accounts = {"app": ("app", "secret"), "native": ("native", "native-secret")}


class MySql9Field(MySqlField):
    kind, product = mysql_servers.MySQL, "MySQL"
    ROUTER, ROUTER_SHARING = proxies_mysql.Router, proxies_mysql.RouterSharing
    ALL = SOME = (MySqlField.RELAY, MySqlField.WEIR, ROUTER, ROUTER_SHARING)
    accounts = {"app": ("app", "secret"), "sha2": ("sha2", "sha2-secret")}
