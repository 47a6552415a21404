"""The backslash commands change the options, or stand for a statement."""

from __future__ import annotations

import pytest

from pgproxy.shell.commands import COMMANDS, Options, is_command, react


@pytest.mark.parametrize("line", ["\\d", "\\timing on", "exit", "quit;", " EXIT "])
def test_what_is_a_command(line: str) -> None:
    assert is_command(line)


@pytest.mark.parametrize("line", ["", "select 1", "exit now please", "exits"])
def test_what_is_none(line: str) -> None:
    assert not is_command(line)


@pytest.mark.parametrize(
    ("lines", "limit", "timing", "expanded"),
    [
        (["\\limit 5"], 5, False, None),
        (["\\limit off"], None, False, None),
        (["\\limit 0"], 100, False, None),
        (["\\limit x"], 100, False, None),
        (["\\timing"], 100, True, None),
        (["\\timing on", "\\timing on"], 100, True, None),
        (["\\timing", "\\timing"], 100, False, None),
        (["\\x"], 100, False, True),
        (["\\x", "\\x"], 100, False, False),
        (["\\x on", "\\x auto"], 100, False, None),
    ],
)
def test_options(lines: list[str], limit: int | None, timing: bool, expanded: bool | None) -> None:
    options = Options()
    for line in lines:
        assert react(line, options).text
    assert (options.limit, options.timing, options.expanded) == (limit, timing, expanded)


def test_a_table_name_cannot_break_out() -> None:
    assert "'a''; drop table b; --'::regclass" in react("\\d a'; drop table b; --", Options()).sql


def test_an_unknown_command_ends_nothing() -> None:
    reaction = react("\\nosuch", Options())
    assert "unknown command" in reaction.text
    assert not reaction.end


def test_help_names_every_command() -> None:
    text = react("\\?", Options()).text
    assert all(name in text for name in COMMANDS if name != "quit")
