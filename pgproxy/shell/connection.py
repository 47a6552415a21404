"""One connection of the shell: a statement goes out as a simple Query, and rows come back as the server's text.

Rows are read one by one, so that a large answer can be left after the first few of them.
"""

from __future__ import annotations

import contextlib
import select
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import psycopg
from psycopg import pq

_POLL_S = 0.2  # how long Ctrl-C may go unnoticed
_CANCEL_TIMEOUT_S = 5.0
_CONNECT_TIMEOUT_S = 5
_CANCELLED = b"57014"
PORTION = 1_000  # rows that are shown together when there is no limit


@dataclass(frozen=True, slots=True)
class Target:
    """Where the proxy is. None: libpq's own rule (PGUSER and its kin, the password file)."""

    host: str
    port: int
    user: str | None = None
    database: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows in PostgreSQL's text format. `more` of the same answer follow; `cut`: the limit was reached."""

    names: tuple[str, ...]
    types: tuple[int, ...]
    rows: list[tuple[str | None, ...]]
    tag: str = ""
    more: bool = False
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """A statement without rows."""

    tag: str


@dataclass(frozen=True, slots=True)
class Failure:
    """An ErrorResponse. `position` counts characters of the statement from 1."""

    severity: str
    sqlstate: str
    message: str
    detail: str | None = None
    hint: str | None = None
    position: int | None = None


Answer = Rows | Done | Failure


class ShellConnection:
    """Raises psycopg.OperationalError when the server is gone; `reconnect` begins anew."""

    def __init__(self, target: Target, on_notice: Callable[[str, str], None]) -> None:
        self._target = target
        self._on_notice = on_notice
        self._connection = self._connect()

    @property
    def target(self) -> Target:
        return self._target

    @property
    def in_transaction(self) -> bool:
        return self._pgconn.transaction_status in (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR)

    @property
    def lost(self) -> bool:
        return self._pgconn.status != pq.ConnStatus.OK

    def reconnect(self) -> None:
        self.close()
        self._connection = self._connect()

    def close(self) -> None:
        self._connection.close()

    def run(self, sql: str, limit: int | None) -> Iterator[Answer]:
        """The answers to a Query, in order. Ctrl-C (KeyboardInterrupt) cancels it and shows how it ended.

        Behind `limit` rows a statement is cancelled; inside a transaction, which that would abort, the rest is read
        and thrown away.
        """
        self._pgconn.send_query(sql.encode())
        self._pgconn.set_single_row_mode()
        try:
            yield from self._answers(limit)
        finally:
            self._drain()

    def _answers(self, limit: int | None) -> Iterator[Answer]:
        while (result := self._next()) is not None:
            if result.status in (pq.ExecStatus.SINGLE_TUPLE, pq.ExecStatus.TUPLES_OK):
                yield from self._rows(result, limit)
            elif result.status in _COPIES:
                self._refuse_copy(result.status)
                yield Failure("ERROR", "0A000", "the shell does not run COPY", hint="psql does.")
            elif result.status == pq.ExecStatus.FATAL_ERROR:
                yield _failure(result)
            elif result.status == pq.ExecStatus.COMMAND_OK:
                yield Done(_text(result.command_status))

    def _rows(self, result: pq.abc.PGresult, limit: int | None) -> Iterator[Answer]:
        names = tuple(_text(result.fname(at)) for at in range(result.nfields))
        types = tuple(result.ftype(at) for at in range(result.nfields))
        rows: list[tuple[str | None, ...]] = []
        while result.status == pq.ExecStatus.SINGLE_TUPLE:
            if limit is not None and len(rows) == limit:
                yield Rows(names, types, rows, cut=True)
                self._leave()
                return
            if len(rows) == PORTION:
                yield Rows(names, types, rows, more=True)
                rows = []
            rows.append(tuple(_cell(result, at) for at in range(result.nfields)))
            following = self._next()
            assert following is not None, "a result ends with its status"
            result = following
        yield Rows(names, types, rows, _text(result.command_status))
        if result.status == pq.ExecStatus.FATAL_ERROR:
            yield _failure(result)

    def _leave(self) -> None:
        """No more of this answer is wanted."""
        if not self.in_transaction:
            self.cancel()
        while (result := self._next()) is not None and result.status == pq.ExecStatus.SINGLE_TUPLE:
            pass

    def cancel(self) -> None:
        with contextlib.suppress(psycopg.Error):
            self._connection.cancel_safe(timeout=_CANCEL_TIMEOUT_S)

    # Inside

    def _connect(self) -> psycopg.Connection:
        target = self._target
        connection = psycopg.connect(
            host=target.host,
            port=target.port,
            user=target.user,
            dbname=target.database,
            password=target.password,
            application_name="pgproxy shell",
            client_encoding="utf8",
            connect_timeout=_CONNECT_TIMEOUT_S,
            autocommit=True,
        )
        self._pgconn = connection.pgconn
        connection.add_notice_handler(self._notice)
        return connection

    def _notice(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        text = diagnostic.message_primary or ""
        if diagnostic.message_hint:
            text += f"\nHINT:  {diagnostic.message_hint}"
        self._on_notice(diagnostic.severity or "NOTICE", text)

    def _next(self) -> pq.abc.PGresult | None:
        """The next result; a first Ctrl-C asks the server to cancel, and waiting goes on."""
        while True:
            try:
                while self._pgconn.is_busy():
                    if select.select([self._pgconn.socket], [], [], _POLL_S)[0]:
                        self._pgconn.consume_input()
                return self._pgconn.get_result()
            except KeyboardInterrupt:
                self.cancel()

    def _drain(self) -> None:
        with contextlib.suppress(psycopg.Error):
            while self._next() is not None:
                pass

    def _refuse_copy(self, status: int) -> None:
        if status == pq.ExecStatus.COPY_IN:
            self._pgconn.put_copy_end(b"the shell has no data to copy")
            return
        self.cancel()
        while self._pgconn.get_copy_data(0)[0] > 0:
            pass


_COPIES = frozenset({pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT, pq.ExecStatus.COPY_BOTH})


def _failure(result: pq.abc.PGresult) -> Failure:
    field_of = result.error_field
    position = field_of(pq.DiagnosticField.STATEMENT_POSITION)
    message = field_of(pq.DiagnosticField.MESSAGE_PRIMARY) or result.error_message
    return Failure(
        _text(field_of(pq.DiagnosticField.SEVERITY)) or "ERROR",
        _text(field_of(pq.DiagnosticField.SQLSTATE)) or "08006",
        _text(message).strip(),
        _text(field_of(pq.DiagnosticField.MESSAGE_DETAIL)) or None,
        _text(field_of(pq.DiagnosticField.MESSAGE_HINT)) or None,
        int(position) if position else None,
    )


def _cell(result: pq.abc.PGresult, at: int) -> str | None:
    value = result.get_value(0, at)
    return None if value is None else value.decode(errors="replace")


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode(errors="replace")
