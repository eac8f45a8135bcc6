"""PostgreSQL's protocol by hand, for what no driver would send."""

import base64
import hashlib
import hmac
import os
import socket
import struct


class Closed(Exception):
    pass


def message(kind, content=b""):
    return kind + struct.pack("!I", len(content) + 4) + content


def cstr(text):
    return (text if isinstance(text, bytes) else text.encode()) + b"\0"


def startup(parameters, version=196608):
    content = b"".join(cstr(k) + cstr(v) for k, v in parameters.items()) + b"\0"
    return struct.pack("!II", len(content) + 8, version) + content


def parse(name, sql, types=()):
    return message(b"P", cstr(name) + cstr(sql) + struct.pack(f"!H{len(types)}I", len(types), *types))


def bind(statement="", portal="", values=()):
    content = cstr(portal) + cstr(statement) + struct.pack("!HH", 0, len(values))
    for value in values:
        content += struct.pack("!i", -1) if value is None else struct.pack("!I", len(value)) + value
    return message(b"B", content + struct.pack("!H", 0))


def describe(kind, name=""):
    return message(b"D", kind + cstr(name))


def close(kind, name=""):
    return message(b"C", kind + cstr(name))


def execute(portal="", rows=0):
    return message(b"E", cstr(portal) + struct.pack("!I", rows))


def query(sql):
    return message(b"Q", cstr(sql))


SYNC = message(b"S")
FLUSH = message(b"H")
TERMINATE = message(b"X")


class Error(dict):
    """The fields of an ErrorResponse."""

    def __init__(self, content):
        for field in content.rstrip(b"\0").split(b"\0"):
            if field:
                self[chr(field[0])] = field[1:].decode(errors="replace")

    @property
    def code(self):
        return self["C"]


class Client:
    def __init__(self, port, timeout=20):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.buffer = b""
        self.parameters = {}
        self.key = None

    def send(self, *messages):
        self.socket.sendall(b"".join(messages))

    def read(self, n):
        while len(self.buffer) < n:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                raise Closed(self.buffer)
            self.buffer += data
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def receive(self):
        """(kind, content) of the next message."""
        kind, length = struct.unpack("!cI", self.read(5))
        return kind, self.read(length - 4)

    def until(self, last):
        """Messages up to and with the next one of that kind."""
        messages = []
        while not messages or messages[-1][0] != last:
            messages.append(self.receive())
        return messages

    def ready(self):
        return self.until(b"Z")

    def kinds(self, last=b"Z"):
        return b"".join(kind for kind, _ in self.until(last))

    def until_closed(self):
        messages = []
        try:
            while True:
                messages.append(self.receive())
        except Closed:
            return messages

    def scram(self, password, alter=lambda number, data: data):
        """Answers AuthenticationSASL. `alter` may change each message."""
        nonce = base64.b64encode(os.urandom(18)).decode()
        first_bare = f"n=,r={nonce}"
        first = alter(1, ("n,," + first_bare).encode())
        self.send(message(b"p", cstr("SCRAM-SHA-256") + struct.pack("!I", len(first)) + first))
        kind, content = self.receive()
        if kind != b"R":
            return kind, content
        server_first = content[4:].decode()
        fields = dict(field.split("=", 1) for field in server_first.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(),
                                     base64.b64decode(fields["s"]), int(fields["i"]))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        without_proof = f"c=biws,r={fields['r']}"
        auth = ",".join((first_bare, server_first, without_proof)).encode()
        signature = hmac.digest(hashlib.sha256(client_key).digest(), auth, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        final = f"{without_proof},p={base64.b64encode(proof).decode()}".encode()
        self.send(message(b"p", alter(2, final)))
        return self.receive()

    def login(self, user="app", password="secret", database="app", version=196608, **parameters):
        self.send(startup({"user": user, "database": database} | parameters, version))
        kind, content = self.receive()
        if kind == b"v":
            self.negotiated = content
            kind, content = self.receive()
        assert kind == b"R", (kind, content)
        code, = struct.unpack("!I", content[:4])
        if code == 10:
            kind, content = self.scram(password)
        elif code == 5:
            inner = hashlib.md5((password + user).encode()).hexdigest()
            outer = hashlib.md5(inner.encode() + content[4:8]).hexdigest()
            self.send(message(b"p", cstr("md5" + outer)))
            kind, content = self.receive()
        messages = [(kind, content)]
        while kind not in b"ZE":
            kind, content = self.receive()
            messages.append((kind, content))
            if kind == b"S":
                name, value = content.rstrip(b"\0").split(b"\0") if content.count(b"\0") == 2 and \
                    content.split(b"\0")[1] else (content.split(b"\0")[0], b"")
                self.parameters[name.decode()] = value.decode()
            elif kind == b"K":
                self.key = content
        self.error = Error(content) if kind == b"E" else None
        return self

    def query(self, sql):
        """The rows (lists of bytes) of a simple query; raises its error."""
        self.send(query(sql))
        return self.rows(self.ready())

    @staticmethod
    def rows(messages):
        found = []
        for kind, content in messages:
            if kind == b"E":
                raise RuntimeError(Error(content))
            if kind == b"D":
                n, = struct.unpack("!H", content[:2])
                at, row = 2, []
                for _ in range(n):
                    length, = struct.unpack("!i", content[at:at + 4])
                    at += 4
                    row.append(None if length < 0 else content[at:at + length])
                    at += max(length, 0)
                found.append(row)
        return found

    def close(self):
        self.socket.close()
