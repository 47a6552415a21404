"""PostgreSQL's numeric arithmetic on Decimals read from text: exact sums, and averages with its division scale.

A Decimal's negated exponent is the display scale. The default context, which rounds to 28 digits, is never used.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Context, Decimal

from pgproxy.errors import ProxyError

# numeric has up to 131072 digits before the point and 16383 behind it; a few hundred thousand always suffice.
# No traps: Infinity - Infinity is NaN, as in PostgreSQL.
_EXACT = Context(prec=400_000, Emax=900_000, Emin=-900_000, traps=[])
_MAX_INTEGER_DIGITS = 131_072

# src/include/utils/numeric.h and numeric.c: digits are base 10000, a quotient gets at least 16 significant digits.
_DIGIT_WIDTH = 4
_MIN_SIGNIFICANT_DIGITS = 16
_MAX_DISPLAY_SCALE = 1000


def add(values: Iterable[Decimal]) -> Decimal:
    """The exact sum; its scale is the greatest of the values'. Raises ProxyError 22003 above numeric's range."""
    total = Decimal(0)
    for value in values:
        total = _EXACT.add(total, value)
    if total.is_finite() and total.adjusted() >= _MAX_INTEGER_DIGITS:
        raise ProxyError("22003", "value overflows numeric format")
    return total


def average(total: Decimal, count: int) -> Decimal:
    """`total / count` as numeric_div gives it for a positive count: rounded half away from zero."""
    if not total.is_finite():
        return total
    divisor = Decimal(count)
    scale = division_scale(total, divisor)
    quotient, remainder = _EXACT.divmod(total.copy_abs().scaleb(scale, _EXACT), divisor)
    if _EXACT.multiply(remainder, Decimal(2)) >= divisor:
        quotient = _EXACT.add(quotient, Decimal(1))
    rounded = quotient.scaleb(-scale, _EXACT)
    return rounded.copy_negate() if total.is_signed() and rounded else rounded


def division_scale(dividend: Decimal, divisor: Decimal) -> int:
    """The display scale of a quotient (select_div_scale in numeric.c)."""
    dividend_weight, dividend_first = _leading_digit(dividend)
    divisor_weight, divisor_first = _leading_digit(divisor)
    weight = dividend_weight - divisor_weight - (dividend_first <= divisor_first)
    scale = max(_MIN_SIGNIFICANT_DIGITS - weight * _DIGIT_WIDTH, display_scale(dividend), display_scale(divisor), 0)
    return min(scale, _MAX_DISPLAY_SCALE)


def _leading_digit(value: Decimal) -> tuple[int, int]:
    """Weight and value of the first base-10000 digit that is not zero; 0 and 0 for zero."""
    if not value:
        return 0, 0
    weight, place = divmod(value.adjusted(), _DIGIT_WIDTH)
    width = place + 1
    digits = (*value.as_tuple().digits[:width], *[0] * width)[:width]
    return weight, int("".join(map(str, digits)))


def display_scale(value: Decimal) -> int:
    """How many digits are shown behind the point."""
    exponent = value.as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else 0


def show(value: Decimal) -> bytes:
    """The value as PostgreSQL prints it: never an exponent, `NaN`, `Infinity`, no negative zero."""
    if value.is_zero():
        value = value.copy_abs()
    return format(value, "f").encode()
