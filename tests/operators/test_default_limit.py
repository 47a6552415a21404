from __future__ import annotations

import asyncio

import pytest

from pgproxy.operators.arguments import NO_ARGUMENTS
from pgproxy.operators.default_limit import DefaultLimit
from tests.operators.fake_source import INT4, FakeEnvironment, FakeSource, columns, drain, rows_of

N = columns(n=INT4)


@pytest.mark.parametrize(
    ("limit", "given", "passed", "cut"),
    [
        (3, "", "", False),
        (3, "12", "12", False),
        (3, "123", "123", False),
        (3, "1234", "123", True),
        (2, "12", "12", False),
        (2, "123", "12", True),
        (4, "1234", "1234", False),
        (4, "12345", "1234", True),
    ],
)
def test_rows_and_whether_some_were_cut(limit: int, given: str, passed: str, cut: bool) -> None:
    source = FakeSource(N, rows_of(*given))
    top = DefaultLimit(limit).open([source], NO_ARGUMENTS, FakeEnvironment())
    _, batches = asyncio.run(drain(top))
    assert [row for batch in batches for row in batch] == rows_of(*passed)
    assert top.cut is cut
    assert source.closed is cut


def test_explain() -> None:
    assert DefaultLimit(100).explain() == "Limit  Default: 100"
