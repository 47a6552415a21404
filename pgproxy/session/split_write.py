"""A write on several shards, as one statement: on all of them or on none, with one tag and the rows of RETURNING.

Outside of a transaction it is one by itself. Shards of one node take turns on the one connection that a transaction has
there; nodes work side by side where only new rows are written, else in turn as well. Nothing goes to the client before
nothing can fail any more, but for notices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.exchange import Exchange, ServerError
from pgproxy.errors import ConnectionLost, ProtocolViolation, ProxyError, Refused
from pgproxy.metrics import rows_of_tag
from pgproxy.operators.arguments import Arguments
from pgproxy.operators.by_place import ByPlace
from pgproxy.operators.concat import Concat
from pgproxy.operators.source import Pipeline
from pgproxy.operators.spool import Spool
from pgproxy.planner.plan import Effect, Planned, Sharded, Split, SqlTemplate, sql_for
from pgproxy.planner.split import part_of, parts_of, used_parameters
from pgproxy.session.across import why_not_together
from pgproxy.session.backends import Backends, never_sent
from pgproxy.session.call import SIMPLE, Call
from pgproxy.session.client import Client
from pgproxy.session.environment import SessionEnvironment
from pgproxy.session.in_turn import SpooledSource
from pgproxy.session.node_portals import no_connection, rows_over
from pgproxy.session.positions import client_position
from pgproxy.session.rows_out import RowsOut, in_parts
from pgproxy.session.services import Services
from pgproxy.session.transactions import Transactions
from pgproxy.shardmap.model import Shard
from pgproxy.wire import messages
from pgproxy.wire.extended import no_data
from pgproxy.wire.rows import Batch

_SETTLE_S = 1.0  # for other nodes to say what is wrong, when one of them has
_LOOK_AGAIN_S = 0.02
_CANCELED = "57014"


@dataclass(slots=True, eq=False)
class _Part:
    """One shard's. `places` are those of its new rows among all."""

    shard: Shard
    places: Sequence[int]
    text: SqlTemplate
    rows: Spool
    exchange: Exchange | None = None

    @property
    def error(self) -> ProxyError | None:
        return None if self.exchange is None else self.exchange.error


@dataclass(slots=True)
class _Lane:
    """What one connection does, a part after the other. `at`: the one that runs; behind the last when it is through."""

    connection: BackendConnection
    parts: Sequence[_Part]
    at: int = 0
    stopped: bool = False  # cancelled by us

    @property
    def running(self) -> bool:
        exchange = self.parts[self.at].exchange if self.at < len(self.parts) else None
        return exchange is not None and not exchange.finished


