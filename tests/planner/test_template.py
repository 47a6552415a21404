from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pglast.parser import ParseError, normalize

from pgproxy.planner.template import compile_extract, exact_literals, pieces_between
from pgproxy.planner.text import SourceText, literal_spans


def pieces_of(sql: str) -> tuple[str, ...]:
    spans = literal_spans(sql, normalize(sql))
    assert spans is not None
    return pieces_between(sql, spans)


@pytest.mark.parametrize(
    ("seen", "now", "literals"),
    [
        ("select 1", "select 2", ("2",)),
        ("select 1", "select -2", ("-2",)),
        ("select 1", "select 1.5e-3", ("1.5e-3",)),
        ("select 1", "select .5", (".5",)),
        ("select 1", "select 5.", ("5.",)),
        ("select 1", "select 'it''s'", ("'it''s'",)),
        ("select 1", "select ''", ("''",)),
        ("select 1", "select ''''", ("''''",)),
        ("select 1", "select '$1'", ("'$1'",)),
        ("select 1", "select 'a\\'", ("'a\\'",)),
        ("select 1", "select null", ("null",)),
        ("select 1", "select TRUE", ("TRUE",)),
        ("select 1, 'a'", "select 'a', 'b'", ("'a'", "'b'")),
        ("select 'a' || 'b'", "select 'a || ' || ' || '", ("'a || '", "' || '")),
        ("select (1)", "select ('é(1)')", ("'é(1)'",)),
        ("select /* $2 */ 1 -- 'x'\n", "select /* $2 */ 'y' -- 'x'\n", ("'y'",)),
        ("select 1 from t limit 5 offset 6", "select 2 from t limit all offset 7", ("2", "all", "7")),
        ("select $1, 5", "select $1, 6", ("6",)),
    ],
)
def test_the_usual_forms_need_one_match(seen: str, now: str, literals: tuple[str, ...]) -> None:
    assert normalize(seen) == normalize(now)
    found = compile_extract(pieces_of(seen))(now)
    assert found is not None
    assert found.groups() == literals
    assert exact_literals(now, normalize(now), pieces_of(seen)) == literals


@pytest.mark.parametrize(
    ("now", "literal"),
    [
        ("select e'it\\'s'", "e'it\\'s'"),
        ("select $$it's$$", "$$it's$$"),
        ("select $a$it's$a$", "$a$it's$a$"),
        ("select U&'\\0041'", "U&'\\0041'"),
        ("select b'01'", "b'01'"),
        ("select x'1f'", "x'1f'"),
        ("select 0x1f", "0x1f"),
        ("select 1_000", "1_000"),
        ("select - 5", "- 5"),
        ("select 'a'\n'b'", "'a'\n'b'"),
    ],
)
def test_the_other_forms_are_read_by_the_scanner(now: str, literal: str) -> None:
    pieces = pieces_of("select 1")
    assert compile_extract(pieces)(now) is None
    assert exact_literals(now, normalize(now), pieces) == (literal,)


def test_a_parameter_is_no_constant() -> None:
    """Both have the template `select $1, $2`, but different constants."""
    seen, now = "select $1, 5", "select $$a$$, 5"
    assert normalize(seen) == normalize(now)
    assert compile_extract(pieces_of(seen))(now) is None
    assert exact_literals(now, normalize(now), pieces_of(seen)) is None


_strings = st.text(st.sampled_from("ab'\\$1é -/*\n("), max_size=8)
_quoted = _strings.map(lambda text: "'" + text.replace("'", "''") + "'")
_literals = st.one_of(
    _quoted,
    _quoted.map(lambda text: "E" + text.replace("\\", "\\\\")),
    _strings.map(lambda text: "$q$" + text.replace("$", "") + "$q$"),
    st.integers(-(10**20), 10**20).map(str),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.sampled_from(["null", "TRUE", "false", "0x1F", "1_0", ".5", "5.", "1e5", "- 7", "'a'\n  'b'", "B'1'"]),
)
_shapes = st.sampled_from(
    [
        "select {}, {} from t where a = {}",
        "select {}||{}-{}",
        "select /* '$1' {{ */ {}, ({}) -- $2 '\n , {}",
        "select a -{}, b - {}, {}::text",
        "select {}as x, {} from t order by 1, {}",
        "insert into t values ({},{},default), ($1, {}, 2)",
        "update t set a={} where b in ({},{})",
        "select * from t where a={}and b>{}or c<>{} limit 5 offset 6",
    ]
)


@given(_shapes, st.lists(_literals, min_size=3, max_size=3), st.lists(_literals, min_size=3, max_size=3))
def test_extraction_never_gives_a_wrong_constant(shape: str, seen: list[str], now: list[str]) -> None:
    """Whatever a template was first seen with, another text's constants are those that the scanner finds in it."""
    try:
        first, second = SourceText(shape.format(*seen)), SourceText(shape.format(*now))
    except ParseError:
        return
    if not first.faithful or normalize(first.sql) != normalize(second.sql):
        return
    found = compile_extract(pieces_between(first.sql, first.literals))(second.sql)
    if found is not None:
        assert second.faithful
        assert found.groups() == second.literal_texts
