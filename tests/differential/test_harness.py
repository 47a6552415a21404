"""The harness itself: it must let every legal answer pass and no other."""

from __future__ import annotations

import pytest

from tests.differential.compare import Answer, ResultColumn, illegal, parametrised, same_rows
from tests.differential.generate import SHAPES, Generator
from tests.differential.statement import Item, Select, SortKey

TEXT = (ResultColumn("word", 25, -1, -1),)
NUMBER = (ResultColumn("ratio", 1700, -1, -1),)
# All rows with their rank: a, then b and c tied, then d.
EVERYTHING = Answer(rows=((b"d", b"3"), (b"a", b"1"), (b"c", b"2"), (b"b", b"2")))


def ordered(limit: str | None = None, offset: str | None = None, *, distinct: bool = False) -> Select:
    key = SortKey("size", "size")
    return Select("ordered", (Item("word"),), "t", order=(key,), limit=limit, offset=offset, distinct=distinct)


def answer(*words: str) -> Answer:
    return Answer(TEXT, tuple((word.encode(),) for word in words))


@pytest.mark.parametrize(
    ("statement", "rows"),
    [
        (ordered(), "abcd"),
        (ordered(), "acbd"),
        (ordered("2"), "ab"),
        (ordered("2"), "ac"),
        (ordered("2", "1"), "bc"),
        (ordered("2", "2"), "bd"),
        (ordered("2", "2"), "cd"),
        (ordered("9", "3"), "d"),
        (ordered("0"), ""),
        (ordered(None, "9"), ""),
        (ordered("ALL"), "abcd"),
    ],
)
def test_legal(statement: Select, rows: str) -> None:
    assert illegal(statement, answer(*rows), EVERYTHING) is None


@pytest.mark.parametrize(
    ("statement", "rows"),
    [
        (ordered(), "abc"),
        (ordered(), "badc"),
        (ordered(), "abdc"),
        (ordered(), "abbd"),
        (ordered("2"), "abc"),
        (ordered("2"), "ad"),
        (ordered("2"), "ba"),
        (ordered("2", "1"), "ab"),
        (ordered("2", "2"), "db"),
        (ordered("9", "3"), "a"),
        (ordered("0"), "a"),
        (ordered(), "abcx"),
    ],
)
def test_illegal(statement: Select, rows: str) -> None:
    assert illegal(statement, answer(*rows), EVERYTHING) is not None


@pytest.mark.parametrize("shown", [b"1.00", b"1", b"1.0"])
def test_representatives(shown: bytes) -> None:
    """DISTINCT may show any of several equal numbers; a plain SELECT must show the stored one."""
    got, everything = Answer(NUMBER, ((shown,),)), Answer(rows=((b"1.00", b"1"),))
    assert illegal(ordered(distinct=True), got, everything) is None
    assert (illegal(ordered(), got, everything) is None) is (shown == b"1.00")


def test_multisets() -> None:
    assert same_rows([(b"a",), (b"b",), (b"a",)], [(b"a",), (b"a",), (b"b",)]) is None
    assert same_rows([(b"a",), (b"b",)], [(b"a",), (b"a",), (b"b",)]) is not None
    assert same_rows([(None,)], [(b"",)]) is not None


def test_seeds_repeat() -> None:
    first, again, other = ([one.text() for one in Generator(seed).statements(200)] for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_every_shape_is_drawn() -> None:
    assert {statement.shape for statement in Generator(1).statements(2_000)} == set(SHAPES)


def test_simpler_forms_end() -> None:
    """Minimising stops: every simpler form is shorter, or has one item or clause less."""
    for statement in Generator(3).statements(200):
        if isinstance(statement, Select):
            assert all(len(form.text()) < len(statement.text()) for form in statement.simpler())


def test_constants_become_parameters() -> None:
    sql = "SELECT 'a', 1 FROM t WHERE (a = 'it''s') AND b > -5 AND c = 1::int8 AND d = E'x' ORDER BY 1 LIMIT 5"
    want = "SELECT 'a', 1 FROM t WHERE (a = $1) AND b > $2 AND c = 1::int8 AND d = E'x' ORDER BY 1 LIMIT 5"
    assert parametrised(sql) == (want, [b"it's", b"-5"])
