"""Binary values against those that a server sends for the same rows."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Callable, Iterable, Sequence

import psycopg
import pytest
from psycopg.pq import ExecStatus, PGresult

from pgproxy.errors import ProxyError, Refused
from pgproxy.operators import types
from pgproxy.operators.recode import Recode
from pgproxy.operators.source import Batch
from pgproxy.wire.rows import Column, data_row, fields_of, split_rows
from tests.operators.fake_source import INT4, NUMERIC, TEXT, FakeSource, columns, described, open_steps, query

Fields = list[bytes | None]
COUNT = 2_000  # random values of each type
RANDOM = random.Random(20_000_101)


def _many(make: Callable[[random.Random], str]) -> list[str]:
    return [make(RANDOM) for _ in range(COUNT)]


def _float(code: str) -> Callable[[random.Random], str]:
    """A float of any bits that is a number."""

    def make(source: random.Random) -> str:
        while True:
            (number,) = struct.unpack(code, source.randbytes(struct.calcsize(code)))
            if abs(number) < float("inf"):
                return repr(number)

    return make


def _numeric(source: random.Random) -> str:
    digits = "".join(source.choices("0000123456789", k=source.randint(1, 40)))
    point = source.randint(0, len(digits))
    return f"{source.choice(('', '-'))}{digits[:point] or '0'}.{digits[point:]}".rstrip(".")


def _clock(source: random.Random) -> str:
    clock = f"{source.randint(0, 23):02}:{source.randint(0, 59):02}:{source.randint(0, 59):02}"
    return clock + source.choice(("", ".5", f".{source.randint(0, 999_999):06}"))


def _day(source: random.Random, last_year: int) -> str:
    year = source.choice((source.randint(1, last_year), source.randint(1800, 2200)))
    suffix = " BC" if year < 4713 and source.random() < 0.3 else ""
    return f"{year:04}-{source.randint(1, 12):02}-{source.randint(1, 28):02}" + suffix


def _timestamp(source: random.Random) -> str:
    day, *before_christ = _day(source, 294_000).split()
    return " ".join((day, _clock(source), *before_christ))


def _timetz(source: random.Random) -> str:
    zone = source.choice(("+00", "-15:59:59", "+15:59", "+05:45", "-03", "+00:19:32"))
    return _clock(source) + zone


def _interval(source: random.Random) -> str:
    def number(most: int) -> int:
        return source.choice((0, 1, -1, source.randint(-most, most)))

    return f"{number(10**7)} months {number(10**8)} days {number(10**15)} microseconds"


def _text(source: random.Random) -> str:
    return "".join(source.choices('ab ,{}"\\\n\té€𝄞NUL', k=source.randint(0, 12)))


def _hex(count: int) -> Callable[[random.Random], str]:
    return lambda source: source.randbytes(count).hex()


def _bytes(source: random.Random) -> str:
    return "\\x" + source.randbytes(source.randint(0, 40)).hex()


def _bit_string(source: random.Random) -> str:
    return "".join(source.choices("01", k=source.randint(0, 40)))


def _network(source: random.Random) -> str:
    if source.random() < 0.5:
        return f"{'.'.join(str(source.randint(0, 255)) for _ in range(4))}/{source.randint(0, 32)}"
    groups = source.choices(("0", "ffff", "1", f"{source.randrange(1 << 16):x}"), k=8)
    return f"{':'.join(groups)}/{source.choice((128, 64, source.randint(0, 128)))}"


def _range_of(make: Callable[[random.Random], str]) -> Callable[[random.Random], str]:
    """`lower|upper|[)`, in any order: SQL puts them right."""

    def bounds(source: random.Random) -> str:
        lower, upper = (source.choice((make(source), "")) for _ in range(2))
        return f"{lower}|{upper}|{source.choice('[(')}{source.choice('])')}"

    return bounds


def _integers(bits: int) -> list[str]:
    most = 2 ** (bits - 1)
    return ["0", "1", "-1", str(most - 1), str(-most), *_many(lambda source: str(source.randrange(-most, most)))]


FLOATS = ["0", "-0", "NaN", "Infinity", "-Infinity", "1e15", "1e-5", "0.1", "1", "-1.5", "123456.789"]
NUMERICS = [
    *("0", "0.0000", "-0.00", "NaN", "Infinity", "-Infinity", "1", "-1", "10000", "9999", "0.0001", "0.00001"),
    *("10000.0001", "100000000", "1e131071", "-1e1000", "1e-16383", "12345678.12345678", "0.10", "1.000000000000"),
]
DAYS = ["2000-01-01", "1999-12-31", "0001-01-01", "0001-12-31 BC", "4713-01-01 BC", "infinity", "-infinity"]
CLOCKS = ["00:00:00", "23:59:59.999999", "24:00:00", "00:00:00.1", "12:00:00.000001"]
INSTANTS = [
    *("infinity", "-infinity", "2000-01-01", "1999-12-31 23:59:59.999999", "0001-01-01 00:00:00"),
    *("4713-11-24 00:00:00 BC", "294276-12-31 23:59:59.999999", "9999-12-31 23:59:59.5", "10000-01-01 00:00:00"),
    *("1883-11-18 12:03:57", "1969-07-20 20:17:40", "0001-12-31 23:59:59 BC"),
]
INTERVALS = [
    *("0", "infinity", "-infinity", "1 year", "-1 year", "1 mon", "-1 mon 1 day", "1 day", "-00:00:00.000001"),
    *(
        "1 year 2 mons -3 days 04:05:06.7",
        "-1 days +02:03:00",
        "178000000 years",
        "2147483647 days",
        "-2147483648 days",
    ),
    *("2562047788:00:54.775807", "-2562047788:00:54.775807", "-1 year -2 mons +3 days -04:05:06"),
]
TEXTS = ["", "NULL", "null", " ", "é", "{}", "a,b", '"', "\\", "\n", "\\\\x"]
DOCUMENTS = ["null", "{}", "[]", '"é"', "1.50", '{"b": 1, "a": [1, {"c": null}], "b": 2}', '  {"a"  :  "\\u00e9\\n"}']
VALUES: dict[str, Sequence[str]] = {
    "bool": ["t", "f"],
    "int2": _integers(16),
    "int4": _integers(32),
    "int8": _integers(64),
    "oid": ["0", "4294967295", *_many(lambda source: str(source.randrange(2**32)))],
    "float4": [*FLOATS, "3.4028235e38", "1e-45", "1.1754944e-38", *_many(_float("=f"))],
    "float8": [*FLOATS, "1.7976931348623157e308", "5e-324", "2.2250738585072014e-308", *_many(_float("=d"))],
    "numeric": [*NUMERICS, *_many(_numeric)],
    "text": [*TEXTS, *_many(_text)],
    "varchar": [*TEXTS, *_many(_text)],
    "bpchar": [*TEXTS, *_many(_text)],
    "char(7)": TEXTS,
    "name": [*TEXTS, *_many(_text)],
    "json": DOCUMENTS,
    "jsonb": DOCUMENTS,
    '"char"': ["", "a", "\\", "\\001", "\\177", "\\200", "\\377", " ", '"', "\\\\"],
    "bytea": ["\\x", "\\x00", "\\x5c22", *_many(_bytes)],
    "uuid": ["0" * 32, "f" * 32, *_many(_hex(16))],
    "date": [*DAYS, "5874897-12-31", "4714-11-24 BC", *_many(lambda source: _day(source, 5_800_000))],
    "time": [*CLOCKS, *_many(_clock)],
    "timetz": [*(clock + "+00" for clock in CLOCKS), *_many(_timetz)],
    "timestamp": [*INSTANTS, *_many(_timestamp)],
    "timestamptz": [*INSTANTS, *_many(_timestamp)],
    "interval": [*INTERVALS, *_many(_interval)],
}
VALUES |= {
    "bit varying": ["", "0", "1", "10000000", "100000001", *_many(_bit_string)],
    "bit(5)": ["00000", "10101", "11111"],
    "macaddr": ["0" * 12, *_many(_hex(6))],
    "macaddr8": ["0" * 16, *_many(_hex(8))],
    "inet": ["0.0.0.0/0", "127.0.0.1", "::", "::1", "::ffff:1.2.3.4", "::1.2.3.4/96", "10.1.2.3/8", *_many(_network)],
}
CIDRS = ["10.0.0.0/8", "0.0.0.0/0", "::/0", "192.168.0.1", "2001:db8::/32", "::ffff:1.2.3.0/120", "::1.2.3.4"]
BOUNDS: dict[str, tuple[str, Callable[[random.Random], str]]] = {
    "int4range": ("int4", lambda source: str(source.randint(-(2**31), 2**31 - 2))),
    "int8range": ("int8", lambda source: str(source.randint(-(2**63), 2**63 - 2))),
    "numrange": ("numeric", _numeric),
    "daterange": ("date", lambda source: source.choice((_day(source, 9_999), "infinity", "-infinity"))),
    "tsrange": ("timestamp", lambda source: source.choice((_timestamp(source), "infinity"))),
    "tstzrange": ("timestamptz", lambda source: source.choice((_timestamp(source), "-infinity"))),
}
ARRAYS = [
    "NULL::int[]",
    "'{}'::int[]",
    "'{{},{}}'::text[]",
    "'{NULL}'::text[]",
    """'{"NULL",NULL,null,"","{}"}'::text[]""",
    "'[2:3]={1,2}'::int[]",
    "'[-3:-2][0:1]={{1,2},{3,NULL}}'::int8[]",
    "'[1:1][1:1]={{x}}'::text[]",
    "'{{{1,2},{3,4}},{{5,6},{7,8}},{{9,10},{11,12}}}'::numeric[]",
    """'{{"a,b","}"},{"\\\\","\\""}}'::text[]""",
    "'{{{{{{1}}}}}}'::int2[]",
    "'[-2147483648:-2147483647]={t,f}'::bool[]",
    "ARRAY['[1:2]={}', '{', '}']",
    "ARRAY[E'\\n', E'\\t ', ' ']::varchar[]",
    "ARRAY[''::\"char\", 'a', '\\', '\\377']",
    'ARRAY[\'[1]\', \'{"a": "b,\\"c"}\']::json[]',
    "'{a,b}'::cstring[]",
]


@pytest.mark.parametrize("type_name", VALUES)
@pytest.mark.parametrize("time_zone", ["UTC"])
def test_values_as_a_server_sends_them(connection: psycopg.Connection, type_name: str, time_zone: str) -> None:
    connection.execute(f"SET TimeZone TO '{time_zone}'".encode())
    result = _result(connection, f"SELECT v::{type_name} FROM unnest($1::text[]) v", VALUES[type_name])
    assert len(result) == len(VALUES[type_name])


@pytest.mark.parametrize("type_name", ["timestamptz", "timestamptz[]"])
@pytest.mark.parametrize("time_zone", ["America/New_York", "Asia/Kathmandu", "Europe/Amsterdam", "<+15>-15:30"])
def test_offsets(connection: psycopg.Connection, type_name: str, time_zone: str) -> None:
    connection.execute(f"SET TimeZone TO '{time_zone}'".encode())
    value = "v" if "[" not in type_name else "ARRAY[v, NULL, v]"
    values = [value for value in INSTANTS if "294276" not in value] + VALUES["timestamptz"][len(INSTANTS) :]
    assert len(_result(connection, f"SELECT {value}::{type_name} FROM unnest($1::text[]) v", values)) > COUNT
    connection.execute("RESET TimeZone")


@pytest.mark.parametrize("type_name", [name for name in VALUES if name != "char(7)"])
def test_arrays_of_each_type(connection: psycopg.Connection, type_name: str) -> None:
    one = f"SELECT ARRAY[v, NULL, v]::{type_name}[] FROM unnest($1::text[]) v"
    two = f"SELECT ARRAY[ARRAY[v, v], ARRAY[v, v], ARRAY[v, v]]::{type_name}[] FROM unnest($1::text[]) v"
    all_of_them = f"SELECT array_agg(v::{type_name}) FROM unnest($1::text[]) v"
    for sql in (one, two, all_of_them):
        assert _result(connection, sql, VALUES[type_name][:300])


@pytest.mark.parametrize("range_type", BOUNDS)
def test_ranges(connection: psycopg.Connection, range_type: str) -> None:
    bound, make = BOUNDS[range_type]
    bounds = ("least({0}, {1})", "greatest({0}, {1})")
    texts = [f"nullif(split_part(v, '|', {part}), '')::{bound}" for part in (1, 2)]
    lower = f"CASE WHEN {texts[0]} IS NOT NULL THEN {bounds[0].format(*texts)} END"
    upper = f"CASE WHEN {texts[1]} IS NOT NULL THEN {bounds[1].format(*texts)} END"
    one = f"{range_type}({lower}, {upper}, split_part(v, '|', 3))"
    multirange = range_type.replace("range", "multirange")
    columns = (
        *(one, f"ARRAY[{one}, NULL, 'empty']", f"{multirange}({one})"),
        *(
            f"{multirange}({one}, {range_type}(NULL, {upper})) * {multirange}({one})",
            f"ARRAY['{{}}', {multirange}({one})]",
        ),
    )
    assert _result(connection, f"SELECT {', '.join(columns)} FROM unnest($1::text[]) v", _many(_range_of(make)))


def test_multiranges_of_several_ranges(connection: psycopg.Connection) -> None:
    sql = """SELECT '{[1,3),[5,7),[10,)}'::int4multirange, '{}'::nummultirange, '{(1.5,2.50],[3,3]}'::nummultirange,
        '{(,2000-01-01),["2001-01-01 00:00:00",infinity]}'::tsmultirange FROM unnest($1::text[])"""
    assert len(_result(connection, sql, ["one"])) == 1


@pytest.mark.parametrize("value", CIDRS)
def test_cidr(connection: psycopg.Connection, value: str) -> None:
    assert _result(connection, "SELECT v::cidr, ARRAY[v::cidr], v::inet FROM unnest($1::text[]) v", [value])


def test_arrays_and_ranges_as_the_catalog_has_them(connection: psycopg.Connection) -> None:
    elements = "SELECT oid::int, typelem::int FROM pg_type WHERE typarray = 0 AND typcategory = 'A' AND oid = ANY(%s)"
    assert dict(connection.execute(elements, [list(types.ELEMENTS)]).fetchall()) == types.ELEMENTS
    assert dict(connection.execute("SELECT rngtypid::int, rngsubtype::int FROM pg_range").fetchall()) == types.RANGES
    multiranges = "SELECT rngmultitypid::int, rngtypid::int FROM pg_range"
    assert dict(connection.execute(multiranges).fetchall()) == types.MULTIRANGES


@pytest.mark.parametrize("expression", ARRAYS)
def test_arrays(connection: psycopg.Connection, expression: str) -> None:
    assert len(_result(connection, f"SELECT {expression} FROM unnest($1::text[])", ["one"])) == 1


@pytest.mark.parametrize("expression", ["NULL", "'x'", "pg_sleep(0)", "version()", "NULL::int8", "'{}'::jsonb"])
def test_results_of_functions_and_literals(connection: psycopg.Connection, expression: str) -> None:
    assert len(_result(connection, f"SELECT {expression} FROM unnest($1::text[])", ["one"])) == 1


@pytest.mark.parametrize("formats", [(), (0,), (1,), (0, 1, 0, 1), (1, 0, 0, 0), (0, 0, 0, 1), (0, 0, 1, 0)])
def test_formats_of_columns(connection: psycopg.Connection, formats: tuple[int, ...]) -> None:
    sql = (
        "SELECT i, nullif(i, 3)::text, i::numeric / 3, CASE WHEN i % 2 = 0 THEN now() END FROM generate_series(1, 9) i"
    )
    connection.execute("BEGIN")
    text = _run(connection, sql, (), 0)
    both = {code: _rows(_run(connection, sql, (), code)) for code in (0, 1)}
    connection.execute("COMMIT")
    codes = formats * 4 if len(formats) == 1 else formats or (0,) * 4
    recoded, rows = _recoded(_columns(text), both[0], formats)
    assert [column.format for column in recoded] == list(codes)
    assert rows == [[both[code][at][column] for column, code in enumerate(codes)] for at in range(9)]


def test_all_but_the_format_is_kept() -> None:
    column = Column("é", 1_234, 5, types.VARCHAR, -1, 24)
    source = FakeSource([column], [])
    assert described(Recode((1,)), [source]) == (Column("é", 1_234, 5, types.VARCHAR, -1, 24, 1),)


def test_rows_in_their_formats_already_are_passed_on() -> None:
    batch = Batch(data_row([b"\0\0\0\7", b"x"]), 1)
    source = _Batches([Column("a", type_oid=INT4, format=1), Column("b")], [batch])
    top = open_steps(Recode((1,)), [source])
    assert [column.format for column in asyncio.run(top.describe())] == [1, 1]
    assert asyncio.run(top.next_batch()) is batch


@pytest.mark.parametrize(
    ("formats", "sqlstate", "message"),
    [
        ((1, 0), "08P01", "bind message has 2 result formats but query has 3 columns"),
        ((1, 0, 1, 1), "08P01", "bind message has 4 result formats but query has 3 columns"),
        ((7,), "22023", "unsupported format code: 7"),
        ((0, 0, -1), "22023", "unsupported format code: -1"),
    ],
)
def test_formats_that_do_not_fit(formats: tuple[int, ...], sqlstate: str, message: str) -> None:
    source = FakeSource(columns(a=INT4, b=TEXT, c=NUMERIC), [])
    with pytest.raises(ProxyError) as refused:
        described(Recode(formats), [source])
    assert (refused.value.sqlstate, refused.value.message) == (sqlstate, message)
    assert source.closed


@pytest.mark.parametrize(("oid", "shown"), [(790, "money"), (600, "type 600"), (2249, "type 2249")])
def test_types_that_cannot_be_encoded(oid: int, shown: str) -> None:
    made = columns(a=INT4, b=oid)
    with pytest.raises(Refused) as refused:
        described(Recode((1,)), [FakeSource(made, [])])
    assert refused.value.message == f'cannot give values of type {shown} (column "b") in binary format across shards'
    assert described(Recode((1, 0)), [FakeSource(made, [])])[1].format == 0


def test_binary_does_not_become_text() -> None:
    with pytest.raises(Refused, match="in text format across shards"):
        described(Recode(()), [FakeSource([Column("a", type_oid=INT4, format=1)], [])])


@pytest.mark.parametrize(
    ("oid", "value"),
    [
        (types.BOOL, "true"),
        (types.INT2, "32768"),
        (types.INT4, ""),
        (types.INT8, "x"),
        (types.OID, "-1"),
        (types.FLOAT4, "1e39"),
        (types.FLOAT8, "one"),
        (types.NUMERIC, "1e5"),
        (types.CHAR, "ab"),
        (types.BYTEA, "abc"),
        (types.BYTEA, "\\x0"),
        (types.UUID, "00"),
        (types.DATE, "01/02/2000"),
        (types.DATE, "02.01.2000"),
        (types.DATE, "01-02-2000"),
        (types.TIME, "noon"),
        (types.TIMETZ, "12:00:00 UTC"),
        (types.TIMESTAMP, "Sat Jan 01 00:00:00 2000"),
        (types.TIMESTAMPTZ, "01/01/2000 00:00:00 UTC"),
        (types.TIMESTAMPTZ, "2000-01-01 00:00:00"),
        (types.INTERVAL, "P1Y"),
        (types.INTERVAL, "@ 1 year"),
        (types.INTERVAL, "1-2"),
        (types.BIT, "012"),
        (types.MACADDR, "x"),
        (types.INET, "1.2.3"),
        (types.CIDR, "1.2.3.4/x"),
        (3904, "1,2"),
        (4451, "[1,2)"),
        (1007, "1,2"),
        (1007, "{1,x}"),
        (1182, "{01/02/2000}"),
    ],
)
def test_values_in_another_style(oid: int, value: str) -> None:
    source = FakeSource(columns(first=INT4, second=oid, third=INT4), [("1", None, "1"), ("2", value, "2")])
    with pytest.raises(Refused, match=r'^cannot read a value of type .* in column "second"$'):
        _drain(open_steps(Recode((1,)), [source]))
    assert source.closed


@pytest.mark.parametrize(
    ("setting", "expression"),
    [
        ("DateStyle = 'SQL, DMY'", "date '2000-02-01'"),
        ("DateStyle = German", "timestamp '2000-02-01'"),
        ("DateStyle = Postgres", "timestamptz '2000-02-01'"),
        ("IntervalStyle = iso_8601", "interval '1 day 2 seconds'"),
        ("IntervalStyle = sql_standard", "interval '1 day 2 seconds'"),
        ("IntervalStyle = postgres_verbose", "interval '1 day 2 seconds'"),
        ("bytea_output = escape", "bytea 'abc'"),
    ],
)
def test_settings_that_change_texts(connection: psycopg.Connection, setting: str, expression: str) -> None:
    with connection.transaction():
        connection.execute(f"SET LOCAL {setting}".encode())
        source = FakeSource(*query(connection, f"SELECT {expression}"))
    with pytest.raises(Refused, match="cannot read a value"):
        _drain(open_steps(Recode((1,)), [source]))


@pytest.mark.parametrize(
    ("formats", "line"),
    [
        ((), "Recode  Binary: none"),
        ((0,), "Recode  Binary: none"),
        ((1,), "Recode  Binary: all"),
        ((0, 0), "Recode  Binary: none"),
        ((1, 0, 1), "Recode  Binary: 1, 3"),
    ],
)
def test_explain(formats: tuple[int, ...], line: str) -> None:
    assert Recode(formats).explain() == line


def _result(connection: psycopg.Connection, sql: str, values: Sequence[str]) -> list[Fields]:
    """The recoded rows, after they were seen to be the server's."""
    (parameter,) = connection.execute("SELECT %s::text[]::text", [list(values)]).fetchone() or ()
    text, binary = (_run(connection, sql, (parameter.encode(),), code) for code in (0, 1))
    recoded, rows = _recoded(_columns(text), _rows(text), (1,))
    for shown, ours, servers in zip(_rows(text), rows, _rows(binary), strict=True):
        assert (shown, ours) == (shown, servers)
    assert recoded == _columns(binary)
    return rows


