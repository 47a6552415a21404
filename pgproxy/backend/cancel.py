"""A CancelRequest to a node, on a connection of its own: encrypted when the other one is."""

from __future__ import annotations

import asyncio
from typing import cast

from pgproxy.shardmap.model import Node
from pgproxy.tls.node import NodeTls, NodeUpgrade


async def request_cancel(node: Node, tls: NodeTls | None, request: bytes) -> None:
    """Send it and wait until the node closes, which it does once the signal is sent. Raises OSError. The caller limits
    the time."""
    loop = asyncio.get_running_loop()
    protocol = _CancelProtocol(request, loop.create_future())

    def first_protocol() -> asyncio.Protocol:
        return protocol if tls is None else NodeUpgrade(tls, node.host, protocol, protocol.fail)

    transport, _ = await loop.create_connection(first_protocol, node.host, node.port)
    try:
        await protocol.closed
    finally:
        transport.abort()


class _CancelProtocol(asyncio.Protocol):
    def __init__(self, request: bytes, closed: asyncio.Future[None]) -> None:
        self.closed = closed
        self._request = request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def fail(self, reason: str) -> None:
        if not self.closed.done():
            self.closed.set_exception(ConnectionError(reason))
