"""How a statement reaches a node and what form its answer has: as a simple Query, or bound with values."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.exchange import Exchange, Mode
from pgproxy.backend.prepared import BoundStatement
from pgproxy.errors import ProxyError

if TYPE_CHECKING:
    from pgproxy.session.node_portals import OpenRows


_FIRST_OF_USERS = 16_384  # oids of types that an extension or a user made


@dataclass(frozen=True, slots=True)
class WantedPortal:
    """A portal of this name for the text. `rows`: fetch so many of it at once, if any. `as_text`: they are to be looked
    into, so they must come in text format."""

    name: str
    sql: str
    rows: int | None
    as_text: bool


class Call(Protocol):
    """`describe`: the client wants a RowDescription before the rows. `result_formats`: as in Bind."""

    @property
    def describe(self) -> bool: ...

    @property
    def result_formats(self) -> tuple[int, ...]: ...

    def send(
        self, connection: BackendConnection, sql: str, mode: Mode, wake: Callable[[], None], *, as_text: bool = False
    ) -> Exchange:
        """Run the text there. `as_text`: the rows are to be looked into, so they must come in text format. In
        mode ROWS the answer is described in any case."""
        ...

    def send_part(
        self,
        connection: BackendConnection,
        sql: str,
        wake: Callable[[], None],
        *,
        describe: bool,
        used: Collection[int] | None,
    ) -> Exchange:
        """Run a part of the statement there, in mode ROWS and the client's formats, other parts before or behind it.
        `used`: the numbers of the parameters that stand in the part, whose text will hardly come again; None: it has
        all of them."""
        ...

    def sent(self, connection: BackendConnection, exchange: Exchange) -> None:
        """It runs there already."""
        ...

    @property
    def max_rows(self) -> int:
        """How many rows the client wants for now, 0 for all."""
        ...

    @property
    def goes_on(self) -> bool:
        """The client may ask for more of the same portal later."""
        ...

    def suspend(self, rows: OpenRows) -> None:
        """There is more, and here it is."""
        ...

    def open(self, connection: BackendConnection, wanted: WantedPortal, wake: Callable[[], None]) -> Exchange:
        """Open a portal there, described."""
        ...

    def evaluate(
        self, connection: BackendConnection, sql: str, parameters: Collection[int], wake: Callable[[], None]
    ) -> Exchange:
        """Run a statement of the proxy's own there, with the values of these parameters, for rows in text format."""
        ...

    def text(self, parameter: int) -> str | None:
        """What is bound to the parameter of this number, which is of type text."""
        ...

    def again(self) -> None:
        """It is run once more, and nothing of it has reached the client."""
        ...

    def accepted(self, exchange: Exchange) -> None:
        """Something of the answer to a spliced statement has come, or it has ended well or badly: send what goes
        before it. Called once or more."""
        ...


class SimpleCall:
    """A simple Query."""

    describe = True
    result_formats: tuple[int, ...] = ()
    max_rows = 0
    goes_on = False

    def suspend(self, rows: OpenRows) -> None:
        raise AssertionError("a simple Query takes all rows")

    def send(
        self, connection: BackendConnection, sql: str, mode: Mode, wake: Callable[[], None], *, as_text: bool = False
    ) -> Exchange:
        return connection.query(sql, mode, wake)

    def send_part(
        self,
        connection: BackendConnection,
        sql: str,
        wake: Callable[[], None],
        *,
        describe: bool,
        used: Collection[int] | None,
    ) -> Exchange:
        return connection.query(sql, Mode.ROWS, wake)

    def sent(self, connection: BackendConnection, exchange: Exchange) -> None:
        pass

    def open(self, connection: BackendConnection, wanted: WantedPortal, wake: Callable[[], None]) -> Exchange:
        bound = BoundStatement(wanted.sql, (), (), (), (), portal=wanted.name, max_rows=wanted.rows, once=True)
        return connection.run_bound(bound, Mode.ROWS, wake)

    def evaluate(
        self, connection: BackendConnection, sql: str, parameters: Collection[int], wake: Callable[[], None]
    ) -> Exchange:
        return connection.query(sql, Mode.ROWS, wake)  # which says that there is no parameter $1

    def text(self, parameter: int) -> str | None:
        return None

    def again(self) -> None:
        pass

    def accepted(self, exchange: Exchange) -> None:
        pass


SIMPLE = SimpleCall()


