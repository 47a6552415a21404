"""A whole worker in one process without a socket: its clients and nodes are byte streams, its clock is ours.

The nodes here misbehave, which no real server does on purpose; what real ones answer is tested with real ones.
"""

from __future__ import annotations

import asyncio
import logging
import selectors
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

from pgproxy.planner.planner import Planner
from pgproxy.session.client import Client
from pgproxy.worker import Worker
from tests.planner.conftest import make_facts, make_shard_map

SHARD_MAP = make_shard_map()
FACTS = make_facts()
A_LONG_TIME_S = 120.0  # everything that has a timeout has met it by then


class _JumpingSelector(selectors.SelectSelector):
    """Nothing ever comes from outside: a wait is over at once, and the clock goes on."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(0)
        if not found and timeout is not None and timeout > 0:
            self.loop.now += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with a clock of its own, whose connections go to `node`."""

    def __init__(self, node: Callable[[asyncio.Protocol], StreamEnd]) -> None:
        self.now = 1_000.0
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)
        self.node = node
        self.wrong: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _loop, context: self.wrong.append(context))

    def time(self) -> float:
        return self.now

    async def create_connection(self, factory: Any, *_args: Any, **_options: Any) -> Any:  # type: ignore[override]
        protocol = factory()
        transport = self.node(protocol)
        protocol.connection_made(transport)
        return transport, protocol

    def pass_time(self, seconds: float) -> None:
        self.call_later(seconds, self.stop)
        self.run_forever()


class StreamEnd(asyncio.Transport):
    """What a protocol writes to: the bytes are kept for whoever plays the other side.

    `deliver` gives bytes to the protocol as a socket would: never inside another call of it, never after a close.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol) -> None:
        super().__init__({"peername": ("127.0.0.1", 5)})
        self.written = bytearray()
        self.reading = True
        self.closed = False
        self.failure: Exception | None = None
        self.on_write: Callable[[bytes], None] = lambda data: None
        self._loop = loop
        self._protocol = protocol
        self._waiting: list[bytes] = []

    def write(self, data: Any) -> None:
        if not self.closed:
            self.written += data
            self.on_write(bytes(data))

    def deliver(self, data: bytes) -> None:
        self._loop.call_soon(self._deliver, data)

    def hang_up(self) -> None:
        self._loop.call_soon(self.abort)

    def _deliver(self, data: bytes) -> None:
        if self.closed or not data:
            return
        if not self.reading:
            self._waiting.append(data)
            return
        try:
            self._protocol.data_received(data)
        except Exception as bug:
            self.failure = bug
            self.abort()
            raise

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            self.deliver(data)

    def is_reading(self) -> bool:
        return self.reading

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if not self.closed:
            self.closed = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol


class _Complaints(logging.Handler):
    """What is logged as an error of the proxy's own."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))


class Stand:
    """A worker that believes to have read the catalog. `close` says what is left that should not be."""

    def __init__(self, node: Callable[[VirtualLoop, asyncio.Protocol], StreamEnd]) -> None:
        self.loop = VirtualLoop(lambda protocol: node(self.loop, protocol))
        self._complaints = _Complaints()
        logging.getLogger("pgproxy").addHandler(self._complaints)
        logging.getLogger("pgproxy").propagate = False
        self.worker = Worker(SHARD_MAP, self.loop)
        self.worker.facts = FACTS
        planner = Planner(SHARD_MAP, FACTS, cache_size=50)
        self.worker.in_force = replace(self.worker.in_force, planner=planner)
        self._clients: list[tuple[Client, StreamEnd]] = []

    def connect(self) -> StreamEnd:
        """The client's end of a new connection."""
        client = self.worker.accept()
        stream = StreamEnd(self.loop, client)
        self._clients.append((client, stream))
        self.loop.call_soon(client.connection_made, stream)
        self.loop.pass_time(0)
        return stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("pgproxy").removeHandler(self._complaints)
        logging.getLogger("pgproxy").propagate = True
        self.loop.close()

    def close(self) -> list[str]:
        for _, stream in self._clients:
            stream.hang_up()
        self.loop.pass_time(A_LONG_TIME_S)
        wrong = [*self._complaints.found, *(str(context) for context in self.loop.wrong)]
        wrong += [f"session {pid} is still there" for pid in self.worker.sessions]
        for name, pool in self.worker.pools.items():
            if pool.size != pool.idle or pool.waiting:
                wrong.append(f"pool {name}: {pool.size} connections, {pool.idle} idle, {pool.waiting} wait")
            pool.close()
        self.loop.pass_time(1)
        return wrong + [f"left: {task}" for task in asyncio.all_tasks(self.loop)]
