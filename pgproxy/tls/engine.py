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

    __slots__ = ("_incoming", "_outgoing", "_read", "ended", "established", "session")

    def __init__(self, context: ssl.SSLContext, *, server_side: bool, host: str | None = None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.session = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side, server_hostname=host)
        self._read = self.session.read
        self.established = False
        self.ended = False

    def begin(self) -> None:
        """A client's first message, for `outgoing`."""
        self._shake_hands()

    def feed(self, data: bytes) -> bytes:
        """What the other end's application has sent, as far as it can be told by now."""
        if self.established and len(data) <= _PIECE_BYTES:  # nearly always, and then one record
            self._incoming.write(data)
            return self._decrypt()
        return b"".join(self._feed(data[at : at + _PIECE_BYTES]) for at in range(0, len(data), _PIECE_BYTES))

    def _feed(self, data: bytes) -> bytes:
        self._incoming.write(data)
        if not self.established:
            self._shake_hands()
        return self._decrypt() if self.established else b""

    def encrypt(self, data: bytes | bytearray | memoryview) -> bytes:
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
        pieces: list[bytes] = []
        try:
            piece = self._read(_RECORD_BYTES)
            if piece and not self._incoming.pending:
                return piece
            while piece:
                pieces.append(piece)
                piece = self._read(_RECORD_BYTES)
        except ssl.SSLWantReadError:
            return b"".join(pieces)  # the rest of a record is still to come
        except ssl.SSLZeroReturnError:
            pass
        self.ended = True
        return b"".join(pieces)
