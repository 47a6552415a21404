"""Where one execution of a prepared statement goes, from the bytes of its Bind: no value is copied but to be read.

Only what is certain is answered: one shard, and no type that a node would have to tell first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct, error

from pgproxy.operators.arguments import Arguments
from pgproxy.planner.parameters import TEXT_FORMAT, repeated_parameters
from pgproxy.planner.plan import Planned, Sharded
from pgproxy.planner.planner import Planner
from pgproxy.shardmap.model import Shard
from pgproxy.wire.extended import BINARY, TEXT, format_at

_INT32 = Struct("!i").unpack_from
_UINT16 = Struct("!H").unpack_from
_MOST_HEADS = 8  # drivers send a statement's values in one or two ways

Types = tuple[int, ...]
_Readers = tuple[Callable[[bytes], str], ...]


class BoundRoute:
    """For one statement as it is planned. `types` are the client's, `described` those that a node has told."""

    __slots__ = ("_constants", "_count", "_heads", "_planner", "_sql", "_types", "_wanted", "plan", "planned")

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
        self._heads: dict[tuple[bytes, Types | None], tuple[_Readers, Types]] = {}

    def read(self, data: bytes, at: int, end: int, described: Types | None) -> tuple[Shard, Arguments, Types] | None:
        """The shard, the plan's arguments and the types to tell the node, of a Bind whose formats begin at `at`.
        None: whatever is uncommon or wrong about it is to be found message by message. Raises ProxyError."""
        try:
            first = at + 4 + 2 * _UINT16(data, at)[0]
            head = data[at:first]
            known = self._heads.get((head, described)) or self._learn(head, described)
            if known is None:
                return None
            readers, types = known
            texts, at = _read_values(readers, data, first)
            if at + 2 + 2 * _UINT16(data, at)[0] != end:
                return None
        except error:  # cut short
            return None
        arguments = Arguments((*self._constants, *texts[: self._count]))
        plan = self.plan
        indexes = plan.choice.shards(arguments)
        return (plan.table.shards[indexes[0]], arguments, types) if len(indexes) == 1 else None

    def _learn(self, head: bytes, described: Types | None) -> tuple[_Readers, Types] | None:
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
        readers = self._planner.readers(self.plan, [format_at(formats, at) for at in range(count)], known)
        if len(self._heads) >= _MOST_HEADS:
            self._heads.clear()
        self._heads[head, described] = readers, types
        return readers, types

    def _may_be_guessed_wrong(self, formats: Sequence[int]) -> bool:
        """A type that the client has left open, of a binary value or of a parameter used twice."""
        types = self._types
        open_types = [at for at in range(self._count) if at >= len(types) or not types[at]]
        return bool(open_types) and (
            any(format_at(formats, at) != TEXT_FORMAT for at in open_types) or bool(repeated_parameters(self._sql))
        )


def _read_values(readers: _Readers, data: bytes, at: int) -> tuple[list[str], int]:
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
