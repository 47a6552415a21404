"""From the bytes of a Query straight to its shard, for templates used all the time in which one constant names it.

Nothing is decoded, and no plan is made for the one execution unless somebody asks for it. What makes it certain that a
text has a template is `template`'s; everything that is not found here goes to `Planner.plan`, which gives the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any

from pgproxy.operators.arguments import Arguments
from pgproxy.planner.cache import CachedPlan
from pgproxy.planner.plan import ByValue, Planned, Sharded, form_of
from pgproxy.planner.template import compile_sure_bytes, is_short_integer

PREFIX = 24  # characters or bytes that a text of such a template begins with
MOST_PREFIXES = 500
MOST_WITH_PREFIX = 4
_TEXT_AT = 5  # behind a Query's header
_HEADER = Struct("!cI").pack
_LENGTH_BYTES = 4

Constants = tuple[bytes, ...]


class SureRoute:
    """One template with its plan, for texts whose key is of one kind with `literal`."""

    __slots__ = ("_cached", "_forms", "figures", "index", "match", "plan", "read", "shard_of")

    def __init__(
        self, cached: CachedPlan, plan: Sharded, by_value: ByValue, literal: str, match: re.Pattern[bytes]
    ) -> None:
        self.plan = plan
        self.figures = cached.figures
        self.match = match.fullmatch
        self.index = by_value.index  # of the key among the constants; `shard_of` wants it as `read` reads it
        self.read: Callable[[bytes], Any] = bytes.decode
        self.shard_of: Callable[[Any], int | None] = by_value.shard_of
        if by_value.shard_of_integer is not None and is_short_integer(literal):
            self.read, self.shard_of = int, by_value.shard_of_integer
        self._cached = cached
        self._forms: dict[int, bytes] = {}

    def planned(self, constants: Constants) -> Planned:
        """What `Planner.plan` gives for such a text."""
        arguments = Arguments(tuple(constant.decode() for constant in constants))
        return Planned(self.plan, arguments, None, self._cached.notices, 0, self.figures)

    def message(self, shard: int, constants: Constants) -> bytes:
        """The Query for the node; the statement counts as run."""
        self._cached.calls += 1
        form = self._forms.get(shard)
        if form is None:
            form = self._forms[shard] = _form(self.plan, shard)
        text = form % constants
        return _HEADER(b"Q", len(text) + _LENGTH_BYTES) + text


class SureRoutes:
    """Bounded: when there are too many beginnings all are forgotten, and learned again if they are still used."""

    def __init__(self) -> None:
        self._by_prefix: dict[bytes, tuple[SureRoute, ...]] = {}

    def learn(self, cached: CachedPlan, literals: Sequence[str]) -> None:
        """`literals` are the constants of one text with the template, as for `compile_sure`."""
        plan = cached.plan
        if not isinstance(plan, Sharded) or cached.default_limit is not None or cached.extra_literals:
            return
        by_value, form = plan.choice.by_value, form_of(plan.route, plan.table.shards[0])
        if by_value is None or form is None or form[1] != len(literals):
            return
        match = compile_sure_bytes(cached.pieces, literals)
        if match is None:
            return
        prefix = cached.pieces[0].encode()[:PREFIX]
        if len(self._by_prefix) >= MOST_PREFIXES:
            self._by_prefix.clear()
        known = self._by_prefix.get(prefix, ())
        route = SureRoute(cached, plan, by_value, literals[by_value.index], match)
        self._by_prefix[prefix] = (route, *known)[:MOST_WITH_PREFIX]

    def find(self, message: bytes) -> tuple[SureRoute, Constants, int] | None:
        """The route of a whole Query, its constants and the shard's index; None: to be planned."""
        for route in self._by_prefix.get(message[_TEXT_AT : _TEXT_AT + PREFIX], ()):
            found = route.match(message, _TEXT_AT, len(message) - 1)
            if found is not None:
                constants = found.groups()
                shard = route.shard_of(route.read(constants[route.index]))
                return None if shard is None else (route, constants, shard)
        return None


def _form(plan: Sharded, shard: int) -> bytes:
    found = form_of(plan.route, plan.table.shards[shard])
    assert found is not None, "looked at when the route was learned"
    return found[0].encode() + b"\0"
