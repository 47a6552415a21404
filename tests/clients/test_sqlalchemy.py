"""SQLAlchemy 2: Core, ORM and reflection by four drivers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Connection,
    MetaData,
    Table,
    bindparam,
    create_engine,
    delete,
    exc,
    false,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from tests.clients.sides import Side, Sides
from tests.clients.values import ISBN, NEW_ISBN

DIALECTS = ["psycopg", "asyncpg", "psycopg2", "pg8000"]


class Base(DeclarativeBase):
    type_annotation_map = {int: BigInteger}  # noqa: RUF012 - SQLAlchemy's own way


class Book(Base):
    __tablename__ = "books"
    branch: Mapped[str] = mapped_column(primary_key=True)
    isbn: Mapped[int] = mapped_column(primary_key=True)
    book_name: Mapped[str]
    author: Mapped[str]
    genre: Mapped[str | None]
    price: Mapped[Decimal | None]
    checked_out: Mapped[bool] = mapped_column(default=False)
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Patron(Base):
    __tablename__ = "patrons"
    patron_id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    joined: Mapped[date]


@pytest.fixture(params=DIALECTS)
def alike(request: pytest.FixtureRequest, sides: Sides) -> Callable[[Callable[[Connection], Any]], Any]:
    """Run a program over each side's connection by one driver; the second of two is one that the pool has reset."""

    def run(program: Callable[[Connection], Any]) -> Any:
        if request.param == "asyncpg":
            return sides.alike(lambda side: asyncio.run(_async_twice(side, program)))
        return sides.alike(lambda side: _twice(side.url(f"postgresql+{request.param}"), program))

    return run


def _twice(url: str, program: Callable[[Connection], Any]) -> Any:
    engine = create_engine(url, pool_size=1, pool_pre_ping=True)
    try:
        answers = []
        for _ in range(2):
            with engine.connect() as connection:
                answers.append(program(connection))
        return answers
    finally:
        engine.dispose()


async def _async_twice(side: Side, program: Callable[[Connection], Any]) -> Any:
    engine = create_async_engine(side.url("postgresql+asyncpg"), pool_size=1, pool_pre_ping=True)
    try:
        answers = []
        for _ in range(2):
            async with engine.connect() as connection:
                answers.append(await connection.run_sync(program))
        return answers
    finally:
        await engine.dispose()


def test_core(alike: Any) -> None:
    books, patrons = Book.__table__, Patron.__table__

    def program(connection: Connection) -> Any:
        found: list[Any] = []
        for statement in (
            select(books).where(books.c.branch == "west", books.c.isbn == ISBN),
            select(books.c.branch, books.c.price).where(books.c.isbn == ISBN).order_by(books.c.branch),
            select(books.c.isbn, books.c.branch).order_by(books.c.isbn, books.c.branch).limit(5).offset(3),
            select(func.count()).select_from(books),
            select(books.c.genre, func.count().label("n"), func.avg(books.c.price))
            .where(books.c.price.between(Decimal(5), Decimal(20)))
            .group_by(books.c.genre)
            .having(func.count() > 1)
            .order_by(books.c.genre),
            select(patrons).where(patrons.c.patron_id.in_([1001, 1002, 1003])).order_by(patrons.c.patron_id),
            select(patrons.c.name).where(patrons.c.joined < date(2020, 1, 1)).order_by(patrons.c.name),
            select(books.c.book_name).where(books.c.branch == "nowhere"),
            select(books.c.genre).distinct().order_by(books.c.genre.nulls_last()),
            select(books.c.genre, func.count() * 2, func.coalesce(func.max(books.c.price), 0))
            .group_by(books.c.genre)
            .having(func.sum(books.c.price) >= Decimal("10.5"), func.count() < 1000)
            .order_by(func.count() % 5, books.c.genre)
            .limit(4),
            select(books.c.isbn).where(books.c.branch.in_([])),
            select(func.count()).select_from(books).where(books.c.genre.in_([]) | books.c.genre.not_in([])),
        ):
            rows = connection.execute(statement).all()
            found += [len(rows), *map(tuple, rows)]
        result = connection.execute(text("SELECT name FROM patrons WHERE patron_id > :id ORDER BY 1"), {"id": 1050})
        found += [result.first(), connection.scalar(select(func.max(books.c.price)))]
        return found

    assert alike(program)[0][-1] == 30


def test_streamed_results(alike: Any) -> None:
    """By a cursor of the server, or of the protocol, as the driver does it."""
    books = Book.__table__

    def program(connection: Connection) -> Any:
        statement = select(books.c.isbn, books.c.branch).where(books.c.price > 5).order_by(books.c.isbn, books.c.branch)
        found: list[Any] = []
        with connection.execution_options(stream_results=True, max_row_buffer=9).execute(statement) as result:
            found += [tuple(row) for row in result]
        with connection.execution_options(yield_per=10).execute(statement) as result:
            for part in result.partitions():
                found.append([tuple(row) for row in part])
        with Session(connection) as session:
            ordered = select(Book).order_by(Book.isbn, Book.branch).execution_options(yield_per=12)
            found += [(book.isbn, book.branch) for book in session.scalars(ordered)]
        return found

    assert len(alike(program)[0]) > 100


