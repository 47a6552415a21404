"""How the HTTP side comes to the proxy: as a client in this process, whose SELECTs get a LIMIT of their own.

Such a client goes the whole way of any other – planner, transactions, pools – but for log-in and sockets.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from pgproxy.planner.planner import Planner
from pgproxy.session.client import Client
from pgproxy.session.in_force import InForce
from pgproxy.session.services import Services
from pgproxy.worker import Worker

PLANS_KEPT = 200


class FrontDoor:
    """Satisfies `http.run.FrontDoor`. `default_limit` is the LIMIT of SELECTs that have none."""

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
        return self._limited.in_force.planning().plan(sql).default_limit


class _Limited:
    """The worker's services with another planner."""

    def __init__(self, worker: Worker, default_limit: int) -> None:
        self._worker = worker
        self._default_limit = default_limit
        self._of_worker: InForce | None = None
        self._in_force = worker.in_force

    def __getattr__(self, name: str) -> Any:
        return getattr(self._worker, name)

    @property
    def in_force(self) -> InForce:
        """Made anew when the worker's is another."""
        worker = self._worker
        if self._of_worker is not worker.in_force:
            self._of_worker = self._in_force = worker.in_force
            if self._in_force.planner is not None:
                assert worker.facts is not None, "whoever has a planner has facts"
                worker.http_planner = Planner(
                    worker.shard_map, worker.facts, cache_size=PLANS_KEPT, default_limit=self._default_limit
                )
                self._in_force = replace(self._in_force, planner=worker.http_planner)
        return self._in_force
