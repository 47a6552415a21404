"""Dates, times and intervals as keys that compare as PostgreSQL compares the values.

Read from the text of DateStyle ISO and IntervalStyle postgres; ValueError for any other. A year has four digits
or more, BC stands at the end, and an offset may have seconds.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

_ISO = re.compile(
    rb"(\d{4,})-(\d\d)-(\d\d)(?: (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?([+-]\d\d(?::\d\d(?::\d\d)?)?)?)?( BC)?"
)
_INFINITY = {b"infinity": 1 << 80, b"-infinity": -1 << 80}
_DAY_US = 86_400_000_000
_EPOCH = datetime(1, 1, 1, tzinfo=UTC)
_LOCAL_EPOCH = datetime(1, 1, 1)  # noqa: DTZ001 - of timestamps without time zone
_MICROSECOND = timedelta(microseconds=1)
_CYCLE_YEARS, _CYCLE_DAYS = 400, 146_097  # the Gregorian calendar repeats


def _iso_parts(value: bytes) -> tuple[int, int, bytes | None]:
    """Days since 0001-01-01, microseconds of the day, and the offset of a value of any year."""
    match = _ISO.fullmatch(value)
    if match is None:
        raise ValueError("not in ISO style")
    year_text, month, day, hour, minute, second, fraction, zone, before_christ = match.groups()
    year = 1 - int(year_text) if before_christ else int(year_text)
    cycles, year_in_cycle = divmod(year - 1, _CYCLE_YEARS)
    days = cycles * _CYCLE_DAYS + date(year_in_cycle + 1, int(month), int(day)).toordinal() - 1
    return days, _time_us(hour, minute, second, fraction), zone


def _time_us(hour: bytes | None, minute: bytes, second: bytes, fraction: bytes | None) -> int:
    if hour is None:
        return 0
    microseconds = int(fraction.ljust(6, b"0")) if fraction else 0
    return ((int(hour) * 60 + int(minute)) * 60 + int(second)) * 1_000_000 + microseconds


def _zone_us(zone: bytes) -> int:
    """`+05`, `-03:30`, `+00:19:32` east of Greenwich."""
    hours, minutes, seconds = (*map(int, zone[1:].split(b":")), 0, 0)[:3]
    us = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000
    return -us if zone.startswith(b"-") else us


def date_key(value: bytes) -> int:
    if value in _INFINITY:
        return _INFINITY[value]
    if len(value) == 10 and value[4] == 45 and value[7] == 45:  # 45: hyphen
        return date.fromisoformat(value.decode()).toordinal() - 1
    return _iso_parts(value)[0]


def timestamp_key(value: bytes) -> int:
    if value in _INFINITY:
        return _INFINITY[value]
    try:
        return (datetime.fromisoformat(value.decode()) - _LOCAL_EPOCH) // _MICROSECOND
    except (ValueError, TypeError):  # a year that datetime does not have, or not ISO, or with an offset
        days, time_us, _ = _iso_parts(value)
        return days * _DAY_US + time_us


def timestamptz_key(value: bytes) -> int:
    if value in _INFINITY:
        return _INFINITY[value]
    try:
        return (datetime.fromisoformat(value.decode()) - _EPOCH) // _MICROSECOND
    except (ValueError, TypeError):  # a year that datetime does not have, or not ISO, or no offset
        days, time_us, zone = _iso_parts(value)
        if zone is None:
            raise ValueError("no offset") from None
        return days * _DAY_US + time_us - _zone_us(zone)


_TIME = re.compile(rb"(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?")


def time_us(value: bytes) -> int:
    """Microseconds of the day; `24:00:00` is a time too."""
    match = _TIME.fullmatch(value)
    if match is None:
        raise ValueError("not in ISO style")
    return _time_us(*match.groups())


_TIMETZ = re.compile(rb"(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?([+-]\d\d(?::\d\d(?::\d\d)?)?)")


def timetz_key(value: bytes) -> tuple[int, int]:
    """Instants first; of equal ones the more eastern zone comes first (timetz_cmp_internal)."""
    match = _TIMETZ.fullmatch(value)
    if match is None:
        raise ValueError("not in ISO style")
    *clock, zone = match.groups()
    east_us = _zone_us(zone)
    return _time_us(*clock) - east_us, -east_us


_INTERVAL = re.compile(
    rb"(?:([+-]?\d+) years? ?)?(?:([+-]?\d+) mons? ?)?(?:([+-]?\d+) days? ?)?"
    rb"(?:([+-])?(\d+):(\d\d):(\d\d)(?:\.(\d{1,6}))?)?"
)


def interval_key(value: bytes) -> int:
    """PostgreSQL compares intervals as if a month had 30 days and a day 24 hours (interval_cmp_value)."""
    if value in _INFINITY:
        return _INFINITY[value]
    months, days, us = interval_parts(value)
    return (months * 30 + days) * _DAY_US + us


def interval_parts(value: bytes) -> tuple[int, int, int]:
    """Months, days and microseconds of a finite interval, each with its own sign."""
    match = _INTERVAL.fullmatch(value)
    if match is None or not value or value.endswith(b" "):
        raise ValueError("not in IntervalStyle postgres")
    years, months, days, sign, *clock = match.groups()
    us = _time_us(*clock)
    return int(years or 0) * 12 + int(months or 0), int(days or 0), -us if sign == b"-" else us
