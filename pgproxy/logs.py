"""What log lines look like: for people on a terminal, one JSON object each anywhere else. What is said is the others'.

Facts go with a record as `extra`; those in FACTS are shown.
"""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from typing import TextIO

FACTS = ("client", "node", "sqlstate", "statement")
_LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_PASSWORD = re.compile(r"(password\s+)(E?'(?:[^'\\]|''|\\.)*')", re.IGNORECASE)


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
        return f"{said} ({facts})" if facts else said


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"ts": at, "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        line |= _facts(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def without_secrets(sql: str) -> str:
    """A statement without the passwords that it sets."""
    return _PASSWORD.sub(r"\1'…'", sql)


def _facts(record: logging.LogRecord) -> dict[str, str]:
    facts = {name: getattr(record, name, None) for name in FACTS}
    return {name: str(value) for name, value in facts.items() if value not in (None, "")}
