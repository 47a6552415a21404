"""Which statements are prepared on one connection, and the messages that run one there.

A statement is prepared under a name of ours when it comes a second time, or at once when the client has named
it; until then it is the unnamed one. Clients share what is prepared: the key is the text, the types, and how the
constants of the text were read (`'01/02/2020'` becomes a date when it is parsed, by the DateStyle of that moment).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from pgproxy.wire import extended
from pgproxy.wire.messages import sync

Style = tuple[str | None, ...]
Key = tuple[str, tuple[int, ...], Style]

MOST_PREPARED = 200
MOST_SEEN = 1_000
_UNNAMED = b"\0\0"
_NO_CONSTANTS: Style = ()
_CONSTANT = re.compile(r"'|\$(?!\d)")
# A backslash may hide such a word.
_CLOCK_WORD = re.compile(r"\\|(?<![^\W\d_])(?:now|today|tomorrow|yesterday)(?![^\W\d_]|\s*\()", re.IGNORECASE)
LONGEST_PREPARED = 64 * 1024  # characters: longer texts are parsed each time, rather than held for each connection


@dataclass(frozen=True, slots=True)
class BoundStatement:
    """A statement for one node with its values. Formats as in Bind: none, one for all, or one each.

    `lasting`: the client has given it a name, so it will come again. `describe`: a RowDescription is wanted.
    """

    sql: str
    types: tuple[int, ...]
    parameter_formats: tuple[int, ...]
    values: tuple[bytes | None, ...]
    result_formats: tuple[int, ...]
    lasting: bool = False
    describe: bool = True
    portal: str = ""  # a named one outlives this batch, inside a transaction
    max_rows: int | None = 0  # 0 all, None: the portal is only opened
    renewed: bool = False  # what is prepared of it is out of date
    once: bool = False  # never under a name: the text will hardly come again, or must not meet a stale plan


@dataclass(frozen=True, slots=True)
class Batch:
    """The bytes to send. `parses`: a Parse is among them. `key`: how the statement is known here, if it is."""

    data: bytes
    parses: bool
    key: Key | None


@dataclass(slots=True)
class Opening:
    """What goes before a Bind, and what the node answers to that.

    `names` are the unnamed portal and the statement, as Bind says them. `closes` is the part of `data` that is
    owed to the node: lost when it skips these messages (see `close_again`).
    """

    names: bytes
    key: Key | None
    parses: bool = False
    data: bytes = b""
    replies: bytes = b""
    closes: tuple[bytes, ...] = ()


@dataclass(slots=True)
class PreparedStatements:
    """Bounded: the least recently used statement is closed on the node with the next one that is sent.

    `style` tells the settings by which the node reads constants now.
    """

    style: Callable[[], Style] = tuple
    _known: OrderedDict[Key, Opening] = field(default_factory=OrderedDict)
    _seen: OrderedDict[int, None] = field(default_factory=OrderedDict)  # hashes: two alike merely prepare too early
    _to_close: list[bytes] = field(default_factory=list)  # Close messages that go with the next statement
    _count: int = 0

    def open(self, sql: str, types: tuple[int, ...], *, lasting: bool) -> Opening:
        """What must be said before a Bind of this statement; afterwards it counts as prepared (see `forget`)."""
        key = (sql, types, _NO_CONSTANTS)
        known = self._known.get(key)
        if known is None and _CONSTANT.search(sql) is not None:
            key = (sql, types, self.style())
            known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known if not self._to_close else self._opening(known.names, key, b"")
        if len(sql) > LONGEST_PREPARED or (key[2] is not _NO_CONSTANTS and _CLOCK_WORD.search(sql) is not None):
            return self._opening(_UNNAMED, None, extended.parse_message("", sql, types))
        if lasting or hash(key) in self._seen:
            names = self._prepare(key)
            return self._opening(names, key, extended.parse_message(names[1:-1].decode(), sql, types))
        self._note(key)
        return self._opening(_UNNAMED, None, extended.parse_message("", sql, types))

    def messages_for(self, bound: BoundStatement) -> Batch:
        """What runs this statement; afterwards it counts as prepared (see `forget`)."""
        if bound.renewed:
            self._forget_all(bound.sql, bound.types)
        opening = self._unnamed(bound) if bound.once else self.open(bound.sql, bound.types, lasting=bound.lasting)
        name = opening.names[1:-1].decode()
        parts = [
            opening.data,
            extended.bind_message(bound.portal, name, bound.parameter_formats, bound.values, bound.result_formats),
        ]
        if bound.describe:
            parts.append(extended.describe_portal(bound.portal))
        if bound.max_rows is not None:
            parts.append(extended.execute_message(bound.portal, bound.max_rows))
        parts.append(sync())
        return Batch(b"".join(parts), opening.parses, opening.key)

    def _unnamed(self, bound: BoundStatement) -> Opening:
        return self._opening(_UNNAMED, None, extended.parse_message("", bound.sql, bound.types))

    def forget(self, key: Key) -> None:
        """The node did not take it, or it is out of date there."""
        known = self._known.pop(key, None)
        if known is not None:
            self._to_close.append(extended.close_statement(known.names[1:-1].decode()))

    def _forget_all(self, sql: str, types: tuple[int, ...]) -> None:
        for style in {_NO_CONSTANTS, self.style()}:
            self.forget((sql, types, style))

    def close_again(self, opening: Opening) -> None:
        """The node has skipped these messages."""
        self._to_close.extend(opening.closes)

    def close_later(self, name: str) -> None:
        """A statement that was prepared by SQL, maybe."""
        self._to_close.append(extended.close_statement(name))

    def close_portal_later(self, name: str) -> None:
        self._to_close.append(extended.close_portal(name))

    def _opening(self, names: bytes, key: Key | None, parse: bytes) -> Opening:
        closes = tuple(self._to_close)
        self._to_close.clear()
        replies = extended.close_complete() * len(closes) + (extended.parse_complete() if parse else b"")
        return Opening(names, key, bool(parse), b"".join((*closes, parse)), replies, closes)

    def _prepare(self, key: Key) -> bytes:
        self._seen.pop(hash(key), None)
        self._count += 1
        names = b"\0pgproxy_%d\0" % self._count
        self._known[key] = Opening(names, key)
        if len(self._known) > MOST_PREPARED:
            _, oldest = self._known.popitem(last=False)
            self._to_close.append(extended.close_statement(oldest.names[1:-1].decode()))
        return names

    def _note(self, key: Key) -> None:
        self._seen[hash(key)] = None
        if len(self._seen) > MOST_SEEN:
            self._seen.popitem(last=False)
