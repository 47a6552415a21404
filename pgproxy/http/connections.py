"""How many HTTP connections there may be: beyond the most, the one that has been idle for longest makes room.

Nobody has shown a token yet when a connection is made, so idle ones must keep nobody out, a probe least of all.
"""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

MOST_CONNECTIONS = 200
IDLE_S = 20.0  # without a whole request, the first one included


class Connections:
    """`accept` makes the protocol of each connection; the application's first `middleware` tells which are at work."""

    def __init__(self, most: int = MOST_CONNECTIONS) -> None:
        self._most = most
        self._busy: set[asyncio.BaseProtocol] = set()

    def middleware(self) -> Middleware:
        @web.middleware
        async def at_work(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._busy.add(request.protocol)
            try:
                return await handler(request)
            finally:
                self._busy.discard(request.protocol)

        return at_work

    def accept(self, server: web.Server) -> asyncio.BaseProtocol:
        return server() if self._have_room(server) else _Turned()

    def _have_room(self, server: web.Server) -> bool:
        """Room is made if need be. False: all are at work."""
        connections = server.connections
        if len(connections) < self._most:
            return True
        idle = (each for each in connections if each not in self._busy and each.transport is not None)
        oldest = next(idle, None)
        if oldest is not None:
            oldest.force_close()
        return oldest is not None


class _Turned(asyncio.Protocol):
    """A connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()
