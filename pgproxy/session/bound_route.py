"""Where one execution of a prepared statement goes, from the bytes of its Bind: no value is copied but to be read.

Only what is certain is answered: one shard, and no type that a node would have to tell first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import Struct, error

from pgproxy.operators.arguments import Arguments
from pgproxy.planner.parameters import TEXT_FORMAT, is_integer_in_digits, repeated_parameters
from pgproxy.planner.plan import Planned, Sharded, form_of, sql_for
from pgproxy.planner.planner import Planner
from pgproxy.shardmap.model import Shard
from pgproxy.wire.extended import BINARY, TEXT, format_at

_INT32 = Struct("!i").unpack_from
_UINT16 = Struct("!H").unpack_from
_MOST_HEADS = 8  # drivers send a statement's values in one or two ways
_MOST_DIGITS = 9  # of what `ByValue.shard_of_integer` takes

Types = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Head:
    """What the formats of a Bind and the number of its values say: how values are read, and the types to tell the node.
    `shard_of_integer`: for the value that decides alone, if it is nothing but digits."""

    readers: tuple[Callable[[bytes], str], ...]
    types: Types
    shard_of_integer: Callable[[int], int | None] | None


class BoundRoute:
    """For one statement as it is planned. `types` are the client's, `described` those that a node has told."""

    __slots__ = (
        "_constants",
        "_count",
        "_heads",
        "_key",
        "_planner",
        "_shard_of",
        "_shard_of_integer",
        "_sql",
        "_texts",
        "_types",
        "_wanted",
        "plan",
        "planned",
    )

    def __init__(self, sql: str, planned: Planned, plan: Sharded, planner: Planner, types: Types) -> None:
        self.planned = planned
        self._sql = sql
        self.plan = plan
        self._planner = planner
        self._types = types
        self._count = planned.parameters
        self._wanted = max(planned.parameters, len(types))
        literals = planned.arguments.literals
        self._constants = literals[: len(literals) - self._count]
        self._heads: dict[tuple[bytes, Types | None], _Head] = {}
        self._texts: dict[int, str] = {}  # for each shard, where the values are not part of it
        by_value = plan.choice.by_value
        self._key = -1  # which of the values decides alone
        if by_value is not None:
            self._key = by_value.index - len(self._constants)
            self._shard_of, self._shard_of_integer = by_value.shard_of, by_value.shard_of_integer

    def find(self, data: bytes, at: int, end: int, described: Types | None) -> tuple[Shard, Types] | None:
        """The shard and the types to tell the node, of a Bind whose formats begin at `at`. Where one value decides
        alone no other is looked at. None: whatever is uncommon or wrong about it is to be found message by message.
        Raises ProxyError."""
        key, value = self._key, b""
        try:
            first = at + 4 + 2 * _UINT16(data, at)[0]
            head = data[at:first]
            known = self._heads.get((head, described)) or self._learn(head, described)
            if known is None:
                return None
            if key < 0:
                return self._find_by_all(known, data, first, end)
            at = first
            for number in range(len(known.readers)):
                size: int = _INT32(data, at)[0]
                at += 4
                if number == key:
                    if size < 0:
                        return None
                    value = data[at : at + size]
                if size > 0:
                    at += size
                elif size < -1:
                    return None
            if at + 2 + 2 * _UINT16(data, at)[0] != end:
                return None
        except error:  # cut short
            return None
        if known.shard_of_integer is not None and len(value) <= _MOST_DIGITS and value.isdigit():
            index = known.shard_of_integer(int(value))
        else:
            index = self._shard_of(known.readers[key](value))
        return None if index is None else (self.plan.table.shards[index], known.types)

    def arguments(self, data: bytes, at: int, described: Types | None) -> Arguments:
        """The plan's, of a Bind that `find` has found."""
        first = at + 4 + 2 * _UINT16(data, at)[0]
        head = data[at:first]
        known = self._heads.get((head, described)) or self._learn(head, described)
        assert known is not None, "it was found"
        return self._arguments(_read_values(known.readers, data, first)[0])

    def text(self, shard: Shard) -> str | None:
        """The statement for a shard; None where the values are part of it."""
        text = self._texts.get(shard.index)
        if text is None:
            form = form_of(self.plan.route, shard)
            if form is None or form[1] > len(self._constants):
                return None
            text = self._texts[shard.index] = sql_for(self.plan.route, shard, Arguments(self._constants))
        return text

    def _find_by_all(self, known: _Head, data: bytes, first: int, end: int) -> tuple[Shard, Types] | None:
        texts, at = _read_values(known.readers, data, first)
        if at + 2 + 2 * _UINT16(data, at)[0] != end:
            return None
        plan = self.plan
        indexes = plan.choice.shards(self._arguments(texts))
        return (plan.table.shards[indexes[0]], known.types) if len(indexes) == 1 else None

    def _arguments(self, texts: Sequence[str]) -> Arguments:
        return Arguments((*self._constants, *texts[: self._count]))

    def _learn(self, head: bytes, described: Types | None) -> _Head | None:
        formats = [_UINT16(head, at)[0] for at in range(2, len(head) - 2, 2)]
        count = _UINT16(head, len(head) - 2)[0]
        if count != self._wanted or not {TEXT, BINARY}.issuperset(formats) or len(formats) not in (0, 1, count):
            return None
        types = self._types
        if self._may_be_guessed_wrong(formats):
            if described is None:
                return None
            types = described
        known = (types + (0,) * count)[:count]
        codes = [format_at(formats, at) for at in range(count)]
        in_digits = self._key >= 0 and is_integer_in_digits(codes[self._key], known[self._key])
        readers = self._planner.readers(self.plan, codes, known)
        found = _Head(readers, types, self._shard_of_integer if in_digits else None)
        if len(self._heads) >= _MOST_HEADS:
            self._heads.clear()
        self._heads[head, described] = found
        return found

    def _may_be_guessed_wrong(self, formats: Sequence[int]) -> bool:
        """A type that the client has left open, of a binary value or of a parameter used twice."""
        types = self._types
        open_types = [at for at in range(self._count) if at >= len(types) or not types[at]]
        return bool(open_types) and (
            any(format_at(formats, at) != TEXT_FORMAT for at in open_types) or bool(repeated_parameters(self._sql))
        )


def _read_values(readers: Sequence[Callable[[bytes], str]], data: bytes, at: int) -> tuple[list[str], int]:
    """Each value as an SQL constant, and the offset behind the last."""
    texts = []
    for read in readers:
        size: int = _INT32(data, at)[0]
        at += 4
        if size >= 0:
            texts.append(read(data[at : at + size]))
            at += size
        elif size == -1:
            texts.append("NULL")
        else:
            raise error
    return texts, at
