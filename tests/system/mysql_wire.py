"""MySQL's protocol by hand, for what no driver would send. Strict about sequence numbers and about what is left over."""

import hashlib
import socket
import ssl
import struct

LONG_PASSWORD, FOUND_ROWS, LONG_FLAG, CONNECT_WITH_DB = 1, 2, 4, 8
LOCAL_FILES, PROTOCOL_41, INTERACTIVE, SSL = 0x80, 0x200, 0x400, 0x800
TRANSACTIONS, SECURE_CONNECTION = 0x2000, 0x8000
MULTI_STATEMENTS, MULTI_RESULTS, PS_MULTI_RESULTS = 1 << 16, 1 << 17, 1 << 18
PLUGIN_AUTH, CONNECT_ATTRS, LENENC_AUTH = 1 << 19, 1 << 20, 1 << 21
SESSION_TRACK, DEPRECATE_EOF, QUERY_ATTRIBUTES = 1 << 23, 1 << 24, 1 << 27

# What asyncmy, aiomysql and PyMySQL send.
USUAL = (LONG_PASSWORD | LONG_FLAG | PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | MULTI_RESULTS |
         PS_MULTI_RESULTS | PLUGIN_AUTH | LENENC_AUTH)

IN_TRANS, AUTOCOMMIT, MORE_RESULTS = 0x1, 0x2, 0x8
CURSOR_EXISTS, LAST_ROW_SENT, PS_OUT_PARAMS, SESSION_STATE_CHANGED = 0x40, 0x80, 0x1000, 0x4000

(QUIT, INIT_DB, QUERY, FIELD_LIST, STATISTICS, PROCESS_KILL, PING, CHANGE_USER, STMT_PREPARE, STMT_EXECUTE,
 STMT_SEND_LONG_DATA, STMT_CLOSE, STMT_RESET, SET_OPTION, STMT_FETCH, RESET_CONNECTION) = (
    1, 2, 3, 4, 9, 12, 14, 17, 22, 23, 24, 25, 26, 27, 28, 31)

LATIN1, UTF8MB4 = 8, 45
TYPE_LONGLONG, TYPE_BLOB, TYPE_VAR_STRING, TYPE_NULL = 8, 252, 253, 6


class Closed(Exception):
    pass


class Error(Exception):
    """An ERR packet."""

    def __init__(self, payload):
        self.code, = struct.unpack("<H", payload[1:3])
        rest = payload[3:]
        self.state = rest[1:6].decode() if rest[:1] == b"#" else ""
        self.text = (rest[6:] if rest[:1] == b"#" else rest).decode(errors="replace")
        super().__init__(f"{self.code} ({self.state}): {self.text}")


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def bytes(self, n):
        assert self.at + n <= len(self.data), f"{n} bytes at {self.at} of {self.data[:60]!r}"
        self.at += n
        return self.data[self.at - n:self.at]

    def int(self, n):
        return int.from_bytes(self.bytes(n), "little")

    def lenenc(self):
        """None stands for NULL."""
        first = self.int(1)
        assert first != 0xff, self.data[:60]
        if first < 0xfb:
            return first
        return None if first == 0xfb else self.int({0xfc: 2, 0xfd: 3, 0xfe: 8}[first])

    def string(self):
        n = self.lenenc()
        return None if n is None else self.bytes(n)

    def cstring(self):
        end = self.data.index(b"\0", self.at)
        data, self.at = self.data[self.at:end], end + 1
        return data

    def rest(self):
        return self.bytes(len(self.data) - self.at)


class Ok:
    def __init__(self, payload, capabilities):
        read = Reader(payload)
        assert read.int(1) in (0, 0xfe), payload[:60]
        self.affected, self.insert_id = read.lenenc(), read.lenenc()
        self.status, self.warnings = read.int(2), read.int(2)
        self.tracked = []
        if capabilities & SESSION_TRACK and read.at < len(payload):
            self.info = read.string()
            if self.status & SESSION_STATE_CHANGED:
                changes = Reader(read.string())
                while changes.at < len(changes.data):
                    kind = changes.int(1)
                    self.tracked.append((kind, changes.string()))
            assert not read.rest(), payload
        else:
            self.info = read.rest()

    def variables(self):
        """What session_track_system_variables told."""
        found = {}
        for kind, content in self.tracked:
            if kind == 0:
                read = Reader(content)
                name = read.string().decode()
                found[name] = read.string().decode()
        return found


