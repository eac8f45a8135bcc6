"""SQLAlchemy, with nothing changed but the port."""

import asyncio
import subprocess
import sys

import pytest
from conftest import ROOT
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

TUTORIAL = ROOT / "docs" / "examples" / "tutorial.py"


def test_the_tutorial_runs(weir):
    run = subprocess.run([sys.executable, TUTORIAL, weir.url()], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "Alice, Bob" in run.stdout


@pytest.mark.thorough
def test_200_clients_share_15_connections(start_weir, postgres):
    weir = start_weir(postgres, pool_size=5, max_overflow=10)
    run = subprocess.run([sys.executable, TUTORIAL, weir.url(), "--tasks", "200"],
                         capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert postgres.connections() <= 15


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_autocommit_savepoints_streams_and_executemany(weir, driver):
    async def program():
        engine = create_async_engine(weir.url(driver=driver), pool_pre_ping=True)
        automatic = engine.execution_options(isolation_level="AUTOCOMMIT")
        async with automatic.connect() as db:
            await db.execute(text(f"drop table if exists many_{driver}"))
            await db.execute(text(f"create table many_{driver} (n int)"))
        async with engine.begin() as db:
            await db.execute(text(f"insert into many_{driver} values (:n)"),
                             [{"n": n} for n in range(1000)])
            async with db.begin_nested() as nested:
                await db.execute(text(f"insert into many_{driver} values (-1)"))
                await nested.rollback()
        async with engine.connect() as db:
            rows = await db.stream(text(f"select n from many_{driver} order by n"))
            assert [row.n async for row in rows] == list(range(1000))
        await engine.dispose()

    asyncio.run(program())
