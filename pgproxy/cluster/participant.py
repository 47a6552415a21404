"""One node as it takes part in commits across nodes: what it has prepared, and what its commit log says of others.

Asked over one connection that is kept. What is to become of a prepared part is `in_doubt`'s to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg import AsyncConnection, errors, sql

from pgproxy.cluster.connect import connect, one_line, run
from pgproxy.errors import NodeFailure
from pgproxy.shardmap import commit_log
from pgproxy.shardmap.model import ClusterSettings, Node

T = TypeVar("T")

MOST_PREPARED = 1_000  # of one node at a time
_ANSWER_TIMEOUT_S = 3.0
_LOCK_TIMEOUT_S = 0.5
_BATCH = 1_000
_MOST_BATCHES = 100
_KEPT = ("1 hour", "7 days")  # rows that say committed, and those that forbid it: a proxy may have slept meanwhile


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prepared transaction: `age_s` by the node's own clock."""

    gid: str
    owner: str
    age_s: float


class NotAllowed(Exception):
    """The part belongs to a role that the shard map's user is no member of."""


class StillOpen(NodeFailure):
    """The decider's own transaction is still open: nothing is decided yet."""


class Participant:
    """One node. Every question raises NodeFailure when there is no answer."""

    def __init__(self, node: Node, cluster: ClusterSettings) -> None:
        self.node = node
        self.cluster = cluster
        self._turn = asyncio.Lock()
        self._connection: AsyncConnection | None = None

    async def prepared(self, prefix: str) -> list[Prepared]:
        """What is prepared here under global ids that begin so, the oldest first: at most MOST_PREPARED."""
        rows = await self._ask(lambda connection: _rows(connection, _PREPARED, prefix, prefix, MOST_PREPARED))
        return [Prepared(*row) for row in rows]

    async def committed(self, gid: str) -> bool:
        """Asked of the decider: whether it has committed the transaction. If not, it cannot do so any more. Raises
        StillOpen."""
        try:
            return await self._ask(lambda connection: _outcome(connection, gid))
        except _Locked as locked:
            raise StillOpen(self.node.name, f"the transaction is still open on node {self.node.name}") from locked

    async def end(self, part: Prepared, *, commit: bool) -> bool:
        """False when somebody else has done so. Raises NotAllowed."""
        statement = sql.SQL("{} PREPARED {}").format(sql.SQL("COMMIT" if commit else "ROLLBACK"), part.gid)
        return await self._ask(lambda connection: _end(connection, statement, part.owner))

    async def forget(self, prefix: str, keep: Collection[str]) -> int:
        """Delete old rows of the commit log, other than those of `keep`. How many."""
        return await self._ask(lambda connection: _forget(connection, prefix, list(keep)), _ANSWER_TIMEOUT_S * 10)

    async def close(self) -> None:
        opened, self._connection = self._connection, None
        if opened is not None:
            await opened.close()

    async def _ask(
        self,
        work: Callable[[AsyncConnection], Coroutine[Any, Any, T]],
        timeout_s: float = _ANSWER_TIMEOUT_S,
    ) -> T:
        """One thing at a time."""
        async with self._turn:
            try:
                async with asyncio.timeout(timeout_s):
                    connection = await self._connected()
                    return await run(connection, work(connection))
            except (_Locked, NotAllowed):
                raise
            except TimeoutError:
                await self.close()
                raise NodeFailure(self.node.name, f"node {self.node.name} does not answer in time") from None
            except (psycopg.Error, OSError) as failure:
                await self.close()
                raise NodeFailure(self.node.name, f"node {self.node.name}: {one_line(failure)}") from failure
            except BaseException:
                await self.close()
                raise

    async def _connected(self) -> AsyncConnection:
        if self._connection is None:
            self._connection = await connect(
                self.node,
                self.cluster,
                application_name="pgproxy recovery",
                timeout_s=_ANSWER_TIMEOUT_S,
                lock_timeout_s=_LOCK_TIMEOUT_S,
            )
            await run(self._connection, self._connection.execute(_OWN_SETTINGS))
        return self._connection


class _Locked(Exception):
    """Somebody has written this row and not committed yet."""


async def _outcome(connection: AsyncConnection, gid: str) -> bool:
    try:
        await connection.execute(_FENCE, [gid])
    except errors.LockNotAvailable:
        raise _Locked from None
    ((committed,),) = await _rows(connection, _OUTCOME, gid)
    return bool(committed)


async def _end(connection: AsyncConnection, statement: sql.Composed, owner: str) -> bool:
    try:
        await connection.execute(statement)
    except errors.UndefinedObject:
        return False
    except errors.InsufficientPrivilege:
        return await _end_as(connection, statement, owner)
    return True


async def _end_as(connection: AsyncConnection, statement: sql.Composed, owner: str) -> bool:
    """COMMIT PREPARED is for the role that has prepared, and superusers."""
    try:
        await connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(owner)))
    except (errors.InsufficientPrivilege, errors.InvalidParameterValue):
        raise NotAllowed from None
    try:
        await connection.execute(statement)
    except errors.UndefinedObject:
        return False
    finally:
        await connection.execute("RESET ROLE")
    return True


async def _forget(connection: AsyncConnection, prefix: str, keep: Sequence[str]) -> int:
    deleted = 0
    for _ in range(_MOST_BATCHES):
        cursor = await connection.execute(_FORGET, [prefix, prefix, *_KEPT, keep, _BATCH])
        deleted += cursor.rowcount
        if cursor.rowcount < _BATCH:
            break
    return deleted


async def _rows(connection: AsyncConnection, query: LiteralString, *arguments: object) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query, arguments)).fetchall()


# Whatever the role's or the database's defaults are.
_OWN_SETTINGS = """
    SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;
    SET statement_timeout = 0;
    SET synchronous_commit = 'local'
"""

_PREPARED: LiteralString = """
    SELECT gid, owner::text, EXTRACT(epoch FROM pg_catalog.now() - prepared)::float8
    FROM pg_catalog.pg_prepared_xacts
    WHERE database = pg_catalog.current_database() AND pg_catalog.left(gid, pg_catalog.length(%s)) = %s
    ORDER BY prepared LIMIT %s
"""

# Waits for whoever has written this row and is still in his transaction; afterwards nobody can write it any more.
_FENCE: LiteralString = f"INSERT INTO {commit_log.TABLE} (gid, committed) VALUES (%s, false) ON CONFLICT DO NOTHING"
_OUTCOME: LiteralString = f"SELECT committed FROM {commit_log.TABLE} WHERE gid = %s"

_FORGET: LiteralString = f"""
    DELETE FROM {commit_log.TABLE} WHERE gid = ANY (ARRAY(
        SELECT gid FROM {commit_log.TABLE}
        WHERE pg_catalog.left(gid, pg_catalog.length(%s)) = %s
          AND decided_at < pg_catalog.now() - CASE WHEN committed THEN %s ELSE %s END::interval
          AND gid <> ALL (%s::text[])
        LIMIT %s))
"""