class Rows(list):
    """The rows, as lists of bytes; of a prepared statement, each row's packet as it came."""

    columns = ()
    status = warnings = 0


class Column:
    def __init__(self, payload):
        read = Reader(payload)
        self.catalog, self.schema, self.table, self.org_table, self.name, self.org_name = (
            read.string() for _ in range(6))
        assert read.lenenc() == 12, payload
        self.charset, self.length, self.type = read.int(2), read.int(4), read.int(1)
        self.flags, self.decimals = read.int(2), read.int(1)


class Statement:
    def __init__(self, number, columns, parameters, warnings):
        self.number, self.columns, self.parameters, self.warnings = number, columns, parameters, warnings


def lenenc(n):
    if n < 0xfb:
        return bytes([n])
    if n < 1 << 16:
        return b"\xfc" + struct.pack("<H", n)
    if n < 1 << 24:
        return b"\xfd" + struct.pack("<I", n)[:3]
    return b"\xfe" + struct.pack("<Q", n)


def string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return lenenc(len(data)) + data


def native(password, scramble):
    if not password:
        return b""
    once = hashlib.sha1(password.encode()).digest()
    mask = hashlib.sha1(scramble + hashlib.sha1(once).digest()).digest()
    return bytes(a ^ b for a, b in zip(once, mask))


def caching_sha2(password, scramble):
    if not password:
        return b""
    once = hashlib.sha256(password.encode()).digest()
    mask = hashlib.sha256(hashlib.sha256(once).digest() + scramble).digest()
    return bytes(a ^ b for a, b in zip(once, mask))


def rsa_encrypted(password, scramble, key):
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding
    plain = password.encode() + b"\0"
    mixed = bytes(c ^ scramble[i % len(scramble)] for i, c in enumerate(plain))
    return serialization.load_pem_public_key(key).encrypt(
        mixed, padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None))


PROOFS = {"mysql_native_password": native, "caching_sha2_password": caching_sha2}


def parameter(value):
    """(type, encoded value) of a parameter of COM_STMT_EXECUTE."""
    if value is None:
        return TYPE_NULL, b""
    if isinstance(value, int):
        return TYPE_LONGLONG, struct.pack("<q", value)
    return TYPE_VAR_STRING, string(value)


