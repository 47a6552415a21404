"""What log lines look like: for people on a terminal, one JSON object each anywhere else. What is said is the others'.

Facts go with a record as `extra`; those in FACTS are shown.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

FACTS = ("client", "node", "sqlstate", "statement")
_LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# What clients say stands in lines, and must not begin lines of its own.
_CONTROLS = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}
# A string behind the word, in each of PostgreSQL's spellings and closed or not, or what a connection string holds.
_PASSWORD = re.compile(
    r"""(password (?:\s | --[^\n]*\n | /\*.{0,200}?\*/ | =)*)
        (?: e'(?:[^'\\]|''|\\.)*(?:'|\Z) | (?:u&)?'(?:[^']|'')*(?:'|\Z) | \$(?P<tag>\w{0,63})\$.*?(?:\$(?P=tag)\$|\Z)
        | (?<==)[^\s'",;$()]+ )""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_QUOTED = re.compile(r'at or near ".*"', re.DOTALL)


def set_up(level: str, form: str, stream: TextIO) -> None:
    """`form`: human, json, or auto: human on a terminal."""
    handler = logging.StreamHandler(stream)
    human = form == "human" or (form == "auto" and stream.isatty())
    handler.setFormatter(HumanFormatter(_LINE) if human else JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler])


class HumanFormatter(logging.Formatter):
    """The line, and the facts in brackets behind the message."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        said = super().formatMessage(record)
        facts = " ".join(f"{name}={value}" for name, value in _facts(record).items())
        return (f"{said} ({facts})" if facts else said).translate(_CONTROLS)


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"ts": at, "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        line |= _facts(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class Sparing:
    """At most so many lines a second of one kind; what was left out is counted."""

    def __init__(self, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        self._second = 0
        self._said = 0
        self._left_out = 0

    def allows(self) -> bool:
        second = int(self._clock())
        if second != self._second:
            self._second, self._said = second, 0
        if self._said >= self._per_second:
            self._left_out += 1
            return False
        self._said += 1
        return True

    def left_out(self) -> str:
        """To go behind a line: how many came before it that were not logged."""
        count, self._left_out = self._left_out, 0
        return f" ({count} more were not logged)" if count else ""


def without_secrets(sql: str) -> str:
    """A statement without the passwords that it sets."""
    return _PASSWORD.sub(r"\1'…'", sql)


def about_no_secrets(message: str, sql: str) -> str:
    """An error's message, without what it quotes of a statement that sets a password."""
    return message if without_secrets(sql) == sql else _QUOTED.sub('at or near "…"', message)


def _facts(record: logging.LogRecord) -> dict[str, str]:
    facts = {name: getattr(record, name, None) for name in FACTS}
    return {name: str(value) for name, value in facts.items() if value not in (None, "")}
