"""Completion: SQL's keywords, the tables and columns that the catalog shows, and the shell's own commands."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

NAMES_QUERY = """
    SELECT c.relname, a.attname
    FROM pg_catalog.pg_class c
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND pg_catalog.pg_table_is_visible(c.oid)
      AND c.relnamespace <> 'pg_catalog'::regnamespace
    LIMIT 5000
"""
_WORD = re.compile(r"\\?\w*\Z")
_KEYWORDS = re.findall(
    r"\w+",
    """
    ALL ANALYZE AND AS ASC BEGIN BETWEEN BY CASE COMMIT COUNT CREATE CROSS DELETE DESC DISTINCT DROP ELSE END
    EXISTS EXPLAIN FALSE FETCH FIRST FROM FULL GROUP HAVING ILIKE IN INNER INSERT INTO IS JOIN LAST LEFT LIKE
    LIMIT NOT NULL NULLS OFFSET ON OR ORDER OUTER RESET RETURNING RIGHT ROLLBACK SAVEPOINT SELECT SET SHOW STATUS
    TABLE THEN TRUE UNION UPDATE USING VALUES WHEN WHERE WITH
    """,
)


class SqlCompleter(Completer):
    """`names` gives what the catalog has shown so far; `commands` are the backslash commands."""

    def __init__(self, names: Callable[[], Iterable[str]], commands: Iterable[str]) -> None:
        self._names = names
        self._commands = sorted(commands)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        match = _WORD.search(document.text_before_cursor)
        word = match.group() if match else ""
        if word.startswith("\\"):
            yield from _beginning_with(word, self._commands)
        elif word:
            yield from _beginning_with(word, sorted(set(self._names())))
            lower = word.islower()
            yield from _beginning_with(word, [key.lower() if lower else key for key in _KEYWORDS])


def _beginning_with(word: str, candidates: Iterable[str]) -> Iterable[Completion]:
    folded = word.lower()
    for candidate in candidates:
        if candidate.lower().startswith(folded):
            yield Completion(candidate, start_position=-len(word))
