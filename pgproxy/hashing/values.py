"""What a shard key's value can be in the proxy, and the two things that stand where there is none."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum, auto
from typing import Final


class NoValue(Enum):
    """UNKNOWN: any value is possible, so every shard is concerned. NULL: SQL's NULL."""

    UNKNOWN = auto()
    NULL = auto()


UNKNOWN: Final = NoValue.UNKNOWN
NULL: Final = NoValue.NULL

# Integers and bool are int; date is days and timestamps are microseconds since 2000-01-01, as PostgreSQL stores
# them; text is str (whose order is that of its UTF-8 bytes); uuid is its 16 bytes; numeric is Decimal.
KeyValue = int | str | bytes | Decimal
Parsed = KeyValue | NoValue
