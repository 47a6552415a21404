"""The one error class that reaches clients, and the few subclasses that callers tell apart.

Everyone may import this module; it imports nothing of ours.
"""

from __future__ import annotations


class ProxyError(Exception):
    """An error for the client, as PostgreSQL would send it.

    `sqlstate` is the five-character code, `position` the 1-based character in the statement that the
    client sent. `severity` is `ERROR` (the statement failed) or `FATAL` (the connection ends).
    """

    def __init__(
        self,
        sqlstate: str,
        message: str,
        *,
        hint: str | None = None,
        detail: str | None = None,
        position: int | None = None,
        severity: str = "ERROR",
    ) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.message = message
        self.hint = hint
        self.detail = detail
        self.position = position
        self.severity = severity

    def fields(self) -> dict[str, str]:
        """The fields of an ErrorResponse, keyed by their one-letter code."""
        known = {
            "S": self.severity,
            "V": self.severity,
            "C": self.sqlstate,
            "M": self.message,
            "D": self.detail,
            "H": self.hint,
            "P": None if self.position is None else str(self.position),
        }
        return {code: text for code, text in known.items() if text is not None}


class Refused(ProxyError):
    """What cannot be proven to give a single PostgreSQL's answer: `0A000`, always with a hint."""

    def __init__(self, message: str, hint: str, *, position: int | None = None) -> None:
        super().__init__("0A000", message, hint=hint, position=position)


class ProtocolViolation(ProxyError):
    """The client broke the wire protocol: `08P01`, and its connection ends."""

    def __init__(self, message: str) -> None:
        super().__init__("08P01", message, severity="FATAL")


class NodeFailure(ProxyError):
    """A node cannot be used: down, refused the connection, or broke it (`08006` unless said)."""

    def __init__(self, node: str, message: str, *, sqlstate: str = "08006", hint: str | None = None) -> None:
        super().__init__(sqlstate, message, hint=hint)
        self.node = node


class TurnedAway(NodeFailure):
    """Who waited for a connection waited at the wrong member of the node: the primary is another one now."""


class ConnectionLost(NodeFailure):
    """A connection broke while a statement ran on it: whether it took effect is not known."""

    @classmethod
    def because(cls, failure: NodeFailure) -> ConnectionLost:
        lost = cls(failure.node, failure.message, sqlstate=failure.sqlstate, hint=failure.hint)
        lost.detail = failure.detail
        return lost
