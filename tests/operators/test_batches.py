from __future__ import annotations

import pytest

from pgproxy.operators.batches import (
    cut_batch,
    cut_rows,
    first_rows,
    raw_fields,
    row_of_raw,
    take_field,
    take_fields,
    take_first_field,
    take_hidden_field,
    without_first_rows,
)
from pgproxy.wire.rows import split_rows
from tests.operators.fake_source import Row, batch_of, rows_in

ROWS: list[Row] = [("1", None, "", "x" * 70_000), (None, "é", "c", None), ("", "D", "D\x00", "4")]
BATCH = batch_of(ROWS)


def _column(index: int) -> list[bytes | None]:
    return [None if (field := row[index]) is None else field.encode() for row in ROWS]


def test_first_field() -> None:
    assert take_first_field(BATCH.data) == (_column(0), split_rows(BATCH.data))


@pytest.mark.parametrize("index", [1, 2, 3])
def test_other_field(index: int) -> None:
    assert take_field(BATCH.data, index) == (_column(index), split_rows(BATCH.data))


@pytest.mark.parametrize("indexes", [(), (0,), (3,), (0, 2), (3, 1), (2, 2)])
def test_several_fields(indexes: tuple[int, ...]) -> None:
    taken, rows = take_fields(BATCH.data, indexes)
    assert taken == [_column(index) for index in indexes]
    assert rows == split_rows(BATCH.data)


@pytest.mark.parametrize(("index", "visible"), [(1, 1), (3, 1), (3, 3), (0, 0)])
def test_hidden_field(index: int, visible: int) -> None:
    cut = split_rows(batch_of([row[:visible] for row in ROWS]).data)
    assert take_hidden_field(BATCH.data, index, visible) == (_column(index), cut)


@pytest.mark.parametrize("visible", [0, 1, 2, 3, 4])
def test_cut(visible: int) -> None:
    assert rows_in(cut_batch(BATCH, visible)) == [row[:visible] for row in ROWS]
    assert cut_rows(BATCH.data, visible) == split_rows(cut_batch(BATCH, visible).data)


@pytest.mark.parametrize("count", [1, 2])
def test_first_and_other_rows(count: int) -> None:
    assert rows_in(first_rows(BATCH, count)) == ROWS[:count]
    assert rows_in(without_first_rows(BATCH, count)) == ROWS[count:]


def test_raw_fields_make_the_same_row_again() -> None:
    assert [row_of_raw(raw_fields(row)) for row in split_rows(BATCH.data)] == split_rows(BATCH.data)
