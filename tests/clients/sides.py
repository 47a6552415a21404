"""The proxy and one PostgreSQL with the same rows: a client's program must not tell them apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pgproxy.demo.library import DATABASE
from pgproxy.demo.nodes import SUPERUSER


@dataclass(frozen=True)
class Side:
    """A server to connect to."""

    host: str
    port: int
    user: str = SUPERUSER
    database: str = DATABASE

    def url(self, scheme: str = "postgresql") -> str:
        return f"{scheme}://{self.user}@{self.host}:{self.port}/{self.database}"


@dataclass(frozen=True)
class Sides:
    proxy: Side
    reference: Side

    def alike(self, program: Callable[..., Any], *arguments: Any) -> Any:
        """What the program gives on the proxy, which is what it gives on one PostgreSQL."""
        expected = program(self.reference, *arguments)
        given = program(self.proxy, *arguments)
        assert given == expected
        return given
