"""The stream of the live page: server-sent events, one state a second and one more when a node goes up or down.

The state is made once for all who listen, and not at all while nobody does; only the history goes on.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from pgproxy.http.guard import security_headers
from pgproxy.http.history import History
from pgproxy.http.state import about, state
from pgproxy.http.view import ProxyView

INTERVAL_S = 1.0
MOST_LISTENERS = 20
_SLOWEST_S = 10.0  # a listener that takes longer to read one event is left


class Live:
    """Use `run` as a task, `stream` as a handler, `node_changed` whenever a node goes up or down."""

    def __init__(self, view: ProxyView) -> None:
        self._view = view
        self._told = view.shard_map  # what those who listen know
        self._history = History(view.metrics)
        self._listeners = 0
        self._event = b""
        self._next = asyncio.Event()
        self._hurry = asyncio.Event()
        self._ended = False

    async def run(self) -> None:
        due = asyncio.get_running_loop().time()
        while True:
            due = max(due + INTERVAL_S, asyncio.get_running_loop().time())
            while await self._hurried(due):
                self._publish({})
            self._publish({"point": self._sample()})

    def node_changed(self) -> None:
        self._hurry.set()

    def end(self) -> None:
        """Let the listeners go."""
        self._ended = True
        self._announce()

    async def stream(self, request: web.Request) -> web.StreamResponse:
        if self._listeners >= MOST_LISTENERS:
            return web.json_response({"error": {"message": "too many live pages are open"}}, status=503)
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers | security_headers())
        await response.prepare(request)
        self._listeners += 1
        try:
            await _write(response, _event("hello", self._hello()))
            while not self._ended:
                event = self._next
                await event.wait()
                await _write(response, self._event)
        except (ConnectionError, TimeoutError):
            pass  # it closed the page, or its machine sleeps
        finally:
            self._listeners -= 1
        return response

    async def _hurried(self, due: float) -> bool:
        """Wait for the next second; True when there is news before."""
        try:
            async with asyncio.timeout_at(due):
                await self._hurry.wait()
        except TimeoutError:
            return False
        self._hurry.clear()
        return True

    def _hello(self) -> dict[str, Any]:
        return {"about": about(self._view), "points": list(self._history.points), **state(self._view)}

    def _sample(self) -> dict[str, Any]:
        heartbeats = {node.name: node.latency_ms for node in self._view.nodes}
        return self._history.sample(self._view.metrics, heartbeats)

    def _publish(self, more: dict[str, Any]) -> None:
        if not self._listeners:
            return
        if self._told is self._view.shard_map:
            self._event = _event("state", state(self._view) | more)
        else:  # reloaded: there are other nodes and shards now
            self._told = self._view.shard_map
            self._event = _event("hello", self._hello())
        self._announce()

    def _announce(self) -> None:
        """Wake all who wait, and begin a new wait."""
        event, self._next = self._next, asyncio.Event()
        event.set()


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


async def _write(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(_SLOWEST_S):
        await response.write(data)
