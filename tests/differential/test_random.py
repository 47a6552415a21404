"""Thousands of generated statements: the proxy and one PostgreSQL must agree on every one it accepts."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.differential.compare import Mode, Verdict, compare, minimise
from tests.differential.data import SUBJECTS
from tests.differential.fix_sides import Sides
from tests.differential.generate import SHAPES, Generator
from tests.differential.statement import Other, Statement

# The largest share of a shape's statements that the proxy may refuse; a planner that refuses all is no planner.
# Grouping by an expression with a constant and naming it again in HAVING is refused (the cached plan cannot know that
# both constants are the same); so are writes whose key is an E'…' or $$…$$ string, and what PostgreSQL refuses anyway.
REFUSED_AT_MOST = dict.fromkeys(SHAPES, 0.0) | {
    "grouped": 0.03,
    "distinct aggregate": 1.0,
    "update": 0.12,
    "delete": 0.12,
    "failing": 0.5,
}
_SHOWN_FAILURES = 5
# Of the number of statements asked for, how many are sent in each mode.
_SHARES = {Mode.SIMPLE: 0.4, Mode.TEXT: 0.2, Mode.BINARY: 0.2, Mode.BOUND: 0.2}
# Shares of a handful of statements say nothing.
_ENOUGH = 30


@pytest.mark.parametrize("mode", Mode, ids=[mode.value for mode in Mode])
def test_agreement(mode: Mode, sides: Sides, request: pytest.FixtureRequest) -> None:
    seed = request.config.getoption("seed") + 1000 * list(Mode).index(mode)
    count = int(request.config.getoption("statements") * _SHARES[mode])
    sides.proxy.mode = sides.reference.mode = mode
    try:
        _agree(sides, seed, count)
    finally:
        sides.proxy.mode = sides.reference.mode = Mode.SIMPLE


def _agree(sides: Sides, seed: int, count: int) -> None:
    verdicts: Counter[tuple[str, Verdict]] = Counter()
    reasons: Counter[str] = Counter()
    failures: list[str] = []
    for number, statement in enumerate(Generator(seed).statements(count)):
        found = compare(statement, sides.proxy, sides.reference)
        verdicts[statement.shape, found.verdict] += 1
        if found.verdict is Verdict.REFUSED:
            reasons[f"{statement.shape}: {found.why} ({statement.text()})"] += 1
        if found.verdict is Verdict.DIFFERENT:
            failures.append(report(f"statement {number} of seed {seed}", statement, found.why, sides))
            if len(failures) == _SHOWN_FAILURES:
                break
    summary = summarise(verdicts)
    print(f"\nseed {seed}, {count} statements\n{summary}")
    assert not failures, "\n\n".join(failures)
    refusals = "\n".join(list(reasons)[:20])
    assert not too_often_refused(verdicts), f"{too_often_refused(verdicts)} refused too often\n{summary}\n{refusals}"
    assert sum(verdicts.values()) == count


def test_tables_are_equal_afterwards(sides: Sides) -> None:
    """Every write that the proxy accepted did the same on both sides (runs after the generated statements)."""
    for subject in SUBJECTS:
        whole = Other("plain", f"SELECT * FROM {subject.name}")
        found = compare(whole, sides.proxy, sides.reference)
        assert found.verdict is Verdict.AGREED, f"{subject.name}: {found.why}"


def report(name: str, statement: Statement, why: str, sides: Sides) -> str:
    small = minimise(statement, sides.proxy, sides.reference)
    return f"{name} ({statement.shape}):\n  {statement.text()}\n{why}\n  smallest form: {small.text()}"


def summarise(verdicts: Counter[tuple[str, Verdict]]) -> str:
    lines = [f"{'shape':20}" + "".join(f"{verdict.value:>11}" for verdict in Verdict)]
    lines += [f"{shape:20}" + "".join(f"{verdicts[shape, verdict]:11}" for verdict in Verdict) for shape in SHAPES]
    return "\n".join(lines)


def too_often_refused(verdicts: Counter[tuple[str, Verdict]]) -> list[str]:
    return [
        shape
        for shape in SHAPES
        if (total := sum(verdicts[shape, verdict] for verdict in Verdict)) >= _ENOUGH
        and verdicts[shape, Verdict.REFUSED] > REFUSED_AT_MOST[shape] * total
    ]
