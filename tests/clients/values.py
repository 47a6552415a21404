"""Values whose way to the server and back every driver must keep, and statements that every driver runs."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

ISBN = 9780451524935  # of every branch
NEW_ISBN = 9999999999001  # of none; tests that insert books count from here

# A type's name, a value of Python.
VALUES: list[tuple[str, Any]] = [
    ("int", -(2**31)),
    ("bigint", 2**63 - 1),
    ("smallint", -7),
    ("numeric", Decimal("-12345678901234567890.00123")),
    ("numeric(8,2)", Decimal("9.90")),
    ("text", "Brontë, Erdős 'quoted' \\ \n$1 %s"),
    ("text", ""),
    ("text", "x" * 100_000),
    ("bool", True),
    ("bool", False),
    ("date", date(1605, 1, 16)),
    ("date", date(9999, 12, 31)),
    ("time", time(23, 59, 59, 999999)),
    ("timestamp", datetime(1999, 12, 31, 23, 59, 59, 1)),  # noqa: DTZ001 - a timestamp without time zone
    ("timestamptz", datetime(1969, 7, 20, 20, 17, 40, tzinfo=UTC)),
    ("interval", timedelta(days=3, seconds=4, microseconds=5)),
    ("float8", 0.1),
    ("float8", float("-inf")),
    ("bytea", bytes(range(256))),
    ("uuid", UUID("00112233-4455-6677-8899-aabbccddeeff")),
    ("int[]", [1, None, -3]),
    ("text[]", ["a", 'b"c', "{d,e}", None, ""]),
    ("bigint[]", []),
]
IDS = [f"{type_name}-{str(value)[:20]}" for type_name, value in VALUES]

# Routed, scattered and merged, answered by any node, no row at all. Parameters as %s.
STATEMENTS: list[tuple[str, tuple[Any, ...]]] = [
    ("SELECT * FROM books WHERE branch = %s AND isbn = %s", ("west", ISBN)),
    ("SELECT * FROM books WHERE isbn = %s ORDER BY branch", (ISBN,)),
    (
        "SELECT isbn, branch, price FROM books WHERE price > %s ORDER BY price DESC, isbn, branch LIMIT 7",
        (Decimal(10),),
    ),
    ("SELECT genre, count(*), sum(price), avg(price), min(updated_at) FROM books GROUP BY genre ORDER BY genre", ()),
    ("SELECT count(*) FROM books WHERE checked_out = %s", (True,)),
    ("SELECT * FROM patrons WHERE patron_id = %s", (1005,)),
    ("SELECT name, joined FROM patrons WHERE joined >= %s ORDER BY joined, patron_id", (date(2021, 1, 1),)),
    ("SELECT patron_id FROM patrons WHERE patron_id IN (%s, %s, %s) ORDER BY 1", (1001, 1002, 1003)),
    ("SELECT * FROM books WHERE branch = %s", ("nowhere",)),
    ("SELECT CAST(%s AS int) + 1", (41,)),
]
