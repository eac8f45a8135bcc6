"""What the programs of the soak do, and what each answer must be. A statement may fail, since things go wrong; it must
never be answered with something else."""

import asyncio
import random
import time
from collections import Counter


class Tally:
    def __init__(self):
        self.right = 0
        self.wrong = []
        self.errors = Counter()
        self.examples = {}
        self.connects = 0

    def failed(self, driver, error):
        kind = f"{driver.__name__} {type(error).__name__}"
        self.errors[kind] += 1
        self.examples[kind] = str(error)

    def hold(self, what, got, expected):
        if got == expected:
            self.right += 1
        else:
            self.wrong.append(f"{what}: {got!r:.80} instead of {expected!r:.80}")
            print(f"{time.strftime('%T')} WRONG: {self.wrong[-1]}", flush=True)


class Program:
    """One client after the other, each with a state of its own that its connection must keep."""

    def __init__(self, driver, port, number, tally):
        self.driver, self.port, self.number, self.tally = driver, port, number, tally
        self.random = random.Random(number)
        self.enough = False
        self.client = None
        self.setting = None

    def nonce(self):
        return self.random.randrange(1, 1 << 40)

    async def expect(self, what, sql, expected, *args):
        got = await self.client.value(sql, *args)
        self.tally.hold(f"{self.driver.__name__} {what}", got, expected)

    # --- what it does ---

    async def parameter(self):
        n = self.nonce()
        await self.expect("parameter", "select {} + 1", n + 1, n)

    async def literal(self):
        n = self.nonce()
        await self.expect("literal", f"select {n}", n)

    async def large(self):
        n = self.nonce()
        await self.expect("large", f"select concat({n}, repeat('x', 200000))", f"{n}{'x' * 200000}")

    async def transaction(self):
        n, ends = self.nonce(), self.random.choice(["commit", "rollback"])
        await self.client.value("begin")
        await self.client.value(f"insert into soak values ({n})")
        await self.expect("own row", f"select count(*) from soak where n = {n}", 1)
        await self.client.value(ends)
        await self.expect(ends, f"select count(*) from soak where n = {n}", int(ends == "commit"))

    async def remember(self):
        """A setting of the session."""
        value = self.random.randrange(100_000, 999_999)
        if self.driver.family == "postgresql":
            await self.client.value(f"set idle_session_timeout = {value}000")
        else:
            await self.client.value(f"set session wait_timeout = {value}")
        self.setting = value

    async def recall(self):
        if self.setting is None:
            return
        if self.driver.family == "postgresql":
            await self.expect("setting", "select setting::bigint / 1000 from pg_settings "
                              "where name = 'idle_session_timeout'", self.setting)
        else:
            await self.expect("setting", "select @@session.wait_timeout", self.setting)

    async def pinned(self):
        n = self.nonce()
        if self.driver.family == "postgresql":
            await self.client.value("create temp table mine (n bigint)")
            await self.client.value(f"insert into mine values ({n})")
            await self.expect("temporary table", "select n from mine", n)
            await self.client.value("drop table mine")
        else:
            await self.client.value(f"set @mine = {n}")
            await self.expect("variable", "select @mine", n)
            await self.client.value("set @mine = null")

    async def gives_up(self):
        """The driver cancels, or closes, as it does; what comes next must be its own."""
        n = self.nonce()
        sleep = "pg_sleep" if self.driver.family == "postgresql" else "sleep"
        try:
            await asyncio.wait_for(self.client.value(f"select {n}, {sleep}(5)"), 0.05)
        finally:
            if self.driver.family == "mysql":
                self.client.drop()
                self.client = None

    async def vanishes(self):
        """While a statement runs, or in the middle of a large answer."""
        sleep, many = (("pg_sleep(3)", "generate_series(1, 20000)") if self.driver.family == "postgresql"
                       else ("sleep(3)", "seq_1_to_20000"))
        sql = self.random.choice([f"select {self.nonce()}, {sleep}", f"select repeat('x', 1000) from {many}"])
        running = asyncio.ensure_future(self.client.value(sql))
        await asyncio.sleep(self.random.random() / 20)
        self.client.drop()
        self.client = None
        await asyncio.wait([running], timeout=5)
        running.cancel()
        # What it ended with is nobody's concern any more.
        await asyncio.gather(running, return_exceptions=True)

    # --- going on ---

    async def work(self):
        common = [self.parameter, self.literal, self.recall, self.transaction]
        rare = [self.large, self.remember, self.pinned, self.gives_up, self.vanishes]
        while not self.enough:
            try:
                if not self.client:
                    self.setting = None
                    client = self.driver()
                    await asyncio.wait_for(client.open(self.port), 30)
                    self.client = client
                    self.tally.connects += 1
                what = self.random.choice(common if self.random.random() < 0.8 else rare)
                await asyncio.wait_for(what(), 60)
            except Exception as error:
                self.tally.failed(self.driver, error)
                # It may be in a transaction now; a program would begin anew as well.
                if self.client:
                    self.client.drop()
                    self.client = None
            await asyncio.sleep(self.random.random() / 5)
        if self.client:
            self.client.drop()
