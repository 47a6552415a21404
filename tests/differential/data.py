"""The data both sides hold: the library and three wide tables, made from a seed, placed by PostgreSQL itself.

The reference server partitions the rows (`layout.*`), so that which row belongs to which shard is
never our own code's opinion; each node gets its partitions as plain tables.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg

NODES = ("downtown-library", "west-library", "north-library")
SHARDS = "abc"


@dataclass(frozen=True, slots=True)
class Field:
    """A column. `literals` are SQL literals that its rows and the generated conditions are drawn from."""

    name: str
    type: str
    literals: tuple[str, ...]
    summable: bool = False
    extremes: bool = True  # min() and max() exist
    nullable: bool = True


@dataclass(frozen=True, slots=True)
class Subject:
    """A logical table. `values` (list) and `ranges` (range) say per shard what it holds."""

    name: str
    key: str
    method: str
    primary_key: str
    fields: tuple[Field, ...]
    rows: int
    values: tuple[tuple[str, ...], ...] = ()
    ranges: tuple[tuple[str | None, str | None], ...] = ()
    empty_shard: str | None = None

    def field(self, name: str) -> Field:
        return next(field for field in self.fields if field.name == name)

    def columns_sql(self) -> str:
        columns = [f"{field.name} {field.type}{'' if field.nullable else ' NOT NULL'}" for field in self.fields]
        return ", ".join((*columns, f"PRIMARY KEY ({self.primary_key})"))


def _quoted(*texts: str) -> tuple[str, ...]:
    return tuple("'" + text.replace("'", "''") + "'" for text in texts)


def _numbers(*values: object) -> tuple[str, ...]:
    return tuple(str(value) for value in values)


WORDS = _quoted(
    "", " ", "a", "A", "ab", "aB", "Ab", "abc", "a b", "a_b", "a%b", "z", "Z", "é", "e\u0301", "ß", "zebra", "Zebra",
    "déjà vu", "日本", "🙂", "it's", "tab\there", "back\\slash", "0", "10", "9", "-1", "NULL", "ring", "The Ring",
)  # fmt: skip
SPECIAL_NUMBERS = _quoted("NaN", "Infinity", "-Infinity")
DATES = _quoted(
    "2020-02-29", "1999-12-31", "2000-01-01", "1970-01-01", "0044-03-15 BC", "4713-01-01 BC", "9999-12-31",
    "50000-06-01", "infinity", "-infinity", "2024-05-05", "2024-05-06",
)  # fmt: skip
STAMPS = _quoted(
    "2020-02-29 12:00:00", "1999-12-31 23:59:59.999999", "2000-01-01 00:00:00", "0044-03-15 06:00:00 BC",
    "1970-01-01 00:00:00.000001", "infinity", "-infinity", "90000-01-01 00:00:00", "2024-05-05 05:05:05.5",
)  # fmt: skip

WIDE = (
    Field("small", "int2", _numbers(0, 1, 2, 3, -1, -32768, 32767, 7), summable=True),
    Field("medium", "int4", _numbers(0, 1, 2, 5, -5, 10, 100, -2147483648, 2147483647), summable=True),
    Field("big", "int8", _numbers(0, 1, -1, 42, 9223372036854775807, -9223372036854775807, 5000000000), summable=True),
    Field("amount", "numeric(10,2)", _numbers("0.00", "0.10", "1.50", "-1.50", "99.99", "12345678.90"), summable=True),
    Field(
        "ratio",
        "numeric",
        (
            *("0", "1", "1.0", "1.00", "-0.5", "0.333333333333333333333", "123456789012345678901234567890.5", "1e-20"),
            *SPECIAL_NUMBERS,
        ),
        summable=True,
    ),
    # Sums of these are exact in any order; what is not goes into `wild`, which is never summed.
    Field("real4", "float4", ("0", "'-0'", "-0.125", "1.5", "2.25", "100.5", *SPECIAL_NUMBERS[:2]), summable=True),
    Field("real8", "float8", ("0", "'-0'", "0.125", "-2.5", "1024.75", *SPECIAL_NUMBERS), summable=True),
    Field("wild", "float8", ("0.1", "1e300", "-1e300", "1e-300", "0.30000000000000004", "123456789.123456789")),
    Field("word", "text", WORDS),
    Field("code", "varchar(12)", WORDS),
    Field("pad", "char(6)", _quoted("", "a", "ab", "A", "b  ", "é", "zzzzzz", "a b")),
    Field("flag", "bool", ("true", "false"), extremes=False),
    Field("day", "date", DATES),
    Field("clock", "time", _quoted("00:00:00", "12:34:56", "12:34:56.789", "23:59:59.999999", "24:00:00")),
    Field("clock_tz", "timetz", _quoted("00:00:00+00", "12:00:00+02", "11:00:00+01", "10:00:00+00", "23:59:59-08")),
    Field("stamp", "timestamp", STAMPS),
    Field("stamp_tz", "timestamptz", STAMPS),
    Field(
        "ref",
        "uuid",
        _quoted(*(f"{n:08x}-0000-4000-8000-{n * 2654435761 % 2**48:012x}" for n in (0, 1, 2, 3, 254, 255, 2**32 - 1))),
        extremes=False,
    ),
    Field("blob", "bytea", _quoted("\\x", "\\x00", "\\x0001", "\\x7f", "\\x80", "\\xff", "\\xff00", "\\xdeadbeef")),
)
IDS = Field("id", "int8", _numbers(*range(-60, 120, 3), 2**40, -(2**40), 2**63 - 1), summable=False, nullable=False)
REGIONS = Field("region", "text", _quoted("ash", "birch", "cedar", "déjà vu", "O'Neil"), nullable=False)
OPEN_REGION = Field("region", "text", REGIONS.literals)
TITLES = _quoted(
    "1984", "The Lord of the Rings", "The Hobbit", "Ring for Jeeves", "Emma", "emma", "Dune", "It's a Ringing Bell",
    "Les Misérables", "The Fellowship of the Ring", "Middlemarch", "100% Wolf", "snow_crash",
)  # fmt: skip

SAMPLES = Subject("samples", "id", "hash", "id", (IDS, OPEN_REGION, *WIDE), 90, empty_shard="b")
MEASURES = Subject(
    "measures",
    "region",
    "list",
    "region, id",
    (IDS, REGIONS, *WIDE),
    120,
    values=(("ash", "birch"), ("cedar",), ("déjà vu", "O'Neil")),
    empty_shard="b",
)
READINGS = Subject(
    "readings",
    "id",
    "range",
    "id",
    (IDS, OPEN_REGION, *WIDE),
    60,
    ranges=((None, "0"), ("0", "60"), ("60", None)),
)
BOOKS = Subject(
    "books",
    "branch",
    "list",
    "branch, isbn",
    (
        Field("isbn", "bigint", _numbers(9780451524935, *range(9780000000000, 9780000000040)), nullable=False),
        Field("branch", "text", _quoted("downtown", "west", "north"), nullable=False),
        Field("book_name", "text", TITLES),
        Field("author", "text", _quoted("George Orwell", "J. R. R. Tolkien", "Jane Austen", "O'Brian", "Ödön", "")),
        Field("genre", "text", _quoted("fantasy", "classic", "dystopia", "Classic")),
        Field("published_year", "int", _numbers(1813, 1937, 1949, 1954, 1965, -8, 2001), summable=True),
        Field("price", "numeric(8,2)", _numbers("0.00", "5.00", "7.99", "12.50", "999999.99"), summable=True),
        Field("checked_out", "boolean", ("true", "false"), extremes=False),
        Field("patron_id", "bigint", _numbers(*range(1, 40)), summable=True),
        Field("updated_at", "timestamptz", STAMPS),
    ),
    150,
    values=(("downtown",), ("west",), ("north",)),
)
PATRONS = Subject(
    "patrons",
    "patron_id",
    "hash",
    "patron_id",
    (
        Field("patron_id", "bigint", _numbers(*range(1, 60)), nullable=False),
        Field("name", "text", _quoted("Ada", "Bob", "bob", "Zoë", "O'Hara", "")),
        Field("email", "text", _quoted("ada@example.org", "bob@example.org", "zoe@example.org")),
        Field("branch", "text", _quoted("downtown", "west", "north")),
        Field("joined", "date", DATES),
    ),
    40,
)
SUBJECTS = (SAMPLES, MEASURES, READINGS, BOOKS, PATRONS)


def partition_bound(subject: Subject, index: int) -> str:
    """What PostgreSQL says for this shard behind FOR VALUES."""
    if subject.method == "hash":
        return f"WITH (MODULUS {len(SHARDS)}, REMAINDER {index})"
    if subject.method == "list":
        return f"IN ({', '.join(_quoted(*subject.values[index]))})"
    lower, upper = subject.ranges[index]
    return f"FROM ({lower or 'MINVALUE'}) TO ({upper or 'MAXVALUE'})"


def insert_statements(subject: Subject, seed: int) -> Iterator[str]:
    """INSERTs of the subject's rows: many NULLs and duplicates, since every field has few literals."""
    dice = random.Random(f"{subject.name}/{seed}")
    for _ in range(subject.rows):
        values = ", ".join(random_value(dice, field) for field in subject.fields)
        yield f"INSERT INTO layout.{subject.name} VALUES ({values}) ON CONFLICT DO NOTHING"


