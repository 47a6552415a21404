"""Several statements before one Sync that are routed: sent to their nodes together, answered in the client's order.

Inside a transaction only (a pipeline outside of one is an implicit transaction), and on nodes that have joined it:
whatever fails undoes what was sent behind it as well, so no node's statement need wait for another's answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, cast

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.exchange import BOUND, ENDED, PARSED, Exchange, ServerError
from pgproxy.backend.prepared import Opening
from pgproxy.errors import ProxyError
from pgproxy.metrics import LONGEST_TAG_BYTES, rows_of_tag
from pgproxy.session.backends import Backends
from pgproxy.session.client import Client
from pgproxy.session.portals import Prepared
from pgproxy.session.positions import with_client_position
from pgproxy.session.routed import Routed
from pgproxy.session.transactions import Transactions
from pgproxy.wire.sequences import SEQUENCE_STARTS, BoundSequence, read_sequence

MOST_AHEAD = 500
MOST_AHEAD_BYTES = 256 * 1024
_FLUSHED_BYTES = 64 * 1024


@dataclass(slots=True)
class Ahead:
    """One statement that is under way. `unnamed` is the session's unnamed statement from its Parse on."""

    routed: Routed
    leg: Leg
    opening: Opening
    unnamed: Prepared | None
    parsed: bool  # or it was already
    owes_parsed: bool  # the client has not heard of its Parse
    ended: bool = False
    last: bytes = b""  # what was passed on last: in the end, its CommandComplete


@dataclass(slots=True)
class Leg:
    """What goes to one node."""

    connection: BackendConnection
    messages: list[bytes] = field(default_factory=list)
    exchange: Exchange | None = None


class Statements(Protocol):
    """The session's prepared statements."""

    @property
    def unnamed(self) -> Prepared | None: ...

    @unnamed.setter
    def unnamed(self, statement: Prepared | None) -> None: ...

    def routed(self, data: bytes, sequence: BoundSequence) -> Routed | None: ...

    def outdated(self, statement: Prepared) -> None:
        """What is known of it has changed on a node."""
        ...


