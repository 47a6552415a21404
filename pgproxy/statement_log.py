"""What the log tells of statements: errors, slow ones, all of them when that is asked for. No secrets, and never so
many lines that they fill the disk."""

from __future__ import annotations

import logging
from collections import deque

from pgproxy.admin.view import SlowStatement
from pgproxy.errors import ProxyError
from pgproxy.logs import Sparing, about_no_secrets, without_secrets

log = logging.getLogger("pgproxy.server")

SLOW_REMEMBERED = 100
LINES_PER_SECOND = 10  # a node that goes down must not fill the disk with its clients' errors
_NOT_THE_CLIENTS_FAULT = frozenset({"08", "53", "57", "58", "XX"})  # classes of SQLSTATEs
_THE_CLIENTS_OWN = frozenset({"57014", "08P01"})  # it has cancelled, or broken the protocol


class StatementLog:
    """`logged` is the shard map's `log_statements`. `slow_statements` are the last ones."""

    def __init__(self) -> None:
        self.logged = "none"
        self.slow_statements: deque[SlowStatement] = deque(maxlen=SLOW_REMEMBERED)
        self._error_lines = Sparing(LINES_PER_SECOND)
        self._slow_lines = Sparing(LINES_PER_SECOND)

    def statement(self, sql: str, client: str) -> None:
        log.info("statement", extra={"client": client, "statement": without_secrets(sql)})

    def slow(self, slow: SlowStatement) -> None:
        self.slow_statements.append(slow)
        if self._slow_lines.allows():
            log.warning(
                "slow statement: %.0f ms, %s: %s%s",
                slow.took_ms,
                slow.way,
                slow.template,
                self._slow_lines.left_out(),
                extra={"client": slow.client, "node": slow.node},
            )

    def error(self, error: ProxyError, client: str, sql: str) -> None:
        """Errors that are not the statement's own fault always; all of them, with their statements, when asked."""
        refused = error.sqlstate[:2] == "28"  # a log-in, which is logged where it was refused
        ours = (error.severity == "FATAL" and not refused) or (
            error.sqlstate[:2] in _NOT_THE_CLIENTS_FAULT and error.sqlstate not in _THE_CLIENTS_OWN
        )
        if not ours and self.logged == "none":
            return
        facts = {"client": client, "node": getattr(error, "node", ""), "sqlstate": error.sqlstate}
        if self.logged != "none":
            facts["statement"] = without_secrets(sql)
        level = logging.WARNING if ours else logging.INFO
        if self._error_lines.allows():
            message = about_no_secrets(error.message, sql)
            log.log(level, "%s: %s%s", error.severity, message, self._error_lines.left_out(), extra=facts)
