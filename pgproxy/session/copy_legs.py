"""One shard's part of a COPY FROM STDIN: its rows go to the node at once, or are put aside while the connection has
another shard's."""

from __future__ import annotations

import tempfile
from collections.abc import Callable

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.exchange import Exchange, Mode
from pgproxy.errors import ProxyError
from pgproxy.shardmap.model import Shard
from pgproxy.wire import copy as wire

_PIECE_BYTES = 64 * 1024  # of what was put aside that are sent together


class Leg:
    """`exchange` is None while it waits for the connection."""

    __slots__ = ("_aside", "connection", "ended", "exchange", "rows", "shard", "writes")

    def __init__(self, shard: Shard, connection: BackendConnection) -> None:
        self.shard = shard
        self.connection = connection
        self.exchange: Exchange | None = None
        self.rows = 0
        self.writes = False  # its transaction knows
        self.ended = False  # CopyDone or CopyFail was sent
        self._aside: PutAside | None = None

    def start(self, sql: str, wake: Callable[[], None]) -> None:
        self.exchange = self.connection.query(sql, Mode.COPY, wake)

    def wait_its_turn(self, memory_bytes: int) -> None:
        """What is sent from now on is put aside, beyond so many bytes in a temporary file."""
        self._aside = PutAside(memory_bytes)

    @property
    def error(self) -> ProxyError | None:
        return None if self.exchange is None else self.exchange.error

    @property
    def finished(self) -> bool:
        return self.exchange is not None and self.exchange.finished

    @property
    def over(self) -> bool:
        """The node takes no more rows."""
        return self.exchange is not None and (self.exchange.finished or self.exchange.error is not None)

    def send(self, data: bytes) -> None:
        if self.exchange is None:
            assert self._aside is not None, "neither started nor told to wait"
            self._aside.write(data)
        else:
            self.connection.copy_in(wire.copy_data(data))

    def pass_on(self) -> bool:
        """Send what was put aside, as much as the connection takes now. Whether that is all of it."""
        if self._aside is None:
            return True
        while not self.connection.writing_paused:
            piece = self._aside.read(_PIECE_BYTES)
            if not piece:
                return True
            self.send(piece)
        return False

    def end(self, message: bytes) -> None:
        if not self.ended:
            self.ended = True
            self.connection.copy_in(message)

    def close(self) -> None:
        if self._aside is not None:
            self._aside.close()


class PutAside:
    """Bytes to be read once, behind the last write. Neither is awaited: they meet the page cache. Raises 53100 when
    the disk does not take them."""

    def __init__(self, memory_bytes: int) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=memory_bytes, prefix="pgproxy-copy-")  # noqa: SIM115
        self._reading = False

    def write(self, data: bytes) -> None:
        assert not self._reading, "written to behind the first read"
        try:
            self._file.write(data)
        except OSError as error:
            raise ProxyError("53100", f"could not write a temporary file for COPY: {error.strerror}") from error

    def read(self, size: int) -> bytes:
        if not self._reading:
            self._reading = True
            self._file.seek(0)
        return self._file.read(size)

    def close(self) -> None:
        self._file.close()
