"""200 tasks of a program that uses SQLAlchemy: through weir with its defaults, and with the same 15 connections direct.

The client is one Python process, as it would be: what it does itself is most of the time.
"""

import asyncio
import time

import measure
from load import Figures
from report import CostTable
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

TASKS = 200
COLUMNS = [("per second", "rate", 1), ("p50, ms", "p50", 1e-3), ("p99, ms", "p99", 1e-3),
           ("processor time, µs", "processor", 1e6)]
STATEMENTS = {"postgresql": "select abalance from pgbench_accounts where aid = :id",
              "mysql": "select c from sbtest1 where id = :id"}
DRIVERS = {"postgresql": "asyncpg", "mysql": "asyncmy"}


async def task(engine, statement, number, rows, end, latencies):
    start = time.monotonic()
    while True:  # once at least: the warm-up opens all connections
        number = number * 7919 % rows + 1
        async with engine.connect() as connection:
            await connection.execute(statement, {"id": number})
        now = time.monotonic()
        latencies.append((now - start) * 1e6)
        if now >= end:
            return
        start = now


async def work(engine, field, seconds):
    statement, latencies = text(STATEMENTS[field.family]), []
    start = time.monotonic()
    await asyncio.gather(*(task(engine, statement, i, field.rows, start + seconds, latencies) for i in range(TASKS)))
    took = time.monotonic() - start
    latencies.sort()
    n = len(latencies)
    return {"n": n, "rate": n / took, "p50": latencies[n // 2], "p99": latencies[n * 99 // 100]}


async def rounds_of(bench, field, proxies):
    engines, found = {}, {}
    for proxy in proxies:
        limits = {"pool_size": 5, "max_overflow": 10} if proxy.name == "direct" else {"pool_size": TASKS}
        engines[proxy] = create_async_engine(
            f"{field.family}+{DRIVERS[field.family]}://app:secret@127.0.0.1:{proxy.port}/app", **limits)
        found[proxy.name] = Figures()
        await work(engines[proxy], field, 0.3)
    for _ in range(bench.rounds):
        for proxy, engine in engines.items():
            before = measure.processor_seconds(proxy.pid)
            done = await work(engine, field, 1.5 * bench.scale)
            if proxy.pid:
                done["processor"] = (measure.processor_seconds(proxy.pid) - before) / done["n"]
            found[proxy.name].samples.append(done)
    for engine in engines.values():
        await engine.dispose()
    return found


def tasks(bench, field):
    driver = DRIVERS[field.family]
    table = CostTable(
        f"{field.title}: SQLAlchemy and {driver}, {TASKS} tasks",
        "each takes a connection, selects a row, gives the connection back (a transaction of its own, with rollback). Direct:"
        f" pool_size=5, max_overflow=10 in the program; through weir: pool_size={TASKS} in the program, and weir's defaults,"
        " the same 15", COLUMNS, yardstick="direct")
    table.add(f"{TASKS} tasks", asyncio.run(rounds_of(bench, field, field.pick(field.DIRECT, field.WEIR_DEFAULTS))))
    yield table
