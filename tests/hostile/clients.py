"""What hostile clients send: messages that are right, nearly right and nonsense, in any order and cut anywhere."""

from __future__ import annotations

import struct

from pgproxy.wire import extended, messages
from tests.hostile.draw import Draw
from tests.raw_client import GSSENC_REQUEST, SSL_REQUEST, cancel_request, frame, startup

USER = {"user": "postgres", "database": "library_system"}
SQL = (
    "SELECT 1",
    "SELECT * FROM books WHERE branch = 'west'",
    "SELECT * FROM books WHERE branch = $1",
    "SELECT isbn, branch, price FROM books ORDER BY isbn",
    "SELECT isbn, branch, price FROM books ORDER BY price DESC, isbn LIMIT 2",
    "SELECT count(*), max(isbn) FROM books",
    "SELECT branch, avg(price) FROM books GROUP BY branch ORDER BY 2",
    "SELECT DISTINCT isbn, branch, price FROM books",
    "SELECT * FROM books CROSS JOIN patrons",
    "INSERT INTO books (isbn, branch) VALUES (1, 'west')",
    "INSERT INTO patrons (patron_id) VALUES ($1)",
    "UPDATE books SET price = $2 WHERE branch = $1",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT a",
    "ROLLBACK TO a",
    "SET search_path = public",
    "SET LOCAL work_mem = '1MB'",
    "RESET ALL",
    "DISCARD ALL",
    "DEALLOCATE ALL",
    "EXPLAIN SELECT count(*) FROM books",
    "STATUS;",
    "SELECT 1; SELECT * FROM books; COMMIT; BEGIN",
    "",
    ";",
    "selec",
    "SHOW work_mem",
    "COPY books TO STDOUT",
    "DECLARE c CURSOR FOR SELECT * FROM books",
    "FETCH ALL FROM c",
    "PREPARE p AS SELECT $1::int",
    "EXECUTE p(1)",
    "LISTEN a",
    "SELECT pg_sleep(1)",
)
STATEMENTS = SQL[:8]
NAMES = ("", "a", "b")
VALUES = (None, b"", b"west", b"\0\0\0\1", b"7", b"\xff")
_KINDS = "QPBDECSHXFpdcfRT?\0"


def conversation(draw: Draw) -> list[bytes]:
    """The pieces in which the bytes of one connection come."""
    stream = b"".join([_opening(draw), *(message(draw) for _ in range(draw.number(0, 12)))])
    cuts = sorted({draw.number(0, len(stream)) for _ in range(draw.number(0, 4))})
    return [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def _opening(draw: Draw) -> bytes:
    choice = draw.number(0, 9)
    if choice == 0:
        return draw.blob(60)
    if choice == 1:
        return struct.pack("!II", draw.number(0, 0xFFFFFFFF), draw.number(0, 0xFFFFFFFF)) + draw.blob(40)
    if choice == 2:
        return cancel_request(draw.number(0, 3), draw.blob(8))
    asked = draw.pick((b"", b"", b"", SSL_REQUEST, GSSENC_REQUEST, SSL_REQUEST * 3))
    return asked + startup(USER | _start_up_parameters(draw), draw.pick((3 << 16, 3 << 16, 3 << 16 | 2, 2 << 16)))


def _start_up_parameters(draw: Draw) -> dict[str, str]:
    return draw.pick(
        (
            {},
            {},
            {},
            {"database": "pgproxy"},
            {"options": "-c work_mem=1MB --geqo=off"},
            {"options": "\\"},
            {"options": "-c"},
            {"client_encoding": "LATIN1"},
            {"replication": "database"},
            {"_pq_.x": "1"},
            {"TimeZone": "x'y\\"},
        )
    )


def message(draw: Draw) -> bytes:
    choice = draw.number(0, 11)
    if choice == 0:
        return frame(draw.pick(_KINDS), draw.blob(40))
    if choice == 1:
        header = draw.pick(_KINDS).encode()
        return header + struct.pack("!I", draw.pick([0, 3, 5, 60, 1 << 26, 1 << 30, 0xFFFFFFFF])) + draw.blob(8)
    if choice <= 5:
        return frame("Q", draw.pick(SQL).encode() + draw.pick((b"\0", b"\0", b"\0", b"", b"\xff\0", b"\0\0")))
    return _EXTENDED[choice - 6](draw)


def _parse(draw: Draw) -> bytes:
    return extended.parse_message(draw.pick(NAMES), draw.pick(SQL), draw.pick(((), (0,), (23,), (25, 1700), (16,) * 9)))


def _bind(draw: Draw) -> bytes:
    values = [draw.pick(VALUES) for _ in range(draw.number(0, 3))]
    formats = draw.pick(((), (0,), (1,), (1, 0), (7,)))
    return extended.bind_message(
        draw.pick(NAMES), draw.pick(NAMES), formats, values, draw.pick(((), (1,), (0, 1), (9,)))
    )


def _describe(draw: Draw) -> bytes:
    return frame("D", draw.pick((b"S", b"P", b"x", b"")) + draw.pick(NAMES).encode() + b"\0")


def _execute(draw: Draw) -> bytes:
    return extended.execute_message(draw.pick(NAMES), draw.pick((0, 0, 1, 2, -1)))


def _end(draw: Draw) -> bytes:
    return draw.pick((messages.sync(), extended.flush(), frame("C", b"Sa\0"), frame("C", b"Pa\0"), frame("X")))


def _whole(draw: Draw) -> bytes:
    return b"".join(
        (
            extended.parse_message("", draw.pick(SQL), ()),
            extended.bind_message("", "", (), [draw.pick(VALUES)] * draw.number(0, 2), draw.pick(((), (1,)))),
            extended.describe_portal(""),
            extended.execute_message("", draw.pick((0, 0, 1))),
            messages.sync(),
        )
    )


_EXTENDED = (_parse, _bind, _describe, _execute, _end, _whole)
