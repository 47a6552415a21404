"""How the HTTP side comes to the proxy: as a client in this process, whose SELECTs get a LIMIT of their own.

Such a client goes the whole way of any other – planner, transactions, pools – but for log-in and sockets.
"""

from __future__ import annotations

from typing import Any, cast

from pgproxy.planner.planner import Planner
from pgproxy.session.client import Client
from pgproxy.session.services import Services
from pgproxy.shardmap.facts import CatalogFacts
from pgproxy.worker import Worker

PLANS_KEPT = 200


class FrontDoor:
    """Satisfies `http.run.Proxy`. `default_limit` is the LIMIT of SELECTs that have none."""

    def __init__(self, worker: Worker, default_limit: int) -> None:
        self._worker = worker
        self._limited = _Limited(worker, default_limit)
        self._services = cast(Services, self._limited)

    def accept(self) -> Client:
        """The protocol of one more client."""
        client = Client(self._converse)
        client.in_process = True
        return client

    async def _converse(self, client: Client) -> None:
        await self._worker.converse(client, self._services)

    def cancel(self, pid: int, key: bytes) -> None:
        self._worker.cancel(pid, key)

    def nodes_of(self, pid: int) -> list[str]:
        """The nodes that take part in this client's transaction."""
        session = self._worker.sessions.get(pid)
        held = () if session is None else session.backends.held
        return sorted({connection.node.name for connection in held})

    def limit_of(self, sql: str) -> int | None:
        """The LIMIT that this statement is given."""
        return self._limited.planner().plan(sql).default_limit


class _Limited:
    """The worker's services with another planner."""

    def __init__(self, worker: Worker, default_limit: int) -> None:
        self._worker = worker
        self._default_limit = default_limit
        self._facts: CatalogFacts | None = None
        self._planner: Planner | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._worker, name)

    def planner(self) -> Planner:
        worker = self._worker
        worker.planner()  # raises 57P03 as long as there is none
        facts = worker.facts
        if self._planner is None or self._facts is not facts:
            assert facts is not None, "whoever has a planner has facts"
            self._planner = Planner(worker.shard_map, facts, cache_size=PLANS_KEPT, default_limit=self._default_limit)
            self._facts = facts
            worker.http_planner = self._planner
        return self._planner
