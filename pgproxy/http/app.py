"""The addresses of the HTTP side and what answers each. Who may ask is `guard`'s, running statements `run`'s."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote_to_bytes

from aiohttp import web
from aiohttp.typedefs import Handler

from pgproxy.errors import ProxyError
from pgproxy.http.errors import error_response, refusal
from pgproxy.http.exposition import Exposition
from pgproxy.http.guard import guard
from pgproxy.http.live import Live
from pgproxy.http.run import NoSample, Peer, Rows, Statements
from pgproxy.http.state import readiness
from pgproxy.http.view import ProxyView
from pgproxy.shardmap.model import HttpSettings

_STATIC = Path(__file__).parent / "static"
_FILES = {
    "app.js": "text/javascript",
    "charts.js": "text/javascript",
    "style.css": "text/css",
    "icon.svg": "image/svg+xml",
    "uPlot.iife.min.js": "text/javascript",
    "uPlot.min.css": "text/css",
    "uPlot.LICENSE": "text/plain",
}
_MOST_BODY_BYTES = 16 * 1024
_METHODS_SAY = {404: "there is nothing at this address", 405: "this address has another method"}


class Api:
    """The handlers."""

    def __init__(self, view: ProxyView, statements: Statements, live: Live, settings: HttpSettings) -> None:
        self._view = view
        self._statements = statements
        self._live = live
        self._settings = settings
        self._exposition = Exposition(view)
        self._files = {name: (_STATIC / name).read_bytes() for name in (*_FILES, "index.html")}

    def application(self) -> web.Application:
        application = web.Application(
            middlewares=[guard(self._settings.token), _errors], client_max_size=_MOST_BODY_BYTES
        )
        application.add_routes(
            [
                web.get("/", self._page),
                web.get("/static/{name}", self._file),
                web.get("/events", self._live.stream, allow_head=False),
                web.get("/sql", self._sql, allow_head=False),
                web.post("/write", self._write),
                web.get("/health", self._health),
                web.get("/ready", self._ready),
                web.get("/metrics", self._metrics),
            ]
        )
        return application

    async def _page(self, _request: web.Request) -> web.Response:
        return _file(self._files["index.html"], "text/html")

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in _FILES:
            raise web.HTTPNotFound
        return _file(self._files[name], _FILES[name])

    async def _sql(self, request: web.Request) -> web.Response:
        sql = request.query.get("q")
        if sql is None:
            return refusal(400, {"message": "say the statement: /sql?q=SELECT+…"})
        if len(request.query) > 1:  # it may be the rest of a statement, which without it means something else
            return refusal(400, {"message": "/sql takes q alone, once; an & within the statement is written %26"})
        if not _is_utf8(unquote_to_bytes(request.raw_path)):  # aiohttp puts other characters there
            raise ProxyError("22021", "the statement is not encoded in UTF8")
        rows = await self._statements.read(sql, _peer(request))
        return web.Response(text=_answer(sql, rows), content_type="application/json")

    async def _write(self, request: web.Request) -> web.Response:
        if not self._settings.write:
            return refusal(403, {"message": "the sample write is off; http.write = true in the shard map allows it"})
        shard, isbn = await self._statements.toggle(self._view.shard_map, _peer(request))
        return web.json_response({"ok": True, "node": shard.node, "table": shard.table, "isbn": isbn})

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"ok": True, "version": self._view.version, "uptime_s": round(self._view.uptime_s)})

    async def _ready(self, _request: web.Request) -> web.Response:
        state = readiness(self._view)
        return web.json_response(state, status=200 if state["ready"] else 503)

    async def _metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._exposition.render(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error as JSON."""
    try:
        return await handler(request)
    except ProxyError as error:
        return error_response(error)
    except NoSample as why:
        return refusal(409, {"message": str(why)})
    except web.HTTPException as refused:
        if refused.status not in _METHODS_SAY:
            raise
        return refusal(refused.status, {"message": _METHODS_SAY[refused.status]})


def _answer(sql: str, rows: Rows) -> str:
    """The object is written around rows that are JSON already."""
    facts = {"query": sql, "nodes": rows.nodes, "limit": rows.limit, "count": len(rows.rows)}
    head = json.dumps(facts, ensure_ascii=False)
    truncated = "true" if rows.truncated else "false"
    return f'{head[:-1]}, "truncated": {truncated}, "rows": [' + ",\n".join(rows.rows) + "]}\n"


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _file(body: bytes, content_type: str) -> web.Response:
    return web.Response(body=body, content_type=content_type, charset="utf-8", headers={"Cache-Control": "no-cache"})


def _peer(request: web.Request) -> Peer:
    """Who asks, as the session's address shows it."""
    peer = None if request.transport is None else request.transport.get_extra_info("peername")
    return (str(peer[0]), int(peer[1])) if peer else ("http", 0)
