"""Which shard of a logical table holds a key value, and which may hold a range of them.

A `Placement` is built once per table, when its key's type is known. Reading values out of statements is
`hashing`; what a statement says about the key is the planner's.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pgproxy.errors import ProxyError
from pgproxy.hashing import KEY_TYPES, NULL, TEXT_OIDS, UNKNOWN, WIDE_INTEGER_OIDS, KeyType, KeyValue, NoValue, Parsed
from pgproxy.shardmap.model import Method, Shard, Table

Shards = tuple[int, ...]
_Value = Any  # a KeyValue; those of one key type compare with each other


class PlacementError(ProxyError):
    """The shard map cannot be applied to the key as it is on the nodes. `key_path` names the place in the file."""

    def __init__(self, key_path: str, message: str) -> None:
        super().__init__("F0000", f"{key_path}: {message}", hint='Run "pgproxy check" to see every such problem.')
        self.key_path = key_path
        self.reason = message


_Report = Callable[[PlacementError], None]


class _Layout(Protocol):
    def shard_of(self, value: KeyValue | NoValue, /) -> int | None: ...

    def shards_of_range(self, interval: _Interval, /) -> Shards: ...


class Placement:
    """Where one table's rows are. Shards are named by their index.

    `bytewise` says that the key's collation compares by bytes (of no matter unless the key is text).
    `typmod` is the key column's (`atttypmod`), -1 for none. Raises PlacementError when the key's type cannot
    be a shard key or the map's values and bounds do not suit it.
    """

    __slots__ = ("_layout", "_singles", "all_shards", "is_cheap", "key_type", "shard_of", "table", "typmod")

    # The shard that holds a value; None where no shard does. NULL is held where PostgreSQL's partitions hold
    # it: remainder 0 of a hash, nowhere in a list or a range. UNKNOWN must not be asked.
    shard_of: Callable[[KeyValue | NoValue], int | None]

    def __init__(self, table: Table, type_oid: int, *, bytewise: bool = True, typmod: int = -1) -> None:
        self.table = table
        self.key_type = key_type_of(table, type_oid)
        self.typmod = typmod
        self.all_shards: Shards = tuple(shard.index for shard in table.shards)
        self._singles: tuple[Shards, ...] = tuple((index,) for index in self.all_shards)
        self._layout = _LAYOUTS[table.method](table, self.key_type, bytewise or type_oid not in TEXT_OIDS, _raise)
        self.shard_of = self._layout.shard_of
        # Finding the shard of a value takes no longer than remembering it would.
        self.is_cheap = table.method is not Method.HASH and type_oid in WIDE_INTEGER_OIDS

    def shards_of_equal(self, value: Parsed) -> Shards:
        """The shards that may hold rows whose key equals the value (a row never equals NULL)."""
        if value is UNKNOWN:
            return self.all_shards
        index = None if value is NULL else self.shard_of(value)
        return () if index is None else self._singles[index]

    def shards_of_range(
        self, lower: Parsed | None, lower_inclusive: bool, upper: Parsed | None, upper_inclusive: bool
    ) -> Shards:
        """The shards that may hold keys between the bounds; None or UNKNOWN stands for no bound."""
        if lower is NULL or upper is NULL:
            return ()
        low = None if lower is UNKNOWN else lower
        high = None if upper is UNKNOWN else upper
        return self._layout.shards_of_range(_Interval(low, lower_inclusive, high, upper_inclusive))

    def shard_of_new(self, value: Parsed) -> int | NoValue | None:
        """The shard that a new row with this key goes to, None for none at all; UNKNOWN when the column would not
        store the value as written (varchar(n) cuts blanks, numeric(p, s) rounds)."""
        if value is UNKNOWN or (value is not NULL and not self.key_type.fits(value, self.typmod)):
            return UNKNOWN
        return self.shard_of(value)


def key_type_of(table: Table, type_oid: int) -> KeyType:
    """The key's type; PlacementError when it cannot be a shard key."""
    key_type = KEY_TYPES.get(type_oid)
    if key_type is None:
        supported = ", ".join(sorted(known.name for known in KEY_TYPES.values()))
        raise PlacementError(
            f"tables.{table.name}.key", f"column {table.key} cannot be a shard key; a key's type is one of {supported}"
        )
    return key_type


def placement_problems(table: Table, type_oid: int, *, bytewise: bool = True) -> list[PlacementError]:
    """Everything that keeps the table's map from suiting a key of this type; empty when `Placement` would do."""
    problems: list[PlacementError] = []
    try:
        key_type = key_type_of(table, type_oid)
    except PlacementError as unsupported:
        return [unsupported]
    _LAYOUTS[table.method](table, key_type, bytewise or type_oid not in TEXT_OIDS, problems.append)
    return problems


def _raise(problem: PlacementError) -> None:
    raise problem


@dataclass(frozen=True, slots=True)
class _Interval:
    """Keys between two bounds; None stands for no bound."""

    lower: _Value
    lower_inclusive: bool
    upper: _Value
    upper_inclusive: bool

    def holds(self, value: _Value) -> bool:
        low, high = self.lower, self.upper
        above = low is None or value > low or (self.lower_inclusive and value == low)
        return above and (high is None or value < high or (self.upper_inclusive and value == high))

    def is_empty(self) -> bool:
        if self.lower is None or self.upper is None:
            return False
        return bool(self.lower > self.upper or (self.lower == self.upper and not self.holds(self.lower)))