def random_value(dice: random.Random, field: Field) -> str:
    if field.nullable and dice.random() < 0.2:
        return "NULL"
    return dice.choice(field.literals)


def load_reference(reference: psycopg.Connection[object], seed: int) -> None:
    """Lay the rows out in partitions in schema `layout`, and whole in the logical tables."""
    with reference.transaction():
        reference.execute("CREATE SCHEMA layout")
        for subject in SUBJECTS:
            name = subject.name
            reference.execute(
                f"CREATE TABLE layout.{name} ({subject.columns_sql()}) PARTITION BY {subject.method} ({subject.key})"
            )
            for index, shard in enumerate(SHARDS):
                bound = partition_bound(subject, index)
                reference.execute(f"CREATE TABLE layout.{name}_{shard} PARTITION OF layout.{name} FOR VALUES {bound}")
            reference.execute("; ".join(insert_statements(subject, seed)))
            if subject.empty_shard is not None:
                reference.execute(f"DELETE FROM layout.{name}_{subject.empty_shard}")
            reference.execute(f"CREATE TABLE public.{name} ({subject.columns_sql()})")
            reference.execute(f"INSERT INTO public.{name} SELECT * FROM layout.{name}")


def load_node(node: psycopg.Connection[object], shard: str, reference: psycopg.Connection[object]) -> None:
    """Give a node its shard of every table, and the empty logical tables."""
    with node.transaction():
        for subject in SUBJECTS:
            name = subject.name
            node.execute(f"CREATE TABLE {name} ({subject.columns_sql()})")
            node.execute(f"CREATE TABLE {name}_{shard} ({subject.columns_sql()})")
            with (
                reference.cursor().copy(f"COPY layout.{name}_{shard} TO STDOUT") as out,
                node.cursor().copy(f"COPY {name}_{shard} FROM STDIN") as into,
            ):
                for block in out:
                    into.write(block)
