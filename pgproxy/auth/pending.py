"""An answer that somebody else works on while a session waits: done when `value` or `error` is there; `wake` tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from pgproxy.errors import ProxyError

T = TypeVar("T")


class Pending(Generic[T]):
    __slots__ = ("_value", "done", "error", "wake")

    def __init__(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        self.done = False
        self.error: ProxyError | None = None
        self._value: T | None = None

    def finish(self, value: T) -> None:
        self._value = value
        self.done = True
        self.wake()

    def fail(self, error: ProxyError) -> None:
        self.error = error
        self.done = True
        self.wake()

    @property
    def value(self) -> T:
        """Raises the error if there is one."""
        assert self.done, "still pending"
        if self.error is not None:
            raise self.error
        return self._value  # type: ignore[return-value] # finish() has set it
