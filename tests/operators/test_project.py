from __future__ import annotations

import pytest

from pgproxy.operators.project import Project
from tests.operators.fake_source import INT4, NUMERIC, TEXT, FakeSource, columns, described, run

THREE = columns(a=INT4, b=TEXT, c=NUMERIC)
ROWS = [("1", "x", "1.0"), ("2", None, "2.0"), (None, "", None)]


@pytest.mark.parametrize("taken", [(0, 1, 2), (0, 1), (0,), (2, 1, 0), (1,), (1, 1, 0), (2, 2), ()])
def test_columns(taken: tuple[int, ...]) -> None:
    assert run(Project(taken), [FakeSource(THREE, ROWS)]) == [tuple(row[index] for index in taken) for row in ROWS]
    assert described(Project(taken), [FakeSource(THREE, ROWS)]) == tuple(THREE[index] for index in taken)


def test_names() -> None:
    step = Project((1, 0, 2), ("first", None, "?column?"))
    assert described(step, [FakeSource(THREE, ROWS)]) == (
        *columns(first=TEXT, a=INT4),
        *columns(**{"?column?": NUMERIC}),
    )


def test_new_names_alone_leave_rows_untouched() -> None:
    assert run(Project((0, 1, 2), ("x", "y", "z")), [FakeSource(THREE, ROWS)]) == ROWS


def test_explain() -> None:
    assert Project((2, 0)).explain() == "Project  Columns: 3, 1"
