"""TCP's own probes on a connection that is silent: so that one whose other end is gone does not stay for ever."""

from __future__ import annotations

import math
import socket
from typing import Any

PROBES = 3
PROBE_INTERVAL_S = 10


def keep_alive(transport: Any, idle_s: float) -> None:
    """Probe after `idle_s` of silence; without an answer to three probes the system ends the connection. A transport
    that is no TCP connection is left alone."""
    own = transport.get_extra_info("socket")
    if own is None or own.family not in (socket.AF_INET, socket.AF_INET6):
        return
    own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    idle = math.ceil(idle_s)
    named = {
        "TCP_KEEPIDLE": idle,
        "TCP_KEEPALIVE": idle,
        "TCP_KEEPINTVL": min(PROBE_INTERVAL_S, idle),
        "TCP_KEEPCNT": PROBES,
    }
    for name, value in named.items():  # not every system has each of them
        if hasattr(socket, name):
            own.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