class _List:
    def __init__(self, table: Table, key_type: KeyType, ordered: bool, report: _Report) -> None:
        self._ordered = ordered
        self._all = tuple(shard.index for shard in table.shards)
        self._homes: dict[KeyValue | NoValue, int] = {}
        for shard in table.shards:
            for position, text in enumerate(shard.values):
                path = f"{_path(table, shard)}.values[{position}]"
                value = _read(path, text, key_type, report)
                if value in self._homes:
                    report(PlacementError(path, f"{text!r} is a value of shards[{self._homes[value]}] already"))
                elif value is not UNKNOWN:
                    self._homes[value] = shard.index
        self.shard_of = self._homes.get

    def shards_of_range(self, interval: _Interval, /) -> Shards:
        if not self._ordered:
            return self._all
        return tuple(sorted({home for value, home in self._homes.items() if interval.holds(value)}))


class _Hash:
    def __init__(self, table: Table, key_type: KeyType, _ordered: bool, _report: _Report) -> None:
        self._hash = key_type.hash64
        self._modulus = len(table.shards)
        self._all = tuple(range(self._modulus))

    def shard_of(self, value: KeyValue | NoValue) -> int | None:
        return 0 if value is NULL else self._hash(value) % self._modulus

    def shards_of_range(self, _interval: _Interval, /) -> Shards:
        return self._all


class _Range:
    """Shards in the order of their lower bounds. `_lowers` leaves out a first shard without one, so that
    bisecting it gives the number of shards that begin at or below a value, less that one."""

    def __init__(self, table: Table, key_type: KeyType, ordered: bool, report: _Report) -> None:
        if not ordered:
            message = f"ranges of {table.key} need a collation that compares by bytes, such as C or C.UTF-8"
            report(PlacementError(f"tables.{table.name}.key", message))
        read = [_bounds(table, shard, key_type, report) for shard in table.shards]
        bounds = [each for each in read if each is not None]
        if len(bounds) < len(read):
            return  # told, and neighbours say nothing before that is put right
        self._order = sorted(range(len(bounds)), key=lambda index: _lower_rank(bounds[index]))
        self._lowers = [bounds[index][0] for index in self._order if bounds[index][0] is not None]
        self._uppers = [bounds[index][1] for index in self._order]
        self._unbounded_below = len(self._order) - len(self._lowers)
        self._check(table, report)

    def shard_of(self, value: KeyValue | NoValue) -> int | None:
        if value is NULL:
            return None
        place = bisect_right(self._lowers, value) + self._unbounded_below - 1  # `_place`, on every statement's way
        if place < 0:
            return None
        upper = self._uppers[place]
        return self._order[place] if upper is None or value < upper else None

    def shards_of_range(self, interval: _Interval, /) -> Shards:
        if interval.is_empty():
            return ()
        lower, upper = interval.lower, interval.upper
        first = 0 if lower is None else self._first_ending_above(lower)
        last = len(self._order) - 1 if upper is None else self._place(upper)
        # An exclusive upper bound that is where the last shard begins leaves that shard out.
        if upper is not None and last >= self._unbounded_below and not interval.upper_inclusive:
            last -= self._lowers[last - self._unbounded_below] == upper
        return tuple(sorted(self._order[first : last + 1]))

    def _place(self, value: _Value) -> int:
        """The place in `_order` of the last shard that begins at or below the value; -1 for none."""
        return bisect_right(self._lowers, value) + self._unbounded_below - 1

    def _first_ending_above(self, value: _Value) -> int:
        place = self._place(value)
        if place < 0:
            return 0
        upper = self._uppers[place]
        return place if upper is None or value < upper else place + 1

    def _check(self, table: Table, report: _Report) -> None:
        """Neighbours in order must not overlap, and keys are left out only where the map says so."""
        above: _Value = None
        for place, index in enumerate(self._order):
            path, lower = _path(table, table.shards[index]), self._lower_at(place)
            if place and (above is None or lower is None or lower < above):
                report(PlacementError(path, f"overlaps shards[{self._order[place - 1]}]"))
            elif lower != above and not table.gaps:
                report(PlacementError(f"{path}.lower", f"no shard holds the keys just below it; {_SAY_GAPS}"))
            above = self._uppers[place]
        if self._order and above is not None and not table.gaps:
            path = _path(table, table.shards[self._order[-1]])
            report(PlacementError(f"{path}.upper", f"no shard holds the keys from it on; {_SAY_GAPS}"))

    def _lower_at(self, place: int) -> _Value:
        return None if place < self._unbounded_below else self._lowers[place - self._unbounded_below]


_SAY_GAPS = "say gaps = true in the table if that is meant"


def _lower_rank(bounds: tuple[_Value, _Value]) -> tuple[bool, _Value]:
    lower = bounds[0]
    return (lower is not None, lower if lower is not None else 0)


def _bounds(table: Table, shard: Shard, key_type: KeyType, report: _Report) -> tuple[_Value, _Value] | None:
    """The shard's bounds as values, or None when they make no sense."""
    path = _path(table, shard)
    lower = None if shard.lower is None else _read(f"{path}.lower", shard.lower, key_type, report)
    upper = None if shard.upper is None else _read(f"{path}.upper", shard.upper, key_type, report)
    if lower is UNKNOWN or upper is UNKNOWN:
        return None
    if lower is not None and upper is not None and not lower < upper:
        report(PlacementError(path, f"its lower bound {shard.lower!r} is not below its upper bound {shard.upper!r}"))
        return None
    return lower, upper


def _read(path: str, text: str, key_type: KeyType, report: _Report) -> _Value:
    value = key_type.parse_text(text)
    if value is UNKNOWN:
        report(PlacementError(path, f"{text!r} is not a value of type {key_type.name} in its plain form"))
    return value


def _path(table: Table, shard: Shard) -> str:
    return f"tables.{table.name}.shards[{shard.index}]"


_LAYOUTS: dict[Method, Callable[[Table, KeyType, bool, _Report], _Layout]] = {
    Method.LIST: _List,
    Method.HASH: _Hash,
    Method.RANGE: _Range,
}