@dataclass(slots=True)
class BoundCall:
    """One Execute. `replies` are what the client is still owed for its Parse and Bind (each None when it has
    had it): they are sent once a node has accepted these."""

    statement: BoundStatement  # its text is replaced by each shard's
    parse_reply: bytes | None
    bind_reply: bytes | None
    reply: Callable[[bytes], None]
    sent_to: BackendConnection | None = None
    exchange: Exchange | None = None
    exchanges: list[Exchange] = field(default_factory=list)
    rows: OpenRows | None = None  # what is left for later
    _owed: tuple[bytes | None, bytes | None] = field(init=False)

    def __post_init__(self) -> None:
        self._owed = self.parse_reply, self.bind_reply

    @property
    def describe(self) -> bool:
        return self.statement.describe

    @property
    def max_rows(self) -> int:
        return self.statement.max_rows or 0

    @property
    def goes_on(self) -> bool:
        return bool(self.statement.portal)

    def suspend(self, rows: OpenRows) -> None:
        self.rows = rows

    @property
    def suspended(self) -> bool:
        """The portal that it ran in has more rows."""
        return self.exchange is not None and self.exchange.suspended

    @property
    def result_formats(self) -> tuple[int, ...]:
        return self.statement.result_formats

    def send(
        self, connection: BackendConnection, sql: str, mode: Mode, wake: Callable[[], None], *, as_text: bool = False
    ) -> Exchange:
        bound = replace(
            self.statement,
            sql=sql,
            describe=self.statement.describe or mode is Mode.ROWS,
            result_formats=() if as_text else self.statement.result_formats,
            max_rows=0 if mode is Mode.ROWS else self.statement.max_rows,
        )
        exchange = connection.run_bound(bound, mode, wake)
        self.sent(connection, exchange)
        return exchange

    def send_part(
        self,
        connection: BackendConnection,
        sql: str,
        wake: Callable[[], None],
        *,
        describe: bool,
        used: Collection[int] | None,
    ) -> Exchange:
        values = self.statement.values if used is None else self._only(used)
        bound = replace(
            self.statement,
            sql=sql,
            values=values,
            describe=describe,
            portal="",
            max_rows=0,
            once=self.statement.once or used is not None,
        )
        exchange = connection.run_bound(bound, Mode.ROWS, wake)
        self.exchanges.append(exchange)
        return exchange

    def sent(self, connection: BackendConnection, exchange: Exchange) -> None:
        self.sent_to = connection
        self.exchange = exchange
        self.exchanges.append(exchange)

    def open(self, connection: BackendConnection, wanted: WantedPortal, wake: Callable[[], None]) -> Exchange:
        bound = replace(
            self.statement,
            sql=wanted.sql,
            describe=True,
            result_formats=() if wanted.as_text else self.statement.result_formats,
            portal=wanted.name,
            max_rows=wanted.rows,
        )
        exchange = connection.run_bound(bound, Mode.ROWS, wake)
        self.exchanges.append(exchange)
        return exchange

    def evaluate(
        self, connection: BackendConnection, sql: str, parameters: Collection[int], wake: Callable[[], None]
    ) -> Exchange:
        """The client's parameters by their numbers, typed as on the shards."""
        if not parameters:
            return connection.query(sql, Mode.ROWS, wake)
        statement = self.statement
        values = self._only(parameters)
        bound = BoundStatement(sql, statement.types, statement.parameter_formats, values, (), once=True)
        return connection.run_bound(bound, Mode.ROWS, wake)

    def _only(self, parameters: Collection[int]) -> tuple[bytes | None, ...]:
        """The values of these. Others, which may be long, are left out (not those of a user's type: it may be a domain
        that takes no NULL)."""
        users = {number for number, oid in enumerate(self.statement.types, 1) if oid >= _FIRST_OF_USERS}
        kept = users.union(parameters)
        return tuple(value if number in kept else None for number, value in enumerate(self.statement.values, 1))

    def text(self, parameter: int) -> str | None:
        value = self.statement.values[parameter - 1]
        return None if value is None else value.decode(errors="replace")

    def accepted(self, exchange: Exchange) -> None:
        if self.parse_reply is not None and exchange.parsed:
            self.reply(self.parse_reply)
            self.parse_reply = None
        if self.bind_reply is not None and exchange.bound:
            self.reply(self.bind_reply)
            self.bind_reply = None

    def again(self) -> None:
        self.parse_reply, self.bind_reply = self._owed
        self.exchange = self.sent_to = None
        self.exchanges.clear()

    def renew(self) -> None:
        """What nodes have prepared is out of date: let them parse it anew."""
        self.statement = replace(self.statement, renewed=True)
        self.exchanges.clear()

    def failed(self, error: ProxyError) -> None:
        """It ended in this error: replies for what the node had accepted before go out."""
        for exchange in self.exchanges:
            if exchange.error is error:
                self.accepted(exchange)
