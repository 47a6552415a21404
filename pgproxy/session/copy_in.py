"""COPY FROM STDIN into shards: the client's rows, each to the node of its key, all or nothing.

Inside a transaction it takes part in that. Outside of one, every shard has a connection and a transaction of its own.
Either way connections are taken at the beginning, in the order of node names.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.exchange import Exchange, Mode, ServerError
from pgproxy.backend.scanner import IDLE
from pgproxy.errors import NodeFailure, ProxyError, Refused
from pgproxy.operators.arguments import Arguments
from pgproxy.planner.plan import CopyIn, Effect, sql_for
from pgproxy.session.backends import Backends
from pgproxy.session.call import SIMPLE, Call
from pgproxy.session.client import Client
from pgproxy.session.copy_commit import CommitLegs
from pgproxy.session.copy_data import ClientData, synchronization_lost
from pgproxy.session.copy_legs import Leg
from pgproxy.session.copy_lines import CopyLines, in_clients_terms
from pgproxy.session.logical_names import with_logical_names
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


_SAVEPOINT = "pgproxy_copy"  # where several shards have one connection
_FAILED = ord("E")


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
        self._apart = True  # each shard has a transaction of its own
        self._ends = False  # the implicit transaction, which is for this COPY alone
        self._legs: dict[int, Leg] = {}
        self._saved: list[BackendConnection] = []  # with a savepoint from before the first shard's rows
        self._lines = CopyLines()
        self._data = ClientData(client)
        self._header = b""
        self._table = plan.table.name
        limit = services.shard_map.proxy.max_message_bytes
        self._splitter = splitter_for(plan.form, plan.key, limit)

    async def run(self, arguments: Arguments, call: Call) -> None:
        finished = False
        self._arguments = arguments
        self._begin_transaction(call)
        try:
            await self._begin()
            await self._copy()
            if self._apart:
                await _await_sync(self._client, call)
                await self._commit()
            elif self._ends:
                await self._transactions.end_implicit()
            count = sum(_count(leg.exchange) for leg in self._legs.values())
            for _, leg in sorted(self._legs.items()):
                self._backends.reported.relay(() if leg.exchange is None else leg.exchange.asides)
            finished = True
        except ProxyError as error:
            await self._undo()
            finished = True
            if self._data.lost:
                raise synchronization_lost(self._client, error) from None
            raise
        finally:
            for leg in self._legs.values():
                if not finished and leg.connection in self._backends.held:
                    leg.connection.abort()  # the node must not take what it has for the whole
                self._leave(leg)
        self._services.metrics.rows += count
        self._client.send(messages.command_complete(f"COPY {count}"))

    def _leave(self, leg: Leg) -> None:
        leg.close()
        if self._apart:
            self._backends.give_back(leg.connection)
        else:
            self._transactions.leave(leg.connection)

    # The beginning

    def _begin_transaction(self, call: Call) -> None:
        transactions = self._transactions
        if transactions.current is None and self._joins_everywhere and (call is not SIMPLE or not self._has_pools()):
            transactions.begin_implicit()  # in the extended protocol more may follow before Sync, which commits
            self._ends = call is SIMPLE
        self._apart = transactions.current is None

    def _has_pools(self) -> bool:
        """They may have as many connections as there are shards."""
        by_gateway = self._backends.by_gateway(self._plan.table.shards)
        return all(len(here) == 1 or len(here) <= self._backends.pool(node).settings.size for node, here in by_gateway)

    @property
    def _joins_everywhere(self) -> bool:
        """The transaction may write on all nodes of the table."""
        return self._transactions.may_write_on({shard.node for shard in self._plan.table.shards})

    async def _begin(self) -> None:
        plan = self._plan
        if self._apart:
            payload = await self._open_all()
        else:
            self._transactions.check_alive()
            if self._joins_everywhere:
                payload = await self._join_all()
            else:  # the first row says which node it is
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
            leg = self._legs[shard.index] = Leg(shard, connection)
            self._start(leg)
        return await self._all_agreed()

    async def _join_all(self) -> bytes:
        """All nodes of the table join the transaction, though not all may get rows: so two COPYs take connections in
        the same order, and what a node has against the statement comes before the data. Who gets no row has not been
        written to."""
        found: list[tuple[Shard, BackendConnection]] = []
        for _, here in self._backends.by_gateway(self._plan.table.shards):
            found += [(shard, await self._transactions.enter(shard.node, Effect.READ)) for shard in here]
        for shard, connection in found:
            await self._take_seat(Leg(shard, connection))
        return await self._all_agreed()

    async def _take_seat(self, leg: Leg) -> None:
        """A transaction has one connection to a node, over which its shards are copied into one after the other."""
        connection, table = leg.connection, self._plan.table
        taken = any(other.connection is connection for other in self._legs.values())
        self._legs[leg.shard.index] = leg
        if taken:
            leg.wait_its_turn(self._services.shard_map.proxy.sort_memory_bytes // len(table.shards))
            return
        if self._transactions.on_one_gateway or [shard.node for shard in table.shards].count(leg.shard.node) > 1:
            await self._backends.execute(connection, f"SAVEPOINT {_SAVEPOINT}")
            self._saved.append(connection)
        self._start(leg)

    async def _all_agreed(self) -> bytes:
        """Every node that has begun is ready for data: what they say of it."""
        begun = [(leg, leg.exchange) for _, leg in sorted(self._legs.items()) if leg.exchange is not None]
        payloads = [await self._agreed(leg, exchange) for leg, exchange in begun]
        return payloads[0]

    def _start(self, leg: Leg) -> None:
        leg.start(sql_for(self._plan.text, leg.shard, self._arguments), self._client.wake)

    async def _agreed(self, leg: Leg, exchange: Exchange) -> bytes:
        """Wait until the node is ready for data."""
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
        self._check_columns(exchange.copy_response)
        return exchange.copy_response

    def _check_columns(self, copy_response: bytes) -> None:
        if wire.response_columns(copy_response) != self._plan.columns:
            raise Refused(
                f'"{self._table}" has columns that COPY leaves out or that the proxy does not know',
                f"Name the columns: COPY {self._table} (…).",
            )

    async def _leg(self, index: int) -> Leg:
        """A shard's leg, for a row."""
        leg = self._legs.get(index)
        if leg is not None and leg.writes:
            return leg
        shard = self._plan.table.shards[index]
        if not self._apart:
            connection = await self._transactions.enter(shard.node, Effect.WRITE)
            self._transactions.note_copied(self._plan.table)
            if leg is None:
                leg = Leg(shard, connection)
                await self._join_late(leg)
        assert leg is not None, "outside of a transaction all shards have one"
        leg.writes = True
        return leg

    async def _join_late(self, leg: Leg) -> None:
        await self._take_seat(leg)
        if leg.exchange is not None:
            await self._agreed(leg, leg.exchange)
        if self._header:
            leg.send(self._header)

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
            if any(leg.over for leg in legs):
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
        leg = await self._leg(min((index for index, leg in self._legs.items() if leg.exchange is not None), default=0))
        leg.send(data)
        leg.end(wire.copy_done())
        if refused is None:
            unread = Refused("this COPY data is not understood", "Write it as PostgreSQL does.")
            await self._judge(unread, self._lines.client + 1, judge=leg)
        else:
            self._lines.add((leg.shard.index,), {}, {leg.shard.index: 1})
            await self._judge(self._at(refused, line or 0), line, judge=leg)

    async def _judge(self, problem: ProxyError | None, line: int | None, *, judge: Leg | None = None) -> None:
        """Something is wrong. A single server would say what is wrong with the first wrong row: hear all nodes to
        the end of what they were given, as long as that does not take too long. Raises. What the `judge` says of the
        data is said instead of the problem."""
        await self._hear_all()
        if judge is not None and judge.error is not None and _is_of_data(judge.error):
            problem = None
        errors = [
            self._translated(leg.error)
            for _, leg in sorted(self._legs.items())
            if leg.error is not None and (leg is not judge or problem is None)
        ]
        if problem is not None:
            known = "W" in problem.fields()
            errors.append((line or float("inf"), problem if known else self._at(problem, line or 0)))
        raise min(errors, key=lambda item: item[0])[1]

    async def _hear_all(self) -> None:
        timer = self._services.loop.call_later(_SETTLE_S, self._client.wake)
        until = self._services.loop.time() + _SETTLE_S
        try:
            await self._work_off(until)
        finally:
            timer.cancel()

    def _translated(self, error: ProxyError) -> tuple[float, ProxyError]:
        """A node's error in the client's terms, and where it comes among others."""
        if isinstance(error, NodeFailure):
            return -1, error
        if not isinstance(error, ServerError):
            return float("inf"), error
        error, line = with_logical_names(error, (self._plan.table,)), None
        if "W" in error.raw:
            context, line = in_clients_terms(error.raw["W"], self._plan.table, self._lines)
            error = ServerError({**error.raw, "W": context}, error.node)
        return float("inf") if line is None else line, error

    def _at(self, error: ProxyError, line: int, row: bytes | None = None) -> ProxyError:
        """An error of ours with the context that PostgreSQL gives."""
        shown = "" if row is None else f': "{_clipped(row)}"'
        fields = {**error.fields(), "W": f"COPY {self._table}, line {line}{shown}"}
        if isinstance(error, Refused):
            self._services.metrics.refused += 1
        return ServerError(fields, "")

    # The end

    async def _finish(self) -> None:
        await self._work_off(float("inf"))
        if any(leg.error is not None for leg in self._legs.values()):
            await self._judge(None, None)
        await self._backends.execute_on_all(self._saved, f"RELEASE SAVEPOINT {_SAVEPOINT}")

    async def _work_off(self, until: float) -> None:
        """Every node gets what is left for it, and says what it thinks of it. Without a time limit the first error ends
        that: then `_judge` goes on."""
        legs = [leg for leg in self._legs.values() if leg.exchange is not None]
        while legs:
            await self._end_all(legs, until)
            failed = until == float("inf") and any(leg.error is not None for leg in legs)
            legs = [] if failed or self._services.loop.time() >= until else await self._next_in_turn()

    async def _end_all(self, legs: Sequence[Leg], until: float) -> None:
        while self._services.loop.time() < until:
            self._backends.check_cancelled()
            for leg in legs:
                if not leg.over and leg.exchange is not None and leg.exchange.copy_response is not None:
                    self._check_columns(leg.exchange.copy_response)
                    if leg.pass_on():
                        self._end(leg)
            if all(leg.finished for leg in legs):
                return
            await self._client.wait()

    async def _next_in_turn(self) -> list[Leg]:
        """The next shard of each connection, begun. Where the one before has failed, the node forgets that for now: the
        first wrong row may be another's."""
        found: dict[BackendConnection, Leg] = {}
        for leg in self._legs.values():
            if leg.exchange is None and leg.rows and not leg.connection.closed:
                found.setdefault(leg.connection, leg)
        for connection, leg in found.items():
            if connection.status == _FAILED:
                await self._backends.execute(connection, f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
            self._start(leg)
        return list(found.values())

    def _end(self, leg: Leg) -> None:
        if self._plan.form.kind is CopyKind.BINARY and not leg.ended and self._header:
            leg.send(wire.BINARY_TRAILER)
        leg.end(wire.copy_done())

    async def _commit(self) -> None:
        legs = [leg for _, leg in sorted(self._legs.items())]
        try:
            await CommitLegs(self._client, self._services, self._backends).run(legs)
        except ServerError as violated:
            raise self._translated(violated)[1] from None

    async def _undo(self) -> None:
        """Nothing of it may stay."""
        begun = [leg for leg in self._legs.values() if leg.exchange is not None]
        for leg in begun:
            leg.end(wire.copy_fail("COPY ended by an error elsewhere"))
        timer = self._services.loop.call_later(_SETTLE_S, self._client.wake)
        until = self._services.loop.time() + _SETTLE_S
        try:
            for leg in begun:
                while not leg.finished and self._services.loop.time() < until:
                    await self._client.wait()
                if not leg.finished:
                    leg.connection.abort()
                elif self._apart and not leg.connection.closed and leg.connection.status != IDLE:
                    await self._roll_back(leg.connection)
        except BaseException:
            for leg in begun:
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


def _count(exchange: Exchange | None) -> int:
    tag = "" if exchange is None else exchange.tag or ""
    return int(tag.rpartition(" ")[2]) if tag.startswith("COPY ") else 0


def _clipped(row: bytes) -> str:
    text = row.decode(errors="replace")
    if len(text.encode()) <= _SHOWN_BYTES:
        return text
    return row[:_SHOWN_BYTES].decode(errors="ignore") + "..."
