from __future__ import annotations

import pytest

from pgproxy.errors import ProxyError
from pgproxy.operators.by_place import ByPlace
from tests.operators.fake_source import INT4, FakeSource, columns, described, rows_of, run

N = columns(n=INT4)


@pytest.mark.parametrize("waits", [0, 2])
@pytest.mark.parametrize(
    ("order", "inputs", "rows"),
    [
        ("", ["", ""], ""),
        ("01", ["1", "2"], "12"),
        ("0101", ["13", "24"], "1234"),
        ("0011", ["12", "34"], "1234"),
        ("1110001", ["456", "1237"], "1234567"),
        ("0000012", ["12345", "6", "7"], "1234567"),
        ("2222222", ["", "", "1234567"], "1234567"),
    ],
)
def test_rows_stand_in_their_places(order: str, inputs: list[str], rows: str, waits: int) -> None:
    sources = [FakeSource(N, rows_of(*one), waits=waits) for one in inputs]
    assert run(ByPlace([int(index) for index in order]), sources) == rows_of(*rows)


def test_more_rows_than_a_batch_has() -> None:
    numbers = [str(number) for number in range(3_000)]
    order = [number % 7 % 3 for number in range(3_000)]
    sources = [
        FakeSource(N, rows_of(*(one for one, home in zip(numbers, order, strict=True) if home == index)), batch_rows=11)
        for index in range(3)
    ]
    assert run(ByPlace(order), sources) == rows_of(*numbers)


def test_an_input_without_a_row_that_it_should_have() -> None:
    with pytest.raises(ProxyError, match="fewer rows"):
        run(ByPlace([0, 0, 0]), [FakeSource(N, rows_of("1", "2"))])


def test_it_describes_what_all_have() -> None:
    assert described(ByPlace([0, 1]), [FakeSource(N, []), FakeSource(N, [])]) == N
