"""The values that a plan leaves open until the statement runs: its constants, and the parameters bound to it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LiteralRef:
    """The statement's `index`-th value (0-based): its constants as libpg_query's normalizer counts them, and behind
    them its parameters `$1`, `$2`, …"""

    index: int


UNKNOWN_PARAMETER = "?"
"""Stands among the literals for a parameter whose value is not known, or must not be looked at."""


@dataclass(slots=True)
class Arguments:
    """What one execution brings. `literals` are source texts as the client wrote them (`'it''s'`, `-5`, `NULL`), then
    each parameter's value as such a text, or UNKNOWN_PARAMETER.

    `now` is the time that all shards of a scatter are told, as an ISO text with microseconds and `+00`; the
    session adds it in a copy. Never changed once made; not frozen because one is made per statement.
    """

    literals: tuple[str, ...] = ()
    now: str | None = None


NO_ARGUMENTS = Arguments()
