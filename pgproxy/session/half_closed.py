"""A client that has closed its sending side: is it still there to read?

The end of its input says only that it sends no more. TCP's own keepalive tells the rest: the system of a client that is
gone forgets the connection (after a minute, on Linux) and then answers with a reset, which is looked for here. The
client sees nothing of it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator

KEEPALIVE_S = 1
CHECK_INTERVAL_S = 1.0


def watch(transport: asyncio.BaseTransport, is_over: Callable[[], bool], on_gone: Callable[[], None]) -> None:
    """Call `on_gone` when the client is gone. The watch ends by itself when the conversation `is_over`."""
    own = transport.get_extra_info("socket")
    if own is None or is_over():
        return
    for level, option, value in _options():
        own.setsockopt(level, option, value)
    loop = asyncio.get_running_loop()

    def check() -> None:
        if is_over():
            return
        if own.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            on_gone()
        else:
            loop.call_later(CHECK_INTERVAL_S, check)

    loop.call_later(CHECK_INTERVAL_S, check)


def _options() -> Iterator[tuple[int, int, int]]:
    yield socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1
    named = {"TCP_KEEPIDLE": KEEPALIVE_S, "TCP_KEEPALIVE": KEEPALIVE_S, "TCP_KEEPINTVL": KEEPALIVE_S, "TCP_KEEPCNT": 10}
    for name, value in named.items():  # not every system has each of them
        if hasattr(socket, name):
            yield socket.IPPROTO_TCP, getattr(socket, name), value
