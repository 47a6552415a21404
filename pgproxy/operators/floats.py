"""real and double precision: addition with PostgreSQL's overflow errors, and the shortest text that reads back."""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from struct import Struct

from pgproxy.errors import ProxyError

_SINGLE = Struct("!f")
_BITS = Struct("!I")
# Exponents from which PostgreSQL's shortest format turns to scientific notation (d2s.c, f2s.c).
_DOUBLE_FIXED_BELOW = 15
_SINGLE_FIXED_BELOW = 6
_FIXED_FROM = -4


def add_doubles(values: Iterable[float]) -> float:
    """The sum of float8 values, in their order. Raises ProxyError 22003 if finite values overflow."""
    total = 0.0
    for value in values:
        total = _checked(total + value, total, value)
    return total


def add_singles(values: Iterable[float]) -> float:
    """The sum of float4 values, rounded to float4 after each step."""
    total = 0.0
    for value in values:
        total = _checked(to_single(total + value), total, value)
    return total


def _checked(result: float, *operands: float) -> float:
    if math.isinf(result) and not any(map(math.isinf, operands)):
        raise ProxyError("22003", "value out of range: overflow")
    return result


def to_single(value: float) -> float:
    """The nearest float4, infinite if there is none."""
    try:
        return float(_SINGLE.unpack(_SINGLE.pack(value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


def show_double(value: float) -> bytes:
    """float8out with extra_float_digits of 1 or more."""
    return _special(value) or _layout(_double_digits(value), _DOUBLE_FIXED_BELOW)


def show_single(value: float) -> bytes:
    """float4out with extra_float_digits of 1 or more, for a value that is a float4."""
    return _special(value) or _layout(_single_digits(value), _SINGLE_FIXED_BELOW)


def _special(value: float) -> bytes | None:
    if math.isnan(value):
        return b"NaN"
    if math.isinf(value):
        return b"-Infinity" if value < 0 else b"Infinity"
    if value == 0:
        return b"-0" if math.copysign(1, value) < 0 else b"0"
    return None


def _double_digits(value: float) -> str:
    """The shortest decimal strictly between the midpoints to the neighbours, in Python's notation.

    Python also takes a midpoint that would round to an even value; PostgreSQL does not rely on the reader's
    rounding, so for such values the next longer ones are tried.
    """
    shortest = repr(value)
    low, high = _midpoints(value, math.nextafter(value, -math.inf), math.nextafter(value, math.inf))
    if low < Fraction(shortest) < high:
        return shortest
    return _shortest_between(low, value, high, digits=17)


def _single_digits(value: float) -> str:
    bits = _BITS.unpack(_SINGLE.pack(abs(value)))[0]
    smaller, larger = (_SINGLE.unpack(_BITS.pack(bits + step))[0] for step in (-1, 1))
    low, high = _midpoints(abs(value), smaller, larger)
    digits = _shortest_between(low, abs(value), high, digits=9)
    return f"-{digits}" if value < 0 else digits


def _midpoints(value: float, below: float, above: float) -> tuple[Fraction, Fraction]:
    """Half way to both neighbours; beyond the largest finite value as far as on the other side."""
    exact = Fraction(value)
    low = (exact + Fraction(below)) / 2 if math.isfinite(below) else None
    high = (exact + Fraction(above)) / 2 if math.isfinite(above) else 2 * exact - low if low is not None else exact
    return (2 * exact - high if low is None else low), high


def _shortest_between(low: Fraction, value: float, high: Fraction, digits: int) -> str:
    """The decimal of fewest digits strictly between: of several the nearest, of two as near the even one.

    Below a power of two the interval is narrower, so the nearest decimal may lie outside and the next inside.
    """
    exact = Fraction(value)
    for precision in range(1, digits + 1):
        contexts = (Context(precision, rounding) for rounding in (ROUND_FLOOR, ROUND_CEILING))
        inside = [near for context in contexts if low < Fraction(near := context.create_decimal(value)) < high]
        if inside:
            return f"{min(inside, key=lambda near: (abs(Fraction(near) - exact), _last_digit(near) % 2)):e}"
    raise AssertionError("this many digits tell any two floats apart")


def _last_digit(value: Decimal) -> int:
    return value.as_tuple().digits[-1]


def _layout(text: str, fixed_below: int) -> bytes:
    """Python's notation of a finite value in PostgreSQL's: `1e+15`, `0.0001`, `-12.5`."""
    sign = "-" if text.startswith("-") else ""
    mantissa, _, exponent_text = text.lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    exponent = int(exponent_text or 0) + len(whole) - 1
    digits = (whole + fraction).lstrip("0")
    exponent -= len(whole + fraction) - len(digits)
    digits = digits.rstrip("0")
    if not _FIXED_FROM <= exponent < fixed_below:
        point = "." if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{point}{digits[1:]}e{exponent:+03d}".encode()
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}".encode()
    digits = digits.ljust(exponent + 1, "0")
    point = "." if len(digits) > exponent + 1 else ""
    return f"{sign}{digits[: exponent + 1]}{point}{digits[exponent + 1 :]}".encode()
