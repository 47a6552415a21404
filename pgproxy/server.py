"""One run of the proxy: listen, serve, and shut down in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pgproxy
from pgproxy import notify
from pgproxy.auth.users_file import UsersFileErrors, open_users_file
from pgproxy.descriptors import raise_limit
from pgproxy.front_door import FrontDoor
from pgproxy.http.server import HttpServer, PortTaken
from pgproxy.reload import Reload
from pgproxy.shardmap.auth_rules import trust_warning
from pgproxy.shardmap.auth_rules import warnings as auth_warnings
from pgproxy.shardmap.model import ShardMap
from pgproxy.tls.serving import TlsFileError
from pgproxy.worker import Worker, WorkerView

log = logging.getLogger("pgproxy.server")

BACKLOG = 1_024
LAST_WORDS_S = 0.05  # for the message to those who are cut off to leave


async def serve(
    shard_map: ShardMap,
    *,
    read_again: Callable[[], ShardMap],
    config_path: Path | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> int:
    """Run the proxy until SIGTERM or SIGINT; the process's exit code. A second signal ends it at once.
    `read_again` reads the shard map for a reload; it raises ShardMapErrors."""
    loop = asyncio.get_running_loop()
    settings = shard_map.proxy
    try:
        users_file = open_users_file(shard_map.auth_users)
        worker = Worker(shard_map, loop, users_file=users_file)
    except UsersFileErrors as wrong:
        for problem in wrong.problems:
            log.error("%s", problem)
        return 1
    except TlsFileError as wrong:
        log.error("%s", wrong)
        return 1
    _warn(shard_map)
    raise_limit(shard_map)
    http = _http(worker)
    try:
        server = await loop.create_server(
            worker.accept, settings.listen, settings.port, backlog=BACKLOG, start_serving=False
        )
    except OSError as taken:
        log.error("cannot listen on %s:%d: %s", settings.listen, settings.port, taken.strerror or taken)
        return 1
    stop, enough = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, partial(_on_signal, stop, enough))
    reload = Reload(worker, read_again)
    worker.orders.on_reload = reload
    loop.add_signal_handler(signal.SIGHUP, lambda: worker.orders.later(0, reload.on_signal()))
    try:
        await worker.start()
        await server.start_serving()
        _log_start(server.sockets, shard_map, config_path)
        if http is not None:
            await http.start()
        notify.notify(notify.READY)
        on_ready()
        async with asyncio.TaskGroup() as tasks:
            facts = tasks.create_task(worker.keep_facts_fresh())
            await stop.wait()
            facts.cancel()
        await _shut_down(worker, server, enough)
    except PortTaken as taken:
        log.error("%s", taken)
        return 1
    finally:
        server.close()
        if http is not None:
            await http.stop()
        await worker.stop()
    return 0


def _http(worker: Worker) -> HttpServer | None:
    settings = worker.shard_map.http
    if not settings.enabled:
        return None
    http = HttpServer(settings, WorkerView(worker), FrontDoor(worker, settings.default_limit))
    worker.heartbeats.on_change(lambda _state: http.live.node_changed())
    return http


def _warn(shard_map: ShardMap) -> None:
    rules, listen = shard_map.auth, shard_map.proxy.listen
    for warning in (trust_warning(rules, listen), *auth_warnings(rules, listen)):
        if warning is not None:
            log.warning("%s", warning)


async def _shut_down(worker: Worker, server: asyncio.Server, enough: asyncio.Event) -> None:
    """Stop accepting, let running statements finish within the grace time, close cleanly."""
    notify.notify(notify.STOPPING)
    log.info("shutting down: %d clients", worker.metrics.clients)
    server.close()
    worker.drain(on_empty=enough.set)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(worker.shard_map.proxy.shutdown_grace_s):
            await enough.wait()
    if worker.sessions:
        log.warning("%d clients are cut off: the grace time is over", len(worker.sessions))
        worker.end_sessions()
        await asyncio.sleep(LAST_WORDS_S)


def _on_signal(stop: asyncio.Event, enough: asyncio.Event) -> None:
    """The first signal asks for an orderly end, the next one for an end at once."""
    (enough if stop.is_set() else stop).set()


def _log_start(sockets: Sequence[socket.socket], shard_map: ShardMap, config_path: Path | None) -> None:
    for listening in sockets:
        log.info("pgproxy %s listens on %s:%d", pgproxy.__version__, *listening.getsockname()[:2])
    log.info(
        "cluster %s (%s), %d nodes, shard map %s",
        shard_map.cluster.name,
        shard_map.cluster.engine.value,
        len(shard_map.nodes),
        config_path or "built in",
    )
