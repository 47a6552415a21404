"""What operators give, sent to the client: all of it as it comes, or as many rows as it wants for now."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from struct import error as StructError  # noqa: N812
from typing import Any

from pgproxy.backend.connection import BackendConnection
from pgproxy.errors import ProtocolViolation, ProxyError
from pgproxy.operators.default_limit import DefaultLimit
from pgproxy.operators.limit import Limit
from pgproxy.operators.source import Pipeline, RowSource
from pgproxy.planner.plan import Planned
from pgproxy.session.backends import Backends
from pgproxy.session.call import Call
from pgproxy.session.client import Client
from pgproxy.session.copy_out import QueryAsCopy
from pgproxy.session.environment import SessionEnvironment
from pgproxy.session.in_turn import SpooledSource
from pgproxy.session.node_portals import MOST_ROWS, OpenRows
from pgproxy.session.services import Services
from pgproxy.session.sources import ExchangeSource
from pgproxy.wire import messages
from pgproxy.wire.extended import portal_suspended
from pgproxy.wire.rows import row_description

log = logging.getLogger("pgproxy.session")

HELD_BACK_BYTES = 8192  # as PostgreSQL does (pqcomm.c); and what has not left can be taken back


class RowsOut:
    """Each method sends up to CommandComplete, or PortalSuspended where the client may ask for more, and says how many
    rows it has sent."""

    def __init__(self, client: Client, services: Services, backends: Backends) -> None:
        self._client = client
        self._services = services
        self._backends = backends

    async def stream(
        self,
        pipeline: Pipeline,
        sources: Sequence[ExchangeSource | SpooledSource],
        planned: Planned,
        tag: str,
        connect: Callable[[], Awaitable[BackendConnection]],
        call: Call,
    ) -> int:
        """Open the operators over the sources and send what comes out of them. Evaluations run on what `connect`
        gives."""
        environment = SessionEnvironment(self._client, self._services, connect, call)
        top: RowSource = pipeline.open(sources, planned.arguments, environment)
        cut: Any = None
        if planned.default_limit is not None:
            top = cut = DefaultLimit(planned.default_limit).open((top,), planned.arguments, environment)
        client = self._client
        count = held_bytes = 0
        try:
            columns = await top.describe()
            for source in sources:
                call.accepted(source.exchange)
            self._backends.elsewhere.told = True
            as_copy = call if isinstance(call, QueryAsCopy) else None
            if as_copy is not None:
                client.send(as_copy.begin())
            elif call.describe:
                client.send(row_description(columns))
            if call.max_rows:
                top = Limit(call.max_rows, None).open((top,), planned.arguments, environment)
                await top.describe()
            while (batch := await top.next_batch()) is not None:
                count += batch.count
                data = batch.data if as_copy is None else as_copy.rows(batch)
                client.send(data)
                held_bytes += len(data)
                if held_bytes >= HELD_BACK_BYTES:
                    held_bytes = 0
                    await client.drain()
        except (StructError, ValueError, IndexError, ProtocolViolation) as unreadable:
            # Operators trust the nodes' rows: to check each of them would cost more than to merge them.
            log.warning("a node sent rows that cannot be read", exc_info=unreadable)
            raise ProxyError("08006", "a node sent rows that cannot be read") from unreadable
        finally:
            top.close()
        self._services.metrics.rows += count
        if cut is not None and cut.cut:
            self._tell_cut(planned.default_limit)
        if as_copy is not None:
            client.send(as_copy.end(count))
        else:
            client.send(_end(call.max_rows, count, tag))
        return count

    async def give_first(self, rows: OpenRows, tag: str, call: Call) -> int:
        """Of a statement that begins."""
        try:
            if call.describe:
                self._client.send(row_description(await rows.describe()))
            count = await self.give(rows, call.max_rows, tag)
        except BaseException:
            rows.close()
            raise
        if is_suspended(call.max_rows, count) and in_parts(call):
            call.suspend(rows)
        else:
            rows.close()
        return count

    async def give(self, rows: OpenRows, max_rows: int, tag: str) -> int:
        """The next rows, all if `max_rows` is 0."""
        client = self._client
        count = 0
        try:
            while not max_rows or count < max_rows:
                batch = await rows.take(max_rows - count if max_rows else MOST_ROWS)
                if batch is None:
                    break
                count += batch.count
                client.send(batch.data)
                await client.drain()
            await rows.settle()
        finally:
            rows.check()
        self._services.metrics.rows += count
        if rows.cut_at is not None:
            self._tell_cut(rows.cut_at)
        client.send(_end(max_rows, count, tag))
        return count

    def _tell_cut(self, limit: int | None) -> None:
        told = f"only the first {limit} rows are shown"
        hint = "Add a LIMIT of your own for more."
        self._client.send(messages.notice_response({"S": "NOTICE", "V": "NOTICE", "C": "00000", "M": told, "H": hint}))


def in_parts(call: Call) -> bool:
    """The client may ask for more when it has had `max_rows`."""
    return bool(call.max_rows) and call.goes_on


def is_suspended(max_rows: int, count: int) -> bool:
    """There may be more: as PostgreSQL, which does not look whether there is."""
    return bool(max_rows) and count >= max_rows


def _end(max_rows: int, count: int, tag: str) -> bytes:
    return portal_suspended() if is_suspended(max_rows, count) else messages.command_complete(tag.format(count))
