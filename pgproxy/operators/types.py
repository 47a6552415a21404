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
JSON = 114
CIDR = 650
FLOAT4 = 700
FLOAT8 = 701
UNKNOWN = 705
MACADDR8 = 774
MACADDR = 829
INET = 869
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
CSTRING = 2275
VOID = 2278
UUID = 2950
JSONB = 3802

# Range type → type of its bounds.
RANGES = {
    3904: INT4,
    3906: NUMERIC,
    3908: TIMESTAMP,
    3910: TIMESTAMPTZ,
    3912: DATE,
    3926: INT8,
}

# Multirange type → range type.
MULTIRANGES = {
    4451: 3904,
    4532: 3906,
    4533: 3908,
    4534: 3910,
    4535: 3912,
    4536: 3926,
}

# Array type → element type.
ELEMENTS = {
    199: JSON,
    651: CIDR,
    775: MACADDR8,
    1000: BOOL,
    1001: BYTEA,
    1002: CHAR,
    1003: NAME,
    1005: INT2,
    1007: INT4,
    1009: TEXT,
    1014: BPCHAR,
    1015: VARCHAR,
    1016: INT8,
    1021: FLOAT4,
    1022: FLOAT8,
    1028: OID,
    1040: MACADDR,
    1041: INET,
    1115: TIMESTAMP,
    1182: DATE,
    1183: TIME,
    1185: TIMESTAMPTZ,
    1187: INTERVAL,
    1231: NUMERIC,
    1263: CSTRING,
    1270: TIMETZ,
    1561: BIT,
    1563: VARBIT,
    2951: UUID,
    3807: JSONB,
    3905: 3904,
    3907: 3906,
    3909: 3908,
    3911: 3910,
    3913: 3912,
    3927: 3926,
    6150: 4451,
    6151: 4532,
    6152: 4533,
    6153: 4534,
    6155: 4535,
    6157: 4536,
}

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
    JSON: "json",
    FLOAT4: "real",
    FLOAT8: "double precision",
    MACADDR8: "macaddr8",
    790: "money",
    MACADDR: "macaddr",
    CIDR: "cidr",
    INET: "inet",
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
    JSONB: "jsonb",
}

# As a cast writes them. `bit` and `character` would mean one of length 1, so the catalog's own names where they differ.
_CAST_NAMES = {
    **_NAMES,
    BIT: "pg_catalog.bit",
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
