"""Where statements end in what is typed. Only semicolons are looked for; what a statement means is the server's."""

from __future__ import annotations

import re

# Everything in which a semicolon does not end a statement (closed or not yet closed), and the semicolon that does.
_TOKEN = re.compile(
    r"""--[^\n]* | [eE]'(?:\\.|''|[^'\\])*(?:'|\Z) | '(?:''|[^'])*(?:'|\Z) | "(?:""|[^"])*(?:"|\Z)
        | \$(?P<tag>[^\W\d]\w*|)\$.*?(?:\$(?P=tag)\$|\Z) | /\* | ;""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT_MARK = re.compile(r"/\*|\*/")
_NOTHING = re.compile(r"(?:\s|--[^\n]*(?:\n|\Z))*")


def take_statements(text: str) -> tuple[list[str], str]:
    """The statements that are complete, each with its semicolon, and what is left over."""
    found = []
    start = at = 0
    while (token := _TOKEN.search(text, at)) is not None:
        at = token.end()
        if token.group() == "/*":
            at = _end_of_comment(text, at)
        elif token.group() == ";":
            found.append(text[start:at].strip())
            start = at
    return found, text[start:]


def is_blank(text: str) -> bool:
    """Nothing but white space and line comments."""
    return _NOTHING.fullmatch(text) is not None


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