def test_writes_and_savepoints(alike: Any) -> None:
    books = Book.__table__
    mine = (books.c.branch == "north") & (books.c.isbn >= NEW_ISBN)

    def program(connection: Connection) -> Any:
        rows = [
            {"branch": "north", "isbn": NEW_ISBN + at, "book_name": f"b{at}", "author": "me", "price": Decimal(at)}
            for at in range(30)
        ]
        found: list[Any] = [connection.execute(insert(books), rows[:20]).rowcount]
        found.append(sorted(connection.scalars(insert(books).returning(books.c.isbn), rows[20:])))
        with pytest.raises(exc.IntegrityError), connection.begin_nested():
            connection.execute(insert(books), rows[0])
        changed = update(books).where(books.c.branch == "north", books.c.isbn == bindparam("which"))
        connection.execute(changed.values(price=bindparam("new")), [{"which": NEW_ISBN, "new": 5}])
        found.append(connection.scalar(select(func.sum(books.c.price)).where(mine)))
        connection.commit()
        found.append(connection.execute(delete(books).where(mine)).rowcount)
        found.append(connection.execute(delete(books).where(books.c.genre.in_([]))).rowcount)
        found.append(connection.execute(delete(books).where(false())).rowcount)
        connection.rollback()
        found.append(connection.execute(delete(books).where(mine)).rowcount)
        connection.commit()
        return found

    assert alike(program)[1][-1] == 30


def test_orm(alike: Any) -> None:
    def program(connection: Connection) -> Any:
        with Session(connection) as session:
            book = session.get(Book, ("west", ISBN))
            found: list[Any] = [book.book_name, book.price, book.updated_at]
            patron = session.scalars(select(Patron).where(Patron.patron_id == 1005)).one()
            found.append((patron.name, patron.joined))
            session.add(Book(branch="west", isbn=NEW_ISBN, book_name="mine", author="me"))
            session.add_all(
                Book(branch="west", isbn=NEW_ISBN + at, book_name=f"b{at}", author="me") for at in (1, 2, 3)
            )
            session.flush()
            book.price = Decimal("1.50")
            session.flush()
            session.expire_all()
            found += [book.price, session.get(Book, ("west", NEW_ISBN)).checked_out]
            with pytest.raises(exc.IntegrityError), session.begin_nested():
                session.add(Book(branch="west", isbn=NEW_ISBN, book_name="again", author="me"))
            session.delete(session.get(Book, ("west", NEW_ISBN + 1)))
            session.flush()
            found += session.scalars(
                select(Book.book_name).where(Book.branch == "west", Book.isbn >= NEW_ISBN).order_by(Book.isbn)
            )
            session.rollback()
            found.append(session.scalar(select(func.count()).select_from(Book).where(Book.isbn >= NEW_ISBN)))
        return found

    assert alike(program)[0][-4:] == ["mine", "b2", "b3", 0]


def test_reflection(alike: Any) -> None:
    def program(connection: Connection) -> Any:
        inspector = inspect(connection)
        found: list[Any] = []
        for table in ("books", "patrons"):
            columns = inspector.get_columns(table)
            found.append(
                [(column["name"], str(column["type"]), column["nullable"], column["default"]) for column in columns]
            )
            found += [inspector.get_pk_constraint(table)["constrained_columns"], inspector.get_indexes(table)]
            found += [inspector.get_foreign_keys(table), inspector.get_unique_constraints(table)]
        table = Table("books", MetaData(), autoload_with=connection)
        found.append(
            tuple(connection.execute(select(table).where(table.c.branch == "west", table.c.isbn == ISBN)).one())
        )
        return [*found, inspector.has_table("books"), inspector.has_table("nope"), inspector.default_schema_name]

    assert alike(program)[0][-3:] == [True, False, "public"]


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("SELECT nope FROM books", exc.ProgrammingError),
        ("SELECT * FROM nope", exc.ProgrammingError),
        (
            "INSERT INTO books (branch, isbn, book_name, author) VALUES ('west', 9780451524935, 'a', 'b')",
            exc.IntegrityError,
        ),
    ],
)
def test_errors(alike: Any, sql: str, error: type[exc.DBAPIError]) -> None:
    def program(connection: Connection) -> Any:
        with pytest.raises(error) as raised:
            connection.execute(text(sql))
        connection.rollback()
        original = raised.value.orig
        return getattr(original, "sqlstate", None), connection.scalar(text("SELECT 1"))

    alike(program)
