"""What a node says of a prepared statement."""

from __future__ import annotations

from dataclasses import dataclass

from pgproxy.wire.rows import Column

DescriptionKey = tuple[str, tuple[int, ...], tuple[tuple[str, str], ...], str]
"""The text for the node, the parameter types that the client declared, the session's settings, the nodes' user."""


@dataclass(frozen=True, slots=True)
class Description:
    """`columns` None: the statement returns no rows."""

    parameter_types: tuple[int, ...]
    columns: tuple[Column, ...] | None
