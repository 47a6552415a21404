"""Where statements end in what is typed."""

from __future__ import annotations

import pytest

from pgproxy.shell.statements import is_blank, script, take_statements


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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", []),
        ("select 1", ["select 1"]),
        ("select 1; -- the end\n", ["select 1;"]),
        ("\\timing\nselect 1;\nselect 2", ["\\timing", "select 1;", "select 2"]),
        ("select 1; \\x on\nselect 2", ["select 1;", "\\x on", "select 2"]),
        ("-- first\n\\limit 5\nselect 1", ["\\limit 5", "select 1"]),
        ("-- why\nselect 1", ["-- why\nselect 1"]),
        ("select 1\n\\x\n;", ["select 1\n\\x\n;"]),
        ("select '\n\\x';", ["select '\n\\x';"]),
        ("select 1;\nexit\nselect 2;", ["select 1;", "exit", "select 2;"]),
        ("quit; \nselect 2", ["quit;", "select 2"]),
        ("exit_codes", ["exit_codes"]),
    ],
)
def test_a_script_says_statements_and_commands(text: str, said: list[str]) -> None:
    assert [each.strip() for each in script(text)] == said


def test_blank() -> None:
    assert is_blank(" \n-- only a comment\n ")
    assert not is_blank("x")
