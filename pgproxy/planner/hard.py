"""Texts that would take seconds to plan, refused before they do: while one is planned, no other client is served.

What nests too deeply is found while the tree is built, and is the planner's own business.
"""

from __future__ import annotations

import re

from pgproxy.errors import ProxyError

# PostgreSQL's scanner reads a run of operator characters again for each operator or comment that begins in it: the
# time grows with the square of its length, or worse. No statement needs a hundredth of this.
LONGEST_RUN = 1_000
# 65,535 parameters with their commas are half of this. Quoted texts do not count.
LONGEST_TEXT = 1_000_000

_OPERATOR_CHARACTERS = frozenset("~!@#^&|`?+-*/%<>=")
_RUN = re.compile(r"[~!@#^&|`?+\-*/%<>=]{1000,}")
_QUOTED = re.compile(r"""'[^']*'|"[^"]*"|\$(\w*)\$.*?\$\1\$|--[^\n]*""", re.DOTALL)


def refuse_hard(sql: str) -> None:
    """Raise 54001 for a text that is too long without what it quotes, or has too long a run of operator characters.

    Such a run has one of its characters at some 500th place of the text, so most texts are looked at in few places.
    """
    if len(sql) <= LONGEST_TEXT and _OPERATOR_CHARACTERS.isdisjoint(sql[:: LONGEST_RUN // 2]):
        return
    if len(sql) <= LONGEST_TEXT and _RUN.search(sql) is None:
        return
    bare = _QUOTED.sub("''", sql)
    if _RUN.search(bare):
        raise ProxyError("54001", "statement too complex", hint="It has too many operator characters in a row.")
    if len(bare) > LONGEST_TEXT:
        raise ProxyError(
            "54001",
            f"statement too complex: {len(bare)} characters besides quoted texts",
            hint=f"At most {LONGEST_TEXT} are planned. Send it in several parts, or bind its values.",
        )
