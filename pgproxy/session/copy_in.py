"""COPY FROM STDIN into shards: the client's rows, each to the node of its key, all or nothing.

Outside a transaction every shard has a connection and a transaction of its own, taken in the order of node names.
All rows are stored and all constraints checked everywhere before the first COMMIT. Inside a transaction the rows must
be one shard's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.exchange import Exchange, Mode, ServerError
from pgproxy.errors import NodeFailure, ProxyError, Refused
from pgproxy.operators.arguments import Arguments
from pgproxy.planner.plan import CopyIn, Effect, sql_for
from pgproxy.session.backends import Backends
from pgproxy.session.call import SIMPLE, Call
from pgproxy.session.client import Client
from pgproxy.session.copy_data import ClientData, synchronization_lost
from pgproxy.session.copy_lines import CopyLines, in_clients_terms
from pgproxy.session.positions import client_position
from pgproxy.session.services import Services
from pgproxy.session.transactions import Transactions
from pgproxy.session.turns import let_others_run
from pgproxy.shardmap.model import Shard
from pgproxy.wire import copy as wire
from pgproxy.wire import messages
from pgproxy.wire.copy import CopyKind
from pgproxy.wire.copy_rows import Rows, splitter_for

_SETTLE_S = 5.0  # for other nodes to say what they think of the rows before a wrong one
_SHOWN_BYTES = 100  # of a row in an error's context, as PostgreSQL shows it


@dataclass(slots=True)
class _Leg:
    """One shard's part."""

    shard: Shard
    connection: BackendConnection
    exchange: Exchange
    rows: int = 0
    ended: bool = False  # CopyDone or CopyFail was sent

    def send(self, data: bytes) -> None:
        self.connection.copy_in(wire.copy_data(data))

    def end(self, message: bytes) -> None:
        if not self.ended:
            self.ended = True
            self.connection.copy_in(message)


