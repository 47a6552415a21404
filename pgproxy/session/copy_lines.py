"""Which line of the client's COPY data a node means when it speaks of a line of what it was given."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pgproxy.shardmap.model import Table

_MOST_ROWS = 1_000_000  # remembered at one byte each, fewer where shards need more; nodes lag by some megabytes only
_LINE = re.compile(r"^COPY ([^\n]*?), line (\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows that came together: the shard of each, and how many lines there were before."""

    shards: Sequence[int]
    client_line: int
    shard_lines: Mapping[int, int]
    extra: Mapping[int, tuple[int, int]]


class CopyLines:
    """`client` is the number of the client's last line so far. Memory is bounded: what is long past is forgotten."""

    def __init__(self) -> None:
        self.client = 0
        self._of_shard: dict[int, int] = {}
        self._fresh: set[int] = set()  # shards that have seen no data yet
        self._seen: set[int] = set()
        self._pieces: deque[_Piece] = deque()
        self._rows = 0

    def add_header(self, lines: int) -> None:
        """Every shard gets these."""
        self.client += lines
        self._header = self.client

    _header = 0

    def add(self, shards: Sequence[int], extra: Mapping[int, tuple[int, int]], counts: Mapping[int, int]) -> None:
        """Rows for these shards, `counts` of them for each."""
        self._pieces.append(_Piece(shards, self.client, dict(self._of_shard), extra))
        self._rows += len(shards)
        while self._rows > _MOST_ROWS and len(self._pieces) > 1:
            self._rows -= len(self._pieces.popleft().shards)
        for shard, count in counts.items():
            self._of_shard[shard] = self._of_shard.get(shard, self._header) + count
        self.client += len(shards)
        for index in sorted(extra):
            first = shards[index] not in self._seen and shards.index(shards[index]) == index
            self._of_shard[shards[index]] += extra[index][first and not self._header]
            self.client += extra[index][0]
        self._seen.update(counts)

    def client_line(self, shard: int, line: int) -> int | None:
        """The client's line for one of a shard's, None if that is too long ago."""
        if line <= self._header or not self._pieces:
            return line
        for piece in reversed(self._pieces):
            before = piece.shard_lines.get(shard, self._header)
            if before < line:
                return self._within(piece, shard, line, before)
        return None

    def _within(self, piece: _Piece, shard: int, line: int, at: int) -> int:
        client = piece.client_line
        fresh = at == 0
        for index, home in enumerate(piece.shards):
            more = piece.extra.get(index, (0, 0))
            client += 1 + more[0]
            if home == shard:
                at += 1 + more[fresh]
                fresh = False
                if at >= line:
                    return client - (at - line)
        return client + line - at  # a line that it was waiting for


def in_clients_terms(context: str, table: Table, lines: CopyLines) -> tuple[str, int | None]:
    """A node's CONTEXT with the logical table's name and the client's line, and that line."""
    shards = {shard.table: shard.index for shard in table.shards}
    match = _LINE.search(context)
    if match is None or match[1] not in shards:
        return context, None
    line = lines.client_line(shards[match[1]], int(match[2]))
    if line is None:
        return context, None
    return f"{context[: match.start()]}COPY {table.name}, line {line}{context[match.end() :]}", line
