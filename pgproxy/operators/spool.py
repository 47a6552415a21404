"""Spool: rows kept in the order they came, in memory as far as allowed and beyond that in a temporary file.

For cursors that scroll, or that outlive their transaction. What position they are at is theirs to know.
"""

from __future__ import annotations

import tempfile
from array import array
from bisect import bisect_right

from pgproxy.errors import ProxyError
from pgproxy.wire.rows import Batch, split_rows

_BLOCK_ROWS = 256


class Spool:
    """Rows are numbered from 0. The index has an entry for every few hundred of them, so 3 M rows cost 0.2 MB of
    it. Reads and writes are not awaited: they meet the page cache. Raises 53100 when the disk does not take them."""

    def __init__(self, memory_bytes: int) -> None:
        self.count = 0
        self._file = tempfile.SpooledTemporaryFile(max_size=memory_bytes, prefix="pgproxy-cursor-")  # noqa: SIM115
        self._bytes = 0
        self._first_rows = array("Q")
        self._offsets = array("Q")
        self._block: tuple[int, int, list[bytes]] = (0, 0, [])  # the one read last: where, how long, its rows

    def append(self, batch: Batch) -> None:
        """One more batch behind those that are there."""
        if not self._first_rows or self.count - self._first_rows[-1] >= _BLOCK_ROWS:
            self._first_rows.append(self.count)
            self._offsets.append(self._bytes)
        try:
            self._file.seek(self._bytes)
            self._file.write(batch.data)
        except OSError as error:
            raise ProxyError("53100", f"could not write a temporary file for a cursor: {error.strerror}") from error
        self._bytes += len(batch.data)
        self.count += batch.count

    def forward(self, start: int, most: int) -> Batch | None:
        """Some rows from `start` on, `most` at most; None behind the last."""
        if start >= self.count:
            return None
        first, rows = self._block_of(start)
        return _batch(rows[start - first : start - first + most])

    def backward(self, start: int, most: int) -> Batch | None:
        """Some rows from `start` back to the first, `most` at most; None before the first."""
        if start < 0:
            return None
        first, rows = self._block_of(start)
        lowest = max(start - first - most + 1, 0)
        return _batch(rows[lowest : start - first + 1][::-1])

    def close(self) -> None:
        self._file.close()

    def _block_of(self, row: int) -> tuple[int, list[bytes]]:
        """The rows that are read together with this one, and the number of the first."""
        entry = bisect_right(self._first_rows, row) - 1
        at = self._offsets[entry]
        size = (self._offsets[entry + 1] if entry + 1 < len(self._offsets) else self._bytes) - at
        if self._block[:2] != (at, size):
            self._file.seek(at)
            self._block = (at, size, split_rows(self._file.read(size)))
        return self._first_rows[entry], self._block[2]


def _batch(rows: list[bytes]) -> Batch:
    return Batch(b"".join(rows), len(rows))
