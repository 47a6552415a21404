"""docs/sql-support.md's tables, line by line: answered as by one PostgreSQL, or refused, as the page says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.differential import support_examples as examples
from tests.differential.compare import Answer, same_rows
from tests.differential.fix_sides import Sides

PAGE = (Path(__file__).parents[2] / "docs/sql-support.md").read_text(encoding="utf-8")
ANSWERED = re.compile("route|scatter")

Told = Mapping[str, tuple[tuple[str, str | None], ...]]
TABLES: dict[str, Told] = {
    "INSERT, UPDATE, DELETE": examples.WRITES,
    "Statements without a sharded table": examples.ELSEWHERE,
    "Sessions": examples.SESSIONS,
    "Cursors": examples.CURSORS,
}
TOLD = [
    (line, sql, sqlstate)
    for table in (*TABLES.values(), examples.COPIES)
    for line in table
    for sql, sqlstate in table[line]
]


def table_of(heading: str) -> dict[str, list[str]]:
    """The lines of the first table below a heading: first cell → the others."""
    (text,) = re.findall(rf"^#+ {re.escape(heading)}$.*?^\|[-|]+\|$\n(.*?)\n\n", PAGE, re.MULTILINE | re.DOTALL)
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines()]
    return {first: others for first, *others in rows}


@pytest.mark.parametrize(
    ("heading", "known"),
    [("SELECT", examples.SELECT), ("Which shards", examples.SHARDS), *TABLES.items()],
    ids=["SELECT", "Which shards", *TABLES],
)
def test_every_line_has_examples(heading: str, known: Mapping[str, object]) -> None:
    assert set(table_of(heading)) == set(known)


def test_the_lines_about_copy_are_there() -> None:
    assert set(examples.COPIES) <= set(table_of("COPY"))


@pytest.mark.parametrize("line", examples.SELECT)
@pytest.mark.parametrize("shards", ["one", "several"])
def test_select(line: str, shards: str, sides: Sides) -> None:
    says = table_of("SELECT")[line][shards == "several"]
    condition = examples.ONE if shards == "one" else examples.TWO
    for example in examples.SELECT[line]:
        sql = example.format(w=condition.format(""), b=condition.format("b."))
        if ANSWERED.match(says):
            assert_same(sql, sides)
            way = "Route to books_b" if shards == "one" else "Scatter to 2 of 3 shards"
            assert way in plan_of(sql, sides)
        elif says == "refused or route":
            assert sides.proxy.run(sql).sqlstate != examples.REFUSED or refused(sql, sides)
        else:
            assert says.startswith("refused")
            assert refused(sql, sides)


@pytest.mark.parametrize(("sql", "sqlstate"), examples.SELECT_BESIDES)
def test_what_cells_say_besides(sql: str, sqlstate: str | None, sides: Sides) -> None:
    assert_told(sql, sqlstate, sides)


@pytest.mark.parametrize(("source", "count"), [each for line in examples.SHARDS.values() for each in line])
def test_which_shards(source: str, count: int, sides: Sides) -> None:
    plan = plan_of(f"SELECT * FROM {source}", sides)
    assert ("Route to" if count == 1 else f"Scatter to {count} of 3") in plan
    assert_same(f"SELECT count(*) FROM {source}", sides)


@pytest.mark.parametrize(("line", "sql", "sqlstate"), TOLD)
def test_told(line: str, sql: str, sqlstate: str | None, sides: Sides) -> None:
    """In a transaction that is undone, on a connection that is left."""
    try:
        assert_told(f"BEGIN; {sql}", sqlstate, sides)
    finally:
        sides.proxy.close()
        sides.reference.close()


def assert_told(sql: str, sqlstate: str | None, sides: Sides) -> None:
    if sqlstate == examples.REFUSED:
        assert refused(sql, sides)
    elif sqlstate == examples.NO_SHARD:  # the other side's tables are not partitioned
        assert sides.proxy.run(sql).sqlstate == sqlstate
    else:
        last = assert_same(sql, sides)
        assert last.sqlstate == sqlstate


def assert_same(sql: str, sides: Sides) -> Answer:
    """All results of a Query."""
    got, want = sides.proxy.run_all(sql), sides.reference.run_all(sql)
    assert [(one.sqlstate, one.columns, one.tag) for one in got] == [
        (one.sqlstate, one.columns, one.tag) for one in want
    ]
    for mine, its in zip(got, want, strict=True):
        assert same_rows(mine.rows, its.rows) is None
    return got[-1]


def refused(sql: str, sides: Sides) -> bool:
    got = sides.proxy.run(sql)
    assert got.sqlstate == examples.REFUSED, got
    return bool(got.hint)


def plan_of(sql: str, sides: Sides) -> str:
    return "\n".join(lines(sides.proxy.run(f"EXPLAIN {sql}")))


def lines(answer: Answer) -> Iterator[str]:
    assert answer.sqlstate is None, answer
    return ((row[0] or b"").decode() for row in answer.rows)
