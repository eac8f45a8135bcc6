"""What a first tutorial of asyncio and SQLAlchemy does, against the database whose URL is given.

    python tutorial.py URL                a few steps, printed
    python tutorial.py URL --tasks 200    the same by so many clients at once
"""

import argparse
import asyncio
import pathlib

from sqlalchemy import String, delete, func, select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Person(Base):
    __tablename__ = "person"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))


async def find(session_maker, pattern):
    async with session_maker() as session:
        found = await session.scalars(select(Person.name).where(Person.name.like(pattern)))
        return sorted(found)


async def tutorial(url):
    engine = create_async_engine(url, pool_pre_ping=True)
    session_maker = async_sessionmaker(engine, expire_on_commit=False)

    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    print("  created the table person")

    async with session_maker() as session:
        await session.execute(delete(Person))
        session.add_all([Person(name="Alice"), Person(name="Bob")])
        await session.commit()
    print("  added Alice and Bob")

    print("  named like '%o%':", ", ".join(await find(session_maker, "%o%")))

    answers = await asyncio.gather(*(find(session_maker, "%") for _ in range(5)))
    assert answers == [["Alice", "Bob"]] * 5, answers
    print("  five sessions at once see:", ", ".join(answers[0]))

    async with session_maker.begin() as session:
        session.add(Person(name="Carol"))
    print("  added Carol in a transaction of her own")
    await engine.dispose()


async def one_client(url, number, connected, everyone_is_here):
    """One client with a connection of its own, which it keeps while all the others work too."""
    engine = create_async_engine(url, pool_pre_ping=True)
    session_maker = async_sessionmaker(engine, expire_on_commit=False)
    try:
        async with session_maker.begin() as session:
            session.add(Person(name=f"Task {number}"))
        connected()
        await everyone_is_here.wait()
        async with session_maker() as session:
            name = await session.scalar(
                select(Person.name).where(Person.name == f"Task {number}"))
            assert name == f"Task {number}", name
        for _ in range(5):
            answers = await asyncio.gather(*(find(session_maker, f"Task {number}") for _ in range(2)))
            assert answers == [[f"Task {number}"]] * 2, answers
    finally:
        await engine.dispose()


async def wait_until_gone(path):
    """Lets someone look while all clients are connected: the file is there until they have."""
    path.touch()
    while path.exists():
        await asyncio.sleep(0.05)


async def crowd(url, n_tasks, peak):
    engine = create_async_engine(url, pool_pre_ping=True)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(delete(Person).where(Person.name.like("Task %")))
    await engine.dispose()

    everyone_is_here = asyncio.Event()
    n_connected = 0

    def connected():
        nonlocal n_connected
        n_connected += 1

    async def conduct():
        while n_connected < n_tasks:
            await asyncio.sleep(0.01)
        if peak:
            await wait_until_gone(peak)
        everyone_is_here.set()

    await asyncio.gather(
        conduct(), *(one_client(url, i, connected, everyone_is_here) for i in range(n_tasks)))
    engine = create_async_engine(url, pool_pre_ping=True)
    async with async_sessionmaker(engine)() as session:
        n = await session.scalar(select(func.count()).where(Person.name.like("Task %")))
    await engine.dispose()
    print(f"  {n_tasks} clients at once have added {n} rows and read them back")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("--tasks", type=int, default=0)
    parser.add_argument("--pause-at-peak", type=pathlib.Path, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.tasks:
        asyncio.run(crowd(arguments.url, arguments.tasks, arguments.pause_at_peak))
    else:
        asyncio.run(tutorial(arguments.url))


if __name__ == "__main__":
    main()
