"""Which statements are prepared on one connection, and the messages that run one there.

A statement is prepared under a name of ours when it comes a second time, or at once when the client has named
it; until then it is the unnamed one. Clients share what is prepared: the key is the text and the types.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from pgproxy.wire import extended
from pgproxy.wire.messages import sync

Key = tuple[str, tuple[int, ...]]

MOST_PREPARED = 200
MOST_SEEN = 1_000
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
    max_rows: int = 0
    renewed: bool = False  # what is prepared of it is out of date


@dataclass(frozen=True, slots=True)
class Batch:
    """The bytes to send. `parses`: a Parse is among them. `key`: how the statement is known here, if it is."""

    data: bytes
    parses: bool
    key: Key | None


@dataclass(slots=True)
class PreparedStatements:
    """Bounded: the least recently used statement is closed on the node with the next one that is sent."""

    _names: OrderedDict[Key, str] = field(default_factory=OrderedDict)
    _seen: OrderedDict[int, None] = field(default_factory=OrderedDict)  # hashes: two alike merely prepare too early
    _to_close: list[bytes] = field(default_factory=list)  # Close messages that go with the next statement
    _count: int = 0

    def messages_for(self, bound: BoundStatement) -> Batch:
        """What runs this statement; afterwards it counts as prepared (see `forget`)."""
        key = (bound.sql, bound.types)
        if bound.renewed:
            self.forget(key)
        name = self._names.get(key)
        parses = name is None
        if name is not None:
            self._names.move_to_end(key)
        elif len(bound.sql) > LONGEST_PREPARED:
            pass
        elif bound.lasting or hash(key) in self._seen:
            name = self._prepare(key)
        else:
            self._note(key)
        parts = list(self._to_close)
        self._to_close.clear()
        if parses:
            parts.append(extended.parse_message(name or "", bound.sql, bound.types))
        parts.append(
            extended.bind_message(bound.portal, name or "", bound.parameter_formats, bound.values, bound.result_formats)
        )
        if bound.describe:
            parts.append(extended.describe_portal(bound.portal))
        parts += (extended.execute_message(bound.portal, bound.max_rows), sync())
        return Batch(b"".join(parts), parses, key if name else None)

    def forget(self, key: Key) -> None:
        """The node did not take it, or it is out of date there."""
        name = self._names.pop(key, None)
        if name is not None:
            self._to_close.append(extended.close_statement(name))

    def close_portal_later(self, name: str) -> None:
        self._to_close.append(extended.close_portal(name))

    def _prepare(self, key: Key) -> str:
        self._seen.pop(hash(key), None)
        self._count += 1
        name = self._names[key] = f"pgproxy_{self._count}"
        if len(self._names) > MOST_PREPARED:
            _, oldest = self._names.popitem(last=False)
            self._to_close.append(extended.close_statement(oldest))
        return name

    def _note(self, key: Key) -> None:
        self._seen[hash(key)] = None
        if len(self._seen) > MOST_SEEN:
            self._seen.popitem(last=False)