def _run(connection: psycopg.Connection, sql: str, parameters: Sequence[bytes], code: int) -> PGresult:
    result = connection.pgconn.exec_params(sql.encode(), parameters, result_format=code)
    assert result.status == ExecStatus.TUPLES_OK, result.error_message
    assert isinstance(result, PGresult)
    return result


def _columns(result: PGresult) -> tuple[Column, ...]:
    return tuple(
        Column(
            (result.fname(index) or b"").decode(),
            type_oid=result.ftype(index),
            type_size=result.fsize(index),
            type_modifier=result.fmod(index),
            format=result.fformat(index),
        )
        for index in range(result.nfields)
    )


def _rows(result: PGresult) -> list[Fields]:
    return [[result.get_value(row, column) for column in range(result.nfields)] for row in range(result.ntuples)]


def _recoded(
    given: tuple[Column, ...], rows: Sequence[Fields], formats: tuple[int, ...]
) -> tuple[tuple[Column, ...], list[Fields]]:
    batches = [Batch(b"".join(map(data_row, part)), len(part)) for part in (rows[:1], rows[1:]) if part]
    return _drain(open_steps(Recode(formats), [_Batches(given, batches)]))


def _drain(source: object) -> tuple[tuple[Column, ...], list[Fields]]:
    async def drain() -> tuple[tuple[Column, ...], list[Fields]]:
        described = await source.describe()  # type: ignore[attr-defined]
        rows: list[Fields] = []
        while (batch := await source.next_batch()) is not None:  # type: ignore[attr-defined]
            assert batch.count == len(split_rows(batch.data))
            rows += map(fields_of, split_rows(batch.data))
        return described, rows

    return asyncio.run(drain())


class _Batches:
    """A source of batches as they are."""

    ready = True

    def __init__(self, given: Sequence[Column], batches: Iterable[Batch]) -> None:
        self._columns = tuple(given)
        self._batches = iter(batches)

    async def describe(self) -> tuple[Column, ...]:
        return self._columns

    async def next_batch(self) -> Batch | None:
        return next(self._batches, None)

    def close(self) -> None:
        pass
