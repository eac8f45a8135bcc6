"""What a first tutorial of asyncio and SQLAlchemy does, against the database whose URL is given.

    python tutorial.py URL                a few steps, printed
    python tutorial.py URL --tasks 200    the same by so many clients at once
"""

import argparse
import asyncio

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


async def one_client(url, number, everyone_is_here):
    """One client with one connection of its own, which it keeps while all the others work too."""
    engine = create_async_engine(url, pool_pre_ping=True)
    session_maker = async_sessionmaker(engine, expire_on_commit=False)
    try:
        async with session_maker.begin() as session:
            session.add(Person(name=f"Task {number}"))
        await everyone_is_here.wait()
        async with session_maker() as session:
            name = await session.scalar(
                select(Person.name).where(Person.name == f"Task {number}"))
            assert name == f"Task {number}", name
            answers = await asyncio.gather(*(find(session_maker, f"Task {number}") for _ in range(2)))
            assert answers == [[f"Task {number}"]] * 2, answers
    finally:
        await engine.dispose()


async def crowd(url, n_tasks):
    everyone_is_here = asyncio.Event()
    n_here = 0

    async def count(number):
        nonlocal n_here
        n_here += 1
        if n_here == n_tasks:
            everyone_is_here.set()
        await one_client(url, number, everyone_is_here)

    await asyncio.gather(*(count(number) for number in range(n_tasks)))
    engine = create_async_engine(url, pool_pre_ping=True)
    async with async_sessionmaker(engine)() as session:
        n = await session.scalar(select(func.count()).where(Person.name.like("Task %")))
    await engine.dispose()
    print(f"  {n_tasks} clients at once have added {n} rows and read them back")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("--tasks", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.tasks:
        asyncio.run(crowd(arguments.url, arguments.tasks))
    else:
        asyncio.run(tutorial(arguments.url))


if __name__ == "__main__":
    main()
