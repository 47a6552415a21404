"""One end of a TLS connection, sans-I/O: bytes of the network in, the application's bytes out, and the other way round.

OpenSSL does the work through two memory buffers. Both are emptied at every call, so neither grows.
"""

from __future__ import annotations

import ssl
from contextlib import suppress

_PIECE_BYTES = 64 * 1024  # OpenSSL's memory buffers never shrink: this is what a connection keeps at most
_RECORD_BYTES = 16 * 1024  # the largest that OpenSSL gives at once


class TlsEngine:
    """`established` once the handshake is through, `ended` when the other end has said that it sends no more.

    `feed` raises ssl.SSLError; what `outgoing` gives then is the alert that tells the other end why.
    """

    __slots__ = ("_incoming", "_outgoing", "ended", "established", "session")

    def __init__(self, context: ssl.SSLContext, *, server_side: bool, host: str | None = None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.session = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side, server_hostname=host)
        self.established = False
        self.ended = False

    def begin(self) -> None:
        """A client's first message, for `outgoing`."""
        self._shake_hands()

    def feed(self, data: bytes) -> bytes:
        """What the other end's application has sent, as far as it can be told by now."""
        if len(data) > _PIECE_BYTES:
            return b"".join(self.feed(data[at : at + _PIECE_BYTES]) for at in range(0, len(data), _PIECE_BYTES))
        self._incoming.write(data)
        if not self.established:
            self._shake_hands()
            if not self.established:
                return b""
        return self._decrypt()

    def encrypt(self, data: bytes) -> bytes:
        """Only when established. Anything else that waits to be sent goes with it."""
        if len(data) <= _RECORD_BYTES:  # one record, which OpenSSL writes whole
            self.session.write(data)
            return self._outgoing.read()
        view, records, at = memoryview(data), [], 0
        while at < len(data):
            at += self.session.write(view[at : at + _PIECE_BYTES])
            records.append(self._outgoing.read())
        return b"".join(records)

    def outgoing(self) -> bytes:
        """What must be sent of the protocol's own accord."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def farewell(self) -> bytes:
        """close_notify, as far as the state allows one."""
        with suppress(ssl.SSLError):  # the other end has not said its own yet; nobody waits for that
            self.session.unwrap()
        return self._outgoing.read()

    def _shake_hands(self) -> None:
        try:
            self.session.do_handshake()
        except ssl.SSLWantReadError:
            return
        self.established = True

    def _decrypt(self) -> bytes:
        incoming, session = self._incoming, self.session
        pieces: list[bytes] = []
        while incoming.pending or session.pending():
            try:
                piece = session.read(_RECORD_BYTES)
            except ssl.SSLWantReadError:
                break  # the rest of a record is still to come
            except ssl.SSLZeroReturnError:
                piece = b""
            if not piece:
                self.ended = True
                break
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
