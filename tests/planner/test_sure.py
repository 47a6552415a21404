"""Texts that `compile_sure` takes for a template's without normalising them: they must have that template, and the
constants that the scanner finds in them."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pglast.parser import ParseError, normalize

from pgproxy.planner.template import compile_sure, never, pieces_between
from pgproxy.planner.text import literal_spans


def template_and_literals(sql: str) -> tuple[str, tuple[str, ...]] | None:
    """By the normalizer and the scanner; None where they do not line up, or the text is no SQL."""
    try:
        template = normalize(sql)
        spans = literal_spans(sql, template)
    except (ParseError, UnicodeEncodeError):
        return None
    return None if spans is None else (template, tuple(sql[start:end] for start, end in spans))


def sure_match(seen: str, now: str) -> re.Match[str] | None:
    """What the extraction learned from one text makes of another."""
    known = template_and_literals(seen)
    assert known is not None
    spans = literal_spans(seen, known[0])
    assert spans is not None
    return compile_sure(pieces_between(seen, spans), known[1])(now)


LEARNED = [
    ("select 1", "select 2", ("2",)),
    ("select 1", "select 999999999", ("999999999",)),
    ("select 1 from t", "select 07 from t", ("07",)),
    ("select 9780451524935", "select 9780451524936", ("9780451524936",)),
    ("select (-5)", "select (-7)", ("-7",)),
    ("select a - -5 from t", "select a - -6 from t", ("-6",)),
    ("select 'a'", "select ''", ("''",)),
    ("select 'a' from t where x=5 and y>'b'", "select '--' from t where x=7 and y>'/*'", ("'--'", "7", "'/*'")),
    ("select a from t where b in ('x', 'y')", "select a from t where b in ('$1', '$$')", ("'$1'", "'$$'")),
    ("select * from t where b = 'x' and c = -1 limit 5", "select * from t where b = '\n' and c = -2 limit 6", None),
    ("insert into t values (1, 'a', -1)", "insert into t values (2, 'déjà 日本 🙂', -2)", None),
    ("update t set a = 'x' where k = 5;", "update t set a = ';' where k = 6;", None),
    ("select date '2020-01-01', 'x'::text, int '5'", "select date 'now', 'y'::text, int 'x'", None),
]


@pytest.mark.parametrize(("seen", "now", "literals"), LEARNED)
def test_matches(seen: str, now: str, literals: tuple[str, ...] | None) -> None:
    found = sure_match(seen, now)
    assert found is not None
    expected = template_and_literals(now)
    assert expected == (normalize(seen), found.groups())
    assert literals in (None, found.groups())


# Each pair looks alike, or is one statement in which a constant reaches beyond where it seems to end.
NOT_LEARNED = [
    # Positions are no constants, other numbers in their place are.
    ("select a, b from t order by 99999999999", "select a, b from t order by 2"),
    ("select a, b from t group by 99999999999", "select a, b from t group by 1"),
    ("select a, b from t order by -99999999999", "select a, b from t order by -1"),
    ("select a from t order by 'x'", "select a from t order by 1"),
    ("select 2147483648", "select 2147483647"),
    # Kinds.
    ("select 1", "select 'a'"),
    ("select 'a'", "select 1"),
    ("select 1", "select -1"),
    ("select 1", "select 1.5"),
    ("select 1", "select 1e5"),
    ("select 1", "select 0x1"),
    ("select 1", "select 1_000"),
    ("select 1", "select null"),
    ("select 1", "select $1"),
    ("select 1", "select 1a"),
    ("select null", "select 1"),
    ("select 1.5", "select 2.5"),
    ("select 'a'", "select 'a''b'"),
    ("select 'a'", "select 'a\\'"),
    ("select 'a'", "select e'a'"),
    ("select 'a'", "select 'a' 'b'"),
    ("select 'a'", "select 'a'\n'b'"),
    ("select 'a'", "select 'a', 'b'"),
    ("select 'a'", "select 'a' -- 'b'"),
    ("select 'a'", "select 'a'; select 'b'"),
    ("select 'a'", "select 'a'\0"),
    ("select 'a'", "select '\0'"),
    ("select 'a'", "select '\ud800'"),
    ("select e'a'", "select e'b'"),
    ("select e'a'", "select e'\\'"),
    ("select n'a'", "select n'b'"),
    ("select $$a$$", "select $$b$$"),
    ("select U&'a'", "select U&'\\'"),
    ("select x'1f'", "select x'zz'"),
    # What stands around a constant and could make it another token.
    ("select a-5 from t", "select a-6 from t"),
    ("select a -5 from t", "select a --6 from t"),
    ("select - 5", "select - 6"),
    ("select a where b='x'and c", "select a where b='y'and c"),
    ('select 5"a"', 'select 6"a"'),
    # Comments and dollar quotes are left to the scanner.
    ("select /* 1 */ 1", "select /* 1 */ 2"),
    ("select 1 -- x\n", "select 2 -- x\n"),
    ("select 1 as a$b", "select 2 as a$b"),
]


@pytest.mark.parametrize(("seen", "now"), NOT_LEARNED)
def test_does_not_match(seen: str, now: str) -> None:
    assert sure_match(seen, now) is None


def test_too_many_constants() -> None:
    pieces = ("select ", *(", " for _ in range(99)), "")
    assert compile_sure(pieces, ["1"] * 100) is never


_NUMBERS = "1 2 00 07 999999999 1000000000 2147483647 2147483648 99999999999 -1 -0 -99999999999 1.5 .5 5. 1e5 0x1f 1_0"
_STRINGS = (
    r"""'a' '' '''' 'it''s' '\' '--' '/*' '*/' '$1' '$$' '1' '"' 'é' ';' E'a' e'\'' U&'a' N'a' x'1f' $$a$$ $a$'$a$"""
)
_QUOTED = st.text("'\\-/*$ \n1aE\"\u3000", max_size=5).map(lambda text: f"'{text}'")
_CONSTANTS = st.sampled_from([*_NUMBERS.split(" "), *_STRINGS.split(" "), "NULL", "true"]) | _QUOTED
_INTEGERS = st.sampled_from(["0", "1", "7", "07", "999999999", "2147483648", "99999999999"])
_PLAIN = st.text('-/*$ \n1aE"é', max_size=5).map(lambda text: f"'{text}'")
_GLUE = st.sampled_from(
    [
        *(" ", "  ", "\n", "\t", "\v", "\f", "\xa0", "\u3000", ",", ", ", " , ", "(", ")", " (", ") ", "[", "]"),
        *(
            "=",
            " = ",
            "<",
            " < ",
            ">",
            " -",
            " - ",
            "-",
            "+",
            " + ",
            "||",
            "->>",
            "@>",
            "!=",
            "<=",
            ".",
            ";",
            "; select ",
        ),
        *("::text", "::int ", " as a", " as e", " a", "e", "E", " U&", " date ", " interval ", " day", ' COLLATE "C"'),
        *(" from t", " from t where k=", " where k = ", " and k in (", " or ", " is ", " uescape ", " union select "),
        *(" order by ", " group by ", " limit ", " offset ", " order by a, ", "1", "_", "''", "'", '"'),
        *("--", " -- x\n", "/*", " /* x */ ", "$", "$$", "$1"),
    ]
)
_STARTS = st.sampled_from(["select ", "select", "select (", "select a from t where k = ", "insert into t values ("])


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, str]:
    """Two texts with the same glue between other constants."""
    glue = draw(st.lists(_GLUE, min_size=1, max_size=6))
    kinds = [draw(st.sampled_from([_CONSTANTS, _INTEGERS, _PLAIN, _PLAIN])) for _ in glue]
    start = draw(_STARTS)
    both = []
    for _ in range(2):
        pieces = [start]
        for kind, piece in zip(kinds, glue, strict=True):
            pieces += [draw(kind), piece]
        both.append("".join(pieces))
    return both[0], both[1]


@settings(max_examples=1500, deadline=None)
@given(texts())
@example(("select a from t order by 99999999999", "select a from t order by 2"))
@example(("select 'a'\n", "select 'a'\n'b'\n"))
def test_a_match_is_proof(pair: tuple[str, str]) -> None:
    seen, now = pair
    for one, other in ((seen, now), (seen, seen), (now, seen)):
        if template_and_literals(one) is None:
            continue
        found = sure_match(one, other)
        if found is not None:
            assert template_and_literals(other) == (normalize(one), found.groups())


_EDITS = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 3), st.sampled_from([*"'\"-/*$\\ \n,();1eE.:=<>a", "", "--", "''"])),
    min_size=1,
    max_size=3,
)


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from([seen for seen, *_ in LEARNED]), _EDITS)
def test_changed_texts(seen: str, edits: list[tuple[int, int, str]]) -> None:
    """A text with a few characters changed either does not match, or has the same template all the same."""
    now = seen
    for at, cut, put in edits:
        place = at % (len(now) + 1)
        now = now[:place] + put + now[place + cut :]
    found = sure_match(seen, now)
    if found is not None:
        assert template_and_literals(now) == (normalize(seen), found.groups())
