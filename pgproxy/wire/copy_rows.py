"""COPY FROM's data cut into rows, as PostgreSQL cuts it (copyfromparse.c), with the raw shard key of each.

Rows are not decoded further: they go on as they came. Sans-I/O; what the raw key means is left to the planner.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from struct import Struct
from typing import Protocol

from pgproxy.errors import ProxyError
from pgproxy.wire.copy import BINARY_SIGNATURE, BINARY_TRAILER, CopyFormat, CopyKind

_NL, _CR, _CRNL = b"\n", b"\r", b"\r\n"
_INT16 = Struct("!h").unpack_from
_INT32 = Struct("!i").unpack_from
_INT32_PAIR = Struct("!ii").unpack_from
_BAD_FORMAT = "22P04"


@dataclass(slots=True)
class Rows:
    """What one piece of the data has brought.

    `rows[i]` goes without its line end (`end`, the same for all); `keys[i]` is its raw key field, None where it has
    none. A row counts as one line but for those in `extra`: index → (lines more, lines more where it is the first
    that a server sees of the data). `open_end`: the last row came without a line end. `problem` is what is
    wrong with the data behind the last row; `doubtful` is such data where a node had better say itself.
    """

    header: bytes = b""
    header_lines: int = 0
    rows: list[bytes] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    end: bytes = b""
    extra: dict[int, tuple[int, int]] = field(default_factory=dict)
    open_end: bool = False
    problem: ProxyError | None = None
    problem_extra: int = 0  # lines inside the row that it is about
    doubtful: bytes = b""


class RowSplitter(Protocol):
    """`feed` gives the whole rows so far; at the end of the data it is called with `final`."""

    def feed(self, data: bytes, *, final: bool = False) -> Rows: ...


def splitter_for(form: CopyFormat, key: int | None, max_row_bytes: int) -> RowSplitter:
    """What cuts data of this format. `key` is the shard key's place among the fields, None where it is not there."""
    if form.kind is CopyKind.BINARY:
        return BinaryRows(key, max_row_bytes)
    return LineRows(form, key, max_row_bytes)


class _Waiting:
    """Data that is no whole row yet. A long row is looked at anew only when twice as much is there."""

    def __init__(self, max_row_bytes: int) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._enough = 0
        self._max = max_row_bytes

    def add(self, data: bytes, *, final: bool) -> bytes | None:
        """All that waits, or None while it is not worth a look."""
        self._pieces.append(data)
        self._size += len(data)
        if self._size < self._enough and not final:
            return None
        whole = b"".join(self._pieces) if len(self._pieces) > 1 else data
        self._pieces.clear()
        self._size = 0
        return whole

    def keep(self, rest: bytes) -> ProxyError | None:
        """Hold the beginning of a row; an error when it is longer than may be held."""
        if len(rest) > self._max:
            return ProxyError("54000", f"a row of COPY data exceeds the limit of {self._max} bytes")
        self._pieces = [rest] if rest else []
        self._size = len(rest)
        self._enough = 2 * self._size
        return None


# --- text and CSV ---------------------------------------------------------------------------------------------


