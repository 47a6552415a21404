"""Settings of the nodes that change answers: in which of them nodes must agree, and what some of them must be.

Sessions of the proxy begin with what the configuration file, ALTER SYSTEM, ALTER DATABASE … SET and ALTER ROLE … SET
make of them. What a client sets is made the same on every node by the session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import LiteralString

Settings = Mapping[str, str]

# With several values a single PostgreSQL could not have given the answer: text forms, orders, and what is equal.
_MUST_AGREE = (
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "timezone_abbreviations",
    "bytea_output",
    "extra_float_digits",
    "xmlbinary",
    "xmloption",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "array_nulls",
    "quote_all_identifiers",
    "default_text_search_config",
    "search_path",
    "row_security",
    "session_replication_role",
    "default_transaction_read_only",
    "default_transaction_deferrable",
)


def _at_least_one(value: str) -> bool:
    return int(value) >= 1


# The proxy reads statements, compares floats and keeps transactions as these values have it.
_MUST_BE: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "standard_conforming_strings": ("on".__eq__, "on"),
    "transform_null_equals": ("off".__eq__, "off"),
    "default_transaction_isolation": ("read committed".__eq__, "read committed"),
    "extra_float_digits": (_at_least_one, "1 or more"),
}

NAMES = sorted({*_MUST_AGREE, *_MUST_BE})
# A setting that a version does not have is missing on all nodes alike, or is a difference.
QUERY: LiteralString = "SELECT name, coalesce(current_setting(name, true), '') FROM unnest(%s::text[]) AS name"


def problems(settings: Mapping[str, Settings]) -> Iterator[tuple[str, str]]:
    """(node, what is wrong with it), for settings by node."""
    model: tuple[str, Settings] | None = None
    for node, found in settings.items():
        for name, (fits, wanted) in _MUST_BE.items():
            if name in found and not fits(found[name]):
                yield node, f"{name} is {found[name]}, but must be {wanted}"
        model = model or (node, found)
        for name in _MUST_AGREE:
            if found.get(name) != model[1].get(name):
                yield node, f"{name} is {found.get(name)}, but {model[1].get(name)} on node {model[0]}"
