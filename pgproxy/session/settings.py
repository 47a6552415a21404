"""A client's settings, kept as the SQL that makes them, and what brings a pooled connection to them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pgproxy.errors import ProxyError

Settings = Mapping[str, str]  # lower-case parameter name → the statement that sets it, in the order they were set

NO_SETTINGS: Settings = {}
MOST_SETTINGS = 1_000  # of one client
MOST_SETTINGS_CHARACTERS = 1024 * 1024

_RESETS = {
    "session_authorization": "RESET SESSION AUTHORIZATION",
    "session characteristics": "RESET default_transaction_isolation; RESET default_transaction_read_only; "
    "RESET default_transaction_deferrable",
}
_STRICT_ISOLATION = re.compile(r"\b(serializable|repeatable\s+read)\b", re.IGNORECASE)


def start_up_statement(name: str, value: str) -> str:
    """What sets a start-up parameter. set_config takes lists such as search_path as start-up does, SET would not."""
    return f"SELECT pg_catalog.set_config({_literal(name)}, {_literal(value)}, false)"


def with_setting(settings: Settings, name: str, statement: str) -> Settings:
    """These settings with one more, set last. Raises 53400: other connections are brought to all of them."""
    rest = {known: text for known, text in settings.items() if known != name}
    if len(rest) >= MOST_SETTINGS or sum(map(len, rest.values())) + len(statement) > MOST_SETTINGS_CHARACTERS:
        raise ProxyError("53400", "too many settings", hint="RESET those that are not needed any more.")
    return {**rest, name: statement}


def without_setting(settings: Settings, name: str, defaults: Settings) -> Settings:
    """These settings with one back at its value from the session's start."""
    rest = {known: text for known, text in settings.items() if known != name}
    return {**rest, name: defaults[name]} if name in defaults else rest


def reset_statement(name: str) -> str:
    return _RESETS.get(name) or f"RESET {_name(name)}"


def changes(applied: Settings, wanted: Settings) -> str:
    """One Query that brings a connection from the settings `applied` to those `wanted`, '' when it is there."""
    resets = [reset_statement(name) for name in applied if name not in wanted]
    sets = [text for name, text in wanted.items() if applied.get(name) != text]
    return in_one_query((*resets, *sets))


def in_one_query(statements: Iterable[str]) -> str:
    """Statements as clients wrote them: one may end in a comment, which goes on to the end of its line."""
    return "\n; ".join(statements)


def is_strict_isolation(text: str | None) -> bool:
    """An isolation level whose one snapshot several nodes cannot share."""
    return text is not None and _STRICT_ISOLATION.search(text) is not None


def _literal(value: str) -> str:
    # E'' strings mean the same whatever standard_conforming_strings says.
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'" if "\\" in value else f"'{escaped}'"


def _name(name: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))
