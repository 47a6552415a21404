"""Running statements for HTTP: reads in a read-only transaction that never commits, and the sample write.

The transaction, not the text, is what keeps reads from writing. The extended protocol takes one statement at a time,
so nothing can come behind a COMMIT of the caller's own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from pgproxy.errors import ProxyError, Refused
from pgproxy.http.in_process import Conversation
from pgproxy.http.json_rows import RowWriter
from pgproxy.shardmap.model import ClusterSettings, HttpSettings, Method, Shard, ShardMap, Table
from pgproxy.wire import extended, messages
from pgproxy.wire.rows import fields_of, parse_row_description

_GRACE_S = 1.0  # the node's own timeout says more than ours
_SAMPLE = 50
_COPY = frozenset({messages.COPY_IN_RESPONSE, messages.COPY_OUT_RESPONSE, messages.COPY_BOTH_RESPONSE})

Peer = tuple[str, int]


class FrontDoor(Protocol):
    """How clients come to the proxy."""

    def accept(self) -> asyncio.Protocol: ...

    def cancel(self, pid: int, key: bytes) -> None: ...

    def nodes_of(self, pid: int) -> list[str]:
        """The nodes that take part in this client's transaction."""
        ...

    def limit_of(self, sql: str) -> int | None:
        """The LIMIT that this statement is given because it has none."""
        ...


@dataclass(slots=True)
class Rows:
    """An answer: rows as JSON objects. `truncated`: there were more."""

    limit: int | None = None
    nodes: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    truncated: bool = False
    size_bytes: int = 0


class NoSample(Exception):
    """The sample write has nothing to write to; the text says why."""


class Statements:
    """Runs statements, at most `settings.concurrency` at a time; more are refused with 53300."""

    def __init__(self, door: FrontDoor, cluster: ClusterSettings, settings: HttpSettings) -> None:
        self._door = door
        self._cluster = cluster
        self._settings = settings
        self._running = 0

    async def read(self, sql: str, peer: Peer) -> Rows:
        """The rows of one statement that writes nothing. Raises ProxyError."""
        _check_text(sql)
        async with self._conversation(peer) as conversation:
            await conversation.run("BEGIN READ ONLY")
            await conversation.run(f"SET LOCAL statement_timeout = {int(self._settings.statement_timeout_s * 1000)}")
            rows = Rows()
            try:
                await self._collect(conversation, sql, rows)
            except ProxyError:
                await _roll_back(conversation)
                raise
            await _roll_back(conversation)
            rows.limit = self._door.limit_of(sql)
            return rows

    async def toggle(self, shard_map: ShardMap, peer: Peer) -> tuple[Shard, int]:
        """Toggle `checked_out` of a random book among the first of a random shard: the shard and the ISBN."""
        table, shard = _random_shard(shard_map)
        key = f"{_identifier(table.key)} = {_literal(shard.values[0])}"
        name = f"{_identifier(table.schema)}.{_identifier(table.name)}"
        async with self._conversation(peer) as conversation:
            rows = await _values(conversation, f"SELECT isbn FROM {name} WHERE {key} ORDER BY isbn LIMIT {_SAMPLE}")
            if not rows:
                raise NoSample(f"{shard.table} is empty")
            isbn = int(random.choice(rows))
            await _values(
                conversation,
                f"UPDATE {name} SET checked_out = NOT checked_out WHERE {key} AND isbn = {isbn} RETURNING isbn",
            )
            return shard, isbn

    @asynccontextmanager
    async def _conversation(self, peer: Peer) -> AsyncIterator[Conversation]:
        if self._running >= self._settings.concurrency:
            raise ProxyError("53300", "too many statements run over HTTP", hint="http.concurrency limits them.")
        self._running += 1
        conversation = Conversation(self._door.accept(), peer, self._settings.max_response_bytes)
        try:
            async with asyncio.timeout(self._settings.statement_timeout_s + _GRACE_S):
                await conversation.start(self._cluster.user, self._cluster.database)
                yield conversation
        except TimeoutError:
            raise ProxyError("57014", "canceling statement due to statement timeout") from None
        finally:
            self._running -= 1
            conversation.close()

    async def _collect(self, conversation: Conversation, sql: str, rows: Rows) -> None:
        conversation.send(
            extended.parse_message("", sql, ())
            + extended.bind_message("", "", (), (), ())
            + extended.describe_portal("")
            + extended.execute_message("", 0)
            + messages.sync()
        )
        writer = RowWriter(())
        async with aclosing(conversation.answer()) as answer:
            async for kind, payload in answer:
                if kind == messages.ROW_DESCRIPTION:
                    writer = RowWriter(parse_row_description(payload))
                elif kind == messages.DATA_ROW and not self._add(rows, writer.write(payload)):
                    self._door.cancel(conversation.pid, conversation.key)
                    conversation.end()
                    return
                elif kind == messages.NOTICE_RESPONSE:
                    rows.truncated |= _says_cut(payload)
                elif kind in _COPY:
                    conversation.end()
                    raise Refused("COPY is not supported over HTTP", "Use a SELECT.")
                if not rows.nodes or kind == messages.COMMAND_COMPLETE:
                    rows.nodes = self._door.nodes_of(conversation.pid) or rows.nodes

    def _add(self, rows: Rows, text: str) -> bool:
        """False: this row is one too many."""
        rows.size_bytes += len(text) + 1
        if len(rows.rows) >= self._settings.max_rows or rows.size_bytes > self._settings.max_response_bytes:
            rows.truncated = True
            return False
        rows.rows.append(text)
        return True


async def _roll_back(conversation: Conversation) -> None:
    """So that the nodes' connections go back to their pools instead of being closed."""
    if not conversation.ended:
        await conversation.run("ROLLBACK")


def _says_cut(notice: bytes) -> bool:
    """The proxy says that the LIMIT which it added left rows out."""
    return messages.parse_error_fields(notice).get("M", "").startswith("only the first ")


def _random_shard(shard_map: ShardMap) -> tuple[Table, Shard]:
    table = shard_map.tables.get("books")
    if table is None or table.method is not Method.LIST:
        raise NoSample("the shard map has no table books that is sharded by list, as the sample library has")
    return table, random.choice([shard for shard in table.shards if shard.values])


async def _values(conversation: Conversation, sql: str) -> list[bytes]:
    """The first column of a small answer."""
    conversation.send(messages.query(sql))
    rows = [fields_of(payload) async for kind, payload in conversation.answer() if kind == messages.DATA_ROW]
    return [row[0] for row in rows if row[0] is not None]


def _check_text(sql: str) -> None:
    try:
        sql.encode()
    except UnicodeEncodeError:
        raise ProxyError("22021", 'invalid byte sequence for encoding "UTF8"') from None
    if "\0" in sql:
        raise ProxyError("22021", 'invalid byte sequence for encoding "UTF8": 0x00')


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
