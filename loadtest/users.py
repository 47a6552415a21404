"""Users of the library, many in one process: asyncio and psycopg. Each statement leaves a record in a file.

Run as a child by the measurements, so that stopping and starting nodes does not disturb the users:
`python -m loadtest.users --target CONNINFO --output FILE --users 100 --seconds 60 --mix library`.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import signal
import struct
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import psycopg
from psycopg import AsyncConnection

RECORD = struct.Struct("<dfB5s")  # when it began (epoch seconds), how long it took, its kind, SQLSTATE
OK, WRONG, TOO_LONG = b"00000", b"WRONG", b"SLOW!"
STATEMENT_TIMEOUT_S = 40.0
_CONNECT_TIMEOUT_S = 10
_PAUSE_S = (0.02, 0.1)
_FLUSH_S = 0.2
_KNOWN_BOOKS = 3_000
_MOST_CANCELS = 5
_CANCELLED_WITHIN_S = 2.0
_WORDS = ("ring", "the", "love", "war", "night", "house", "sea", "man", "king", "great", "time", "garden")

log = logging.getLogger("loadtest.users")


class WrongAnswer(Exception):
    """A row that cannot be: worse than any error."""


@dataclass(frozen=True, slots=True)
class Library:
    """What all users know of it. `books` are (branch, isbn); nothing here changes while it is measured."""

    target: str
    books: tuple[tuple[str, int], ...]
    count: int

    @property
    def branches(self) -> tuple[str, ...]:
        return tuple(sorted({branch for branch, _ in self.books}))


class User:
    """One user with one connection, made anew when it broke."""

    def __init__(self, library: Library, seed: int) -> None:
        self.library = library
        self.random = random.Random(seed)
        self.connection: AsyncConnection[Any] | None = None
        self.branch = ""  # the shard that the statement under way concerns, if it is one

    async def connected(self) -> AsyncConnection[Any]:
        if self.connection is None or self.connection.closed:
            self.connection = await connect(self.library.target)
        return self.connection

    async def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        cursor = await (await self.connected()).execute(sql.encode(), values or None)
        return await cursor.fetchall()

    def book(self) -> tuple[str, int]:
        self.branch, isbn = self.random.choice(self.library.books)
        return self.branch, isbn

    async def disconnect(self) -> None:
        if self.connection is not None:
            await self.connection.close()
            self.connection = None


async def connect(target: str) -> AsyncConnection[Any]:
    return await AsyncConnection.connect(target, autocommit=True, connect_timeout=_CONNECT_TIMEOUT_S)


# What users do


async def read_one(user: User) -> None:
    book = user.book()
    rows = await user.rows("SELECT branch, isbn FROM books WHERE branch = %s AND isbn = %s", book)
    check(rows == [book], (book, rows))


async def write_one(user: User) -> None:
    book = user.book()
    statement = "UPDATE books SET checked_out = NOT checked_out WHERE branch = %s AND isbn = %s RETURNING branch, isbn"
    rows = await user.rows(statement, book)
    check(rows == [book], (book, rows))


async def search(user: User) -> None:
    word = user.random.choice(_WORDS)
    rows = await user.rows("SELECT book_name FROM books WHERE book_name ILIKE %s LIMIT 20", (f"%{word}%",))
    check(all(word in name.lower() for (name,) in rows), (word, rows))


async def ordered(user: User) -> None:
    rows = await user.rows("SELECT isbn FROM books ORDER BY isbn DESC, branch LIMIT 50")
    check(len(rows) == 50 and rows == sorted(rows, reverse=True), rows)


async def count(user: User) -> None:
    rows = await user.rows("SELECT count(*) FROM books")
    check(rows == [(user.library.count,)], rows)


async def by_branch(user: User) -> None:
    rows = await user.rows("SELECT branch, count(*) FROM books GROUP BY branch ORDER BY branch")
    check(tuple(branch for branch, _ in rows) == user.library.branches, rows)
    check(sum(number for _, number in rows) == user.library.count, rows)


async def transaction(user: User) -> None:
    book = user.book()
    connection = await user.connected()
    async with connection.transaction():
        rows = await user.rows("SELECT branch, isbn FROM books WHERE branch = %s AND isbn = %s", book)
        check(rows == [book], (book, rows))
        async with connection.transaction(force_rollback=True):
            await user.rows("UPDATE books SET genre = 'none' WHERE branch = %s AND isbn = %s RETURNING 1", book)
        (genre,) = (await user.rows("SELECT genre FROM books WHERE branch = %s AND isbn = %s", book))[0]
        check(genre != "none", (book, genre))


async def pipeline(user: User) -> None:
    connection = await user.connected()
    books = [user.random.choice(user.library.books) for _ in range(10)]
    async with connection.pipeline():
        cursors = [
            await connection.execute("SELECT branch, isbn FROM books WHERE branch = %s AND isbn = %s", book)
            for book in books
        ]
        rows = [await cursor.fetchone() for cursor in cursors]
        check(rows == books, (books, rows))


async def leave_a_stream(user: User) -> None:
    """On a connection of its own: psycopg cannot pipeline on one that it has left a stream on."""
    async with await connect(user.library.target) as connection:
        rows = connection.cursor().stream("SELECT isbn FROM books")
        for _ in range(5):
            await anext(rows)
        await rows.aclose()
        cursor = await connection.execute("SELECT 42")
        check(await cursor.fetchone() == (42,))


async def reconnect(user: User) -> None:
    async with await connect(user.library.target) as connection:
        cursor = await connection.execute("SELECT 42")
        check(await cursor.fetchone() == (42,))


async def cancel(user: User) -> None:
    """A server that has not begun the statement when the request comes does nothing, so it is repeated, and told."""
    connection = await user.connected()
    running = asyncio.create_task(user.rows("SELECT pg_sleep(20)"))
    for attempt in range(_MOST_CANCELS):
        if attempt:
            log.warning("a cancel is repeated: the statement runs on")
        await asyncio.sleep(0.02)
        await connection.cancel_safe(timeout=10)
        if (await asyncio.wait({running}, timeout=_CANCELLED_WITHIN_S))[0]:
            break
    try:
        await running
    except psycopg.errors.QueryCanceled:
        return
    raise WrongAnswer("it was not cancelled")


async def vanish(user: User) -> None:
    """Leave in the middle of a statement, without a word."""
    connection = await connect(user.library.target)
    connection.pgconn.send_query(b"SELECT a.isbn FROM books a ORDER BY a.isbn")
    connection.pgconn.flush()
    await asyncio.sleep(0)
    connection.pgconn.finish()
    await connection.close()


Deed = Callable[[User], Awaitable[None]]
MIXES: Mapping[str, Mapping[Deed, int]] = {
    "reads": {read_one: 8, search: 2},
    "library": {read_one: 6, search: 2, write_one: 2},
    "everything": {
        read_one: 20,
        write_one: 6,
        search: 6,
        ordered: 4,
        count: 2,
        by_branch: 2,
        transaction: 4,
        pipeline: 3,
        leave_a_stream: 2,
        reconnect: 2,
        cancel: 1,
        vanish: 1,
    },
}
ON_ONE_SHARD: frozenset[Deed] = frozenset({read_one, write_one, transaction})
WRITES: frozenset[Deed] = frozenset({write_one, transaction})


def check(right: bool, seen: object = None) -> None:
    if not right:
        raise WrongAnswer(f"{seen!r:.500}")


def kinds(mix: str, branches: Sequence[str]) -> list[str]:
    """The names of a record's kinds, by their number: `read_one west`, `search`, …"""
    names = []
    for deed in MIXES[mix]:
        names += [f"{_name(deed)} {branch}" for branch in branches] if deed in ON_ONE_SHARD else [_name(deed)]
    return names