class SplitWrite:
    """What `Statements` leaves to it. `run` sends the answer and says how many rows were written or sent."""

    def __init__(
        self, client: Client, services: Services, backends: Backends, transactions: Transactions, rows_out: RowsOut
    ) -> None:
        self._client = client
        self._services = services
        self._backends = backends
        self._transactions = transactions
        self._rows_out = rows_out

    async def run(self, planned: Planned, plan: Sharded, split: Split, shards: Sequence[Shard], call: Call) -> int:
        self._check_together(shards)

        async def attempt() -> list[_Part]:
            return await self._written(planned, plan, split, shards, call)

        parts = await self._transactions.run(attempt, Effect.WRITE, call)
        try:
            return await self._answer(planned, plan.tag, split, parts, call)
        finally:
            if not in_parts(call):
                _close(parts)

    async def _written(
        self, planned: Planned, plan: Sharded, split: Split, shards: Sequence[Shard], call: Call
    ) -> list[_Part]:
        alone = self._transactions.current is None
        parts = self._parts(planned.arguments, plan, split, shards)
        try:
            if alone:
                await self._alone(planned, split, parts, call)
            else:
                await self._write(planned, split, parts, call)
        except BaseException:
            _close(parts)
            raise
        return parts

    async def _alone(self, planned: Planned, split: Split, parts: Sequence[_Part], call: Call) -> None:
        """As a transaction of its own. What fails before its COMMIT has left nothing, so it may be tried again."""
        self._transactions.begin_implicit()
        try:
            await self._write(planned, split, parts, call)
        except ConnectionLost as lost:
            await self._transactions.fail()
            raise never_sent(lost) from None
        except ProxyError:
            await self._transactions.fail()
            raise
        await self._transactions.end_implicit()

    def _check_together(self, shards: Sequence[Shard]) -> None:
        """Raise Refused where several nodes cannot commit together. (`Transactions` knows what else a transaction has
        written.)"""
        nodes = sorted({shard.node for shard in shards})
        if len(nodes) == 1 or self._transactions.on_one_gateway:
            return
        reason = why_not_together(self._backends.in_force.facts)
        if reason is not None:
            raise Refused(
                f"this statement writes on node {nodes[0]} and node {nodes[1]}, which cannot commit together",
                f"{reason}, or write each node's rows by a statement of their own.",
            )

    def _parts(self, arguments: Arguments, plan: Sharded, split: Split, shards: Sequence[Shard]) -> list[_Part]:
        memory_bytes = self._services.shard_map.proxy.sort_memory_bytes // len(shards)
        indexes = [shard.index for shard in shards]
        return [
            _Part(plan.table.shards[index], places, part_of(split, places), Spool(memory_bytes))
            for index, places in parts_of(split, indexes, arguments)
        ]

    # Writing

    async def _write(self, planned: Planned, split: Split, parts: Sequence[_Part], call: Call) -> None:
        lanes: list[_Lane] = []
        try:
            await self._enter(lanes, parts)
            arguments = planned.arguments
            if split.text.asks_time:
                arguments = replace(arguments, now=await self._transactions.now(parts[0].shard.node))
            self._backends.check_cancelled()
            await self._until_ended(lanes, parts, split, arguments, call)
        finally:
            for lane in lanes:
                self._transactions.leave(lane.connection)
        for part in parts:
            if part.exchange is not None:
                self._backends.reported.relay(part.exchange.asides)
        self._check(split, parts, arguments)

    async def _enter(self, lanes: list[_Lane], parts: Sequence[_Part]) -> None:
        """A connection for each node, in an order that all sessions share, so that they cannot wait for each other in a
        circle."""
        shards = [part.shard for part in parts]
        one_gateway = self._transactions.on_one_gateway
        for node, here in [(shards[0].node, shards)] if one_gateway else self._backends.by_gateway(shards):
            connection = await self._transactions.enter(node, Effect.WRITE)
            lanes.append(_Lane(connection, [part for part in parts if part.shard in here]))

    def _begin(self, lane: _Lane, split: Split, arguments: Arguments, call: Call) -> None:
        part = lane.parts[lane.at]
        sql = sql_for(part.text, part.shard, arguments)
        used = used_parameters(split, part.places)
        part.exchange = call.send_part(lane.connection, sql, self._client.wake, describe=split.returns, used=used)

    async def _until_ended(
        self, lanes: Sequence[_Lane], parts: Sequence[_Part], split: Split, arguments: Arguments, call: Call
    ) -> None:
        """All of them well, or as many as are needed to know what is wrong. What locks rows that were there before does
        so on one node after the other, as one server goes through the table in one order: side by side, two of them
        would each have the first rows on another node, and wait for each other."""
        until: float | None = None
        while True:
            failed = next((at for at, part in enumerate(parts) if part.error is not None), len(parts))
            for lane in lanes:
                while self._take(lane) and parts.index(lane.parts[lane.at]) < failed:
                    self._begin(lane, split, arguments, call)
                if split.in_order and lane.running:
                    break
            running = [lane for lane in lanes if lane.running]
            if not running:
                return
            if any(part.error is not None for part in parts):
                until = until or self._services.loop.time() + _SETTLE_S
                if self._services.loop.time() >= until:
                    await self._stop(running)
                    return
                await self._wait_awhile()
            else:
                await self._client.wait()

    def _take(self, lane: _Lane) -> bool:
        """Put aside what has come. Whether the next part is to be begun."""
        if lane.at == len(lane.parts):
            return False
        part = lane.parts[lane.at]
        exchange = part.exchange
        if exchange is None:
            return True
        while (batch := exchange.take()) is not None:
            part.rows.append(cast(Batch, batch))
        if not exchange.finished or exchange.error is not None:
            return False
        lane.at += 1
        return lane.at < len(lane.parts)

    async def _stop(self, lanes: Sequence[_Lane]) -> None:
        """The statement has failed, and what these still do is undone anyway. The request to cancel must not meet what
        comes next on the connection."""
        for lane in lanes:
            lane.stopped = True
            pool = self._backends.held.get(lane.connection)
            if pool is not None:
                pool.cancel_running(lane.connection)
        while any(lane.running or lane.connection.cancels_running for lane in lanes):
            for lane in lanes:
                lane.connection.discard()
            await self._wait_awhile()

    async def _wait_awhile(self) -> None:
        timer = self._services.loop.call_later(_LOOK_AGAIN_S, self._client.wake)
        try:
            await self._client.wait()
        finally:
            timer.cancel()

    # What is wrong

    def _check(self, split: Split, parts: Sequence[_Part], arguments: Arguments) -> None:
        """Raise what a single server would say: what it finds in the text comes before what it finds in the values, and
        that before what rows do. Of rows the first one that fails is told; that is a row of the first shard that fails,
        as far as can be known."""
        errors = [_judged(part, order, split, arguments) for order, part in enumerate(parts) if part.error is not None]
        real = [judged for judged in errors if judged[0] < _BY_US] or errors
        if real:
            raise min(real, key=lambda judged: judged[:2])[2]
        if not split.returns:
            return
        if any(_exchange(part).description is None for part in parts):
            raise ProtocolViolation("a node described no rows")
        if split.rows is not None and any(part.rows.count != len(part.places) for part in parts):
            raise Refused(
                "a trigger has left out rows of several shards, so that the order of RETURNING is not known",
                "Leave RETURNING out, or write each shard's rows by a statement of their own.",
            )

    # The answer

    async def _answer(self, planned: Planned, tag: str, split: Split, parts: Sequence[_Part], call: Call) -> int:
        exchanges = [_exchange(part) for part in parts]
        count = sum(rows_of_tag((exchange.tag or "").encode()) for exchange in exchanges)
        for exchange in exchanges:
            call.accepted(exchange)
        if not split.returns:
            if call.describe and call is not SIMPLE:
                self._client.send(no_data())
            self._client.send(messages.command_complete(tag.format(count)))
            return count
        sources = [SpooledSource(_exchange(part), _exchange(part).description or (), part.rows) for part in parts]
        pipeline = Pipeline((ByPlace(_order(parts)) if split.rows is not None else Concat(),))
        if not in_parts(call):
            return await self._rows_out.stream(pipeline, sources, planned, tag, no_connection, call)
        environment = SessionEnvironment(self._client, self._services, no_connection, call)
        rows = rows_over(pipeline.open(sources, planned.arguments, environment), self._transactions)
        await rows.describe()
        return await self._rows_out.give_first(rows, tag, call)


_IN_THE_TEXT, _IN_THE_VALUES, _IN_ROWS, _BY_US = range(4)


def _judged(part: _Part, order: int, split: Split, arguments: Arguments) -> tuple[int, int, ProxyError]:
    """A part's error as the client is told it, and what it comes before."""
    exchange = _exchange(part)
    error = exchange.error
    assert error is not None
    if not isinstance(error, ServerError):
        return _IN_ROWS, order, error
    if error.position is not None:
        error.position = client_position(error.position, part.text, part.shard, arguments, whole=split.text)
        return _IN_THE_TEXT, error.position or 0, error
    if error.sqlstate == _CANCELED:
        return _BY_US, order, error
    return (_IN_ROWS if exchange.bound else _IN_THE_VALUES), order, error


def _order(parts: Sequence[_Part]) -> list[int]:
    """Which part has the row of each place."""
    order = [0] * sum(len(part.places) for part in parts)
    for index, part in enumerate(parts):
        for place in part.places:
            order[place] = index
    return order


def _exchange(part: _Part) -> Exchange:
    assert part.exchange is not None
    return part.exchange


def _close(parts: Sequence[_Part]) -> None:
    for part in parts:
        part.rows.close()
