"""The peers for PostgreSQL, each with the configuration that is best for it here, and says so."""

import os
import re
import subprocess

from programs import Folder
from proxies import CONNECTIONS, MANY, Proxy, short_port


SLOTS = 100  # of pgagroal, for the 32 clients of one case


class PgBouncer(Proxy):
    name = program = "pgbouncer"
    account = "postgres"

    @property
    def version(self):
        return re.search(r"[\d.]+", self.found.output("--version"))[0]

    @property
    def has_prepared(self):
        return tuple(int(part) for part in self.version.split(".")[:2]) >= (1, 21)

    @property
    def how(self):
        return (f"pool_mode = transaction, default_pool_size = {CONNECTIONS}, max_prepared_statements = 200"
                if self.has_prepared else "pool_mode = transaction; too old for prepared statements")

    def start(self, before=()):
        folder = Folder(self.field.base, self.name, self.found)
        users = folder.write("userlist.txt", "".join(
            f'"{name}" "{secret}"\n' for name, secret in self.field.secrets.items()))
        ini = folder.write("pgbouncer.ini", f"""[databases]
app = host=127.0.0.1 port={self.field.server.port} dbname=app user=app password=secret
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = md5
auth_file = {users}
pool_mode = transaction
default_pool_size = {CONNECTIONS}
max_client_conn = {MANY}
listen_backlog = 1024
log_connections = 0
log_disconnections = 0
{"max_prepared_statements = 200" if self.has_prepared else ""}
""")
        self.run(ini, before=before)


class Odyssey(Proxy):
    name = program = "odyssey"

    @property
    def version(self):
        return re.search(r"\d[\d.]+", self.found.output("--version"))[0]

    @property
    def how(self):
        return (f'workers {self.workers}, pool "transaction", pool_size {CONNECTIONS}, pool_discard no (the default sends'
                " eight statements after every transaction), prepared statements reserved")

    def start(self, before=()):
        folder = Folder(self.field.base, self.name, self.found)
        users = "".join(f"""
	user "{name}" {{
		authentication "{method}"
		password "{password}"
		storage "server"
		storage_db "app"
		storage_user "app"
		storage_password "secret"
		pool "transaction"
		pool_size {CONNECTIONS}
		pool_discard no
		pool_reserve_prepared_statement yes
		client_fwd_error yes
	}}""" for name, (password, method) in self.field.methods.items())
        self.run(folder.write("odyssey.conf", f"""daemonize no
log_format "%t %l (%c) %m\\n"
log_to_stdout yes
log_config no
log_session no
log_stats no
log_debug no
log_query no
workers {self.workers}
resolvers 1
client_max {MANY}
listen {{
	host "127.0.0.1"
	port {self.port}
	backlog 1024
	tls "disable"
}}
storage "server" {{
	type "remote"
	host "127.0.0.1"
	port {self.field.server.port}
	tls "disable"
}}
database "app" {{{users}
}}
"""), before=before)


class OdysseyTwo(Odyssey):
    name = "odyssey, 2 workers"
    workers = 2


class Pgagroal(Proxy):
    name = program = "pgagroal"
    account = "postgres"
    how = (f"pipeline = performance, its fastest, with up to {SLOTS} server connections: a process and a server connection for"
           f" each client. Its transaction pipeline leaves 32 clients on {CONNECTIONS} connections without an answer")

    @property
    def version(self):
        return re.search(r"\d[\d.]+", self.found.output("--version"))[0]

    def start(self, before=()):
        self.port = short_port()
        admin = self.bench.programs.find("pgagroal-admin")
        folder = Folder(self.field.base, self.name, self.found)
        conf = folder.write("pgagroal.conf", f"""[pgagroal]
host = 127.0.0.1
port = {self.port}
log_type = console
log_level = fatal
max_connections = {SLOTS}
idle_timeout = 0
validation = off
pipeline = performance
unix_socket_dir = {folder.inside}
ev_backend = epoll
hugepage = off
update_process_title = never
[primary]
host = 127.0.0.1
port = {self.field.server.port}
primary = on
""")
        hba = folder.write("hba.conf", "host all all all scram-sha-256\n")
        limits = folder.write("databases.conf", f"app app {SLOTS} 0 0\n")
        for arguments in (("-g", "-P", "bench-master", "master-key"),
                          ("-f", f"{folder.inside}/users.conf", "-U", "app", "-P", "secret", "user", "add")):
            command, more = admin.command(*arguments, account=self.account)
            more["env"] = more.get("env", os.environ) | {"HOME": folder.inside}
            ran = subprocess.run(command, capture_output=True, text=True, **more)
            if ran.returncode:
                raise RuntimeError(f"pgagroal-admin: {ran.stdout}{ran.stderr}")
        arguments = ["-c", conf, "-a", hba, "-l", limits, "-u", f"{folder.inside}/users.conf"]
        self.home = folder.inside
        self.run(*arguments, before=before)
