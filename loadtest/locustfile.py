"""Readers and lenders of the library, as a Locust user: psycopg over the simple query protocol.

`--host` is a libpq connection string. Locust patches the standard library for gevent as it is imported, and
psycopg waits in patched selectors then: users run side by side in one process.
"""

from __future__ import annotations

import random
import time
from typing import Any, ClassVar

from locust import User, between, task
from psycopg import ClientCursor, Connection, Error, OperationalError, connect

DEFAULT_HOST = "host=127.0.0.1 port=6432 user=postgres dbname=library_system"
WORDS = ("ring", "the", "love", "war", "night", "house", "sea", "man", "king", "great", "time", "o'b")
_KNOWN_BOOKS = 2_000


class LibraryUser(User):
    """One client with one connection. Every statement is one Locust request, `READ …` or `WRITE …`."""

    host = DEFAULT_HOST
    wait_time = between(0.02, 0.1)
    known: ClassVar[list[tuple[str, int]]] = []
    connection: Connection[Any] | None = None

    def on_start(self) -> None:
        if not self.known:
            rows = self.request("READ", "known_books", "SELECT branch, isbn FROM books LIMIT %s", (_KNOWN_BOOKS,))
            self.known[:] = rows

    def on_stop(self) -> None:
        self.disconnect()

    @task(8)
    def search_books(self) -> None:
        pattern = f"%{random.choice(WORDS)}%"
        self.request(
            "READ",
            "search_books",
            "SELECT isbn, branch, book_name, author, checked_out FROM books WHERE book_name ILIKE %s LIMIT %s",
            (pattern, random.choice((5, 10, 20))),
        )

    @task(2)
    def hot_small(self) -> None:
        self.request(
            "READ",
            "hot_small",
            "SELECT book_name, author, price, checked_out FROM books WHERE branch = %s AND isbn = %s",
            self.book(),
        )

    @task(1)
    def toggle_checkout(self) -> None:
        self.request(
            "WRITE",
            "toggle_checkout",
            "UPDATE books SET checked_out = NOT checked_out WHERE branch = %s AND isbn = %s RETURNING checked_out",
            self.book(),
        )

    def book(self) -> tuple[str, int]:
        return random.choice(self.known or [("west", 9780451524935)])

    def request(self, kind: str, name: str, sql: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        """Run one statement, tell Locust how it went, and give its rows ([] when it failed)."""
        started = time.perf_counter()
        rows: list[tuple[Any, ...]] = []
        failure: Error | None = None
        try:
            rows = self.connected().execute(sql, values).fetchall()
        except Error as error:
            failure = error
            if isinstance(error, OperationalError):
                self.disconnect()
        self.environment.events.request.fire(
            request_type=kind,
            name=name,
            response_time=(time.perf_counter() - started) * 1000,
            response_length=len(rows),
            exception=failure,
            context=self.context(),
        )
        return rows

    def connected(self) -> Connection[Any]:
        """This user's connection, made anew when the last one broke."""
        if self.connection is None or self.connection.closed:
            self.connection = connect(self.host, autocommit=True, cursor_factory=ClientCursor, connect_timeout=10)
            self.connection.prepare_threshold = None
        return self.connection

    def disconnect(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None
