"""Constants as clients write them: read exactly as every server reads them, or UNKNOWN."""

from __future__ import annotations

from decimal import Decimal

import psycopg
import pytest

from pgproxy.hashing import KEY_TYPES, NULL, UNKNOWN, Parsed
from tests.fix_nodes import ReferencePostgres

BOOLEAN, BIGINT, SMALLINT, INTEGER, TEXT, VARCHAR = 16, 20, 21, 23, 25, 1043
DATE, TIMESTAMP, TIMESTAMPTZ, NUMERIC, UUID = 1082, 1114, 1184, 1700, 2950

DAY_US = 86_400_000_000
SOME_UUID = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"


def _unknown(oid: int, *texts: str, form: str = "{}") -> list[tuple[int, str, Parsed]]:
    return [(oid, form.replace("{}", text), UNKNOWN) for text in texts]


@pytest.mark.parametrize(
    ("oid", "source", "value"),
    [
        # Integers.
        (BIGINT, "42", 42),
        (BIGINT, "-5", -5),
        (BIGINT, "- 5", -5),
        (BIGINT, "-\n5", -5),
        (BIGINT, "0", 0),
        (BIGINT, "-0", 0),
        (BIGINT, "'42'", 42),
        (BIGINT, "'-42'", -42),
        (BIGINT, "9223372036854775807", 2**63 - 1),
        (BIGINT, "-9223372036854775808", -(2**63)),
        (BIGINT, "9223372036854775808", UNKNOWN),
        (BIGINT, "'9223372036854775808'", UNKNOWN),
        (BIGINT, "-9223372036854775809", UNKNOWN),
        (INTEGER, "2147483647", 2**31 - 1),
        (INTEGER, "2147483648", UNKNOWN),
        (SMALLINT, "-32768", -32768),
        (SMALLINT, "32768", UNKNOWN),
        (INTEGER, "-2147483648", -(2**31)),
        (INTEGER, "'-2147483648'", -(2**31)),
        (INTEGER, "-2147483649", UNKNOWN),
        (INTEGER, "'2147483648'", UNKNOWN),
        (SMALLINT, "32767", 2**15 - 1),
        (SMALLINT, "'-32768'", -(2**15)),
        (SMALLINT, "-32769", UNKNOWN),
        (SMALLINT, "'32768'", UNKNOWN),
        *((oid, source, 0) for oid in (SMALLINT, INTEGER, BIGINT) for source in ("-0", "'-0'", "- 0", "0.0", "-0.0")),
        *(
            (oid, source, UNKNOWN)
            for oid in (SMALLINT, INTEGER, BIGINT)
            for source in ("00", "-00", "'00'", "+0", "'+0'")
        ),
        (BIGINT, "9223372036854775807.0", 2**63 - 1),
        (BIGINT, "9223372036854775808.0", UNKNOWN),
        (BIGINT, "1" * 400, UNKNOWN),
        (BIGINT, "'" + "1" * 400 + "'", UNKNOWN),
        # Forms that some servers refuse, or read in another base.
        *_unknown(BIGINT, "042", "'042'", "'-042'", "'+42'", "+42", "' 42'", "'42 '", "''"),
        *_unknown(BIGINT, "4_2", "'4_2'", "0x1F", "'0x1F'", "0b1", "0o7", "'4２'", "٤٢"),
        *_unknown(BIGINT, "'abc'", "'5.0'", "'1e3'", "true", "x", "", "-", "--5", "-/* */5"),
        # A number with a fraction part: the integer it equals, else it could be any (an INSERT rounds it).
        (BIGINT, "5.0", 5),
        (BIGINT, "5.", 5),
        (BIGINT, "-5.000", -5),
        (BIGINT, "1e3", 1000),
        (BIGINT, "5.5", UNKNOWN),
        (BIGINT, ".5", UNKNOWN),
        (BIGINT, "1e-1", UNKNOWN),
        (BIGINT, "1e18", 10**18),
        (BIGINT, "1e19", UNKNOWN),
        (BIGINT, "1e999", UNKNOWN),
        (BIGINT, "1e999999999", UNKNOWN),
        (SMALLINT, "1e5", UNKNOWN),
        # NULL, in any case; the word in quotes is text.
        *((oid, "NULL", NULL) for oid in KEY_TYPES),
        (BIGINT, "null", NULL),
        (TEXT, "'NULL'", "NULL"),
        (BIGINT, "'NULL'", UNKNOWN),
        # Text.
        (TEXT, "'downtown'", "downtown"),
        (TEXT, "''", ""),
        (TEXT, "'it''s'", "it's"),
        (TEXT, "''''", "'"),
        (TEXT, "' spaces '", " spaces "),
        (TEXT, "'äß漢𝄞'", "äß漢𝄞"),
        (TEXT, "'two\nlines'", "two\nlines"),
        (VARCHAR, "'west'", "west"),
        (TEXT, r"'back\slash'", UNKNOWN),
        (TEXT, r"E'back\\slash'", UNKNOWN),
        *_unknown(TEXT, "E'a'", "U&'a'", "N'a'", "B'1'", "X'1'", "$$a$$", "$t$a$t$", "'a'\n'b'"),
        *_unknown(TEXT, "'", "'a", "a'", "'a'b'", "5", "true", '"a"', "", "'a' "),
        # Booleans.
        *((BOOLEAN, source, 1) for source in ("true", "TRUE", "'t'", "'true'")),
        *((BOOLEAN, source, 0) for source in ("false", "False", "'f'", "'false'")),
        *_unknown(BOOLEAN, "t", "1", "'1'", "'yes'", "'TRUE'", "' t'", "'tr'", "'on'"),
        # UUIDs.
        (UUID, f"'{SOME_UUID}'", bytes.fromhex(SOME_UUID.replace("-", ""))),
        (UUID, f"'{SOME_UUID.upper()}'", bytes.fromhex(SOME_UUID.replace("-", ""))),
        *_unknown(UUID, f"{{{SOME_UUID}}}", SOME_UUID[:-1], SOME_UUID.replace("-", ""), "", form="'{}'"),
        # Dates.
        (DATE, "'2000-01-01'", 0),
        (DATE, "'1999-12-31'", -1),
        (DATE, "'2024-02-29'", 8825),
        (DATE, "'0001-01-01'", -730119),
        *_unknown(DATE, "2023-02-29", "0000-01-01", "2024-13-01", "2024-00-10", "2024-01-32", form="'{}'"),
        *_unknown(DATE, "today", "now", "infinity", "epoch", "01/02/2024", "1-2-3", "20240101", form="'{}'"),
        *_unknown(DATE, "2024-1-1", "10000-01-01", "2024-01-01 BC", "2024-01-01 10:00", "", form="'{}'"),
        (DATE, "20240101", UNKNOWN),
        # Timestamps.
        (TIMESTAMP, "'2000-01-02'", DAY_US),
        (TIMESTAMP, "'2000-01-01 00:00:00.000001'", 1),
        (TIMESTAMP, "'2000-01-01T00:00:00.1'", 100_000),
        (TIMESTAMP, "'1999-12-31 23:59'", -60_000_000),
        *_unknown(TIMESTAMP, "00:00Z", "00:00+00", "24:00", "00:00:60", "1:00", "", form="'2000-01-01 {}'"),
        *_unknown(TIMESTAMP, "00:00:00.1234567", "00:00 PM", "00:60", form="'2000-01-01 {}'"),
        (TIMESTAMPTZ, "'2000-01-01 00:00:00+00'", 0),
        (TIMESTAMPTZ, "'2000-01-01 00:00:00Z'", 0),
        (TIMESTAMPTZ, "'2000-01-01 02:00+02'", 0),
        (TIMESTAMPTZ, "'1999-12-31 18:30:00-05:30'", 0),
        (TIMESTAMPTZ, "'1999-12-31 18:30:00-0530'", 0),
        *_unknown(TIMESTAMPTZ, "", " 00:00", " 00:00 UTC", " 00:00 +00", "+00", "Z", form="'2000-01-01{}'"),
        *_unknown(TIMESTAMPTZ, "+16", "+1", "+00:60", " Europe/Berlin", form="'2000-01-01 00:00{}'"),
        # Numerics.
        (NUMERIC, "5", Decimal(5)),
        (NUMERIC, "-5.50", Decimal("-5.5")),
        (NUMERIC, "- 5.50", Decimal("-5.5")),
        (NUMERIC, "'5.5'", Decimal("5.5")),
        (NUMERIC, "1.5e3", Decimal(1500)),
        (NUMERIC, ".5", Decimal("0.5")),
        *_unknown(NUMERIC, "'NaN'", "'Infinity'", "'1_0'", "'0x1'", "' 1'", "05", "'.'", "'- 1'"),
        *_unknown(NUMERIC, "1e1000", "1" * 301, "'e5'", "''"),
    ],
)
def test_constants(oid: int, source: str, value: Parsed) -> None:
    found = KEY_TYPES[oid].parse_literal(source)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("oid", "text", "typmod", "fits"),
    [
        (TEXT, "anything", -1, True),
        (VARCHAR, "abc", 7, True),
        (VARCHAR, "abc ", 7, False),
        (VARCHAR, "ääß", 7, True),
        (VARCHAR, "abc ", -1, True),
        (NUMERIC, "1.23", (8 << 16 | 2) + 4, True),
        (NUMERIC, "1.230", (8 << 16 | 2) + 4, True),
        (NUMERIC, "1.234", (8 << 16 | 2) + 4, False),
        (NUMERIC, "1e-30", (8 << 16 | 2) + 4, False),
        (NUMERIC, "0.000", (8 << 16 | 2) + 4, True),
        (NUMERIC, "1200", (8 << 16 | (-2 & 0x7FF)) + 4, True),
        (NUMERIC, "1250", (8 << 16 | (-2 & 0x7FF)) + 4, False),
        (NUMERIC, "1.234", -1, True),
        (TIMESTAMP, "2024-01-01 00:00:00", 0, True),
        (TIMESTAMP, "2024-01-01 00:00:00.5", 0, False),
        (TIMESTAMP, "2024-01-01 00:00:00.5", 1, True),
        (TIMESTAMPTZ, "1999-01-01 00:00:00.25Z", 1, False),
        (TIMESTAMPTZ, "1999-01-01 00:00:00.25Z", -1, True),
        (BIGINT, "5", -1, True),
    ],
)
def test_whether_a_column_stores_a_value_as_it_is(oid: int, text: str, typmod: int, fits: bool) -> None:
    key_type = KEY_TYPES[oid]
    assert key_type.fits(key_type.parse_text(text), typmod) is fits


