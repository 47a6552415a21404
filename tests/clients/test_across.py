"""One transaction with rows of several shards, as each driver and ORM writes it: all of it or nothing."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pg8000.dbapi
import psycopg
import psycopg2
import psycopg2.extras
import pytest
from django.db import IntegrityError, transaction
from psycopg_pool import ConnectionPool
from sqlalchemy import create_engine, exc, insert, select
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from pgproxy.demo.nodes import programs_folder
from tests.clients import test_django
from tests.clients.sides import Side, Sides
from tests.clients.test_sqlalchemy import DIALECTS, Book
from tests.clients.values import NEW_ISBN
from tests.fix_proxy import RunningProxy

BRANCHES = ("west", "north", "downtown")
FIRST, LAST = NEW_ISBN + 500, NEW_ISBN + 599
ROWS = [(FIRST + at, BRANCHES[at % 3], f"book {at}", "me", Decimal(at)) for at in range(20)]
CLASHING = [*ROWS[:10], ROWS[4], *ROWS[10:]]
NEW_AND_OLD = [(FIRST + 50, *ROWS[0][1:]), (FIRST + 51, *ROWS[1][1:]), *ROWS]
INSERT = "INSERT INTO books (isbn, branch, book_name, author, price) VALUES (%s, %s, %s, %s, %s)"
RETURNING = f"{INSERT} RETURNING branch, isbn, price"
NUMBERED = "INSERT INTO books (isbn, branch, book_name, author, price) VALUES ($1, $2, $3, $4, $5)"
MINE = f"SELECT isbn, branch, book_name, price FROM books WHERE isbn BETWEEN {FIRST} AND {LAST} ORDER BY isbn, branch"
CLEAN_UP = [f"DELETE FROM books WHERE branch = '{branch}' AND isbn BETWEEN {FIRST} AND {LAST}" for branch in BRANCHES]

Find = Callable[[Side], Any]


@pytest.fixture
def find(sides: Sides) -> Iterator[Find]:
    """What another connection finds of the rows; they are deleted in the end."""
    connections = {
        side: psycopg.connect(side.url(), autocommit=True, cursor_factory=psycopg.ClientCursor)
        for side in (sides.proxy, sides.reference)
    }

    def clean_up() -> None:
        for connection in connections.values():
            for sql in CLEAN_UP:
                connection.execute(sql.encode())

    clean_up()
    yield lambda side: connections[side].execute(MINE.encode()).fetchall()
    clean_up()
    for connection in connections.values():
        connection.close()


# psycopg


@pytest.mark.parametrize("autocommit", [False, True])
@pytest.mark.parametrize("pipeline", [False, True])
def test_psycopg_executemany(autocommit: bool, pipeline: bool, sides: Sides, find: Find) -> None:
    def program(side: Side) -> Any:
        with psycopg.connect(side.url(), autocommit=autocommit) as connection:
            if pipeline:
                with connection.pipeline(), connection.cursor() as cursor:
                    cursor.executemany(INSERT, ROWS)
            else:
                connection.cursor().executemany(INSERT, ROWS)
        return find(side)

    assert len(sides.alike(program)) == len(ROWS)


@pytest.mark.parametrize("autocommit", [False, True])
def test_psycopg_executemany_with_an_error(autocommit: bool, sides: Sides, find: Find) -> None:
    def program(side: Side) -> Any:
        with psycopg.connect(side.url(), autocommit=autocommit) as connection:
            with pytest.raises(psycopg.errors.UniqueViolation):
                connection.cursor().executemany(INSERT, CLASHING)
            status = connection.info.transaction_status
            connection.rollback()
            return status, find(side)

    assert sides.alike(program)[1] == []


@pytest.mark.parametrize("binary", [False, True])
def test_psycopg_executemany_returning(binary: bool, sides: Sides, find: Find) -> None:
    def program(side: Side) -> Any:
        found: list[Any] = []
        with psycopg.connect(side.url()) as connection, connection.cursor(binary=binary) as cursor:
            cursor.executemany(RETURNING, ROWS, returning=True)
            while True:
                found += [cursor.rowcount, cursor.fetchall()]
                if not cursor.nextset():
                    break
        return found, find(side)

    assert len(sides.alike(program)[1]) == len(ROWS)


def test_psycopg_nested_transactions(sides: Sides, find: Find) -> None:
    def program(side: Side) -> Any:
        found: list[Any] = []
        with psycopg.connect(side.url(), autocommit=True) as connection:
            with connection.transaction():
                for row in ROWS[:4]:
                    connection.execute(INSERT, row)
                with pytest.raises(psycopg.errors.UniqueViolation), connection.transaction():
                    connection.cursor().executemany(INSERT, [ROWS[5], ROWS[1]])
                with connection.transaction(force_rollback=True):
                    connection.execute(INSERT, ROWS[6])
                    found += connection.execute(MINE).fetchall()
                with connection.transaction("named"):
                    connection.execute(INSERT, ROWS[7])
            with pytest.raises(psycopg.errors.UniqueViolation), connection.transaction(), connection.transaction():
                connection.cursor().executemany(INSERT, [*ROWS[8:12], ROWS[0]])
            with connection.transaction(), connection.pipeline():
                for row in ROWS[12:15]:
                    connection.execute(INSERT, row)
            found.append(connection.info.transaction_status)
        return found, find(side)

    assert len(sides.alike(program)[1]) == 8


def test_a_pool_gives_connections_back_clean(sides: Sides, find: Find) -> None:
    def program(side: Side) -> Any:
        found: list[Any] = []
        with ConnectionPool(side.url(), min_size=1, max_size=1, open=True) as pool:
            for at in range(0, 12, 3):
                with pool.connection() as connection:
                    found += connection.execute("SHOW work_mem").fetchall()
                    for row in ROWS[at : at + 3]:
                        connection.execute(INSERT, row)
                    connection.execute("SET LOCAL work_mem = '5MB'")
            with pytest.raises(psycopg.errors.UniqueViolation), pool.connection() as connection:
                connection.cursor().executemany(INSERT, [*ROWS[12:], ROWS[0]])
        return found, find(side)

    assert len(sides.alike(program)[1]) == 12


# asyncpg


def asyncpg_alike(sides: Sides, program: Callable[[asyncpg.Connection, Side], Any]) -> Any:
    async def connected(side: Side) -> Any:
        connection = await asyncpg.connect(side.url())
        try:
            return await program(connection, side)
        finally:
            await connection.close()

    return sides.alike(lambda side: asyncio.run(connected(side)))


def test_asyncpg_executemany(sides: Sides, find: Find) -> None:
    """Outside of a transaction it is one of its own, up to its Sync."""

    async def program(connection: asyncpg.Connection, side: Side) -> Any:
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.executemany(NUMBERED, CLASHING)
        found = [find(side)]
        await connection.executemany(NUMBERED, ROWS)
        return [*found, find(side)]

    undone, done = asyncpg_alike(sides, program)
    assert (undone, len(done)) == ([], len(ROWS))


def test_asyncpg_transactions(sides: Sides, find: Find) -> None:
    async def in_transaction(connection: asyncpg.Connection, rows: list[Any]) -> None:
        async with connection.transaction():
            await connection.executemany(NUMBERED, rows[:-1])
            await connection.execute(NUMBERED, *rows[-1])

    async def program(connection: asyncpg.Connection, side: Side) -> Any:
        found: list[Any] = []
        async with connection.transaction():
            await connection.execute(NUMBERED, *ROWS[0])
            with pytest.raises(asyncpg.UniqueViolationError):
                await in_transaction(connection, [ROWS[1], ROWS[0]])
            found.append(await connection.fetchval(f"{NUMBERED} RETURNING price", *ROWS[2]))
            found.append([tuple(row) for row in await connection.fetch(MINE)])
        with pytest.raises(asyncpg.UniqueViolationError):
            await in_transaction(connection, [*ROWS[3:], ROWS[0]])
        return found, find(side)

    assert len(asyncpg_alike(sides, program)[1]) == 2


# psycopg2, pg8000


@pytest.mark.parametrize("page_size", [1, 7, 100])
def test_psycopg2_batches(page_size: int, sides: Sides, find: Find) -> None:
    def program(side: Side) -> Any:
        connection = psycopg2.connect(side.url())
        try:
            with connection, connection.cursor() as cursor:
                cursor.executemany(INSERT, ROWS[:5])
                psycopg2.extras.execute_batch(cursor, INSERT, ROWS[5:], page_size=page_size)
            with pytest.raises(psycopg2.errors.UniqueViolation), connection, connection.cursor() as cursor:
                psycopg2.extras.execute_batch(cursor, INSERT, NEW_AND_OLD, page_size=page_size)
            connection.autocommit = True
            with pytest.raises(psycopg2.errors.UniqueViolation), connection.cursor() as cursor:
                psycopg2.extras.execute_batch(cursor, INSERT, NEW_AND_OLD, page_size=100)
        finally:
            connection.close()
        return find(side)

    assert len(sides.alike(program)) == len(ROWS)


def test_pg8000_executemany(sides: Sides, find: Find) -> None:
    def program(side: Side) -> Any:
        found: list[Any] = []
        connection = pg8000.dbapi.connect(side.user, host=side.host, port=side.port, database=side.database)
        try:
            cursor = connection.cursor()
            cursor.executemany(INSERT, ROWS)
            connection.rollback()
            found.append(find(side))
            cursor.executemany(INSERT, ROWS[:9])
            connection.commit()
            with pytest.raises(pg8000.dbapi.DatabaseError):
                cursor.executemany(INSERT, ROWS[8:])
            connection.rollback()
        finally:
            connection.close()
        return [*found, find(side)]

    assert len(sides.alike(program)[1]) == 9


# SQLAlchemy


def _books(rows: list[Any]) -> list[Book]:
    return [Book(isbn=isbn, branch=branch, book_name=name, author=author, price=price)
            for isbn, branch, name, author, price in rows]  # fmt: skip


def _unit_of_work(session: Session) -> list[Any]:
    found: list[Any] = []
    session.add_all(_books(ROWS[:9]))
    session.commit()
    for book in session.scalars(select(Book).where(Book.isbn >= FIRST, Book.isbn <= LAST).order_by(Book.isbn)).all():
        book.price = (book.price or 0) + 1
        found.append((book.isbn, book.branch, book.price))
    session.delete(session.get_one(Book, ("west", FIRST)))
    session.delete(session.get_one(Book, ("north", FIRST + 1)))
    session.add_all(_books(ROWS[9:12]))
    session.flush()
    nested = session.begin_nested()
    session.add_all(_books(ROWS[12:15]))
    session.flush()
    with pytest.raises(exc.IntegrityError):
        session.execute(insert(Book).values(isbn=FIRST + 2, branch="downtown", book_name="x", author="y"))
    nested.rollback()
    session.commit()
    session.add_all(_books(ROWS[15:]))
    session.flush()
    session.rollback()
    return found


@pytest.mark.parametrize("dialect", DIALECTS)
def test_sqlalchemy_unit_of_work(dialect: str, sides: Sides, find: Find) -> None:
    async def in_async(side: Side) -> Any:
        engine = create_async_engine(side.url("postgresql+asyncpg"))
        try:
            async with engine.connect() as connection:
                return await connection.run_sync(lambda sync: _unit_of_work(Session(sync)))
        finally:
            await engine.dispose()

    def program(side: Side) -> Any:
        if dialect == "asyncpg":
            return asyncio.run(in_async(side)), find(side)
        engine = create_engine(side.url(f"postgresql+{dialect}"))
        try:
            with Session(engine) as session:
                return _unit_of_work(session), find(side)
        finally:
            engine.dispose()

    assert len(sides.alike(program)[1]) == 10


# Django


def test_django_atomic(sides: Sides, find: Find) -> None:
    def save(alias: str, *rows: tuple[Any, ...]) -> None:
        for isbn, branch, name, author, price in rows:
            book = test_django.Book(isbn=isbn, branch=branch, book_name=name, author=author, price=price)
            book.save(using=alias, force_insert=True)

    def program(side: Side) -> Any:
        alias = "across"
        test_django.connections.databases[alias] = test_django.connections.configure_settings(
            {"default": test_django._database(side, server_side=True)}
        )["default"]
        books = test_django.Book.objects.using(alias)
        try:
            with transaction.atomic(using=alias):
                save(alias, *ROWS[:6])
                with pytest.raises(IntegrityError), transaction.atomic(using=alias):
                    save(alias, ROWS[6], ROWS[2])
                with transaction.atomic(using=alias):
                    save(alias, ROWS[7])
                    for branch in BRANCHES:
                        books.filter(branch=branch, isbn__gte=FIRST).update(price=7)
            with transaction.atomic(using=alias):
                save(alias, ROWS[8])
                books.filter(branch="west", isbn=FIRST).delete()
                save(alias, ROWS[10])
                transaction.set_rollback(True, using=alias)
            with pytest.raises(IntegrityError), transaction.atomic(using=alias), transaction.atomic(using=alias):
                save(alias, ROWS[11], ROWS[0])
            return find(side)
        finally:
            test_django.connections[alias].close()
            del test_django.connections[alias]

    assert len(sides.alike(program)) == 7


# pgbench

TRANSFERS = f"""
\\set from {FIRST} + random(0, 3)
\\set to {FIRST} + random(0, 3)
\\set delta random(1, 5)
BEGIN;
UPDATE books SET price = price - :delta WHERE branch = 'west' AND isbn = :from;
UPDATE books SET price = price + :delta, published_year = published_year + 1 WHERE branch = 'north' AND isbn = :to;
END;
"""
TOTAL = f"SELECT sum(price), sum(published_year) FROM books WHERE isbn BETWEEN {FIRST} AND {LAST}"


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_pgbench_moves_money_between_nodes(mode: str, shared_proxy: RunningProxy, find: Find, tmp_path: Path) -> None:
    with shared_proxy.connect() as connection:
        for branch in ("west", "north"):
            rows = ", ".join(f"({FIRST + at}, '{branch}', 'mine', 'me', 1000, 0)" for at in range(4))
            connection.execute(
                f"INSERT INTO books (isbn, branch, book_name, author, price, published_year) VALUES {rows}".encode()
            )
        script = tmp_path / "transfers.sql"
        script.write_text(TRANSFERS)
        command = [str(programs_folder(tmp_path) / "pgbench"), "-h", shared_proxy.host, "-p", str(shared_proxy.port)]
        command += ["-U", "postgres", "-n", "-f", str(script), "-c", "4", "-t", "15", "-M", mode, "library_system"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "actually processed: 60/60" in done.stdout
        assert connection.execute(TOTAL.encode()).fetchone() == (8000, 60)
