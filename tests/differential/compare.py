"""Runs one statement on the proxy and on one PostgreSQL and says how the answers differ, byte by byte.

The raw protocol's results are compared (psycopg's libpq wrapper, simple query protocol): column names,
type OIDs, modifiers and sizes, text values, command tags, SQLSTATEs.
"""

from __future__ import annotations

import re
import select
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import groupby

from psycopg import pq
from psycopg.pq.abc import PGconn, PGresult

from tests.differential.statement import Select, Statement

Row = tuple[bytes | None, ...]

REFUSED = "0A000"
NUMERIC, FLOAT4, FLOAT8 = 1700, 700, 701
_TIMEOUT_S = 30.0


class Mode(Enum):
    """How statements are sent: as simple Queries, or by the extended protocol with results in one of the formats."""

    SIMPLE = "simple"
    TEXT = "extended text"
    BINARY = "extended binary"
    BOUND = "extended bound"  # as text, and constants of WHERE and HAVING become parameters without a declared type


# What every statement is sent in; BOUND is another statement.
MODES = (Mode.SIMPLE, Mode.TEXT, Mode.BINARY)


class Verdict(Enum):
    AGREED = "agreed"
    REFUSED = "refused"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class ResultColumn:
    name: str
    type_oid: int
    modifier: int
    size: int
    format: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """One result: rows and tag, or an error."""

    columns: tuple[ResultColumn, ...] = ()
    rows: tuple[Row, ...] = ()
    tag: str = ""
    sqlstate: str | None = None
    message: str = ""
    hint: str = ""

    def __str__(self) -> str:
        if self.sqlstate is not None:
            return f"{self.sqlstate} {self.message}"
        names = [f"{column.name}:{column.type_oid}" for column in self.columns]
        shown = "".join(f"\n    {row}" for row in self.rows[:12])
        return f"{self.tag} {names}{shown}{' …' if len(self.rows) > 12 else ''}"


@dataclass(frozen=True, slots=True)
class Comparison:
    verdict: Verdict
    why: str = ""


class Server:
    """One side: a connection that is opened again when it broke."""

    def __init__(self, conninfo: str) -> None:
        self.mode = Mode.SIMPLE
        self.conninfo = conninfo
        self._connection: PGconn | None = None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.finish()
            self._connection = None

    def run(self, sql: str) -> Answer:
        """The last result of a Query message, or its error."""
        return self.run_all(sql)[-1]

    def run_all(self, sql: str) -> list[Answer]:
        """Every result of a Query message, in order."""
        if self._connection is None:
            self._connection = connect(self.conninfo)
        try:
            return _exchange(self._connection, sql, self.mode)
        except (ConnectionError, TimeoutError) as broken:
            self.close()
            return [Answer(sqlstate="broken", message=str(broken))]


def connect(conninfo: str) -> PGconn:
    connection = pq.PGconn.connect(conninfo.encode())
    if connection.status != pq.ConnStatus.OK:
        raise ConnectionError(connection.error_message.decode())
    connection.notice_handler = None
    return connection


def _exchange(connection: PGconn, sql: str, mode: Mode) -> list[Answer]:
    if mode is Mode.SIMPLE:
        connection.send_query(sql.encode())
    else:
        text, values = parametrised(sql) if mode is Mode.BOUND else (sql, [])
        connection.send_query_params(text.encode(), values, result_format=int(mode is Mode.BINARY))
    deadline = time.monotonic() + _TIMEOUT_S
    answers = []
    copied: tuple[Row, ...] = ()
    while True:
        while connection.is_busy():
            _await_input(connection, deadline)
        result = connection.get_result()
        if result is None:
            break
        if result.status == pq.ExecStatus.COPY_OUT:
            copied = tuple(_copied(connection, deadline))
        elif result.status == pq.ExecStatus.COPY_IN:
            connection.put_copy_end(b"there are no data")
        else:
            answers.append(replace(answer_of(result), rows=copied) if copied else answer_of(result))
            copied = ()
        result.clear()
    if connection.status != pq.ConnStatus.OK:
        raise ConnectionError(str(answers[-1]) if answers else "connection lost")
    return answers


