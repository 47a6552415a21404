"""TLS between a transport and a protocol, which sees it as its transport.

asyncio's own `start_tls` needs a task, buffers what is written a second time, and cannot be told from which byte on the
connection is encrypted. Here every step happens within `data_received`, and the transport's own buffer is the only one.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

from pgproxy.tls.engine import TlsEngine


class TlsStream(asyncio.Protocol, asyncio.Transport):
    """Wraps a connected transport. `failure` says why TLS has ended, if it has failed; the connection is closed then.

    `on_change` is called when the handshake is through and when it has failed.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        protocol: asyncio.Protocol,
        engine: TlsEngine,
        on_change: Callable[[], None],
    ) -> None:
        super().__init__()
        self.engine = engine
        self.failure: str | None = None
        self._transport = transport
        self._protocol = protocol
        self._on_change = on_change
        self._open = True  # neither closed by us nor failed
        transport.set_protocol(self)

    @property
    def established(self) -> bool:
        return self.engine.established

    def begin(self) -> None:
        """As the client of the handshake."""
        self.engine.begin()
        self._transport.write(self.engine.outgoing())

    # asyncio.Protocol, towards the network

    def data_received(self, data: bytes) -> None:
        if not self._open:
            return
        engine = self.engine
        shaking = not engine.established
        try:
            plain = engine.feed(data)
        except (ssl.SSLError, ValueError) as broken:
            self._fail(reason(broken))
            return
        if shaking:
            self._go_on_shaking()
        # Once established, what OpenSSL says of its own accord (a new key) may go with what is written next.
        if plain and self._open:
            self._protocol.data_received(plain)
        if engine.ended:
            self._end()

    def eof_received(self) -> bool | None:
        return self._protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    # asyncio.Transport, towards the protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._open:
            self._transport.write(self.engine.encrypt(data))

    def close(self) -> None:
        if self._open and self.engine.established:
            self._transport.write(self.engine.farewell())
        self._open = False
        self._transport.close()

    def abort(self) -> None:
        self._open = False
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._transport.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    # Inside

    def _go_on_shaking(self) -> None:
        if out := self.engine.outgoing():
            self._transport.write(out)
        if self.engine.established:
            self._on_change()

    def _end(self) -> None:
        """The other end sends no more, but may still read."""
        if not self._protocol.eof_received():
            self.close()

    def _fail(self, reason: str) -> None:
        self.failure = reason
        self._open = False
        if alert := self.engine.outgoing():
            self._transport.write(alert)
        self._transport.close()
        self._on_change()


def reason(broken: Exception) -> str:
    """OpenSSL's words without its file names: "certificate verify failed: certificate has expired"."""
    if isinstance(broken, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {broken.verify_message}"
    if isinstance(broken, ssl.SSLError) and broken.reason:
        return str(broken.reason).replace("_", " ").lower()
    return str(broken)
