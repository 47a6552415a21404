"""Statements that write rows of several shards, as ORMs and drivers make them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import asyncpg
import psycopg
import pytest
from django.db import IntegrityError, transaction
from django.db.models import F
from sqlalchemy import Connection, delete, exc, insert, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from tests.clients import test_django, test_sqlalchemy
from tests.clients.sides import Side, Sides
from tests.clients.test_django import Program
from tests.clients.test_sqlalchemy import Book
from tests.clients.values import NEW_ISBN

with_django, with_sqlalchemy = test_django.alike, test_sqlalchemy.alike  # fixtures

BRANCHES = ("west", "north", "downtown")
FIRST = NEW_ISBN + 700
MINE = Book.isbn.between(FIRST, FIRST + 99)


def made(count: int) -> list[dict[str, Any]]:
    return [
        {"isbn": FIRST + at, "branch": BRANCHES[at * at % 3], "book_name": f"b{at}", "author": "me", "price": at}
        for at in range(count)
    ]


@pytest.fixture(autouse=True)
def _tidy(sides: Sides) -> Iterator[None]:
    yield
    for side in (sides.proxy, sides.reference):
        with psycopg.connect(side.url(), autocommit=True) as connection:
            connection.execute(f"DELETE FROM books WHERE isbn BETWEEN {FIRST} AND {FIRST + 99}".encode())


def test_by_sqlalchemy(with_sqlalchemy: Callable[[Callable[[Connection], Any]], Any]) -> None:
    def program(connection: Connection) -> Any:
        found: list[Any] = []
        with Session(connection) as session:
            books = [Book(**one) for one in made(20)]
            session.add_all(books)
            session.flush()  # INSERT … VALUES (…), (…) … RETURNING updated_at
            found += [book.updated_at is not None for book in books]
            session.rollback()
        rows = connection.execute(insert(Book).values(made(9)).returning(Book.isbn, Book.branch)).all()
        found.append([tuple(row) for row in rows])
        connection.execute(insert(Book), made(30)[9:])
        again = upsert(Book).values(made(5))
        again = again.on_conflict_do_update(
            index_elements=["branch", "isbn"], set_={"price": again.excluded.price + 100}
        )
        found.append([tuple(row) for row in connection.execute(again.returning(Book.isbn, Book.price))])
        with pytest.raises(exc.IntegrityError), connection.begin_nested():
            connection.execute(insert(Book).values(made(4)))
        found.append(connection.execute(update(Book).where(MINE).values(price=Book.price + 1)).rowcount)
        found.append(sorted(connection.execute(delete(Book).where(MINE).returning(Book.isbn, Book.price)).all()))
        connection.rollback()
        return found

    assert with_sqlalchemy(program)


def test_by_django(with_django: Callable[[Program], Any]) -> None:
    def program(alias: str) -> Any:
        books = test_django.Book.objects.using(alias).filter(isbn__gte=FIRST, isbn__lt=FIRST + 100)
        for one in made(9):
            test_django.Book(**one).save(using=alias, force_insert=True)
        found: list[Any] = [books.update(price=F("price") * 2), books.filter(price__gt=8).update(genre="dear")]
        with pytest.raises(IntegrityError), transaction.atomic(using=alias):
            books.update(book_name=None)
        with transaction.atomic(using=alias):
            found.append(books.filter(genre="dear").delete()[0])
            found.append(books.count())
            transaction.set_rollback(True, using=alias)
        found += [books.count(), books.delete()[0], books.count()]
        return found

    assert with_django(program) == [9, 4, 4, 5, 9, 9, 0]


def test_by_asyncpg(sides: Sides) -> None:
    async def program(side: Side) -> Any:
        connection = await asyncpg.connect(side.url())
        try:
            into = "INSERT INTO books (isbn, branch, book_name, author, price) VALUES "
            into += ", ".join(f"(${at * 3 + 1}, ${at * 3 + 2}, $28, 'me', ${at * 3 + 3})" for at in range(9))
            values = [value for one in made(9) for value in (one["isbn"], one["branch"], Decimal(one["price"]))]
            found = [
                tuple(row) for row in await connection.fetch(f"{into} RETURNING isbn, branch, price", *values, "n")
            ]
            clause = "WHERE isbn BETWEEN $1 AND $2"
            statement = await connection.prepare(f"UPDATE books SET price = price + $3 {clause} RETURNING price")
            for _ in range(3):
                rows = await statement.fetch(FIRST, FIRST + 99, Decimal("0.5"))
                found += sorted(tuple(row) for row in rows)
            async with connection.transaction():
                cursor = await connection.cursor(
                    f"UPDATE books SET genre = 'c' {clause} RETURNING isbn", FIRST, FIRST + 4
                )
                found += [len(await cursor.fetch(2)), len(await cursor.fetch(2)), len(await cursor.fetch(2))]
            return [*found, await connection.execute(f"DELETE FROM books {clause}", FIRST, FIRST + 99)]
        finally:
            await connection.close()

    assert sides.alike(lambda side: asyncio.run(program(side)))[-1] == "DELETE 9"
