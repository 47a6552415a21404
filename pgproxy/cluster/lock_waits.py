"""Who waits for whom on the nodes, as they say themselves, and what other proxies have them say of their sessions.

Connections are made when there is something to ask, and kept for a while.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import psycopg
from psycopg import AsyncConnection

from pgproxy.cluster.connect import connect, run
from pgproxy.cluster.wait_graph import Place, Process, Wait
from pgproxy.shardmap.model import ClusterSettings, Node

log = logging.getLogger("pgproxy.cluster")

ASK_TIMEOUT_S = 3.0
NAME = "pgproxy deadlocks"

# The processes in a transaction; those that wait; the last questions of other proxies, with what they tell. Everyone
# may read pg_locks, where pg_stat_activity hides what other users do. Left out are locks that are let go at once.
_QUESTION = f"""
SELECT pid, virtualtransaction, NULL, NULL, NULL FROM pg_catalog.pg_locks
    WHERE granted AND locktype = 'virtualxid' AND virtualxid = virtualtransaction AND pid IS NOT NULL
UNION ALL
SELECT pid, virtualtransaction, pg_catalog.pg_blocking_pids(pid), mode || ' on ' || CASE locktype
        WHEN 'transactionid' THEN format('transaction %s', transactionid)
        WHEN 'virtualxid' THEN format('virtual transaction %s', virtualxid)
        WHEN 'tuple' THEN format('tuple (%s,%s) of relation %s of database %s', page, tuple, relation, database)
        WHEN 'relation' THEN format('relation %s of database %s', relation, database)
        WHEN 'advisory' THEN format('advisory lock [%s,%s,%s,%s]', database, classid, objid, objsubid)
        ELSE format('%s of database %s', locktype, database) END, NULL FROM pg_catalog.pg_locks
    WHERE NOT granted AND pid IS NOT NULL AND locktype <> ALL ('{{extend,frozenid,page,spectoken}}')
UNION ALL
SELECT pid, NULL, NULL, NULL, query FROM pg_catalog.pg_stat_activity
    WHERE application_name = '{NAME}' AND usename = session_user AND pid <> pg_catalog.pg_backend_pid()
"""
_TOLD = re.compile(r"([0-9a-f-]{1,60}) ([0-9]{1,10}) ([0-9]{1,10}/[0-9]{1,10});", re.ASCII)

_Row = tuple[int, str, list[int] | None, str | None, str | None]


def place_of(node: Node) -> Place:
    return node.host, node.port


@dataclass(slots=True)
class Answers:
    """`transactions` are the virtual ones of all processes that are in one. `told`: what other proxies say, by the
    process that they speak of: tokens of sessions, each with the transaction that it is in there."""

    transactions: dict[Process, str] = field(default_factory=dict)
    waits: list[Wait] = field(default_factory=list)
    told: dict[Process, list[tuple[str, str]]] = field(default_factory=dict)

    def others(self) -> dict[Process, str]:
        """The tokens of other proxies' sessions. What is told of a process is true while it is in that transaction."""
        return {
            process: token
            for process, claims in self.told.items()
            for token, transaction in claims
            if self.transactions.get(process) == transaction
        }

    def add(self, place: Place, rows: list[_Row]) -> None:
        for pid, transaction, blockers, lock, question in rows:
            process = Process(place, pid)
            if question is not None:
                self._add_told(place, question)
            elif lock is not None:
                self.waits.append(Wait(process, transaction, lock, tuple(blockers or ())))
            else:
                self.transactions[process] = transaction

    def _add_told(self, place: Place, question: str) -> None:
        for token, pid, transaction in _TOLD.findall(question.partition("*/")[0]):
            self.told.setdefault(Process(place, int(pid)), []).append((token, transaction))


def telling(token: str, pid: int, transaction: str) -> str:
    """One thing to tell with a question."""
    return f"{token} {pid} {transaction};"


class LockWaits:
    """The connections by which the nodes are asked."""

    def __init__(self, cluster: Callable[[], ClusterSettings]) -> None:
        self._cluster = cluster
        self._connections: dict[Place, AsyncConnection] = {}

    async def ask(self, nodes: Mapping[Place, Node], tell: Mapping[Place, str]) -> Answers:
        """Ask these nodes at the same time. What there is to `tell` other proxies stands in a comment, which
        pg_stat_activity shows them."""
        answers = Answers()
        found = await asyncio.gather(*(self._ask(node, tell.get(place, "")) for place, node in nodes.items()))
        for place, rows in zip(nodes, found, strict=True):
            answers.add(place, rows)
        return answers

    async def close(self) -> None:
        connections, self._connections = self._connections, {}
        for connection in connections.values():
            await connection.close()

    async def _ask(self, node: Node, tell: str) -> list[_Row]:
        """Nothing from a node that does not answer: it is the heartbeat's business."""
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                connection = await self._connected(node)
                return await run(connection, _rows(connection, f"/* {tell} */{_QUESTION}"))
        except (psycopg.Error, OSError, TimeoutError) as failure:
            log.debug("node %s does not say who waits there: %s", node.name, failure)
            broken = self._connections.pop(place_of(node), None)
            if broken is not None:
                await broken.close()
            return []

    async def _connected(self, node: Node) -> AsyncConnection:
        connection = self._connections.get(place_of(node))
        if connection is None:
            connection = await connect(node, self._cluster(), application_name=NAME, timeout_s=ASK_TIMEOUT_S)
            self._connections[place_of(node)] = connection
        return connection


async def _rows(connection: AsyncConnection, question: str) -> list[_Row]:
    cursor = await connection.execute(question.encode())
    return await cursor.fetchall()
