"""The port that clients come to: bound, or taken over from a predecessor; and handed over to a successor."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from pgproxy.takeover import Handover, Predecessor
from pgproxy.worker import Worker

BACKLOG = 1_024


class Port:
    """`bind` or `take`, `open`, `close` (accept no more), `end` (hear no cancel requests any more).

    `relieved` is called with the successor's process id when that one has it."""

    def __init__(self, worker: Worker, name: str, relieved: Callable[[int], None]) -> None:
        self.sockets: list[socket.socket] = []
        self._worker = worker
        self._name = name
        self._relieved = relieved
        self._servers: list[asyncio.Server] = []
        self._handover: Handover | None = None
        self._predecessor: Predecessor | None = None

    def bind(self) -> None:
        """Every address of the name. Raises OSError, when somebody else has the port for one."""
        settings = self._worker.shard_map.proxy
        found = socket.getaddrinfo(settings.listen, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            self.sockets.append(_bound(family, kind, protocol, address))

    def take(self, predecessor: Predecessor) -> None:
        """Raises TakeoverFailed."""
        self._predecessor = predecessor
        self.sockets = predecessor.sockets()

    async def open(self) -> None:
        """Accept connections; a predecessor stops doing so. Raises TakeoverFailed, OSError."""
        worker, predecessor = self._worker, self._predecessor
        for each in self.sockets:
            each.setblocking(False)
            self._servers.append(await worker.loop.create_server(worker.accept, sock=each, backlog=BACKLOG))
        if predecessor is not None:
            predecessor.relieve()
            worker.on_foreign_cancel = predecessor.cancel
        self._handover = Handover(self._name, self.sockets, worker.number, worker.loop, self._on_taken, worker.cancel)
        self._handover.open()

    def _on_taken(self, by: int) -> None:
        self.close()
        self._relieved(by)

    def close(self) -> None:
        for server in self._servers:
            server.close()
        if self._handover is not None:
            self._handover.close()

    def end(self) -> None:
        self.close()
        for each in self.sockets:
            each.close()
        if self._handover is not None:
            self._handover.end()
        if self._predecessor is not None:
            self._predecessor.close()


def _bound(family: int, kind: int, protocol: int, address: object) -> socket.socket:
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)  # type: ignore[arg-type] # as getaddrinfo gave it
    except BaseException:
        bound.close()
        raise
    return bound