class CopyIntoShards:
    """One COPY FROM STDIN. `run` sends the whole answer, or raises when nothing of it is left on any node."""

    def __init__(
        self, plan: CopyIn, client: Client, services: Services, backends: Backends, transactions: Transactions
    ) -> None:
        self._plan = plan
        self._client = client
        self._services = services
        self._backends = backends
        self._transactions = transactions
        self._apart = transactions.current is None  # each shard has a transaction of its own
        self._legs: dict[int, _Leg] = {}
        self._lines = CopyLines()
        self._data = ClientData(client)
        self._header = b""
        self._table = plan.table.name
        limit = services.shard_map.proxy.max_message_bytes
        self._splitter = splitter_for(plan.form, plan.key, limit)

    async def run(self, arguments: Arguments, call: Call) -> None:
        finished = False
        self._arguments = arguments
        try:
            await self._begin()
            await self._copy()
            if self._apart:
                await _await_sync(self._client, call)
                await self._commit()
            count = sum(_count(leg.exchange) for leg in self._legs.values())
            for _, leg in sorted(self._legs.items()):
                self._backends.reported.relay(leg.exchange.asides)
            finished = True
        except ProxyError as error:
            await self._undo()
            finished = True
            if self._data.lost:
                raise synchronization_lost(self._client, error) from None
            raise
        finally:
            for leg in self._legs.values():
                if not finished:
                    leg.connection.abort()  # the node must not take what it has for the whole
                self._leave(leg)
        self._services.metrics.rows += count
        self._client.send(messages.command_complete(f"COPY {count}"))

    def _leave(self, leg: _Leg) -> None:
        if self._apart:
            self._backends.give_back(leg.connection)
        else:
            self._transactions.leave(leg.connection)

    # The beginning

    async def _begin(self) -> None:
        plan = self._plan
        if self._apart:
            payload = await self._open_all()
        else:
            self._transactions.check_alive()
            payload = wire.response_payload(int(plan.form.kind is CopyKind.BINARY), plan.columns)
        self._client.send(wire.copy_response(b"G", payload))
        self._client.flush()

    async def _open_all(self) -> bytes:
        shards: list[Shard] = []
        connections: list[BackendConnection] = []
        try:
            for node, here in self._backends.by_gateway(self._plan.table.shards):
                shards += here
                connections += await self._backends.lease_several(node, len(here))
            await self._backends.execute_on_all(connections, "BEGIN")
            self._backends.check_cancelled()
        except BaseException:
            for connection in connections:
                self._backends.give_back(connection)
            raise
        for shard, connection in zip(shards, connections, strict=True):
            self._start(shard, connection)
        payloads = [await self._agreed(leg) for _, leg in sorted(self._legs.items())]
        return payloads[0]

    def _start(self, shard: Shard, connection: BackendConnection) -> _Leg:
        sql = sql_for(self._plan.text, shard, self._arguments)
        leg = self._legs[shard.index] = _Leg(shard, connection, connection.query(sql, Mode.COPY, self._client.wake))
        return leg

    async def _agreed(self, leg: _Leg) -> bytes:
        """Wait until the node is ready for data."""
        exchange = leg.exchange
        while exchange.copy_response is None and not exchange.finished:
            await self._client.wait()
        if exchange.copy_response is None:
            error = exchange.error
            if isinstance(error, ServerError):
                position = error.position
                _, error = self._translated(error)
                if position is not None:
                    error.position = client_position(position, self._plan.text, leg.shard, self._arguments)
            raise error or ProxyError("08006", "a node did not begin the COPY")
        if wire.response_columns(exchange.copy_response) != self._plan.columns:
            raise Refused(
                f'"{self._table}" has columns that COPY leaves out or that the proxy does not know',
                f"Name the columns: COPY {self._table} (…).",
            )
        return exchange.copy_response

    async def _leg(self, index: int) -> _Leg:
        """A shard's leg, begun when the first row for it comes if that is inside a transaction."""
        leg = self._legs.get(index)
        if leg is not None:
            return leg
        shard = self._plan.table.shards[index]
        connection = await self._transactions.enter(shard.node, Effect.WRITE)
        if any(other.connection is connection for other in self._legs.values()):
            raise Refused(
                "COPY into several shards of one node is not supported inside a transaction",
                "Run it outside of the transaction.",
            )
        leg = self._start(shard, connection)
        await self._agreed(leg)
        if self._header:
            leg.send(self._header)
        return leg

    # The data

    async def _copy(self) -> None:
        data = self._data
        while not data.over:
            await self._until_writable()
            piece = data.take()
            if piece:
                await self._distribute(self._splitter.feed(piece))
                # uvloop reads up to 32 times from one socket before it looks at others, and each time would be worked
                # off at once: as much as heartbeats must not wait for.
                await let_others_run(self._client, self._services.loop)
            elif not data.over:
                await self._client.more()
        if data.failure is not None:
            await self._judge(data.failure, self._lines.client + 1)
        await self._distribute(self._splitter.feed(b"", final=True))
        if not self._legs:
            await self._leg(self._shard_for_nothing())
        await self._finish()

    def _shard_for_nothing(self) -> int:
        """Inside a transaction and without a row: whoever says what is wrong with the statement."""
        current = self._transactions.current
        for node in () if current is None else (*current.writers, *current.joined):
            for shard in self._plan.table.shards:
                if shard.node == node:
                    return shard.index
        return 0

    async def _until_writable(self) -> None:
        legs = self._legs.values()
        while True:
            self._backends.check_cancelled()
            for leg in legs:
                if leg.exchange.error is not None or leg.exchange.finished:
                    await self._judge(None, None)
            if not any(leg.connection.writing_paused for leg in legs):
                return
            await self._client.wait()

    async def _distribute(self, found: Rows) -> None:
        if found.header or found.header_lines:
            self._header = found.header
            self._lines.add_header(found.header_lines)
            for leg in self._legs.values():
                leg.send(found.header)
        shards = self._plan.shards_of(found.keys)
        wrong = next((at for at, shard in enumerate(shards) if shard < 0), None) if min(shards, default=0) < 0 else None
        if wrong is not None:
            await self._send_rows(found, shards[:wrong])
            await self._refuse_row(found, wrong)
        await self._send_rows(found, shards)
        if found.doubtful:
            await self._doubt(found.doubtful, None)
        if found.problem is not None:
            await self._judge(found.problem, self._lines.client + 1 + found.problem_extra)

    async def _send_rows(self, found: Rows, shards: list[int]) -> None:
        if not shards:
            return
        counts: dict[int, int] = {}
        rows = found.rows[: len(shards)]
        chosen = set(shards)
        for shard in sorted(chosen):
            mine = rows if len(chosen) == 1 else list(compress(rows, [home == shard for home in shards]))
            counts[shard] = len(mine)
            leg = await self._leg(shard)
            leg.rows += len(mine)
            data = found.end.join(mine)
            open_end = found.open_end and len(shards) == len(found.rows) and shards[-1] == shard
            leg.send(data if open_end else data + found.end)
        compact = bytes(shards) if max(chosen) < 256 else tuple(shards)
        extra = {at: lines for at, lines in found.extra.items() if at < len(shards)}
        self._lines.add(compact, extra, counts)

    # What is wrong

    async def _refuse_row(self, found: Rows, index: int) -> None:
        """A row whose shard cannot be told. If its value is no value of the key's type, a node says so."""
        problem = self._plan.why_not(found.keys[index])
        line = self._lines.client + 1 + found.extra.get(index, (0, 0))[0]
        if isinstance(problem, Refused):
            await self._doubt(found.rows[index] + found.end, problem, line)
        shown = None if self._plan.form.kind is CopyKind.BINARY else found.rows[index]
        await self._judge(self._at(problem, line, shown), line)

    async def _doubt(self, data: bytes, refused: Refused | None = None, line: int | None = None) -> None:
        """Data that a node has to judge: a row that was `refused`, unless its key is no value at all, or no row."""
        leg = await self._leg(min(self._legs, default=0))
        leg.send(data)
        leg.end(wire.copy_done())
        if refused is None:
            unread = Refused("this COPY data is not understood", "Write it as PostgreSQL does.")
            await self._judge(unread, self._lines.client + 1, judge=leg)
        else:
            self._lines.add((leg.shard.index,), {}, {leg.shard.index: 1})
            await self._judge(self._at(refused, line or 0), line, judge=leg)

    async def _judge(self, problem: ProxyError | None, line: int | None, *, judge: _Leg | None = None) -> None:
        """Something is wrong. A single server would say what is wrong with the first wrong row: hear all nodes to
        the end of what they were given, as long as that does not take too long. Raises. What the `judge` says of the
        data is said instead of the problem."""
        await self._hear_all()
        if judge is not None and judge.exchange.error is not None and _is_of_data(judge.exchange.error):
            problem = None
        errors = [
            self._translated(leg.exchange.error)
            for _, leg in sorted(self._legs.items())
            if leg.exchange.error is not None and (leg is not judge or problem is None)
        ]
        if problem is not None:
            known = "W" in problem.fields()
            errors.append((line or float("inf"), problem if known else self._at(problem, line or 0)))
        raise min(errors, key=lambda item: item[0])[1]

    async def _hear_all(self) -> None:
        timer = self._services.loop.call_later(_SETTLE_S, self._client.wake)
        until = self._services.loop.time() + _SETTLE_S
        try:
            for leg in self._legs.values():
                self._end(leg)
            while not self._all_finished() and self._services.loop.time() < until:
                self._backends.check_cancelled()
                await self._client.wait()
        finally:
            timer.cancel()

    def _translated(self, error: ProxyError) -> tuple[float, ProxyError]:
        """A node's error in the client's terms, and where it comes among others."""
        if isinstance(error, NodeFailure):
            return -1, error
        if not isinstance(error, ServerError):
            return float("inf"), error
        raw, line = dict(error.raw), None
        if "W" in raw:
            raw["W"], line = in_clients_terms(raw["W"], self._plan.table, self._lines)
        for shard in self._plan.table.shards:
            for what in ("relation", "table"):
                raw["M"] = raw["M"].replace(f'{what} "{shard.table}"', f'{what} "{self._table}"')
            if raw.get("t") == shard.table:
                raw["t"] = self._table
        return float("inf") if line is None else line, ServerError(raw, error.node)

    def _at(self, error: ProxyError, line: int, row: bytes | None = None) -> ProxyError:
        """An error of ours with the context that PostgreSQL gives."""
        shown = "" if row is None else f': "{_clipped(row)}"'
        fields = {**error.fields(), "W": f"COPY {self._table}, line {line}{shown}"}
        if isinstance(error, Refused):
            self._services.metrics.refused += 1
        return ServerError(fields, "")

    def _all_finished(self) -> bool:
        return all(leg.exchange.finished for leg in self._legs.values())

    # The end

    def _end(self, leg: _Leg) -> None:
        if self._plan.form.kind is CopyKind.BINARY and not leg.ended and self._header:
            leg.send(wire.BINARY_TRAILER)
        leg.end(wire.copy_done())

    async def _finish(self) -> None:
        for leg in self._legs.values():
            self._end(leg)
        while not self._all_finished():
            self._backends.check_cancelled()
            await self._client.wait()
        if any(leg.exchange.error is not None for leg in self._legs.values()):
            await self._judge(None, None)

    async def _commit(self) -> None:
        """Constraints that wait for the end are checked everywhere before anything is committed anywhere."""
        written = [leg for _, leg in sorted(self._legs.items()) if leg.rows]
        connections = [leg.connection for leg in written]
        if len(written) > 1:
            try:
                await self._backends.execute_on_all(connections, "SET CONSTRAINTS ALL IMMEDIATE")
            except ServerError as violated:
                raise self._translated(violated)[1] from None
        self._backends.check_cancelled()
        for leg in self._legs.values():
            if not leg.rows:
                await self._backends.execute(leg.connection, "ROLLBACK")
        exchanges = [connection.query("COMMIT", Mode.SILENT, self._client.wake) for connection in connections]
        while not all(exchange.finished for exchange in exchanges):
            await self._client.wait()
        failed = [leg for leg, exchange in zip(written, exchanges, strict=True) if not _committed(exchange)]
        if not failed:
            return
        error = next((exchange.error for exchange in exchanges if exchange.error is not None), None)
        if len(failed) == len(written) and (len(written) == 1 or not isinstance(error, NodeFailure)):
            raise self._translated(error or ProxyError("40000", "the COPY was rolled back by its node"))[1]
        raise _in_doubt([leg for leg in written if leg not in failed], failed)

    async def _undo(self) -> None:
        """Nothing of it may stay."""
        for leg in self._legs.values():
            leg.end(wire.copy_fail("COPY ended by an error elsewhere"))
        timer = self._services.loop.call_later(_SETTLE_S, self._client.wake)
        until = self._services.loop.time() + _SETTLE_S
        try:
            for leg in self._legs.values():
                while not leg.exchange.finished and self._services.loop.time() < until:
                    await self._client.wait()
                if not leg.exchange.finished:
                    leg.connection.abort()
                elif self._apart and not leg.connection.closed:
                    await self._roll_back(leg.connection)
        except BaseException:
            for leg in self._legs.values():
                leg.connection.abort()
            raise
        finally:
            timer.cancel()

    async def _roll_back(self, connection: BackendConnection) -> None:
        exchange = connection.query("ROLLBACK", Mode.SILENT, self._client.wake)
        while not exchange.finished:
            await self._client.wait()