EDGES = [str(sign * (2**bits) + off) for bits in (15, 31, 63) for sign in (1, -1) for off in (-1, 0, 1)]
FORMS = [
    *("0", "-0", "+5", "+0", "05", "-05", " 5", "5 ", "- 5", "5.0", "5.", "5.5", "-5.5", ".5", "1e3", "1e5", "1e-1"),
    *("1e19", "4_2", "0x1F", "0b1", "0o7", "", "-", "--5", "5e", "9" * 40),
    *(f"{edge}.0" for edge in EDGES),
    *EDGES,
]


@pytest.mark.parametrize(("oid", "name"), [(SMALLINT, "int2"), (INTEGER, "int4"), (BIGINT, "int8")])
@pytest.mark.parametrize("quoted", [False, True], ids=["bare", "quoted"])
def test_a_real_server_reads_integers_alike(oid: int, name: str, quoted: bool, reference_pg: ReferencePostgres) -> None:
    """Whatever is taken for a value is that value there, as a key that is compared with the constant sees it."""
    read = 0
    with psycopg.connect(reference_pg.conninfo, autocommit=True) as server:
        for form in FORMS:
            source = f"'{form}'" if quoted else form
            value = KEY_TYPES[oid].parse_literal(source)
            if value is UNKNOWN:
                continue
            read += 1
            found = server.execute(
                f"SELECT k = {source} FROM (SELECT %s::{name}) AS t (k)".encode(), (value,)
            ).fetchone()
            assert found == (True,), source
    assert read >= 5