class Pipeline:
    """`last` is the statement that was answered last, well or badly. `answered` hears of each
    that ended well, and how many rows it sent or affected."""

    def __init__(
        self,
        client: Client,
        backends: Backends,
        transactions: Transactions,
        statements: Statements,
        answered: Callable[[Routed, int], None],
    ) -> None:
        self._client = client
        self._backends = backends
        self._transactions = transactions
        self._statements = statements
        self._answered = answered
        self._unflushed = 0
        self.last: Routed | None = None

    @property
    def may_begin(self) -> bool:
        current = self._transactions.current
        return current is not None and not current.failed and self._client.reader.next_kind in SEQUENCE_STARTS

    async def run(self) -> int:
        """Run what the client has sent so far of such statements, and answer it; how many they were. Raises the first
        error, when all behind it is taken: the session skips to Sync anyway."""
        self.last = None
        legs: dict[BackendConnection, Leg] = {}
        under_way = self._take(legs)
        try:
            for leg in legs.values():
                leg.exchange = leg.connection.run_several(b"".join(leg.messages), self._client.wake)
            for number, one in enumerate(under_way):
                self.last = one.routed
                try:
                    await self._answer(one)
                except ProxyError as error:
                    self._failed(under_way[number:], error)
                    raise
            await self._all_ready(legs)
        finally:
            for leg in legs.values():
                self._end(leg)
        return len(under_way)

    def _end(self, leg: Leg) -> None:
        if leg.exchange is not None:
            self._backends.reported.relay(leg.exchange.asides)
            if not leg.exchange.finished:
                leg.exchange.discard()
        self._transactions.leave(leg.connection)

    # What can be sent

    def _take(self, legs: dict[BackendConnection, Leg]) -> list[Ahead]:
        """Take from what the client has sent as far as it can go ahead."""
        reader = self._client.reader
        data, at = reader.ahead
        end = min(len(data), at + MOST_AHEAD_BYTES)
        under_way: list[Ahead] = []
        while at < end and len(under_way) < MOST_AHEAD:
            one = self._next(data, at, legs)
            if one is None:
                break
            under_way.append(one)
            at = one.routed.sequence.end
        reader.skip(at)
        return under_way

    def _next(self, data: bytes, at: int, legs: dict[BackendConnection, Leg]) -> Ahead | None:
        sequence = read_sequence(data, at)
        if sequence is None or sequence.end - at > self._client.reader.max_message_bytes:
            return None
        before = self._statements.unnamed
        routed = self._statements.routed(data, sequence)
        if routed is None:
            return None
        connection = self._transactions.joined(routed.shard.node, routed.plan.effect)
        if connection is None:
            self._statements.unnamed = before
            return None
        leg = legs.get(connection)
        if leg is None:
            leg = legs[connection] = Leg(connection)
        opening = routed.open(connection)
        leg.messages.append(routed.messages(opening, sequence.end))
        parses = sequence.parse is not None
        return Ahead(routed, leg, opening, self._statements.unnamed, not opening.parses, owes_parsed=parses)

    # Answers

    async def _answer(self, one: Ahead) -> None:
        """Hand on what the node says of one statement."""
        client, exchange = self._client, cast(Exchange, one.leg.exchange)
        while not one.ended:
            if exchange.chunks:
                self._pass_on(one, cast(bytes, exchange.take()))
                if self._unflushed > _FLUSHED_BYTES:
                    self._unflushed = 0
                    await client.drain()
            elif exchange.finished:
                self._tell_parsed(one)
                if exchange.broken:
                    client.abort()  # a row was cut in the middle: no error could be told from its data
                raise _error_of(exchange, one.routed)
            else:
                await client.wait()
        one.routed.statement.accepted = True
        self._answered(one.routed, rows_of_tag(one.last[-LONGEST_TAG_BYTES:-1]))

    def _pass_on(self, one: Ahead, chunk: bytes) -> None:
        if chunk is PARSED:
            one.parsed = True
        elif chunk is BOUND:
            self._tell_parsed(one)
            self._client.send(BOUND)
        elif chunk is ENDED:
            one.ended = True
        else:
            self._unflushed += len(chunk)
            one.last = chunk
            self._client.send(chunk)

    def _tell_parsed(self, one: Ahead) -> None:
        if one.owes_parsed and one.parsed:
            one.owes_parsed = False
            self._client.send(PARSED)

    async def _all_ready(self, legs: dict[BackendConnection, Leg]) -> None:
        """The nodes' own Syncs: only then is it known that all went well."""
        for leg in legs.values():
            exchange = cast(Exchange, leg.exchange)
            while not exchange.finished:
                await self._client.wait()
            if exchange.error is not None:
                raise exchange.error

    # Errors

    def _failed(self, rest: list[Ahead], error: ProxyError) -> None:
        """The first of these failed; its node has skipped those behind it, and what they were to prepare there."""
        failed = rest[0]
        prepared = failed.leg.connection.prepared
        if isinstance(error, ServerError) and error.is_stale_plan:
            self._statements.outdated(failed.routed.statement)
            if failed.opening.key is not None:
                prepared.forget(failed.opening.key)
        for one in rest:
            if one.leg is failed.leg:
                if not one.parsed and one.opening.key is not None:
                    prepared.forget(one.opening.key)
                if one is not failed:
                    prepared.close_again(one.opening)
        self._undo_names(failed)

    def _undo_names(self, failed: Ahead) -> None:
        """The unnamed statement is what it was when this one failed: the Parses behind it were skipped."""
        self._statements.unnamed = failed.unnamed
        if failed.routed.sequence.parse is not None:
            failed.routed.statement.accepted = failed.parsed
            if not failed.parsed:
                self._statements.unnamed = None


def _error_of(exchange: Exchange, routed: Routed) -> ProxyError:
    error = exchange.error
    assert error is not None, "a node ends each statement, or says why not"
    if isinstance(error, ServerError):
        return with_client_position(error, routed.plan.route, routed.shard, routed.arguments)
    return error