def _copied(connection: PGconn, deadline: float) -> Iterator[Row]:
    """What COPY TO STDOUT gives, a message a row."""
    while True:
        length, data = connection.get_copy_data(1)
        if length < 0:
            return
        if length > 0:
            yield (bytes(data),)
        else:
            _await_input(connection, deadline)


def _await_input(connection: PGconn, deadline: float) -> None:
    ready, _, _ = select.select([connection.socket], [], [], max(0.0, deadline - time.monotonic()))
    if not ready:
        raise TimeoutError(f"no answer within {_TIMEOUT_S:.0f} s")
    try:
        connection.consume_input()
    except Exception as broken:
        raise ConnectionError(str(broken)) from broken


_CONDITIONS = re.compile(
    r"(?:(?<= WHERE )|(?<= HAVING )).*?(?= GROUP BY | HAVING | ORDER BY | LIMIT | OFFSET | RETURNING |$)", re.DOTALL
)
_CONSTANT = re.compile(r"(?<= [=<>] )(?:'((?:[^'\\]|'')*)'|(-?[0-9]+))(?=[ )]|$)")


def parametrised(sql: str) -> tuple[str, list[bytes]]:
    """The statement with constants that something is compared with as `$n`, and their values."""
    values: list[bytes] = []

    def parameter(constant: re.Match[str]) -> str:
        text = constant[2] if constant[1] is None else constant[1].replace("''", "'")
        values.append(text.encode())
        return f"${len(values)}"

    return _CONDITIONS.sub(lambda conditions: _CONSTANT.sub(parameter, conditions[0]), sql), values


def answer_of(result: PGresult) -> Answer:
    if result.status in (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.BAD_RESPONSE):
        sqlstate = result.error_field(pq.DiagnosticField.SQLSTATE)
        return Answer(
            sqlstate=(sqlstate or b"broken").decode(),
            message=(result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"").decode(),
            hint=(result.error_field(pq.DiagnosticField.MESSAGE_HINT) or b"").decode(),
        )
    width = range(result.nfields)
    columns = tuple(
        ResultColumn(
            (result.fname(i) or b"").decode(), result.ftype(i), result.fmod(i), result.fsize(i), result.fformat(i)
        )
        for i in width
    )
    rows = tuple(tuple(_one_nan(result.get_value(n, i), columns[i]) for i in width) for n in range(result.ntuples))
    return Answer(columns, rows, (result.command_status or b"").decode())


def _one_nan(value: bytes | None, column: ResultColumn) -> bytes | None:
    """A binary NaN without its sign: in PostgreSQL it is what the processor left there, and text does not show it."""
    if column.format and value in _NEGATIVE_NANS.get(column.type_oid, ()):
        return bytes([value[0] & 0x7F]) + value[1:]
    return value


_NEGATIVE_NANS = {FLOAT4: (b"\xff\xc0\0\0",), FLOAT8: (b"\xff\xf8\0\0\0\0\0\0",)}


def compare(statement: Statement, proxy: Server, reference: Server) -> Comparison:
    """Run it on both. The proxy goes first: what it refuses must not change the reference's data."""
    got = proxy.run(statement.text())
    if got.sqlstate == REFUSED:
        return Comparison(Verdict.REFUSED, got.message)
    want = reference.run(statement.text())
    why = _differs(statement, got, want, reference)
    return Comparison(Verdict.DIFFERENT, f"{why}\n  proxy:     {got}\n  reference: {want}") if why else AGREED


AGREED = Comparison(Verdict.AGREED)


def _differs(statement: Statement, got: Answer, want: Answer, reference: Server) -> str | None:
    if got.sqlstate != want.sqlstate:
        return f"SQLSTATE {got.sqlstate} instead of {want.sqlstate}"
    if got.sqlstate is not None:
        return None
    if described(statement, got) != described(statement, want):
        return f"columns {got.columns} instead of {want.columns}"
    if got.tag != want.tag:
        return f"tag {got.tag!r} instead of {want.tag!r}"
    if isinstance(statement, Select) and (statement.order or statement.limit or statement.offset):
        return illegal(statement, got, reference.run(statement.ranked()))
    loose = isinstance(statement, Select) and statement.representatives
    return same_rows(canonical(got.rows, got.columns, loose), canonical(want.rows, want.columns, loose))


