"""What the HTTP side asks of the running proxy, beyond what the admin database does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pgproxy.admin.view import AlertView, PlanView, SlowStatement, View


class ProxyView(View, Protocol):
    """The running proxy. Every property is read anew each time."""

    def busiest_plans(self, count: int) -> Sequence[PlanView]:
        """Those that took most time, the most of them first."""
        ...

    @property
    def slow_statements(self) -> Sequence[SlowStatement]:
        """The newest last."""
        ...

    @property
    def alerts(self) -> Sequence[AlertView]:
        """The newest last."""
        ...

    @property
    def can_plan(self) -> bool:
        """The nodes' catalog has been read."""
        ...

    @property
    def draining(self) -> bool: ...
