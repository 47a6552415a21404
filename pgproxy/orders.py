"""What an operator orders in the admin database and has to wait for: RELOAD, PAUSE, RESUME, RECONNECT.

Each order is a task of its own; whoever gave it waits for it or gives it up. A PAUSE that is given up, or does not
come to its end in time, is undone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Protocol

from pgproxy.admin.answers import AdminResult, words_of
from pgproxy.admin.encode import encode
from pgproxy.auth.pending import Pending
from pgproxy.backend.pool import NodePool
from pgproxy.cluster.heartbeat import Heartbeats
from pgproxy.errors import ProxyError, TurnedAway
from pgproxy.shardmap.model import ShardMap
from pgproxy.wire.messages import notice_response

log = logging.getLogger("pgproxy.server")

LOOK_S = 0.02
SIGN_OF_LIFE_S = 5.0  # so long RESUME waits for a node that has been away to answer

Warnings = Sequence[str]
Work = Callable[[Sequence[str]], Awaitable[Warnings]]


class Operated(Protocol):
    """The worker, as far as orders are about it."""

    shard_map: ShardMap
    heartbeats: Heartbeats
    paused: set[str]

    def pools_on(self, node: str) -> list[NodePool]: ...

    def is_primary(self, pool: NodePool) -> bool: ...


class Orders:
    """`on_reload` reads the shard map again; it raises ProxyError, or gives what the operator should be told."""

    def __init__(self, worker: Operated, loop: asyncio.AbstractEventLoop) -> None:
        self.on_reload: Callable[[], Awaitable[Warnings]] = _nothing_to_read
        self._worker = worker
        self._loop = loop
        self._given: dict[Pending[bytes], asyncio.Task[None]] = {}
        self._loose: set[asyncio.Task[None]] = set()
        self._work: Mapping[str, Work] = {
            "RELOAD": self._reload,
            "PAUSE": self._pause,
            "RESUME": self._resume,
            "RECONNECT": self._reconnect,
        }

    def begin(self, sql: str, wake: Callable[[], None]) -> Pending[bytes] | None:
        """None when it is no order. Raises 42601 for what cannot be understood, 42704 for a node that is not known."""
        words = words_of(sql)
        verb = words[0].upper() if words else ""
        if verb not in self._work:
            return None
        nodes = self._nodes(verb, words[1:])
        pending: Pending[bytes] = Pending(wake)
        self._given[pending] = self._loop.create_task(self._carry_out(pending, verb, nodes))
        return pending

    def give_up(self, order: Pending[bytes]) -> None:
        task = self._given.get(order)
        if task is not None and not order.done:
            task.cancel()

    def later(self, delay_s: float, work: Coroutine[None, None, None]) -> None:
        """Have something done after a while, or at `close`."""

        async def wait() -> None:
            try:
                await asyncio.sleep(delay_s)
            finally:
                await work

        task = self._loop.create_task(wait())
        self._loose.add(task)
        task.add_done_callback(self._loose.discard)

    async def close(self) -> None:
        tasks = [*self._given.values(), *self._loose]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _nodes(self, verb: str, words: Sequence[str]) -> Sequence[str]:
        known = self._worker.shard_map.nodes
        if len(words) > (0 if verb == "RELOAD" else 1):
            wanted = "nothing else" if verb == "RELOAD" else "one node, or nothing for all of them"
            raise ProxyError("42601", f"{verb} takes {wanted}")
        name = words[0].strip('"') if words else None
        if name is not None and name not in known:
            raise ProxyError("42704", f'node "{name}" does not exist', hint=f"The nodes are: {', '.join(known)}.")
        return tuple(known) if name is None else (name,)

    async def _carry_out(self, pending: Pending[bytes], verb: str, nodes: Sequence[str]) -> None:
        try:
            warnings = await self._work[verb](nodes)
        except ProxyError as refused:
            pending.fail(refused)
        except Exception as bug:
            log.exception("%s failed by a bug", verb)
            pending.fail(ProxyError("XX000", f"internal error: {type(bug).__name__}"))
        else:
            pending.finish(_answer(verb, warnings))
        finally:
            del self._given[pending]

    # The orders

    async def _reload(self, _nodes: Sequence[str]) -> Warnings:
        return await self.on_reload()

    async def _pause(self, nodes: Sequence[str]) -> Warnings:
        worker = self._worker
        timeout_s = worker.shard_map.proxy.pool.pause_timeout_s
        newly = [node for node in nodes if node not in worker.paused]
        worker.paused.update(newly)
        for pool in self._pools(newly):
            pool.pause()
        try:
            await _until(lambda: all(pool.unused for pool in self._pools(nodes)), timeout_s)
        except TimeoutError:
            busy = ", ".join(dict.fromkeys(pool.node.name for pool in self._pools(nodes) if not pool.unused))
            self._let_go_on(newly)
            raise ProxyError(
                "55006",
                f"node {busy} is still in use after {timeout_s:g} s: nothing is paused",
                hint="SHOW CLIENTS tells who holds connections there; PAUSE waits for proxy.pool.pause_timeout_s.",
            ) from None
        except BaseException:
            self._let_go_on(newly)
            raise
        log.warning("paused: %s", ", ".join(nodes))
        return ()

    async def _resume(self, nodes: Sequence[str]) -> Warnings:
        """Not before the heartbeat has seen the node: else the first statements would hear that it is down."""
        heartbeats = self._worker.heartbeats
        paused = [node for node in nodes if node in self._worker.paused]
        since = time.time()
        for node in paused:
            heartbeats.ask_now(node)
        with contextlib.suppress(TimeoutError):
            await _until(lambda: all(_seen(heartbeats, node, since) for node in paused), SIGN_OF_LIFE_S)
        self._let_go_on(paused)
        if paused:
            log.warning("resumed: %s", ", ".join(paused))
        return [f"node {node} does not answer" for node in paused if not _seen(heartbeats, node, since)]

    async def _reconnect(self, nodes: Sequence[str]) -> Warnings:
        for pool in self._pools(nodes):
            pool.replace_connections()
        log.info("connections are replaced: %s", ", ".join(nodes))
        return ()

    def _let_go_on(self, nodes: Sequence[str]) -> None:
        self._worker.paused.difference_update(nodes)
        for pool in self._pools(nodes):
            if not self._worker.is_primary(pool):  # it may have been when they came
                pool.turn_away(TurnedAway(pool.node.name, f"node {pool.node.name} has another primary now"))
            pool.resume()

    def _pools(self, nodes: Sequence[str]) -> list[NodePool]:
        """A reload may have taken a node away meanwhile."""
        known = self._worker.shard_map.nodes
        return [pool for node in nodes if node in known for pool in self._worker.pools_on(node)]


async def _until(condition: Callable[[], bool], timeout_s: float) -> None:
    """Looked at now and then: what it depends on is on the way of every statement, and has nobody to tell."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)


def _seen(heartbeats: Heartbeats, node: str, since: float) -> bool:
    state = heartbeats.states().get(node)
    return state is None or (state.up is True and (state.last_ok or 0.0) >= since)


def _answer(verb: str, warnings: Warnings) -> bytes:
    notices = (notice_response({"S": "WARNING", "V": "WARNING", "C": "01000", "M": warning}) for warning in warnings)
    return b"".join(notices) + encode(AdminResult((), [], verb))


async def _nothing_to_read() -> Warnings:
    raise ProxyError("F0000", "the shard map does not come from a file")
