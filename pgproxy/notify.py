"""Tells systemd how far the proxy is (sd_notify's protocol: a datagram to the socket that NOTIFY_SOCKET names).

Each process says of itself when it is ready and when it stops. That another one has taken over is said by the one that
is relieved, before it ends: were it gone first, systemd would take that for the service's end, and end the other too
where both are of one service.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

READY = "READY=1"
STOPPING = "STOPPING=1"


def notify_successor(pid: int) -> None:
    """Another process is the service's main one now. One of another service is not: then this service ends with us."""
    if in_one_service(pid):
        notify(f"MAINPID={pid}")


def in_one_service(pid: int, proc: Path = Path("/proc")) -> bool:
    """systemd has a control group for each service."""
    try:
        return (proc / "self/cgroup").read_bytes() == (proc / str(pid) / "cgroup").read_bytes()
    except OSError:
        return False


def notify(state: str) -> None:
    """Does nothing where nobody waits for it; a supervisor that does not listen is no reason to fail."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        try:
            sender.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError:
            return
