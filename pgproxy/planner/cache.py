"""Plans kept by template, bounded, with the counts that SHOW PLANS prints. What a plan is made from is `planner`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import nlargest

from pgproxy.metrics import Figures
from pgproxy.planner.plan import Plan
from pgproxy.planner.template import Extract, Pieces, compile_extract, exact_literals, never

Key = str | tuple[str, ...]
"""A template; or a template with the constants that its plan is pinned to."""


@dataclass(slots=True)
class CachedPlan:
    """What is known of one template. `plan` None: only with the constants `pins` is the plan known (see `key_for`).

    `extra_literals` stand behind all of the client's constants: those that the planner added to the text, then an
    unknown value for each of the statement's `parameters`.
    """

    template: str
    pieces: Pieces
    plan: Plan | None
    pins: tuple[int, ...] = ()
    extra_literals: tuple[str, ...] = ()
    default_limit: int | None = None
    notices: tuple[str, ...] = ()
    parameters: int = 0
    extract: Extract = never
    calls: int = 1
    calls_when_swept: int = 1
    figures: Figures = field(default_factory=Figures)

    def literals_of(self, sql: str) -> tuple[str, ...] | None:
        """The constants of a text with this template, None if it only looks alike; later calls are faster."""
        if self.extract is never:
            self.extract = compile_extract(self.pieces)
        found = self.extract(sql)
        return exact_literals(sql, self.template, self.pieces) if found is None else found.groups()

    def key_for(self, literals: tuple[str, ...]) -> Key:
        """The key of the plan that holds for the pinned ones of these constants."""
        return (self.template, str(self.parameters), *(literals[index] for index in self.pins))


@dataclass(frozen=True, slots=True)
class PlanUse:
    """One line of SHOW PLANS. `way` is how the statement runs (`sharded`, `one node`, …)."""

    template: str
    calls: int
    way: str
    figures: Figures


class PlanCache:
    """At most `capacity` plans. Which to drop is the second-chance rule: one that was called since the last
    sweep stays. A hit then costs one look-up and one addition, not a reordering."""

    __slots__ = ("_evicted_calls", "_plans", "capacity", "evictions", "get", "misses")

    def __init__(self, capacity: int) -> None:
        assert capacity > 0
        self.capacity = capacity
        self.misses = 0
        self.evictions = 0
        self._evicted_calls = 0
        self._plans: dict[Key, CachedPlan] = {}
        self.get = self._plans.get

    def __len__(self) -> int:
        return len(self._plans)

    @property
    def hits(self) -> int:
        """Statements whose plan was found; the call that made an entry was a miss."""
        return self._evicted_calls + sum(plan.calls - 1 for plan in self._plans.values() if plan.plan is not None)

    def put(self, key: Key, plan: CachedPlan) -> None:
        replaced = self._plans.pop(key, None)
        if replaced is not None:
            self._forget(replaced)
        elif len(self._plans) >= self.capacity:
            self._evict()
        self._plans[key] = plan

    def entries(self) -> tuple[CachedPlan, ...]:
        """The plans, most called first."""
        known = (plan for plan in self._plans.values() if plan.plan is not None)
        return tuple(sorted(known, key=lambda plan: plan.calls, reverse=True))

    def busiest(self, count: int) -> list[CachedPlan]:
        """The plans that took most time, the most of them first."""
        known = (plan for plan in self._plans.values() if plan.plan is not None)
        return nlargest(count, known, key=lambda plan: plan.figures.total_us)

    def template_of(self, figures: Figures) -> CachedPlan | None:
        """The plan that these are the figures of, if it is still kept."""
        return next((plan for plan in self._plans.values() if plan.figures is figures), None)

    def _evict(self) -> None:
        for key in self._in_turn():
            plan = self._plans.pop(key)
            if plan.calls == plan.calls_when_swept:
                self._forget(plan)
                self.evictions += 1
                return
            plan.calls_when_swept = plan.calls
            self._plans[key] = plan

    def _in_turn(self) -> Iterator[Key]:
        while True:
            yield next(iter(self._plans))

    def _forget(self, plan: CachedPlan) -> None:
        if plan.plan is not None:
            self._evicted_calls += plan.calls - 1
