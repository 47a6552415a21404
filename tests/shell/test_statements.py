"""Where statements end in what is typed."""

from __future__ import annotations

import pytest

from pgproxy.shell.statements import is_blank, take_statements


@pytest.mark.parametrize(
    ("text", "statements", "rest"),
    [
        ("", [], ""),
        ("select 1", [], "select 1"),
        ("select 1;", ["select 1;"], ""),
        ("a; b ;\n c", ["a;", "b ;"], "\n c"),
        ("select ';';", ["select ';';"], ""),
        ("select 'it''s;", [], "select 'it''s;"),
        (r"select E'\';';", [r"select E'\';';"], ""),
        (r"select '\'; x", [r"select '\';"], " x"),
        ('select ";";', ['select ";";'], ""),
        ("select $$;$$;", ["select $$;$$;"], ""),
        ("select $a$;$$;$a$;x", ["select $a$;$$;$a$;"], "x"),
        ("select $a$;", [], "select $a$;"),
        ("select $1; y", ["select $1;"], " y"),
        ("-- ;\nselect 1;", ["-- ;\nselect 1;"], ""),
        ("/* ; /* ; */ ; */ a;", ["/* ; /* ; */ ; */ a;"], ""),
        ("/* ; /* ; */ a;", [], "/* ; /* ; */ a;"),
    ],
)
def test_statements_end_at_their_semicolon(text: str, statements: list[str], rest: str) -> None:
    assert take_statements(text) == (statements, rest)


def test_blank() -> None:
    assert is_blank(" \n-- only a comment\n ")
    assert not is_blank("x")