class LineRows:
    """Text and CSV. The first line end decides how lines end in the whole of the data."""

    def __init__(self, form: CopyFormat, key: int | None, max_row_bytes: int) -> None:
        self._form = form
        self._csv = form.kind is CopyKind.CSV
        self._key = key
        self._end: bytes | None = None
        self._headers_due = form.header_lines
        self._ended = False
        self._waiting = _Waiting(max_row_bytes)
        row = _row_pattern(form, key)
        self._key_of = _key_getter(form, key, re.compile(row))
        self._patterns = {
            None: re.compile(row + rb"(\r\n?|\n)"),
            _CRNL: re.compile(row + rb"(\r\n?|\n)"),
            _NL: re.compile(row + rb"([\r\n])"),
            _CR: re.compile(row + rb"([\r\n])"),
        }
        self._rest_pattern = re.compile(row)

    def feed(self, data: bytes, *, final: bool = False) -> Rows:
        found = Rows()
        chunk = None if self._ended else self._waiting.add(data, final=final)
        if chunk:
            at = self._cut(chunk, found, final=final)
            if not self._ended and found.problem is None:
                self._hold(chunk[at:], found, final=final)
        found.end = self._end or _NL
        return found

    def _cut(self, chunk: bytes, found: Rows, *, final: bool) -> int:
        """Take the whole rows; the offset of what is left."""
        at = 0
        while at < len(chunk):
            if self._end is not None and not self._headers_due and self._is_plain(rest := chunk[at:] if at else chunk):
                return at + self._split(rest, found)
            following = self._scan(chunk, at, found, final=final)
            if following == at or self._ended or found.problem is not None:
                return following
            at = following
        return at

    def _hold(self, rest: bytes, found: Rows, *, final: bool) -> None:
        if not final:
            found.problem = self._waiting.keep(rest)
        elif rest:
            self._take_rest(rest, found)

    # Without quotes, escapes and strange line ends

    def _is_plain(self, chunk: bytes) -> bool:
        """Every line end in it ends a row, and every delimiter a field."""
        if self._end == _NL:
            if b"\r" in chunk:
                return False
        elif self._end != _CRNL or not chunk.count(b"\r") == chunk.count(b"\n") == chunk.count(_CRNL):
            return False
        if self._csv:
            return self._is_plain_csv(chunk)
        if b"\\" not in chunk:
            return True
        stops = (b"\\\n", b"\\\r", b"\\.", b"\\" + self._form.delimiter)
        return not any(stop in chunk for stop in stops)

    def _is_plain_csv(self, chunk: bytes) -> bool:
        """No quotes; or there are, but no line ends inside them: each line has an even number of them."""
        form = self._form
        if form.dot_ends_csv and b"\\." in chunk:
            return False
        quote = form.quote
        if quote not in chunk:
            return True
        if form.escape != quote and form.escape in chunk:
            return False
        lines = chunk[: chunk.rfind(_NL) + 1].split(_NL)
        return not any([line.count(quote) & 1 for line in lines])  # noqa: C419 - faster

    def _split(self, chunk: bytes, found: Rows) -> int:
        assert self._end is not None
        rows = chunk.split(self._end)
        left = len(rows.pop())
        found.rows += rows
        found.keys += self._key_of(rows)
        return len(chunk) - left

    # Row by row

    def _scan(self, chunk: bytes, at: int, found: Rows, *, final: bool) -> int:
        """Take rows one by one: one if it decides about line ends or is a header, else all."""
        pattern = self._patterns[self._end]
        once = self._end is None or self._headers_due
        scan = pattern.scanner(chunk, at)  # type: ignore[attr-defined]
        for match in iter(scan.match, None):
            if match.end() == len(chunk) and match[3] == _CR and self._end in (None, _CRNL) and not final:
                return at  # a newline may follow
            if not self._take(match[1], match[2], match[3], found):
                return at
            at = match.end()
            if once:
                return at
        return at

    def _take(self, body: bytes, key: bytes | None, end: bytes, found: Rows) -> bool:
        """One row with its line end. False: it was none, and nothing follows."""
        if not self._csv or self._form.dot_ends_csv:
            marker = _marker_at(body) if not self._csv else (0 if body.startswith(b"\\.") else -1)
            if marker >= 0:
                self._end_marker(body, marker, end, found)
                return False
        if self._end is None:
            before: bytes | None = None
            self._end = end
        elif end != self._end:
            found.problem = self._wrong_end(end)
            found.problem_extra = self._lines_inside(body, self._end)
            return False
        else:
            before = self._end
        self._add(body, key, before, found)
        return True

    def _add(self, body: bytes, key: bytes | None, before: bytes | None, found: Rows) -> None:
        if self._headers_due:
            self._headers_due -= 1
            found.header += body + (self._end or b"")
            found.header_lines += 1 + self._lines_inside(body, before)
            return
        extra = (self._lines_inside(body, before), self._lines_inside(body, None))
        if any(extra):
            found.extra[len(found.rows)] = extra
        found.rows.append(body)
        found.keys.append(key)

    def _lines_inside(self, body: bytes, end: bytes | None) -> int:
        """PostgreSQL counts line ends inside quotes by the style that it has seen so far."""
        return body.count(_NL if end == _NL else _CR) if self._csv else 0

    def _take_rest(self, rest: bytes, found: Rows) -> None:
        """The last row has no line end; it may also be cut inside quotes, which a node will say."""
        match = self._rest_pattern.match(rest)
        marked = self._csv and self._form.dot_ends_csv and rest.startswith(b"\\.")
        if marked or (not self._csv and _marker_at(rest) >= 0):
            self._end_marker(rest, _marker_at(rest), b"", found)
            return
        whole = match is not None and match.end() == len(rest)
        self._add(rest, match[2] if match is not None and whole else None, self._end, found)
        found.open_end = True
        if self._headers_due == 0 and found.header and not found.rows:
            found.open_end = False

    # What is wrong

    def _wrong_end(self, end: bytes) -> ProxyError:
        what, escape = ("newline", "\\n") if end == _NL else ("carriage return", "\\r")
        if self._csv:
            hint = f"Use quoted CSV field to represent {what}."
            return ProxyError(_BAD_FORMAT, f"unquoted {what} found in data", hint=hint)
        hint = f'Use "{escape}" to represent {what}.'
        return ProxyError(_BAD_FORMAT, f"literal {what} found in data", hint=hint)

    def _end_marker(self, body: bytes, marker: int, end: bytes, found: Rows) -> None:
        """`\\.`: alone on its line it ends the data."""
        if self._csv:
            found.problem = ProxyError(
                "0A000", "a CSV line that begins with \\. is not supported", hint="Quote the field."
            )
            return
        follows = body[marker + 2 :] + end
        if self._end == _CRNL and follows[:1] == _NL:
            wrong = "does not match previous newline style"
        elif follows[:1] not in (_NL, _CR) or (self._end == _CRNL and end == _CR):
            wrong = "is not alone on its line"
        elif self._end is not None and follows != self._end:
            wrong = "does not match previous newline style"
        else:
            wrong = "is not alone on its line" if marker else ""
        self._ended = True
        if wrong:
            found.problem = ProxyError(_BAD_FORMAT, f"end-of-copy marker {wrong}")


