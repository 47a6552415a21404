"""What a session offers the operators that run in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence

from pgproxy.backend.connection import BackendConnection
from pgproxy.operators.source import RowSource
from pgproxy.session.call import Call
from pgproxy.session.client import Client
from pgproxy.session.services import Services
from pgproxy.session.sources import EvaluationSource


class SessionEnvironment:
    """An `operators.source.Environment`. `connect` gives the connection that evaluations run on, `call` the values of
    the client's parameters."""

    def __init__(
        self, client: Client, services: Services, connect: Callable[[], Awaitable[BackendConnection]], call: Call
    ) -> None:
        self.sort_memory_bytes = services.shard_map.proxy.sort_memory_bytes
        self.bytewise_default = services.bytewise_default()
        self._client = client
        self._connect = connect
        self._call = call

    async def any_ready(self, sources: Sequence[RowSource]) -> None:
        while not any(source.ready for source in sources):
            await self._client.wait()

    def evaluate(self, sql: str, parameters: Collection[int] = ()) -> RowSource:
        call, wake = self._call, self._client.wake
        return EvaluationSource(
            self._connect, lambda connection: call.evaluate(connection, sql, parameters, wake), self._client
        )
