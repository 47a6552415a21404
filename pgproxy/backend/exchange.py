"""One Query sent to a node and what has come back of it: the buffer between a connection and its consumer.

Sans-I/O. The connection fills it, the session empties it; its size is what stops reads from the node.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum, auto

from pgproxy.errors import ProxyError
from pgproxy.wire.extended import bind_complete, parse_complete
from pgproxy.wire.rows import Batch, Column

HIGH_WATER_BYTES = 256 * 1024
LOW_WATER_BYTES = 64 * 1024
MOST_ASIDE_BYTES = 1024 * 1024  # an endless RAISE NOTICE must not fill the memory
_POSITION = re.compile("[0-9]{1,10}", re.ASCII)


class Mode(Enum):
    """What becomes of the node's messages."""

    SPLICE = auto()  # all but errors and ReadyForQuery are kept as bytes for the client, in one piece
    ROWS = auto()  # taken apart: description, batches of DataRows, tag
    COPY = auto()  # CopyInResponse or CopyOutResponse, runs of whole CopyData messages, tag
    SILENT = auto()  # only the tag and an error matter: the proxy's own statements


class ServerError(ProxyError):
    """An ErrorResponse of a node, all its fields kept (protocol section "Error and Notice Message Fields")."""

    def __init__(self, raw: Mapping[str, str], node: str) -> None:
        super().__init__(
            raw.get("C", "XX000"),
            raw.get("M", ""),
            hint=raw.get("H"),
            detail=raw.get("D"),
            position=int(raw["P"]) if _POSITION.fullmatch(raw.get("P", "")) else None,
        )
        self.raw = raw
        self.node = node

    @property
    def is_stale_plan(self) -> bool:
        """A prepared statement whose result has changed since; to prepare it anew helps."""
        return self.sqlstate == "0A000" and self.raw.get("R") == "RevalidateCachedQuery"

    def fields(self) -> dict[str, str]:
        fields = dict(self.raw)
        # A node that goes away says FATAL of its own connection; whether the client's ends is ours to say.
        fields["S"] = fields["V"] = self.severity
        if self.position is None:
            fields.pop("P", None)
        else:
            fields["P"] = str(self.position)
        return fields


PARSED = parse_complete()
BOUND = bind_complete()
ENDED = b""


class Exchange:
    """`chunks` holds bytes (SPLICE) or Batches (ROWS) not yet taken, `buffered_bytes` their size.

    `finished` is set by ReadyForQuery or by the connection's loss; `error` may come before it. `broken`
    says that a message was passed on in part and its rest will never come (SPLICE of a huge row).

    `several`: the answers of several statements up to one Sync. Then PARSED, BOUND and ENDED are among the chunks,
    these very objects, where ParseComplete and BindComplete came and where a statement's answer has ended.
    """

    __slots__ = (
        "aside_bytes",
        "asides",
        "bound",
        "broken",
        "buffered_bytes",
        "chunks",
        "copy_response",
        "description",
        "discarding",
        "error",
        "finished",
        "mode",
        "on_drained",
        "parameter_types",
        "parsed",
        "prepared_as",
        "several",
        "suspended",
        "tag",
        "unlimited",
        "wake",
    )

    def __init__(self, mode: Mode, wake: Callable[[], None], *, several: bool = False) -> None:
        self.mode = mode
        self.several = several
        self.wake = wake
        self.chunks: deque[bytes | Batch] = deque()
        self.buffered_bytes = 0
        self.description: tuple[Column, ...] | None = None
        self.copy_response: bytes | None = None  # what the node says of the data that it wants or gives (COPY)
        self.asides: list[bytes] = []  # whole NoticeResponses and ParameterStatuses, unless spliced
        self.aside_bytes = 0
        self.parsed = True  # False while a ParseComplete is due
        self.suspended = False  # the portal has more rows than were asked for
        self.bound = False  # BindComplete has come
        self.parameter_types: tuple[int, ...] = ()
        self.prepared_as: tuple[str, tuple[int, ...], tuple[str | None, ...]] | None = None  # the connection's key
        self.tag: str | None = None
        self.error: ProxyError | None = None
        self.finished = False
        self.broken = False
        self.discarding = False
        self.unlimited = False  # read to its end even if nobody takes it: other answers come behind it
        self.on_drained: Callable[[], None] | None = None

    @property
    def ready(self) -> bool:
        """Something can be taken, or nothing more will come."""
        return bool(self.chunks) or self.finished or self.error is not None

    def put(self, chunk: bytes | Batch, size: int) -> None:
        if not self.discarding:
            self.chunks.append(chunk)
            self.buffered_bytes += size

    def mark(self, chunk: bytes) -> None:
        """PARSED, BOUND or ENDED."""
        if self.several:
            self.put(chunk, len(chunk))

    def put_aside(self, message: bytes) -> None:
        """Keep a message that is not part of the answer itself, as long as there are not too many."""
        if self.aside_bytes < MOST_ASIDE_BYTES:
            self.asides.append(message)
            self.aside_bytes += len(message)

    def take(self) -> bytes | Batch | None:
        """The oldest chunk, or None when there is none now."""
        if not self.chunks:
            return None
        chunk = self.chunks.popleft()
        self.buffered_bytes -= len(chunk) if isinstance(chunk, bytes) else len(chunk.data)
        if self.on_drained is not None and self.buffered_bytes < LOW_WATER_BYTES:
            self.on_drained()
        return chunk

    def discard(self) -> None:
        """Nothing of this is wanted any more: what is buffered goes, what comes is dropped."""
        self.discarding = True
        self.chunks.clear()
        self.buffered_bytes = 0
        if self.on_drained is not None:
            self.on_drained()
