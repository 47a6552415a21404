from __future__ import annotations

import pytest

from pgproxy.operators.merge_sort import MergeSort
from pgproxy.operators.unique import Unique
from pgproxy.operators.values import SortKey
from tests.operators.fake_source import (
    BPCHAR,
    FLOAT8,
    INT4,
    NUMERIC,
    TEXT,
    FakeEnvironment,
    FakeSource,
    columns,
    described,
    rows_of,
    run,
)


@pytest.mark.parametrize(
    ("oid", "given", "kept"),
    [
        (INT4, ["1", "1", "1", "2", "3", "3"], ["1", "2", "3"]),
        (INT4, ["1", None, None, None], ["1", None]),
        (INT4, [None, None, None, "1"], [None, "1"]),
        (NUMERIC, ["1.0", "1.00", "1.000", "1.01"], ["1.0", "1.01"]),
        (NUMERIC, ["1", "NaN", "NaN", "NaN"], ["1", "NaN"]),
        (FLOAT8, ["-0", "0", "NaN", "NaN"], ["-0", "NaN"]),
        (TEXT, ["a", "a ", "A"], ["a", "a ", "A"]),
        (BPCHAR, ["a", "a ", "a  ", "b"], ["a", "b"]),
        (1184, ["2024-01-01 12:00:00+00", "2024-01-01 13:00:00+01"], ["2024-01-01 12:00:00+00"]),
        (1186, ["1 mon", "30 days", "31 days"], ["1 mon", "31 days"]),
        (INT4, [], []),
    ],
)
def test_equal_neighbours(oid: int, given: list[str | None], kept: list[str | None]) -> None:
    assert run(Unique((SortKey(0),)), [FakeSource(columns(c=oid), rows_of(*given))]) == rows_of(*kept)


PAIR = columns(n=INT4, name=TEXT)


@pytest.mark.parametrize(
    ("keys", "kept"),
    [
        ((0, 1), [("1", "a"), ("1", "b"), ("1", None), ("2", None)]),
        ((0,), [("1", "a"), ("2", None)]),
        ((), [("1", "a")]),
    ],
)
def test_all_keys_or_a_prefix(keys: tuple[int, ...], kept: list[tuple[str, str | None]]) -> None:
    rows = [("1", "a"), ("1", "a"), ("1", "b"), ("1", None), ("1", None), ("2", None)]
    assert run(Unique(tuple(SortKey(column) for column in keys)), [FakeSource(PAIR, rows)]) == kept


def test_hidden_keys_are_cut() -> None:
    rows = [("1", "a"), ("1", "b"), ("2", "b")]
    step = Unique((SortKey(1),), visible=1)
    assert run(step, [FakeSource(PAIR, rows)]) == rows_of("1", "1")
    assert described(step, [FakeSource(PAIR, rows)]) == PAIR[:1]


def test_equality_does_not_ask_for_the_collation() -> None:
    environment = FakeEnvironment(bytewise_default=False)
    rows = rows_of("a", "a", "ä")
    assert run(Unique((SortKey(0),)), [FakeSource(PAIR[1:], rows)], environment=environment) == rows_of("a", "ä")


def test_over_a_merge() -> None:
    inputs = [FakeSource(PAIR[:1], rows_of(*one)) for one in ("1223", "2344", "4")]
    assert run([MergeSort((SortKey(0),)), Unique((SortKey(0),))], inputs) == rows_of(*"1234")


def test_explain() -> None:
    assert Unique((SortKey(0), SortKey(1))).explain() == "Unique  Key: 1, 2"
