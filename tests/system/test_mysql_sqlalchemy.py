"""SQLAlchemy on MySQL and MariaDB, with nothing changed but the port."""

import asyncio
import subprocess
import sys

import pytest
from conftest import ROOT
from sqlalchemy import Integer, String, create_engine, func, insert, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

TUTORIAL = ROOT / "docs" / "examples" / "tutorial.py"
ASYNC = ["asyncmy", "aiomysql"]
BLOCKING = ["pymysql", "mysqldb", "mysqlconnector"]

pytestmark = pytest.mark.thorough


class Base(DeclarativeBase):
    pass


class Thing(Base):
    __tablename__ = "thing"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50), unique=True)
    size: Mapped[int] = mapped_column(Integer, default=1)


@pytest.mark.parametrize("driver", ASYNC)
def test_the_tutorial_runs(via, driver):
    run = subprocess.run([sys.executable, TUTORIAL, via.url(driver)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "Alice, Bob" in run.stdout


def test_200_clients_share_15_connections(start_weir, database_server):
    weir = start_weir(database_server, pool_size=5, max_overflow=10)
    run = subprocess.run([sys.executable, TUTORIAL, weir.mysql_url(), "--tasks", "200"],
                         capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "200 clients at once have added 200 rows" in run.stdout
    assert database_server.connections() <= 15


@pytest.mark.parametrize("driver", ASYNC)
def test_autocommit_savepoints_streams_and_executemany(via, driver):
    async def program():
        engine = create_async_engine(via.url(driver), pool_pre_ping=True)
        automatic = engine.execution_options(isolation_level="AUTOCOMMIT")
        async with automatic.connect() as db:
            await db.execute(text("drop table if exists many"))
            await db.execute(text("create table many (n int)"))
        async with engine.begin() as db:
            await db.execute(text("insert into many values (:n)"), [{"n": n} for n in range(1000)])
            async with db.begin_nested() as nested:
                await db.execute(text("insert into many values (-1)"))
                await nested.rollback()
        async with engine.connect() as db:
            rows = await db.stream(text("select n from many order by n"))
            assert [row.n async for row in rows] == list(range(1000))
        await engine.dispose()

    asyncio.run(program())


@pytest.mark.parametrize("driver", ASYNC)
def test_a_stream_given_up_half_way(via, driver):
    via.table("numbers", "n int", ",".join(f"({n})" for n in range(5000)))

    async def program():
        engine = create_async_engine(via.url(driver), pool_size=1, max_overflow=0)
        for _ in range(3):
            async with engine.connect() as db:
                rows = await db.stream(text("select n from numbers order by n"))
                assert (await rows.fetchone()).n == 0
                await rows.close()
                assert await db.scalar(text("select 1")) == 1
        await engine.dispose()

    asyncio.run(program())


@pytest.mark.parametrize("driver", ASYNC)
def test_isolation_levels_are_each_client_s_own(via, driver):
    async def program():
        engine = create_async_engine(via.url(driver))
        name = via.server.isolation_variable
        levels = ["READ COMMITTED", "SERIALIZABLE", "REPEATABLE READ"]
        clients = [(level, await engine.connect()) for level in levels]
        for level, db in clients:
            await db.execution_options(isolation_level=level)
        for _ in range(2):
            for level, db in clients:
                assert (await db.scalar(text(f"select @@{name}"))).replace("-", " ") == level
                await db.rollback()
        for _, db in clients:
            await db.close()
        await engine.dispose()

    asyncio.run(program())


@pytest.mark.parametrize("driver", ASYNC)
def test_an_integrity_error_leaves_the_session_usable(via, driver):
    async def program():
        engine = create_async_engine(via.url(driver))
        async with engine.begin() as db:
            await db.run_sync(Base.metadata.drop_all)
            await db.run_sync(Base.metadata.create_all)
        make = async_sessionmaker(engine)
        async with make() as session:
            session.add(Thing(name="one"))
            await session.commit()
            session.add(Thing(name="one"))
            with pytest.raises(IntegrityError):
                await session.commit()
            await session.rollback()
            async with session.begin_nested():
                session.add(Thing(name="two"))
            await session.commit()
            assert await session.scalar(select(func.count(Thing.id))) == 2
        await engine.dispose()

    asyncio.run(program())


def test_a_task_that_is_cancelled_leaves_nothing_behind(start_weir, database_server):
    weir = start_weir(database_server, pool_size=1, max_overflow=0)

    async def program():
        engine = create_async_engine(weir.mysql_url(), pool_pre_ping=True)
        for number in range(5):
            async def slow():
                async with engine.connect() as db:
                    await db.execute(text("select sleep(10)"))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(slow(), 0.2)
            async with engine.connect() as db:
                assert await db.scalar(text(f"select {number}")) == number
        await engine.dispose()

    asyncio.run(program())


@pytest.mark.parametrize("driver", BLOCKING)
def test_the_orm_without_asyncio(via, driver):
    engine = create_engine(via.url(driver), pool_pre_ping=True)
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        thing = Thing(name="naïve 😀")
        session.add(thing)
        session.flush()
        assert thing.id == 1
        session.execute(insert(Thing), [{"name": f"thing {n}"} for n in range(500)])
        with session.begin_nested() as nested:
            session.add(Thing(name="never"))
            session.flush()
            nested.rollback()
        session.commit()
        thing.size = 1
        assert session.scalar(select(func.count(Thing.id))) == 501
        assert session.scalar(select(Thing.name).where(Thing.id == 1)) == "naïve 😀"
        # An UPDATE that changes nothing has matched its row, or the ORM takes it for lost.
        assert session.execute(text("update thing set size = 1 where id = 1")).rowcount == 1
        session.commit()
    with engine.connect().execution_options(stream_results=True) as db:
        names = [row.name for row in db.execute(select(Thing.name).order_by(Thing.id)).yield_per(100)]
        assert len(names) == 501
    automatic = engine.execution_options(isolation_level="AUTOCOMMIT")
    with automatic.connect() as db:
        db.execute(text("delete from thing where id > 1"))
    with engine.connect() as db:
        assert db.scalar(select(func.count(Thing.id))) == 1
    engine.dispose()
