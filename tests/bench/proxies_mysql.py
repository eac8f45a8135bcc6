"""The peers for MySQL."""

import re
import subprocess

from programs import Folder
from proxies import MANY, Proxy


class Router(Proxy):
    name = "mysqlrouter"
    program = "mysqlrouter"
    how = "io threads 1, connection_sharing 0, no TLS: a server connection for each client"
    options = "client_ssl_mode = DISABLED"

    @property
    def version(self):
        return re.search(r"Ver ([\d.]+)", self.found.output("--version"))[1]

    def start(self, before=()):
        folder = Folder(self.field.base, self.name, self.found)
        plugins = "/usr/lib/mysqlrouter/plugin"
        self.run("-c", folder.write("router.conf", f"""[DEFAULT]
logging_folder =
plugin_folder = {plugins}
runtime_folder = {folder.inside}
data_folder = {folder.inside}
max_total_connections = {MANY}
[logger]
level = error
[io]
threads = {self.workers}
[connection_pool]
max_idle_server_connections = 16
[routing:classic]
bind_address = 127.0.0.1
bind_port = {self.port}
destinations = 127.0.0.1:{self.field.server.port}
routing_strategy = first-available
protocol = classic
max_connections = {MANY}
max_connect_errors = 4294967295
server_ssl_mode = DISABLED
{self.certificates(folder)}
"""), before=before)

    def certificates(self, folder):
        return self.options


class RouterSharing(Router):
    name = "mysqlrouter, sharing"
    how = ("io threads 1, connection_sharing 1 without delay, max_idle_server_connections 16, client_ssl_mode PREFERRED: it"
           " shares connections only of clients whose password it has seen, which takes TLS; its clients use TLS, those of"
           " the others do not")
    tls = True

    def certificates(self, folder):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-keyout", folder.outside / "key.pem", "-out", folder.outside / "cert.pem"],
            check=True, capture_output=True)
        return f"""client_ssl_mode = PREFERRED
client_ssl_cert = {folder.inside}/cert.pem
client_ssl_key = {folder.inside}/key.pem
connection_sharing = 1
connection_sharing_delay = 0"""
