"""One run of the proxy: listen, serve, and shut down in order, or be relieved by a successor."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pgproxy
from pgproxy import notify
from pgproxy.auth.users_file import UsersFileErrors, open_users_file
from pgproxy.descriptors import raise_limit
from pgproxy.ending import Ending
from pgproxy.front_door import FrontDoor
from pgproxy.http.server import HttpServer, PortTaken
from pgproxy.port import Port
from pgproxy.reload import Reload
from pgproxy.shardmap.auth_rules import trust_warning
from pgproxy.shardmap.auth_rules import warnings as auth_warnings
from pgproxy.shardmap.http_role import warnings as http_warnings
from pgproxy.shardmap.model import ShardMap
from pgproxy.takeover import Predecessor, TakeoverFailed, find_predecessor, name_of
from pgproxy.tls.serving import TlsFileError
from pgproxy.view import WorkerView
from pgproxy.worker import WORKER_NUMBERS, Worker

log = logging.getLogger("pgproxy.server")

LAST_COMERS_S = 0.1  # for connections that were accepted and whose session has not begun
LAST_WORDS_S = 0.05  # for the message to those who are cut off to leave


async def serve(
    shard_map: ShardMap,
    *,
    read_again: Callable[[], ShardMap],
    config_path: Path | None = None,
    take_over: bool = False,
    on_ready: Callable[[], None] = lambda: None,
) -> int:
    """Run the proxy until SIGTERM or SIGINT, or until another process takes over; the process's exit code.

    `read_again` reads the shard map for a reload; it raises ShardMapErrors. With `take_over` the port is taken from
    the process that has it, if there is one.
    """
    settings = shard_map.proxy
    address = f"{settings.listen}:{settings.port}"
    try:
        run = _prepare(shard_map, read_again, take_over)
    except UsersFileErrors as wrong:
        for problem in wrong.problems:
            log.error("%s", problem)
        return 1
    except TlsFileError as wrong:
        log.error("%s", wrong)
        return 1
    except TakeoverFailed as wrong:
        log.error("cannot take over %s: %s", address, wrong)
        return 1
    try:
        await _begin(run)
        _log_start(run, config_path)
        _warn_of_http(run.worker)
        if run.http is not None:
            await run.http.start()
        notify.notify(notify.READY)
        on_ready()
        await _serve_until_the_end(run)
    except TakeoverFailed as wrong:
        log.error("cannot take over %s: %s", address, wrong)
        return 1
    except _CannotListen as taken:
        log.error("cannot listen on %s: %s", address, taken)
        return 1
    except PortTaken as taken:
        log.error("%s", taken)
        return 1
    finally:
        run.port.end()
        if run.http is not None:
            await run.http.stop()
        await run.worker.stop()
    return 0


@dataclass(frozen=True, slots=True)
class _Run:
    """What one run consists of."""

    worker: Worker
    http: HttpServer | None
    port: Port
    ending: Ending
    predecessor: Predecessor | None


class _CannotListen(Exception):
    """Somebody else has the address, or it is not this machine's."""


def _prepare(shard_map: ShardMap, read_again: Callable[[], ShardMap], take_over: bool) -> _Run:
    """Raises UsersFileErrors, TlsFileError, TakeoverFailed."""
    loop = asyncio.get_running_loop()
    name = name_of(shard_map.proxy.listen, shard_map.proxy.port)
    predecessor = find_predecessor(name) if take_over else None
    number = 0 if predecessor is None else (predecessor.number + 1) % WORKER_NUMBERS
    worker = Worker(shard_map, loop, number=number, users_file=open_users_file(shard_map.auth_users))
    _warn(shard_map)
    raise_limit(shard_map)
    reload = Reload(worker, read_again)
    worker.orders.on_reload = reload
    ending = Ending()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, ending.signal)
    loop.add_signal_handler(signal.SIGHUP, lambda: worker.orders.later(0, reload.on_signal()))
    http = _http(worker)

    def relieved(by: int) -> None:
        notify.notify_successor(by)
        if http is not None:
            http.release()
        ending.relieve()

    return _Run(worker, http, Port(worker, name, relieved), ending, predecessor)


async def _begin(run: _Run) -> None:
    """Listen. A predecessor is relieved by one who is ready to serve, and not before."""
    worker, port, predecessor = run.worker, run.port, run.predecessor
    if predecessor is None:
        try:
            port.bind()
        except OSError as taken:
            raise _CannotListen(taken.strerror or str(taken)) from None
        await worker.start()
    else:
        await worker.start()
        if worker.current_planner is None:
            raise TakeoverFailed(f"the catalog cannot be read: {worker.in_force.why_no_planner}")
        port.take(predecessor)
    try:
        await port.open()
    except OSError as taken:
        raise _CannotListen(taken.strerror or str(taken)) from None
    if predecessor is not None:
        log.info("took the port over from process %d", predecessor.process)


async def _serve_until_the_end(run: _Run) -> None:
    async with asyncio.TaskGroup() as tasks:
        facts = tasks.create_task(run.worker.keep_facts_fresh())
        await run.ending.asked.wait()
        run.port.close()
        if run.ending.relieved:
            await _serve_who_is_left(run.worker, run.ending)
        else:
            notify.notify(notify.STOPPING)
        facts.cancel()
    await _shut_down(run.worker, run.ending)


async def _serve_who_is_left(worker: Worker, ending: Ending) -> None:
    """Another process has the port: who is connected is served until he leaves, or the grace time is over."""
    await asyncio.sleep(LAST_COMERS_S)
    log.info("the port is taken over: %d clients are served until they leave", worker.metrics.clients)
    worker.when_empty(ending.hurry.set)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(worker.shard_map.proxy.takeover_grace_s):
            await ending.hurry.wait()


async def _shut_down(worker: Worker, ending: Ending) -> None:
    """Let running statements finish within the grace time, close cleanly."""
    log.info("shutting down: %d clients", worker.metrics.clients)
    worker.drain(on_empty=ending.at_once.set)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(worker.shard_map.proxy.shutdown_grace_s):
            await ending.at_once.wait()
    if worker.sessions:
        log.warning("%d clients are cut off: the grace time is over", len(worker.sessions))
        worker.end_sessions()
        await asyncio.sleep(LAST_WORDS_S)


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


def _warn_of_http(worker: Worker) -> None:
    """While no node can be asked, nothing is known of a superuser; `pgproxy check` will tell."""
    superuser = worker.facts is not None and worker.facts.parameter_status.get("is_superuser") == "on"
    for warning in http_warnings(worker.shard_map, superuser=superuser):
        log.warning("%s", warning)


def _log_start(run: _Run, config_path: Path | None) -> None:
    shard_map = run.worker.shard_map
    for listening in run.port.sockets:
        log.info("pgproxy %s listens on %s:%d", pgproxy.__version__, *listening.getsockname()[:2])
    log.info(
        "cluster %s (%s), %d nodes, shard map %s",
        shard_map.cluster.name,
        shard_map.cluster.engine.value,
        len(shard_map.nodes),
        config_path or "built in",
    )
