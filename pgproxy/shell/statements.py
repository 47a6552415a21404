"""Where statements end in what is typed. Only semicolons are looked for; what a statement means is the server's."""

from __future__ import annotations

import re
from collections.abc import Iterator

# Everything in which a semicolon does not end a statement (closed or not yet closed), and the semicolon that does.
_TOKEN = re.compile(
    r"""--[^\n]* | [eE]'(?:\\.|''|[^'\\])*(?:'|\Z) | '(?:''|[^'])*(?:'|\Z) | "(?:""|[^"])*(?:"|\Z)
        | \$(?P<tag>[^\W\d]\w*|)\$.*?(?:\$(?P=tag)\$|\Z) | /\* | ;""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT_MARK = re.compile(r"/\*|\*/")
_COMMAND = re.compile(r"\\[^\n]*|(?:exit|quit)[ \t]*;?[ \t]*(?=\n|\Z)", re.IGNORECASE)
_NOTHING = re.compile(r"(?:\s|--[^\n]*(?:\n|\Z))*")


def take_statements(text: str) -> tuple[list[str], str]:
    """The statements that are complete, each with its semicolon, and what is left over."""
    found = []
    start = 0
    while (end := _end_of_statement(text, start)) is not None:
        found.append(text[start:end].strip())
        start = end
    return found, text[start:]


def script(text: str) -> Iterator[str]:
    """The statements of a whole text, of which the last needs no semicolon, and the commands, each on its own line."""
    at = 0
    while at < len(text):
        nothing = _NOTHING.match(text, at)
        command = _COMMAND.match(text, nothing.end() if nothing else at)
        end = command.end() if command else _end_of_statement(text, at) or len(text)
        said = command.group() if command else text[at:end]
        if not is_blank(said):
            yield said.strip()
        at = end


def is_blank(text: str) -> bool:
    """Nothing but white space and line comments."""
    return _NOTHING.fullmatch(text) is not None


def _end_of_statement(text: str, at: int) -> int | None:
    while (token := _TOKEN.search(text, at)) is not None:
        at = token.end()
        if token.group() == "/*":
            at = _end_of_comment(text, at)
        elif token.group() == ";":
            return at
    return None


def _end_of_comment(text: str, at: int) -> int:
    """Block comments nest in PostgreSQL."""
    depth = 1
    while depth:
        mark = _COMMENT_MARK.search(text, at)
        if mark is None:
            return len(text)
        depth += 1 if mark.group() == "/*" else -1
        at = mark.end()
    return at