def _marker_at(body: bytes) -> int:
    """Where an unescaped `\\.` stands, -1 for nowhere."""
    if b"\\." not in body:
        return -1
    match = _BEFORE_MARKER.match(body)
    return match.end() - 2 if match else -1


_BEFORE_MARKER = re.compile(rb"(?:[^\\]++|\\[^.])*+\\\.")


def _row_pattern(form: CopyFormat, key: int | None) -> bytes:
    """Group 1 is the row, group 2 its key field. Nothing here can be given back by the matcher, so it is linear."""
    delimiter, quote, escape = re.escape(form.delimiter), re.escape(form.quote), re.escape(form.escape)
    if form.kind is CopyKind.TEXT:
        inside = rb"\\[\s\S]"
        special = rb"\\"
    else:
        content = rb"[^%b]*+" % quote if quote == escape else rb"(?:[^%b%b]++|%b[\s\S])*+" % (quote, escape, escape)
        inside = quote + content + quote
        special = quote
    row = rb"(?:[^%b\r\n]++|%b)*+" % (special, inside)
    if key is None:
        return rb"((?:(.)(?!))?" + row + rb")"
    one = rb"(?:[^%b%b\r\n]++|%b)*+" % (special, delimiter, inside)
    # The key field ends at a delimiter, or with the row.
    return rb"((?:(?:%b%b){%d}(%b))?+%b)" % (one, delimiter, key, one, row)


