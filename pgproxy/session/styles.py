"""Which settings decide how values look as text, and whether they are still those that rows were made under.

Rows of several shards are fetched, or kept, before the client asks for them; PostgreSQL makes text of a row only then.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pgproxy.errors import Refused
from pgproxy.session.settings import Settings
from pgproxy.wire.rows import Column

Style = tuple[str | None, ...]

_NAMES = ("datestyle", "timezone", "intervalstyle", "bytea_output", "extra_float_digits", "lc_monetary", "xmlbinary")
_NAMED = re.compile(rf"time\s+zone|{'|'.join(_NAMES)}|set_config", re.IGNORECASE)
# bytea, floats, money, dates and times, their ranges and arrays, records.
_STYLED = frozenset({17, 700, 701, 790, 1082, 1114, 1184, 1083, 1266, 1186, 3908, 3910, 3912, 4533, 4534, 4535}) | {
    *(1001, 1021, 1022, 791, 1182, 1115, 1185, 1183, 1270, 1187, 3909, 3911, 3913, 6152, 6153, 6155, 2249, 2287)
}
_FIRST_USER_OID = 16384


def output_style(settings: Settings, local: Iterable[str]) -> Style:
    """`local`: what has been said with SET LOCAL."""
    return (*map(settings.get, _NAMES), *filter(_NAMED.search, local))


def check_style(then: Style, now: Style, columns: Iterable[Column]) -> None:
    """Raise Refused if rows made as text then would look otherwise now."""
    if then != now and any(_is_styled(column) for column in columns):
        raise Refused(
            "a setting that decides how values look has changed since the cursor was opened",
            "Set DateStyle, TimeZone and their like before the cursor is opened.",
        )


def _is_styled(column: Column) -> bool:
    return not column.format and (column.type_oid in _STYLED or column.type_oid >= _FIRST_USER_OID)