def described(statement: Statement, answer: Answer) -> list[ResultColumn]:
    """The columns as they are compared: a group key beside an expression of aggregates may lose its type modifier."""
    if isinstance(statement, Select) and statement.group:
        return [replace(column, modifier=-1) for column in answer.columns]
    return list(answer.columns)


def same_rows(got: Iterable[Row], want: Iterable[Row]) -> str | None:
    """Compare as multisets."""
    extra, missing = Counter(got), Counter(want)
    extra, missing = extra - missing, missing - extra
    return f"rows too many {dict(extra)}, rows missing {dict(missing)}" if extra or missing else None


def illegal(statement: Select, got: Answer, everything: Answer) -> str | None:
    """Why these rows cannot be an answer, given all rows with their rank as the last column."""
    if everything.sqlstate is not None:
        return f"the ranking statement failed: {everything} of {statement.ranked()}"
    by_rank = sorted(everything.rows, key=lambda row: _rank(row, everything))
    first = int(statement.offset or 0)
    last = len(by_rank)
    if statement.limit not in (None, "ALL"):
        last = min(last, first + int(statement.limit or 0))
    expected = max(0, last - first)
    if len(got.rows) != expected:
        return f"{len(got.rows)} rows instead of {expected}"
    rows = canonical(got.rows, got.columns, statement.representatives)
    at = 0
    for rank, group in groupby(by_rank, key=lambda row: row[-1]):
        tied = canonical([row[:-1] for row in group], got.columns, statement.representatives)
        begin, end = max(first, at) - first, max(min(last, at + len(tied)) - first, 0)
        surplus = Counter(rows[begin:end]) - Counter(tied) if begin < end else None
        if surplus:
            return f"rows {begin + 1} to {end} must be of rank {rank!r}; these are not: {dict(surplus)}"
        at += len(tied)
    return None


def _rank(row: Row, everything: Answer) -> int:
    """The last column, an int8 in either format."""
    value = row[-1] or b"0"
    binary = bool(everything.columns) and everything.columns[-1].format
    return int.from_bytes(value, "big") if binary else int(value)


def canonical(rows: Sequence[Row], columns: Sequence[ResultColumn], representatives: bool) -> list[Row]:
    """Rows with equal values made the same bytes, where the statement may show any one of several equal values."""
    loose = [index for index, column in enumerate(columns) if column.type_oid in (NUMERIC, FLOAT4, FLOAT8)]
    if not representatives or not loose:
        return list(rows)
    made = []
    for row in rows:
        fields = list(row)
        for index in loose:
            if columns[index].format:
                fields[index] = _same_binary(fields[index], columns[index].type_oid)
            else:
                fields[index] = _same_bytes(fields[index])
        made.append(tuple(fields))
    return made


def _same_bytes(number: bytes | None) -> bytes | None:
    """1.00 as 1, -0 as 0. (No float's text has zeros to drop; exponents, NaN and the infinities stay.)"""
    if number is None:
        return None
    if b"." in number and b"e" not in number:
        number = number.rstrip(b"0").rstrip(b".")
    return b"0" if number == b"-0" else number


def _same_binary(number: bytes | None, type_oid: int) -> bytes | None:
    """The same in binary format: a numeric without its scale (bytes 6 and 7), a float's -0 as 0."""
    if number is None:
        return None
    if type_oid == NUMERIC:
        return number[:6] + number[8:]
    return bytes(len(number)) if number[0] == 0x80 and not any(number[1:]) else number


def minimise(statement: Statement, proxy: Server, reference: Server) -> Statement:
    """The smallest form of a SELECT that still differs."""
    if not isinstance(statement, Select):
        return statement
    for form in statement.simpler():
        if compare(form, proxy, reference).verdict is Verdict.DIFFERENT:
            return minimise(form, proxy, reference)
    return statement
