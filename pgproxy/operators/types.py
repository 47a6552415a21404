"""The OIDs and SQL names of the built-in types whose values operators can read."""

from __future__ import annotations

BOOL = 16
BYTEA = 17
CHAR = 18
NAME = 19
INT8 = 20
INT2 = 21
INT4 = 23
TEXT = 25
OID = 26
FLOAT4 = 700
FLOAT8 = 701
MACADDR8 = 774
MACADDR = 829
BPCHAR = 1042
VARCHAR = 1043
DATE = 1082
TIME = 1083
TIMESTAMP = 1114
TIMESTAMPTZ = 1184
INTERVAL = 1186
TIMETZ = 1266
BIT = 1560
VARBIT = 1562
NUMERIC = 1700
UUID = 2950

_NAMES = {
    BOOL: "boolean",
    BYTEA: "bytea",
    CHAR: '"char"',
    NAME: "name",
    INT8: "bigint",
    INT2: "smallint",
    INT4: "integer",
    TEXT: "text",
    OID: "oid",
    114: "json",
    FLOAT4: "real",
    FLOAT8: "double precision",
    MACADDR8: "macaddr8",
    790: "money",
    MACADDR: "macaddr",
    650: "cidr",
    869: "inet",
    BPCHAR: "bpchar",
    VARCHAR: "character varying",
    DATE: "date",
    TIME: "time without time zone",
    TIMESTAMP: "timestamp without time zone",
    TIMESTAMPTZ: "timestamp with time zone",
    INTERVAL: "interval",
    TIMETZ: "time with time zone",
    BIT: "bit",
    VARBIT: "bit varying",
    NUMERIC: "numeric",
    UUID: "uuid",
    3802: "jsonb",
}

# As a cast writes them. `bit` would mean bit(1), so the catalog's own names where they differ.
_CAST_NAMES = {
    **_NAMES,
    BIT: "pg_catalog.varbit",
    BPCHAR: "pg_catalog.bpchar",
    CHAR: 'pg_catalog."char"',
    NAME: "pg_catalog.name",
}


def type_name(oid: int) -> str:
    """The type as error messages name it."""
    return _NAMES.get(oid, f"type {oid}")


def cast_name(oid: int) -> str | None:
    """The type as `CAST(… AS name)` takes it, without modifiers; None for types not known here."""
    return _CAST_NAMES.get(oid)