async def _await_sync(client: Client, call: Call) -> None:
    """In the extended protocol everything up to Sync is one transaction. This COPY commits by itself, so it must be
    the last of it."""
    if call is SIMPLE:
        return
    while client.reader.next_kind is None:
        await client.more()
    if client.reader.next_kind != messages.SYNC:
        raise Refused(
            "COPY into several shards together with other statements before one Sync is not supported",
            "Send Sync behind the COPY.",
        )


def _is_of_data(error: ProxyError) -> bool:
    """Data exceptions, and binary values that are cut short."""
    return error.sqlstate.startswith("22") or error.sqlstate == "08P01"


def _committed(exchange: Exchange) -> bool:
    return exchange.error is None and exchange.tag == "COMMIT"


def _in_doubt(committed: Sequence[_Leg], failed: Sequence[_Leg]) -> ProxyError:
    def nodes(legs: Sequence[_Leg]) -> str:
        return ", ".join(sorted({leg.connection.node.name for leg in legs})) or "none"

    return ProxyError(
        "40003",
        f"COPY was committed on node {nodes(committed)}, and whether it was on node {nodes(failed)} is not known",
        hint="Compare the rows on these nodes with the data before you copy it again.",
    )


def _count(exchange: Exchange) -> int:
    tag = exchange.tag or ""
    return int(tag.rpartition(" ")[2]) if tag.startswith("COPY ") else 0


def _clipped(row: bytes) -> str:
    text = row.decode(errors="replace")
    if len(text.encode()) <= _SHOWN_BYTES:
        return text
    return row[:_SHOWN_BYTES].decode(errors="ignore") + "..."
