"""The HTTP side's own port: listening, the live page's clock, and the end of both."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from pgproxy.http.app import Api
from pgproxy.http.connections import IDLE_S, Connections
from pgproxy.http.live import Live
from pgproxy.http.run import FrontDoor, Statements
from pgproxy.http.view import ProxyView
from pgproxy.shardmap.model import HttpSettings

log = logging.getLogger("pgproxy.http")

DEFAULT_PORT = 8088
_SHUTDOWN_S = 2.0


class PortTaken(Exception):
    """The configured port cannot be listened on; the text says why."""


class HttpServer:
    """`start`, then `stop`."""

    def __init__(self, settings: HttpSettings, view: ProxyView, door: FrontDoor) -> None:
        self.live = Live(view)
        statements = Statements(door, view.shard_map.cluster, settings)
        self._settings = settings
        self._connections = Connections()
        application = Api(view, statements, self.live, settings).application()
        application.middlewares.insert(0, self._connections.middleware())
        self._runner = web.AppRunner(
            application,
            access_log=None,
            handle_signals=False,
            handler_cancellation=True,
            shutdown_timeout=_SHUTDOWN_S,
            keepalive_timeout=IDLE_S,
            logger=_log_of_requests(),
        )
        self._server: asyncio.Server | None = None
        self._clock: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises PortTaken; but a default port that is taken only means that there is no HTTP."""
        settings = self._settings
        port = settings.port or DEFAULT_PORT
        await self._runner.setup()
        try:
            self._server = await asyncio.get_running_loop().create_server(self._accept, settings.listen, port)
        except OSError as failed:
            reason = f"cannot listen on {settings.listen}:{port} for HTTP: {failed.strerror or failed}"
            await self._runner.cleanup()
            if settings.port is not None:
                raise PortTaken(reason) from None
            log.warning("%s; going on without (http.port in the shard map chooses another)", reason)
            return
        self._clock = asyncio.create_task(self.live.run(), name="live page")
        log.info("HTTP on http://%s:%d/", *self._server.sockets[0].getsockname()[:2])

    def release(self) -> None:
        """Accept no more connections: the port is wanted by another process."""
        if self._server is not None:
            self._server.close()

    async def stop(self) -> None:
        self.live.end()
        self.release()
        if self._clock is not None:
            self._clock.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._clock
        await self._runner.cleanup()

    def _accept(self) -> asyncio.BaseProtocol:
        server = self._runner.server
        assert server is not None, "set up before it listens"
        return self._connections.accept(server)


def _log_of_requests() -> logging.Logger:
    requests = logging.getLogger("pgproxy.http.requests")
    requests.addFilter(_is_ours)
    return requests


def _is_ours(record: logging.LogRecord) -> bool:
    """What was no request is its sender's fault, who is told; quoting it here might quote a token."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
