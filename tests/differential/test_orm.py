"""Statements as mappers send them: what the proxy accepts is what one PostgreSQL says, in order too."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.differential.compare import REFUSED, Answer, Mode, canonical, same_rows
from tests.differential.fix_sides import Sides
from tests.differential.orm import orm_statements

_SHARE = 0.15  # of the number of statements asked for, in each mode
_ACCEPTED_AT_LEAST = 0.4


@pytest.fixture(params=Mode, ids=[mode.value for mode in Mode])
def mode(request: pytest.FixtureRequest, sides: Sides) -> Iterator[Mode]:
    sides.proxy.mode = sides.reference.mode = request.param
    yield request.param
    sides.proxy.mode = sides.reference.mode = Mode.SIMPLE


def test_agreement(mode: Mode, sides: Sides, request: pytest.FixtureRequest) -> None:
    seed = request.config.getoption("seed") + 1000 * list(Mode).index(mode)
    count = int(request.config.getoption("statements") * _SHARE)
    verdicts: Counter[str] = Counter()
    wrong: list[str] = []
    for statement in orm_statements(seed, count):
        got, want = sides.proxy.run(statement.sql), sides.reference.run(statement.sql)
        verdict = "refused" if got.sqlstate == REFUSED else "failed" if want.sqlstate else "answered"
        verdicts[verdict] += 1
        why = None if verdict == "refused" else _differs(statement.sql, got, want)
        if why is not None:
            wrong.append(f"{statement.sql}\n  {why}\n  proxy: {got}\n  reference: {want}")
    print(f"\n{mode.value}, seed {seed}: {dict(verdicts)}")
    assert not wrong, "\n\n".join(wrong[:10])
    assert count < 100 or verdicts["answered"] > _ACCEPTED_AT_LEAST * count, verdicts


def _differs(sql: str, got: Answer, want: Answer) -> str | None:
    if (got.sqlstate, got.columns, got.tag) != (want.sqlstate, want.columns, want.tag):
        return "not the same columns, tag or SQLSTATE"
    mine, its = (canonical(answer.rows, answer.columns, True) for answer in (got, want))
    if re.search(r"ORDER BY [^()]*$", sql) and mine != its:
        return "not the same rows in the same order"
    return same_rows(mine, its)
