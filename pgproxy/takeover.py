"""Handing the port over to another process of ours: the listening sockets themselves go over a Unix socket.

So both accept from the same queue until the first one stops, and no connection is lost. With SO_REUSEPORT each process
would have a queue of its own, and what waits in one is reset when its process closes it. Linux only (abstract names).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

log = logging.getLogger("pgproxy.server")

SUPPORTED = sys.platform == "linux"
TIMEOUT_S = 10.0
MAX_SOCKETS = 64
MESSAGE_BYTES = 4_096

_HELLO, _TAKE, _MINE, _CANCEL = b"h", b"t", b"m", b"c"
_PID = struct.Struct("!I")
_CREDENTIALS = struct.Struct("3i")  # process, user, group

OnCancel = Callable[[int, bytes], None]


class TakeoverFailed(Exception):
    """The other process does not let go, or is not ours."""


@dataclass(slots=True)
class Handover:
    """The end that waits for a successor. `on_taken` is called with its process id when it accepts connections: stop
    accepting then.
    `on_cancel` hears of cancel requests that came to the successor for sessions that are still here."""

    name: str
    sockets: Sequence[socket.socket]
    number: int
    loop: asyncio.AbstractEventLoop
    on_taken: Callable[[int], None]
    on_cancel: OnCancel
    _listening: socket.socket | None = None
    _peers: list[socket.socket] | None = None

    def open(self) -> None:
        """From here on a successor may come. Where that cannot be, a warning tells; the proxy serves all the same."""
        self._peers = []
        if not SUPPORTED:
            return
        try:
            listening = _listen(self.name)
        except OSError as taken:
            log.warning("no other process can take over from this one: %s", taken.strerror or taken)
            return
        self._listening = listening
        self.loop.add_reader(listening, self._accept)

    def close(self) -> None:
        """No successor may come any more. One that has come still reaches `on_cancel` until `end`."""
        listening, self._listening = self._listening, None
        if listening is not None:
            self.loop.remove_reader(listening)
            listening.close()

    def end(self) -> None:
        self.close()
        for peer in list(self._peers or ()):
            self._drop(peer)

    def _accept(self) -> None:
        assert self._listening is not None
        with contextlib.suppress(OSError):
            peer, _ = self._listening.accept()
            if not _is_ours(peer):
                log.warning("a process of another user has asked to take over: refused")
                peer.close()
                return
            peer.setblocking(False)
            assert self._peers is not None
            self._peers.append(peer)
            self.loop.add_reader(peer, self._read, peer)

    def _read(self, peer: socket.socket) -> None:
        try:
            message = peer.recv(MESSAGE_BYTES)
            if message:
                self._answer(peer, message[:1], message[1:])
            else:
                self._drop(peer)
        except (OSError, ValueError, struct.error) as broken:
            log.warning("the process that takes over is gone: %s", broken)
            self._drop(peer)

    def _answer(self, peer: socket.socket, kind: bytes, rest: bytes) -> None:
        if kind == _CANCEL:
            self.on_cancel(_PID.unpack_from(rest)[0], rest[_PID.size :])
        elif self._listening is None:
            self._drop(peer)  # somebody else was first
        elif kind == _HELLO:
            peer.send(json.dumps({"process": os.getpid(), "number": self.number}).encode())
        elif kind == _TAKE:
            socket.send_fds(peer, [_TAKE], [each.fileno() for each in self.sockets])
        elif kind == _MINE:
            self.close()  # the name is the successor's from here on
            self.on_taken(_credentials(peer)[0])
            peer.send(_MINE)

    def _drop(self, peer: socket.socket) -> None:
        assert self._peers is not None
        self.loop.remove_reader(peer)
        self._peers.remove(peer)
        peer.close()


class Predecessor:
    """The process that has the port now, as its successor sees it. Everything but `cancel` waits, TIMEOUT_S at most."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        try:
            facts = json.loads(self._ask(_HELLO))
            self.process: int = int(facts["process"])
            self.number: int = int(facts["number"])
        except (ValueError, KeyError, TypeError):
            raise TakeoverFailed("what answers there is no pgproxy of this kind") from None

    def sockets(self) -> list[socket.socket]:
        """The listening sockets. Both processes accept connections from here on, if they like."""
        try:
            self._peer.send(_TAKE)
            message, handles, _, _ = socket.recv_fds(self._peer, MESSAGE_BYTES, MAX_SOCKETS)
        except OSError as broken:
            raise _failed(self, broken) from None
        if message != _TAKE or not handles:
            raise TakeoverFailed(f"process {self.process} does not hand its port over")
        return [socket.socket(fileno=handle) for handle in handles]

    def relieve(self) -> None:
        """This process accepts connections: the other one may stop. It has stopped when this returns."""
        if self._ask(_MINE) != _MINE:
            raise TakeoverFailed(f"process {self.process} goes on accepting connections")
        self._peer.setblocking(False)

    def cancel(self, pid: int, key: bytes) -> None:
        """A cancel request for one of its sessions. Lost if it is gone, as such a session then is."""
        with contextlib.suppress(OSError):
            self._peer.send(_CANCEL + _PID.pack(pid) + key)

    def close(self) -> None:
        self._peer.close()

    def _ask(self, question: bytes) -> bytes:
        try:
            self._peer.send(question)
            return self._peer.recv(MESSAGE_BYTES)
        except OSError as broken:
            raise _failed(self, broken) from None


def name_of(listen: str, port: int) -> str:
    """Known by the address alone, within one network namespace as the port itself is."""
    return f"\0pgproxy/{listen}:{port}"


def find_predecessor(name: str) -> Predecessor | None:
    """None when there is none. Raises TakeoverFailed."""
    if not SUPPORTED:
        raise TakeoverFailed("taking over needs Linux")
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer.settimeout(TIMEOUT_S)
    try:
        peer.connect(name)
    except ConnectionRefusedError:
        peer.close()
        return None
    except OSError as broken:
        peer.close()
        raise TakeoverFailed(broken.strerror or str(broken)) from None
    if not _is_ours(peer):
        peer.close()
        raise TakeoverFailed("it belongs to a process of another user")
    return Predecessor(peer)


def _listen(name: str) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        listening.bind(name)
        listening.listen()
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


def _is_ours(peer: socket.socket) -> bool:
    """Of the same user, or of root. Any user of the machine may ask for an abstract name, or take it first."""
    return _credentials(peer)[1] in (0, os.geteuid())


def _credentials(peer: socket.socket) -> tuple[int, int, int]:
    """Process, user and group, as the kernel has them."""
    process, user, group = _CREDENTIALS.unpack(
        peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    return process, user, group


def _failed(predecessor: Predecessor, broken: OSError) -> TakeoverFailed:
    process = getattr(predecessor, "process", "")
    return TakeoverFailed(f"process {process} does not answer: {broken.strerror or broken}")