class Client:
    """Logged in, unless login=False."""

    def __init__(self, port, user="app", password="secret", database="app", *, capabilities=USUAL,
                 charset=UTF8MB4, attributes=None, plugin=None, tls=False, login=True, timeout=20):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sequence = 0
        self.capabilities = PROTOCOL_41
        self.auth_steps = []
        self.read_greeting(self.receive())
        if login:
            self.login(user, password, database, capabilities, charset, attributes, plugin, tls)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    # Packets

    def read(self, n):
        data = bytearray()
        while len(data) < n:
            try:
                got = self.socket.recv(min(n - len(data), 1 << 20))
            except ConnectionResetError:
                got = b""
            if not got:
                raise Closed(bytes(data))
            data += got
        return bytes(data)

    def receive(self):
        """The next payload, put together from its packets. An ERR is raised."""
        payload = b""
        while True:
            head = self.read(4)
            length = int.from_bytes(head[:3], "little")
            assert head[3] == self.sequence, f"sequence number {head[3]} instead of {self.sequence}"
            self.sequence = (self.sequence + 1) & 0xff
            payload += self.read(length)
            if length < 0xffffff:
                break
        if payload[:1] == b"\xff":
            raise Error(payload)
        return payload

    def farewell(self):
        """The error that nobody asked for, before the connection is closed. Its sequence number may be 0, as of
        servers, or 1, as if it were the answer to the next command."""
        head = self.read(4)
        assert head[3] in (0, 1), head
        error = Error(self.read(int.from_bytes(head[:3], "little")))
        assert self.is_closed()
        return error.code, error.state

    def send(self, payload):
        """Goes on with the sequence."""
        data = bytearray()
        while True:
            part, payload = payload[:0xffffff], payload[0xffffff:]
            data += struct.pack("<I", len(part))[:3] + bytes([self.sequence]) + part
            self.sequence = (self.sequence + 1) & 0xff
            if len(part) < 0xffffff:
                break
        self.socket.sendall(data)

    def command(self, code, content=b""):
        self.sequence = 0
        self.send(bytes([code]) + (content.encode() if isinstance(content, str) else content))

    def is_closed(self):
        try:
            return not self.socket.recv(1)
        except ConnectionResetError:
            return True

    # Login

    def read_greeting(self, payload):
        read = Reader(payload)
        assert read.int(1) == 10, payload
        self.version = read.cstring().decode()
        self.thread_id = read.int(4)
        scramble = read.bytes(8)
        assert read.int(1) == 0
        low, self.server_charset, self.greeting_status, high, length = (
            read.int(2), read.int(1), read.int(2), read.int(2), read.int(1))
        self.offered = low | high << 16
        read.bytes(10)
        scramble += read.bytes(max(13, length - 8))
        assert len(scramble) == 21 and scramble[20] == 0, scramble
        self.scramble = scramble[:20]
        self.server_plugin = read.cstring().decode()

    def login(self, user="app", password="secret", database="app", capabilities=USUAL, charset=UTF8MB4,
              attributes=None, plugin=None, tls=False):
        assert not tls or self.offered & SSL, "TLS is not offered"
        flags = (capabilities & (self.offered | PROTOCOL_41)) | (CONNECT_WITH_DB if database else 0)
        if attributes is not None:
            flags |= CONNECT_ATTRS
        fixed = struct.pack("<IIB23x", flags | (SSL if tls else 0), 0xffffff, charset)
        if tls:
            self.send(fixed)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket)
        self.capabilities = flags
        plugin = plugin or self.server_plugin
        proof = PROOFS.get(plugin, lambda *_: b"")(password, self.scramble)
        content = fixed + user.encode() + b"\0" + string(proof)
        if database:
            content += database.encode() + b"\0"
        content += plugin.encode() + b"\0"
        if attributes is not None:
            content += string(b"".join(string(k) + string(v) for k, v in attributes.items()))
        self.send(content)
        self.last = self.authenticate(password, plugin)

    def authenticate(self, password, plugin):
        while True:
            payload = self.receive()
            if payload[0] == 0:
                return Ok(payload, self.capabilities)
            if payload[0] == 0xfe:
                read = Reader(payload[1:])
                plugin = read.cstring().decode()
                self.scramble = read.rest()[:20]
                self.auth_steps.append(plugin)
                # MariaDB asks unknown users for a plugin at random.
                self.send(PROOFS.get(plugin, lambda *_: b"")(password, self.scramble))
            elif payload == b"\x01\x03":
                self.auth_steps.append("fast")
            elif payload == b"\x01\x04":
                self.auth_steps.append("full")
                if isinstance(self.socket, ssl.SSLSocket):
                    self.send(password.encode() + b"\0")
                else:
                    self.send(b"\x02")
                    key = self.receive()
                    assert key[0] == 1, key
                    self.send(rsa_encrypted(password, self.scramble, key[1:]))
            else:
                raise AssertionError(payload)

    def change_user(self, user="app", password="secret", database="app", charset=UTF8MB4,
                    plugin="mysql_native_password"):
        proof = PROOFS[plugin](password, self.scramble)
        content = user.encode() + b"\0" + bytes([len(proof)]) + proof + database.encode() + b"\0"
        self.command(CHANGE_USER, content + struct.pack("<H", charset) + plugin.encode() + b"\0")
        self.last = self.authenticate(password, plugin)
        return self.last

    # Answers

    def end_of_columns(self, n):
        columns = [Column(self.receive()) for _ in range(n)]
        if n and not self.capabilities & DEPRECATE_EOF:
            assert self.receive()[0] == 0xfe
        return columns

    def is_end(self, payload):
        return payload[0] == 0xfe and len(payload) < (0xffffff if self.capabilities & DEPRECATE_EOF else 9)

    def ending(self, rows, payload):
        if self.capabilities & DEPRECATE_EOF:
            ok = Ok(payload, self.capabilities)
            rows.warnings, rows.status, rows.tracked = ok.warnings, ok.status, ok.tracked
        else:
            rows.warnings, rows.status = struct.unpack("<HH", payload[1:5])
        return rows

    def result(self, binary=False, infile=None):
        """One result: Ok, or Rows."""
        payload = self.receive()
        if payload[0] == 0:
            return Ok(payload, self.capabilities)
        if payload[0] == 0xfb:
            assert infile is not None, "the server asks for a local file"
            if infile:
                self.send(infile)
            self.send(b"")
            return self.result(binary)
        rows = Rows()
        rows.columns = [Column(self.receive()) for _ in range(Reader(payload).lenenc())]
        if not self.capabilities & DEPRECATE_EOF:
            eof = self.receive()
            assert eof[0] == 0xfe and len(eof) == 5, eof
            self.ending(rows, eof)
            if binary and rows.status & CURSOR_EXISTS:
                return rows
            if rows.status & PS_OUT_PARAMS:
                # MySQL 9.7 says only here that an OK follows, and no longer at the end of the rows.
                self.rest_of_rows(rows, binary)
                rows.status |= MORE_RESULTS
                return rows
        return self.rest_of_rows(rows, binary)

    def rest_of_rows(self, rows, binary):
        while True:
            payload = self.receive()
            if self.is_end(payload):
                return self.ending(rows, payload)
            if binary:
                assert payload[0] == 0, payload[:20]
                rows.append(payload)
            else:
                read, row = Reader(payload), []
                while read.at < len(payload):
                    row.append(read.string())
                assert len(row) == len(rows.columns), (len(row), len(rows.columns))
                rows.append(row)

    def results(self, binary=False):
        """All results of one command."""
        found = [self.result(binary)]
        while found[-1].status & MORE_RESULTS:
            found.append(self.result(binary))
        return found

    # Commands

    def query(self, sql):
        """The result of one statement."""
        self.command(QUERY, sql)
        result, = self.results()
        return result

    def value(self, sql):
        (value,), = self.query(sql)
        return value.decode() if value is not None else None

    def queries(self, sql):
        self.command(QUERY, sql)
        return self.results()

    def ok(self, code, content=b""):
        self.command(code, content)
        return Ok(self.receive(), self.capabilities)

    def ping(self):
        return self.ok(PING)

    def prepare(self, sql):
        self.command(STMT_PREPARE, sql)
        read = Reader(self.receive())
        assert read.int(1) == 0
        number, n_columns, n_parameters = read.int(4), read.int(2), read.int(2)
        assert read.int(1) == 0
        warnings = read.int(2)
        parameters = self.end_of_columns(n_parameters)
        return Statement(number, self.end_of_columns(n_columns), parameters, warnings)

    def execution(self, statement, *values, types=True, cursor=0):
        """The content of COM_STMT_EXECUTE. types=False: leaves them out, as clients do from the second time on."""
        content = struct.pack("<IBI", statement.number, cursor, 1)
        if values:
            nulls = bytearray((len(values) + 7) // 8)
            for i, value in enumerate(values):
                if value is None:
                    nulls[i // 8] |= 1 << i % 8
            encoded = [(TYPE_BLOB, b"") if value is ... else parameter(value) for value in values]
            content += bytes(nulls) + bytes([types])
            if types:
                content += b"".join(struct.pack("<H", kind) for kind, _ in encoded)
            content += b"".join(data for _, data in encoded)
        return content

    def execute(self, statement, *values, **how):
        """`...` among the values: sent before as long data."""
        self.command(STMT_EXECUTE, self.execution(statement, *values, **how))
        result, *more = self.results(binary=True)
        return result

    def long_data(self, statement, number, data):
        self.command(STMT_SEND_LONG_DATA, struct.pack("<IH", statement.number, number) + data)

    def fetch(self, statement, n):
        self.command(STMT_FETCH, struct.pack("<II", statement.number, n))
        return self.rest_of_rows(Rows(), binary=True)

    def close_statement(self, statement):
        self.command(STMT_CLOSE, struct.pack("<I", statement.number))


def strings(row, n):
    """The n values of a binary row of strings."""
    read = Reader(row)
    assert read.int(1) == 0
    nulls = int.from_bytes(read.bytes((n + 9) // 8), "little") >> 2
    return [None if nulls >> i & 1 else read.string() for i in range(n)]
