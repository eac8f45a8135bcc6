"""Throwaway MariaDB and MySQL servers on loopback, for the tests."""

import contextlib
import fcntl
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pymysql

ROOT = pathlib.Path(__file__).resolve().parents[2]
MYSQL9 = os.environ.get("WEIR_MYSQL9", str(ROOT / ".cache" / "mysql9"))

# No test needs the data to survive a power cut (a kill, they do), nor much memory.
QUICK = ["--max-connections=200", "--max-allowed-packet=64M", "--skip-log-bin", "--skip-name-resolve",
         "--key-buffer-size=1M", "--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=2",
         "--innodb-doublewrite=0", "--local-infile=1", "--bind-address=127.0.0.1",
         "--innodb-lock-wait-timeout=2", "--innodb-use-native-aio=0", "--event-scheduler=OFF"]


def have_mysql9():
    return bool(MYSQL9) and os.access(f"{MYSQL9}/usr/sbin/mysqld", os.X_OK) and os.getuid() == 0


class Server:
    """What the two have in common. `base` is a new folder of its own with a short name."""

    def __init__(self, base):
        self.base = base
        base.chmod(0o755)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.data = base / "data"
        self.process = None

    def prepare(self):
        self.create()
        self.start()
        self.execute(
            "create database app character set utf8mb4", "create database app2 character set utf8mb4",
            *self.account("app", "secret"), *self.account("other", "other-secret"),
            *(sql for name, (password, plugin) in self.accounts.items()
              for sql in self.account(name, password, plugin)))
        self.version = self.query("select version()")[0][0]

    def start(self, *options):
        with open(self.base / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                [*self.command(), *QUICK, f"--port={self.port}", *options],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/", start_new_session=True)
        deadline = time.monotonic() + 90
        while not self.is_up():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log()[-3000:]
            time.sleep(0.02)

    def log(self):
        return (self.base / "server.log").read_text(errors="replace")

    def is_up(self):
        try:
            self.connect().close()
            return True
        except pymysql.OperationalError:
            return False

    def stop(self, how=signal.SIGTERM):
        """SIGTERM: an orderly stop. SIGKILL: none."""
        os.killpg(self.process.pid, how)
        self.process.wait(60)

    def remove(self):
        if self.process and self.process.poll() is None:
            self.stop(signal.SIGKILL)
        shutil.rmtree(self.data, ignore_errors=True)
        shutil.rmtree(self.base)

    def connect(self, **kwargs):
        """As root over the unix socket, whatever the TCP side does."""
        settings = {"unix_socket": str(self.socket), "user": "root", "autocommit": True}
        return pymysql.connect(**(settings | kwargs))

    def query(self, sql, args=None, **kwargs):
        with self.connect(**kwargs) as db, db.cursor() as cursor:
            cursor.execute(sql, args)
            return cursor.fetchall()

    def execute(self, *statements, **kwargs):
        with self.connect(**kwargs) as db, db.cursor() as cursor:
            for sql in statements:
                cursor.execute(sql)

    def status(self, name):
        return int(self.query("show global status like %s", [name])[0][1])

    def processes(self, user="app"):
        """(id, command, state, statement) of each connection of that user."""
        return self.query("select id, command, state, info from information_schema.processlist"
                          " where user = %s order by id", [user])

    def connections(self, user="app"):
        return len(self.processes(user))

    def url(self, user="app", password="secret", dbname="app", driver="asyncmy", params=""):
        login = f"{user}:{password}@" if user else ""
        return f"mysql+{driver}://{login}127.0.0.1:{self.port}/{dbname}{params}"

    def grants(self, name):
        return [f"grant all on app.* to {name}@'%'", f"grant all on app2.* to {name}@'%'"]


class MariaDB(Server):
    family = "mariadb"
    default_plugin = "mysql_native_password"
    isolation_variable = "tx_isolation"
    # name: (password, plugin)
    accounts = {"native": ("native-secret", "mysql_native_password"),
                "hashed": ("hashed-secret", "mysql_native_password"),
                "edward": ("ed-secret", "ed25519")}

    def create(self):
        self.socket = self.base / "s"
        self.as_user = []
        if os.getuid() == 0:
            account = pwd.getpwnam("mysql")
            self.as_user = ["--user=mysql"]
            os.chown(self.base, account.pw_uid, account.pw_gid)
        shutil.copytree(self.template(), self.data, copy_function=shutil.copy)
        if os.getuid() == 0:
            subprocess.run(["chown", "-R", "mysql:mysql", self.data], check=True)

    def template(self):
        """A fresh data directory: made once, then copied."""
        version = subprocess.run(["/usr/sbin/mariadbd", "--version"], capture_output=True, text=True, check=True)
        made = ROOT / ".cache" / f"mariadb-{re.search(r'Ver ([^ ]+)', version.stdout)[1]}"
        made.parent.mkdir(exist_ok=True)
        with open(f"{made}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # MariaDB 10.11.19 crashes now and then while it makes one (in ha_maria::drop_table).
            for _ in range(5):
                if not (made / "complete").exists():
                    self.make_template(made)
            assert (made / "complete").exists(), (made / "log").read_text()
        return made / "d"

    @staticmethod
    def make_template(made):
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        with open(made / "log", "wb") as log:
            ran = subprocess.run(
                ["mariadb-install-db", "--no-defaults", f"--datadir={made}/d", "--skip-test-db",
                 "--auth-root-authentication-method=normal", "--innodb-log-file-size=16M",
                 "--innodb-use-native-aio=0", *(["--user=root"] if os.getuid() == 0 else [])],
                stdout=log, stderr=log, cwd="/")
        if ran.returncode == 0:
            (made / "complete").touch()

    def command(self):
        return ["/usr/sbin/mariadbd", "--no-defaults", *self.as_user, f"--datadir={self.data}",
                f"--socket={self.socket}", f"--pid-file={self.base}/pid", "--innodb-log-file-size=16M",
                "--aria-pagecache-buffer-size=1M", "--innodb-flush-method=nosync", "--userstat=1",
                "--plugin-load-add=auth_ed25519"]

    def account(self, name, password, plugin=default_plugin):
        return [f"create user {name}@'%' identified via {plugin} using password('{password}')",
                *self.grants(name)]

    def secret(self, name):
        """What the server keeps of the password."""
        return self.query("select authentication_string from mysql.user where user = %s", [name])[0][0]

    def logins(self, user="app"):
        """How many times that user has logged in since the server started."""
        rows = self.query("select total_connections from information_schema.user_statistics"
                          " where user = %s", [user])
        return int(rows[0][0]) if rows else 0


class MySQL(Server):
    family = "mysql"
    default_plugin = "caching_sha2_password"
    isolation_variable = "transaction_isolation"
    accounts = {"sha2": ("sha2-secret", "caching_sha2_password"),
                "hashed": ("hashed-secret", "caching_sha2_password")}

    def create(self):
        tmp = pathlib.Path(MYSQL9).resolve() / "tmp"
        self.data = pathlib.Path(tempfile.mkdtemp(prefix="weir-", dir=tmp))
        self.inside = "/" + str(self.data.relative_to(tmp.parent))
        # A socket's name is limited to 107 bytes, and the folder may be deep.
        (self.base / "r").symlink_to(self.data)
        self.socket = self.base / "r" / "s"
        shutil.copytree(self.template(), self.data / "d")
        subprocess.run(["chroot", MYSQL9, "chown", "-R", "mysql:mysql", self.inside], check=True)

    def template(self):
        """A fresh data directory takes 10 s: made once, then copied."""
        made = pathlib.Path(MYSQL9) / "var" / "lib" / "weir-template"
        with open(f"{MYSQL9}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (made / "complete").exists():
                shutil.rmtree(made, ignore_errors=True)
                made.mkdir()
                subprocess.run(["chroot", MYSQL9, "chown", "mysql:mysql", "/var/lib/weir-template"], check=True)
                subprocess.run(
                    ["chroot", "--userspec=mysql:mysql", MYSQL9, "mysqld", "--no-defaults", "--initialize-insecure",
                     "--datadir=/var/lib/weir-template/d", "--innodb-redo-log-capacity=32M",
                     "--innodb-doublewrite=0", "--innodb-buffer-pool-size=32M"],
                    check=True, capture_output=True, cwd="/")
                (made / "complete").touch()
        return made / "d"

    def command(self):
        return ["chroot", "--userspec=mysql:mysql", MYSQL9, "mysqld", "--no-defaults",
                f"--datadir={self.inside}/d", f"--socket={self.inside}/s", f"--pid-file={self.inside}/pid",
                "--mysqlx=OFF", "--innodb-redo-log-capacity=32M", "--innodb-flush-method=O_DIRECT_NO_FSYNC",
                "--performance-schema-instrument=%=OFF"]

    def account(self, name, password, plugin=default_plugin):
        return [f"create user {name}@'%' identified with {plugin} by '{password}'", *self.grants(name)]

    def secret(self, name):
        return self.query("select authentication_string from mysql.user where user = %s", [name])[0][0]

    def logins(self, user="app"):
        rows = self.query("select total_connections from performance_schema.users where user = %s", [user])
        return int(rows[0][0]) if rows else 0


@contextlib.contextmanager
def running(kind):
    server = kind(pathlib.Path(tempfile.mkdtemp(prefix="w")))
    try:
        server.prepare()
        yield server
    finally:
        server.remove()
