"""A relay between weir and a server that does to connections what networks and servers do at their worst."""

import contextlib
import select
import socket
import struct
import threading
import time

RESET = struct.pack("ii", 1, 0)     # SO_LINGER: close() sends a reset


def pg_refusal(code, text):
    body = b"SFATAL\0VFATAL\0C" + code.encode() + b"\0M" + text.encode() + b"\0\0"
    return b"E" + struct.pack(">i", len(body) + 4) + body


def mysql_refusal(number, text):
    body = b"\xff" + struct.pack("<H", number) + text.encode()
    return struct.pack("<I", len(body))[:3] + b"\0" + body


def readable(sockets, seconds):
    """Which of them can be read, after so long at most. (Not select(): there may be thousands of descriptors.)"""
    poll = select.poll()
    for s in sockets:
        poll.register(s, select.POLLIN)
    ready = {fd for fd, _ in poll.poll(seconds * 1000)}
    return [s for s in sockets if s.fileno() in ready]


class FaultRelay:
    """Ways: "forward"; "stall": bytes stay where they are; "swallow": bytes are taken and thrown away; "mute": likewise, and
    new connections lead nowhere; "refuse": whoever comes gets `refusal` and is closed; "hang_up": is closed at once.
    `reset_after`: each new connection is reset when so many bytes of the server have passed. hold_old(), hold_new():
    connections from before, or from now on, stall, until let_go()."""

    def __init__(self, to_port, port=0, host="127.0.0.1", make_socket=socket.socket):
        """From a free port of `host` to a server's on 127.0.0.1, `to_port`, which may be changed. A socket that
        `make_socket` has made in another network namespace stays there."""
        self.host = host
        self.to_port = to_port
        self.make_socket = make_socket
        self.way = "forward"
        self.refusal = b""
        self.reset_after = None
        self.accepted = []          # when
        self.n_open = self.most_open = self.n_served = 0
        self.is_held = lambda born: False
        self.lock = threading.Lock()
        self.pairs = set()
        self.stopping = False
        self.listener = None
        self.port = port
        self.open()

    def open(self):
        self.listener = self.make_socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((self.host, self.port))
        self.listener.listen(128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def close(self):
        """Nobody listens any more: connections are refused by the kernel."""
        listener, self.listener = self.listener, None
        if listener:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def stop(self):
        self.stopping = True
        self.close()
        self.reset()

    def hold_old(self):
        moment = time.monotonic()
        self.is_held = lambda born: born < moment

    def hold_new(self):
        moment = time.monotonic()
        self.is_held = lambda born: born >= moment

    def let_go(self):
        self.is_held = lambda born: False

    def reset(self):
        """Every connection, with an RST."""
        with self.lock:
            pairs = list(self.pairs)
        for pair in pairs:
            for s in pair:
                with contextlib.suppress(OSError):
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    s.shutdown(socket.SHUT_RD)      # wakes its thread, which closes it

    def accept(self, listener):
        while not self.stopping:
            try:
                s, _ = listener.accept()
            except OSError:
                return
            self.accepted.append(time.monotonic())
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        with self.lock:
            self.n_open += 1
            self.most_open = max(self.most_open, self.n_open)
        try:
            with s, contextlib.suppress(OSError):
                self.serve_one(s)
        finally:
            with self.lock:
                self.n_open -= 1
                self.n_served += 1

    def serve_one(self, s):
        if self.way == "hang_up":
            return
        if self.way == "refuse":
            # MySQL's server speaks first; PostgreSQL's hears the startup packet before.
            readable([s], 0.05)
            s.sendall(self.refusal)
            s.shutdown(socket.SHUT_WR)
            readable([s], 1)
            return
        if self.way == "mute":
            while s.recv(65536):
                pass
            return
        with socket.create_connection(("127.0.0.1", self.to_port)) as server:
            pair = (s, server)
            with self.lock:
                self.pairs.add(pair)
            try:
                self.relay(s, server)
            finally:
                with self.lock:
                    self.pairs.discard(pair)

    def relay(self, client, server):
        left = self.reset_after
        born = time.monotonic()

        def stalls():
            return self.way == "stall" or self.is_held(born)

        while True:
            while stalls() and not self.stopping:
                time.sleep(0.005)       # nothing is read: what comes stays in the kernel
            ready = readable([client, server], 0.05)
            if stalls():
                continue
            for s in ready:
                data = s.recv(65536)
                if not data:
                    return
                if self.way in ("swallow", "mute"):
                    continue
                if s is server and left is not None:
                    data, left = data[:left], left - len(data)
                (server if s is client else client).sendall(data)
                if left is not None and left <= 0:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    return