def _key_getter(
    form: CopyFormat, key: int | None, row_pattern: re.Pattern[bytes]
) -> Callable[[list[bytes]], list[bytes | None]]:
    """The key fields of plain rows. A delimiter between quotes is none, so fields before it with quotes take longer."""
    if key is None:
        return lambda rows: [None] * len(rows)
    delimiter, quote, parts = form.delimiter, form.quote if form.kind is CopyKind.CSV else b"", key + 1

    def careful(row: bytes) -> bytes | None:
        match = row_pattern.match(row)
        return match[2] if match is not None else None

    def first(rows: list[bytes]) -> list[bytes | None]:
        return [row.partition(delimiter)[0] for row in rows]

    def later(rows: list[bytes]) -> list[bytes | None]:
        return [row.split(delimiter, parts)[key] for row in rows]

    plain = later if key else first

    def keys(rows: list[bytes]) -> list[bytes | None]:
        if quote and any([quote in row for row in rows]):  # noqa: C419 - faster
            return [careful(row) if quote in row else plain_one(row) for row in rows]
        try:
            return plain(rows)
        except IndexError:
            return [careful(row) for row in rows]

    def plain_one(row: bytes) -> bytes | None:
        fields = row.split(delimiter, parts)
        return fields[key] if len(fields) > key else None

    def first_of_csv(rows: list[bytes]) -> list[bytes | None]:
        found = first(rows)
        quoted = any([quote in field for field in found if field])  # noqa: C419 - faster
        return keys(rows) if quoted else found

    return first_of_csv if quote and not key else keys


# --- binary ---------------------------------------------------------------------------------------------------

NULL_FIELD = b"\xff\xff\xff\xff"
_FIXED_HEADER_BYTES = len(BINARY_SIGNATURE) + 8


class BinaryRows:
    """Binary rows. A raw key is the field with its length before it."""

    def __init__(self, key: int | None, max_row_bytes: int) -> None:
        self._key = -1 if key is None else key
        self._begun = False
        self._ended = False
        self._waiting = _Waiting(max_row_bytes)

    def feed(self, data: bytes, *, final: bool = False) -> Rows:
        found = Rows()
        if self._ended:
            found.doubtful = BINARY_TRAILER + data if data else b""
            return found
        chunk = self._waiting.add(data, final=final)
        if not chunk:
            return found
        at = 0
        if not self._begun:
            at = self._header(chunk, found)
        if self._begun and not found.doubtful:
            at = self._rows(chunk, at, found)
        rest = chunk[at:]
        if final or self._ended:
            found.doubtful = found.doubtful or rest
        elif not found.doubtful:
            found.problem = self._waiting.keep(rest)
        return found

    def _header(self, chunk: bytes, found: Rows) -> int:
        if not BINARY_SIGNATURE.startswith(chunk[: len(BINARY_SIGNATURE)]):
            found.doubtful = chunk
            return 0
        if len(chunk) < _FIXED_HEADER_BYTES:
            return 0
        flags, extension = _INT32_PAIR(chunk, len(BINARY_SIGNATURE))
        if flags or extension < 0:
            found.doubtful = chunk
            return 0
        end: int = _FIXED_HEADER_BYTES + extension
        if len(chunk) < end:
            return 0
        found.header = chunk[:end]
        self._begun = True
        return end

    def _rows(self, chunk: bytes, at: int, found: Rows) -> int:
        """Take whole rows; the offset of what is left, behind the trailer if that has come."""
        size, key = len(chunk), self._key
        add_row, add_key = found.rows.append, found.keys.append
        while at + 2 <= size:
            (count,) = _INT16(chunk, at)
            if count == -1:
                self._ended = True
                # Data behind the trailer is an error that a node tells: it gets both.
                return at if at + 2 < size else at + 2
            end, raw = at + 2, None
            for number in range(count):
                if end + 4 > size:
                    return at
                (length,) = _INT32(chunk, end)
                following = end + 4 + max(length, 0)
                if following > size:
                    return at
                if number == key:
                    raw = chunk[end:following]
                end = following
            add_row(chunk[at:end])
            add_key(raw)
            at = end
        return at
