"""A session that could go on without a pause lets the event loop go round once: others have their turn."""

from __future__ import annotations

import asyncio

from pgproxy.session.client import Client


async def let_others_run(client: Client, loop: asyncio.AbstractEventLoop) -> None:
    turn = _Turn(client)
    handle = loop.call_soon(turn.come)
    try:
        while not turn.has_come:
            await client.wait()
    finally:
        handle.cancel()


class _Turn:
    """Comes when the event loop has gone round once."""

    def __init__(self, client: Client) -> None:
        self.has_come = False
        self._client = client

    def come(self) -> None:
        self.has_come = True
        self._client.wake()
