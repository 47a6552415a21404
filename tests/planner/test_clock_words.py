from __future__ import annotations

import pytest

from pgproxy.errors import Refused
from pgproxy.planner.clock_words import is_clock_word
from pgproxy.planner.plan import Sharded
from pgproxy.planner.planner import Planner


def shards_of(planner: Planner, sql: str) -> tuple[int, ...]:
    planned = planner.plan(sql)
    assert isinstance(planned.plan, Sharded)
    return planned.plan.choice.shards(planned.arguments)


@pytest.mark.parametrize(
    "literal",
    [
        *(
            "'now'",
            "' TODAY '",
            "'Tomorrow 12:00'",
            "'12:00 yesterday'",
            "'today12:00'",
            "'{today,2020-01-01}'",
            "'[now,]'",
        ),
        *("$$now$$", "$a$today$a$", "E'now'", "e'\\x6eow'", "E'\\'now'", "'no\\w now'", "'to'\n'day'", "U&'anything'"),
    ],
)
def test_words(literal: str) -> None:
    assert is_clock_word(literal)


@pytest.mark.parametrize(
    "literal",
    [
        *("'2024-05-05'", "'infinity'", "'epoch'", "'known'", "'nowhere'", "'todays'", "'snow'", "'énow'", "''"),
        *("5", "-5", "- 5", ".5", "NULL", "null", "true", "ALL", "E'a\\'b'", "B'01'", "$$x$$", "'no\\w'"),
    ],
)
def test_other_constants(literal: str) -> None:
    assert not is_clock_word(literal)


@pytest.mark.parametrize(
    "sql",
    [
        "select isbn from books where updated_at < 'now'",
        "select isbn from books where updated_at between '2024-01-01' and 'tomorrow'",
        "select isbn from books where 'today'::date = updated_at::date",
        "select isbn from books where updated_at in ('2024-01-01', 'now')",
        "select isbn from books where updated_at = any ('{now}')",
        "select timestamptz 'now', isbn from books",
        "select cast ( ' Now' as timestamptz) from books",
        "select count(*), 'now'::text::date from books",
        "select isbn from books where date_trunc('day', updated_at) > date 'yesterday'",
    ],
)
def test_several_shards_refuse(planner: Planner, sql: str) -> None:
    with pytest.raises(Refused, match="its own moment"):
        shards_of(planner, sql)
    assert shards_of(planner, f"{sql} {'and' if ' where ' in sql else 'where'} branch = 'west'") == (1,)


def test_text_that_its_template_does_not_line_up_with(planner: Planner) -> None:
    assert shards_of(planner, "select isbn from books where updated_at < '2024-05-05' and price > - - 5") == (0, 1, 2)
    with pytest.raises(Refused, match="its own moment"):
        shards_of(planner, "select isbn from books where updated_at < 'now' and price > - - 5")


@pytest.mark.parametrize(
    "sql",
    [
        "select isbn from books where book_name = 'now'",
        "select isbn from books where 'today' <> author",
        "select isbn from books where books.genre in ('now', 'today')",
        "select isbn from books where book_name like '%now%' or author ilike 'today%'",
        "select isbn from books where genre = any ('{now}')",
        "select isbn from books where genre is distinct from 'now'",
        "select isbn from books where updated_at < '2024-05-05'",
        "select isbn from books where updated_at < now()",
    ],
)
def test_text_and_dates_go_everywhere(planner: Planner, sql: str) -> None:
    assert shards_of(planner, sql) == (0, 1, 2)


@pytest.mark.parametrize("first", ["'2024-05-05'", "5", "null"])
def test_each_execution_goes_by_its_own_constant(planner: Planner, first: str) -> None:
    """One template, whatever constant it was planned with, also when it is found without normalising."""
    for _ in range(30):
        assert shards_of(planner, f"select isbn from books where updated_at < {first}") == (0, 1, 2)
    for _ in range(30):
        assert shards_of(planner, "select isbn from books where updated_at < '2025-01-01'") == (0, 1, 2)
        with pytest.raises(Refused):
            shards_of(planner, "select isbn from books where updated_at < 'now'")
