"""Where hostile choices come from: hypothesis in the tests, a coverage-guided fuzzer in `fuzz`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from hypothesis import strategies as st

T = TypeVar("T")


class Draw(Protocol):
    def number(self, least: int, most: int) -> int: ...

    def blob(self, longest: int) -> bytes: ...

    def pick(self, choices: Sequence[T]) -> T: ...


class HypothesisDraw:
    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def number(self, least: int, most: int) -> int:
        return self._data.draw(st.integers(least, most))

    def blob(self, longest: int) -> bytes:
        return self._data.draw(st.binary(max_size=longest))

    def pick(self, choices: Sequence[T]) -> T:
        return self._data.draw(st.sampled_from(choices))


class FuzzedDraw:
    """`provider` is an atheris.FuzzedDataProvider; when its bytes are used up, everything is the least."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider

    def number(self, least: int, most: int) -> int:
        return int(self._provider.ConsumeIntInRange(least, most))

    def blob(self, longest: int) -> bytes:
        return bytes(self._provider.ConsumeBytes(self.number(0, longest)))

    def pick(self, choices: Sequence[T]) -> T:
        return choices[self.number(0, len(choices) - 1)]
