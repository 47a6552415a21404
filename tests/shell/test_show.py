"""How answers look."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from pgproxy.shell.connection import Answer, Done, Failure, Rows
from pgproxy.shell.show import show

TEXT, INT8 = 25, 20


def shown(answer: Answer, sql: str = "", *, width: int = 40, expanded: bool | None = None) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    show(console, answer, sql, expanded)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_numbers_stand_on_the_right() -> None:
    answer = Rows(("n", "t"), (INT8, TEXT), [("1", "a"), ("100", None)], "SELECT 2")
    assert shown(answer) == ["  n   t", "──────────", "  1   a", "100   NULL", "(2 rows)"]


def test_no_rows() -> None:
    assert shown(Rows(("n",), (INT8,), [], "SELECT 0"))[-1] == "(0 rows)"


def test_markup_is_only_text() -> None:
    assert "[bold]x[/bold]" in "".join(shown(Rows(("[red]t",), (TEXT,), [("[bold]x[/bold]",)], "SELECT 1")))


def test_control_characters_do_not_reach_the_terminal() -> None:
    """A value, a column's name or an error may hold what a terminal takes for an order."""
    value = "a\x1b[2J\x1b]0;title\x07\x9bm\x7f\rb\tc"
    shown_as = "a\\x1B[2J\\x1B]0;title\\x07\\u009Bm\\x7F\\rb"
    row, failure = Rows((value,), (TEXT,), [(value,)], "SELECT 1"), Failure("ERROR", "P0001", value, value, value, 2)
    for answer, expanded in ((row, False), (row, True), (failure, None), (Done(value), None)):
        lines = "\n".join(shown(answer, value, width=200, expanded=expanded))
        assert lines.count(shown_as) >= (1 if isinstance(answer, Done) else 2)
        assert not set(lines) & set(map(chr, (*range(10), *range(11, 32), *range(127, 160))))


def test_tabs_are_as_wide_as_they_look() -> None:
    lines = shown(Rows(("a", "b"), (TEXT, TEXT), [("x\ty", "z")], "SELECT 1"))
    assert lines[2] == "x       y   z"


def test_wide_characters_take_two_cells() -> None:
    lines = shown(Rows(("a", "b"), (TEXT, TEXT), [("図書館", "x"), ("abc", "y")], "SELECT 2"))
    assert lines[2:4] == ["図書館   x", "abc      y"]


@pytest.mark.parametrize(("expanded", "records"), [(None, True), (True, True), (False, False)])
def test_records(expanded: bool | None, records: bool) -> None:
    answer = Rows(("title", "n"), (TEXT, INT8), [("x" * 50, None)], "SELECT 1")
    lines = shown(answer, expanded=expanded)
    assert lines[0].startswith("─[ record 1 ]") is records
    if records:
        assert lines[1:] == ["title │ " + "x" * 50, "n     │ NULL", "(1 row)"]


def test_the_cut_is_told() -> None:
    assert "only the first 1 rows" in shown(Rows(("n",), (INT8,), [("1",)], cut=True), width=80)[-1]


def test_a_portion_has_no_footer() -> None:
    assert shown(Rows(("n",), (INT8,), [("1",)], more=True))[-1] == "1"


def test_a_statement_without_rows() -> None:
    assert shown(Done("UPDATE 3")) == ["UPDATE 3"]


def test_the_mark_stands_under_its_place() -> None:
    sql = "SELECT 1,\n  図 + nosuch\nFROM t"
    failure = Failure("ERROR", "42703", "no", "why", "try", sql.index("nosuch") + 1)
    lines = shown(failure, sql)
    assert lines[0] == "ERROR:  42703: no"
    assert lines[1] == "LINE 2:   図 + nosuch"
    assert lines[2] == " " * 15 + "^"
    assert lines[3:] == ["DETAIL:  why", "HINT:  try"]