def _name(deed: Deed) -> str:
    return deed.__name__  # type: ignore[attr-defined,no-any-return]


async def learn(target: str) -> Library:
    async with await connect(target) as connection:
        cursor = await connection.execute("SELECT count(*) FROM books")
        row = await cursor.fetchone()
        assert row is not None
        cursor = await connection.execute(
            "SELECT branch, isbn FROM books ORDER BY isbn, branch LIMIT %s", (_KNOWN_BOOKS,)
        )
        return Library(target, tuple((branch, isbn) for branch, isbn in await cursor.fetchall()), row[0])


async def live(user: User, mix: str, numbers: Mapping[str, int], ended: asyncio.Event, output: BinaryIO) -> None:
    """One user's statements until the end; each leaves its record."""
    deeds, weights = list(MIXES[mix]), list(MIXES[mix].values())
    while not ended.is_set():
        await asyncio.sleep(user.random.uniform(*_PAUSE_S))
        (deed,) = user.random.choices(deeds, weights)
        user.branch = user.library.books[0][0]
        began, started = time.time(), time.perf_counter()
        sqlstate = await attempt(deed, user)
        name = f"{_name(deed)} {user.branch}" if deed in ON_ONE_SHARD else _name(deed)
        output.write(RECORD.pack(began, time.perf_counter() - started, numbers[name], sqlstate))


async def attempt(deed: Deed, user: User) -> bytes:
    """The SQLSTATE that it ended with; 08006 for a connection that broke without one."""
    try:
        async with asyncio.timeout(STATEMENT_TIMEOUT_S):
            await deed(user)
    except WrongAnswer as wrong:
        log.warning("wrong answer to %s: %s", _name(deed), wrong)
        return WRONG
    except TimeoutError:
        await user.disconnect()
        return TOO_LONG
    except (psycopg.Error, OSError) as failure:
        if isinstance(failure, psycopg.OperationalError | psycopg.InterfaceError | OSError):
            await user.disconnect()
        return (getattr(failure, "sqlstate", None) or "08006").encode()
    return OK


async def run(target: str, users: int, seconds: float, mix: str, output: Path, seed: int) -> None:
    library = await learn(target)
    numbers = {name: number for number, name in enumerate(kinds(mix, library.branches))}
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.call_later(seconds, ended.set)
    with output.open("ab", buffering=1 << 20) as file:
        people = [User(library, seed * 10_000 + number) for number in range(users)]
        async with asyncio.TaskGroup() as tasks:
            for person in people:
                tasks.create_task(live(person, mix, numbers, ended, file))
            while not ended.is_set():
                await asyncio.sleep(_FLUSH_S)
                file.flush()
        for person in people:
            await person.disconnect()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtest.users", description=__doc__)
    parser.add_argument("--target", required=True, help="the proxy, as a libpq connection string")
    parser.add_argument("--output", type=Path, required=True, help="the file of records")
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--mix", choices=sorted(MIXES), default="library")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # of broken connections the records tell
    asyncio.run(run(given.target, given.users, given.seconds, given.mix, given.output, given.seed))


if __name__ == "__main__":
    main()
