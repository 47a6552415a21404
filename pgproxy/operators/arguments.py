"""The values that a plan leaves open until the statement runs: its literals, later its bound parameters."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LiteralRef:
    """The statement's `index`-th constant (0-based), as libpg_query's normalizer counts them."""

    index: int


@dataclass(frozen=True, slots=True)
class ParameterRef:
    """Parameter `$index` (1-based) of a prepared statement."""

    index: int


ValueRef = LiteralRef | ParameterRef


@dataclass(slots=True)
class Arguments:
    """What one execution brings. `literals` are source texts as the client wrote them (`'it''s'`, `-5`, `NULL`).

    `now` is the time that all shards of a scatter are told, as an ISO text with microseconds and `+00`; the
    session adds it in a copy. Never changed once made; not frozen because one is made per statement.
    """

    literals: tuple[str, ...] = ()
    now: str | None = None


NO_ARGUMENTS = Arguments()
