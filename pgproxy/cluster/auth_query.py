"""`auth_users.query`: a user's stored password, asked of a node over one connection that is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psycopg
from psycopg import AsyncConnection, AsyncRawCursor

from pgproxy.cluster.connect import connect, one_line, run
from pgproxy.errors import NodeFailure
from pgproxy.shardmap.model import ShardMap

LOOKUP_TIMEOUT_S = 3.0


class AuthQuery:
    """`any_node` names a node that is up, or raises NodeFailure."""

    def __init__(self, shard_map: ShardMap, sql: str, any_node: Callable[[], str]) -> None:
        self._shard_map = shard_map
        self._sql = sql.encode()
        self._any_node = any_node
        self._turn = asyncio.Lock()
        self._node = ""
        self._connection: AsyncConnection | None = None

    async def __call__(self, user: str) -> str | None:
        """The last column of the first row; None without a row, or for NULL. Raises NodeFailure."""
        if "\0" in user:
            return None
        async with self._turn:
            node = self._any_node()
            try:
                async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                    return await self._ask(node, user)
            except TimeoutError:
                await self.close()
                raise NodeFailure(node, f"node {node} does not answer auth_users.query in time") from None
            except (psycopg.Error, OSError) as failure:
                await self.close()
                raise NodeFailure(node, f"auth_users.query on node {node}: {one_line(failure)}") from None

    async def close(self) -> None:
        opened, self._connection = self._connection, None
        if opened is not None:
            await opened.close()

    async def _ask(self, node: str, user: str) -> str | None:
        known = self._connection is not None and self._node == node
        try:
            return await self._ask_on(await self._connected(node), user)
        except psycopg.OperationalError:
            if not known:
                raise
        await self.close()  # it had broken since the last time: once more on a new one
        return await self._ask_on(await self._connected(node), user)

    async def _connected(self, node: str) -> AsyncConnection:
        if self._connection is None or self._node != node:
            await self.close()
            self._connection = await connect(
                self._shard_map.nodes[node],
                self._shard_map.cluster,
                application_name="pgproxy users",
                timeout_s=self._shard_map.proxy.pool.connect_timeout_s,
            )
            self._node = node
        return self._connection

    async def _ask_on(self, connection: AsyncConnection, user: str) -> str | None:
        return await run(connection, self._fetch(connection, user))

    async def _fetch(self, connection: AsyncConnection, user: str) -> str | None:
        async with AsyncRawCursor(connection) as cursor:
            await cursor.execute(self._sql, [user])
            row = await cursor.fetchone() if cursor.description else None
        return None if not row or row[-1] is None else str(row[-1])
