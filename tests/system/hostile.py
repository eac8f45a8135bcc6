"""What tests of peers that are broken, slow, greedy or malicious have in common: a weir with a healthy client beside
them (the fixture `target`), which must not notice."""

import time

import conftest
import wire

LOGIN_TIMEOUT = 1


def lists(weir):
    """Who is there besides the console client that asks."""
    found = {row["list"]: row["items"] for row in weir.console("show lists")}
    return {name: found[name] for name in ("used_clients", "login_clients", "used_servers")}


def resident(weir):
    with open(f"/proc/{weir.process.pid}/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmRSS"))


class Target:
    """A weir with a healthy client; afterwards everything must be as it was."""

    def __init__(self, weir):
        self.weir = weir
        self.port = weir.port
        self.healthy = weir.connect()
        self.check_healthy()
        self.before = lists(weir)

    def check_healthy(self):
        begin = time.monotonic()
        assert self.healthy.execute("select 6 * 7").fetchone() == (42,)
        assert time.monotonic() - begin < 2

    def check(self):
        self.check_healthy()
        conftest.wait_for(lambda: lists(self.weir) == self.before, "every hostile client to be gone")
        assert self.weir.process.poll() is None
        with self.weir.connect() as newcomer:
            assert newcomer.execute("select 1").fetchone() == (1,)


def refused(client, *codes):
    """The client is told one error, or nothing, and the connection ends in time."""
    client.socket.settimeout(LOGIN_TIMEOUT + 3)
    messages = client.until_closed()
    client.close()
    assert [kind for kind, _ in messages] in ([b"E"], []), messages
    if messages:
        error = wire.Error(messages[0][1])
        assert error["S"] == "FATAL"
        assert error.code in (codes or ("08P01",))
        return error
    return None
