"""Parameters: a bound value chooses the shard that its constant would have chosen, or all of them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from psycopg.adapt import PyFormat, Transformer
from psycopg.types.numeric import Int2, Int4, Int8

from pgproxy.errors import ProxyError, Refused
from pgproxy.hashing import KEY_TYPES, NULL, UNKNOWN
from pgproxy.operators.limit import Limit, bounds
from pgproxy.planner.parameters import repeated_parameters, routing_text
from pgproxy.planner.plan import Empty, Explain, Planned, Scatter, Sharded, ToNode, sql_for, with_parameters
from pgproxy.planner.planner import Planner
from pgproxy.shardmap.model import Method, Shard, Table
from pgproxy.shardmap.placement import Placement
from tests.planner.conftest import make_facts, make_shard_map

TEXT, BINARY = 0, 1
ALL = (0, 1, 2)
DAY = struct.Struct("!i").pack
MOMENT = struct.Struct("!q").pack


def numeric(weight: int, sign: int, scale: int, *groups: int) -> bytes:
    return struct.pack(f"!hhHH{len(groups)}h", len(groups), weight, sign, scale, *groups)


def array(element: int, *values: bytes | None, dimensions: int = 1) -> bytes:
    fields = b"".join(DAY(-1) if value is None else DAY(len(value)) + value for value in values)
    return struct.pack("!iiiii", dimensions, int(None in values), element, len(values), 1) + fields


# --- one value ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "format_code", "type_oid", "text"),
    [
        (None, TEXT, 25, "NULL"),
        (None, BINARY, 1042, "NULL"),
        (b"west", TEXT, 0, "'west'"),
        (b"west", TEXT, 705, "'west'"),
        (b"5", TEXT, 0, "'5'"),
        (b"", TEXT, 0, "''"),
        (b"it's", TEXT, 25, "'it''s'"),
        (b"\xc3\xa9", BINARY, 1043, "'é'"),
        (b"\xff", TEXT, 25, "?"),
        (b"a\0b", TEXT, 25, "?"),
        (b"west", BINARY, 0, "?"),
        (b"west", 2, 25, "?"),
        (b"west  ", TEXT, 1042, "?"),
        (b"n" * 63, TEXT, 19, "'" + "n" * 63 + "'"),
        (b"n" * 64, TEXT, 19, "?"),
        (b"42", TEXT, 20, "42"),
        (b"-42", TEXT, 21, "-42"),
        (b" 42", TEXT, 23, "?"),
        (b"0x10", TEXT, 23, "?"),
        (b"99999", TEXT, 21, "?"),
        (b"\0\x2a", BINARY, 21, "42"),
        (b"\xff\xff\xff\xd6", BINARY, 23, "-42"),
        (MOMENT(1 << 40), BINARY, 20, str(1 << 40)),
        (b"\0\0\0\x2a", BINARY, 20, "?"),
        (b"t", TEXT, 16, "true"),
        (b"false", TEXT, 16, "false"),
        (b"yes", TEXT, 16, "?"),
        (b"\1", BINARY, 16, "true"),
        (b"\0", BINARY, 16, "false"),
        (b"", BINARY, 16, "?"),
        (b"1.50", TEXT, 1700, "1.50"),
        (b"NaN", TEXT, 1700, "?"),
        (numeric(0, 0, 2, 1, 5000), BINARY, 1700, "1.5"),
        (numeric(1, 0x4000, 0, 12, 34), BINARY, 1700, "-120034"),
        (numeric(2, 0, 0, 7), BINARY, 1700, "700000000"),
        (numeric(-2, 0, 8, 1), BINARY, 1700, "0.00000001"),
        (numeric(0, 0, 0), BINARY, 1700, "0"),
        (numeric(0, 0xC000, 0), BINARY, 1700, "?"),
        (numeric(0, 0xD000, 0), BINARY, 1700, "?"),
        (numeric(0, 0, 0, 1, 5000), BINARY, 1700, "?"),
        (numeric(0, 0, 0, 10_000), BINARY, 1700, "?"),
        (numeric(9_999, 0, 0, 1), BINARY, 1700, "?"),
        (numeric(0, 0, 0, 1)[:-1], BINARY, 1700, "?"),
        (numeric(0, 0, 0, 1) + b"\0\1", BINARY, 1700, "?"),
        (b"\0", BINARY, 1700, "?"),
        (b"1.5", TEXT, 701, "?"),
        (b"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", TEXT, 2950, "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"),
        (b"{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1}", TEXT, 2950, "?"),
        (bytes(16), BINARY, 2950, f"'{UUID(int=0)}'"),
        (bytes(15), BINARY, 2950, "?"),
        (b"a0eebc999c0b4ef8bb6d6bb9bd380a11", TEXT, 2950, "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"),
        (
            b"{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,A0EEBC999C0B4EF8BB6D6BB9BD380A11}",
            TEXT,
            2951,
            "'{U,U}'".replace("U", str(UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"))),
        ),
        (array(2950, bytes(16)), BINARY, 2951, f"'{{{UUID(int=0)}}}'"),
        (b"2024-05-01", TEXT, 1082, "'2024-05-01'"),
        (b"2024-05-01 10:00", TEXT, 1082, "?"),
        (b"1.5.2024", TEXT, 1082, "?"),
        (b"infinity", TEXT, 1082, "?"),
        (DAY(-1), BINARY, 1082, "'1999-12-31'"),
        (DAY((1 << 31) - 1), BINARY, 1082, "?"),
        (DAY(-1 << 31), BINARY, 1082, "?"),
        (DAY(-2_000_000), BINARY, 1082, "?"),
        (b"2024-05-01 10:00+02", TEXT, 1114, "?"),
        (b"2024-05-01 10:00", TEXT, 1114, "'2024-05-01 10:00'"),
        (b"2024-05-01 10:00", TEXT, 1184, "?"),
        (b"2024-05-01 10:00+02", TEXT, 1184, "'2024-05-01 10:00+02'"),
        (MOMENT(1_500_000), BINARY, 1114, "'2000-01-01 00:00:01.500000'"),
        (MOMENT(-1_000_000), BINARY, 1184, "'1999-12-31 23:59:59+00'"),
        (MOMENT((1 << 63) - 1), BINARY, 1184, "?"),
        (b"{}", TEXT, 114, "?"),
        (b"{1,-2,30}", TEXT, 1007, "'{1,-2,30}'"),
        (b"{1,NULL}", TEXT, 1007, "?"),
        (b"{{1},{2}}", TEXT, 1007, "?"),
        (b"{01}", TEXT, 1007, "?"),
        (b"{}", TEXT, 1007, "'{}'"),
        (b"{}", TEXT, 1009, "'{}'"),
        (b"\0\0\0\0\0\0\0\0\0\0\0\x17", BINARY, 1007, "'{}'"),
        (b"\0\0\0\0\0\0\0\0\0\0\0\x14", BINARY, 1007, "?"),
        (b"[0:0]={1}", TEXT, 1007, "?"),
        (b"{west,north-2}", TEXT, 1009, "'{west,north-2}'"),
        (b'{"a b"}', TEXT, 1009, "?"),
        (b"{west,null}", TEXT, 1009, "?"),
        (b"{ west}", TEXT, 1009, "?"),
        (array(25, b"west", b"north"), BINARY, 1009, "'{west,north}'"),
        (array(25, b"a,b"), BINARY, 1009, "?"),
        (array(25, b"NULL"), BINARY, 1009, "?"),
        (array(25, b"west", None), BINARY, 1009, "?"),
        (array(23, DAY(5), DAY(-6)), BINARY, 1007, "'{5,-6}'"),
        (array(20, MOMENT(5)), BINARY, 1007, "?"),
        (array(23, b"\0\5"), BINARY, 1007, "?"),
        (array(23, DAY(5))[:-1], BINARY, 1007, "?"),
        (array(23, DAY(5)) + b"\0", BINARY, 1007, "?"),
        (array(23, dimensions=0), BINARY, 1007, "?"),
        (b"today", TEXT, 1082, "E'now'"),
        (b"tomorrow 10:00", TEXT, 1184, "E'now'"),
        (b"{today}", TEXT, 1182, "E'now'"),
        (b"today", TEXT, 0, "'today'"),
    ],
)
def test_a_value_as_a_constant(value: bytes | None, format_code: int, type_oid: int, text: str) -> None:
    assert routing_text(value, format_code, type_oid) == text


@pytest.mark.parametrize("type_oid", [1082, 1114, 1184])
def test_a_date_does_not_route_by_a_text_key(type_oid: int) -> None:
    text = {1082: b"2024-05-01", 1114: b"2024-05-01 10:00", 1184: b"2024-05-01 10:00+02"}[type_oid]
    assert routing_text(text, TEXT, type_oid, 25) == "?"
    assert routing_text(text, TEXT, type_oid, 1043) == "?"
    assert routing_text(text, TEXT, type_oid, type_oid) != "?"


@pytest.mark.parametrize("key_oid", KEY_TYPES)
def test_no_key_type_reads_an_unknown_value(key_oid: int) -> None:
    assert KEY_TYPES[key_oid].parse_literal("?") is UNKNOWN
    assert KEY_TYPES[key_oid].parse_literal("E'now'") is UNKNOWN


@pytest.mark.parametrize(
    ("sql", "repeated"),
    [("select $1", set()), ("select $1, $2, $1 -- $2", {1}), ("select '$1', $1", set()), ("select $3 + $3", {3})],
)
def test_repeated_parameters(sql: str, repeated: set[int]) -> None:
    assert repeated_parameters(sql) == repeated


_bytes = st.binary(max_size=40) | st.lists(st.integers(-3, 10), max_size=12).map(
    lambda numbers: struct.pack(f"!{len(numbers)}h", *numbers)
)


@given(_bytes, st.sampled_from([0, 1, 7]), st.sampled_from([0, 16, 19, 20, 21, 23, 25, 1007, 1009, 1042, *KEY_TYPES]))
def test_any_bytes_give_a_constant_or_nothing(value: bytes, format_code: int, type_oid: int) -> None:
    text = routing_text(value, format_code, type_oid, type_oid)
    if text not in ("?", "E'now'") and type_oid in KEY_TYPES and "\\" not in text:
        assert KEY_TYPES[type_oid].parse_literal(text) is not UNKNOWN


# --- values and shards, as a driver encodes them ----------------------------------------------------------------

_moments = st.datetimes(datetime.fromisoformat("0001-01-02"), datetime.fromisoformat("9999-12-30"))
_words = st.text(st.characters(codec="utf-8", exclude_characters="\0\\"), max_size=12)
_VALUES = {
    16: st.booleans(),
    20: st.integers(-(1 << 63), (1 << 63) - 1).map(Int8),
    21: st.integers(-(1 << 15), (1 << 15) - 1).map(Int2),
    23: st.integers(-(1 << 31), (1 << 31) - 1).map(Int4),
    25: _words,
    1043: _words,
    1082: st.dates(),
    1114: _moments,
    1184: _moments.map(lambda moment: moment.replace(tzinfo=UTC)),
    1700: st.decimals(allow_nan=False, allow_infinity=False, min_value=Decimal("-1e30"), max_value=Decimal("1e30")),
    2950: st.uuids(),
}
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def stored(value: object) -> object:
    """The value in the form that `hashing` gives it."""
    match value:
        case datetime():
            return (value.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
        case date():
            return (value - _EPOCH.date()).days
        case UUID():
            return value.bytes
        case Decimal() | str():
            return value
    return int(value)  # type: ignore[call-overload]


def encoded(value: object, format_code: int) -> bytes:
    dumper = Transformer().get_dumper(value, PyFormat.BINARY if format_code else PyFormat.TEXT)
    return bytes(dumper.dump(value) or b"")


def hashed(type_oid: int) -> Placement:
    return Placement(Table("t", "public", "k", Method.HASH, tuple(Shard(i, f"t{i}", "n") for i in range(7))), type_oid)


@given(st.data(), st.sampled_from(sorted(_VALUES)), st.sampled_from([TEXT, BINARY]))
def test_a_bound_key_leads_to_its_shard(data: st.DataObject, type_oid: int, format_code: int) -> None:
    """Values are encoded by psycopg; the shard must be that of the value itself."""
    value = data.draw(_VALUES[type_oid])
    bytes_sent = encoded(value, format_code)
    placement = hashed(type_oid)
    texts = [routing_text(bytes_sent, format_code, type_oid, type_oid)]
    if format_code == TEXT and type_oid not in (16, 2950):  # psycopg writes a uuid without hyphens
        texts.append(routing_text(bytes_sent, format_code, 0, type_oid))
    for text in texts:
        home = placement.shard_of(stored(value))  # type: ignore[arg-type]
        assert placement.shards_of_equal(placement.key_type.parse_literal(text)) == (home,)


@given(st.data(), st.sampled_from(sorted(_VALUES)), st.sampled_from(sorted(_VALUES)), st.sampled_from([TEXT, BINARY]))
def test_a_value_of_another_type_never_leads_astray(
    data: st.DataObject, type_oid: int, key_oid: int, format_code: int
) -> None:
    """Where both types have the value, its shard is among those chosen."""
    value = data.draw(_VALUES[type_oid])
    text = routing_text(encoded(value, format_code), format_code, type_oid, key_oid)
    key = KEY_TYPES[key_oid].parse_literal(text)
    integers = {20, 21, 23}
    if key is UNKNOWN:
        return
    if type_oid in integers | {1700} and key_oid in integers | {1700}:
        assert key == stored(value)
    elif {type_oid, key_oid} <= {25, 1043}:
        assert key == value
    elif key_oid in (25, 1043):
        assert key == str(value)
    elif {type_oid, key_oid} == {1082, 1114}:  # a day is its midnight
        day, moment = (key, stored(value)) if key_oid == 1082 else (stored(value), key)
        assert moment == day * 86_400_000_000  # type: ignore[operator]
    else:
        assert type_oid == key_oid or type_oid in (25, 1043)


# --- statements -----------------------------------------------------------------------------------------------


def chosen(planned: Planned) -> tuple[int, ...]:
    assert isinstance(planned.plan, Sharded)
    return planned.plan.choice.shards(planned.arguments)


@pytest.mark.parametrize(
    ("sql", "texts", "shards"),
    [
        ("select * from books where branch = $1", ["'west'"], (1,)),
        ("select * from books where $1 = branch", ["'west'"], (1,)),
        ("select * from books where branch = $1", ["'nowhere'"], ()),
        ("select * from books where branch = $1", ["NULL"], ()),
        ("select * from books where branch = $1", ["?"], ALL),
        ("select * from books where branch = $1", ["5"], ALL),
        ("select * from books where branch = $1", ["'w\\est'"], ALL),
        ("select * from books where branch = $1::varchar", ["'west'"], (1,)),
        ("select * from books where branch = $1::char(4)", ["'west'"], ALL),
        ("select * from books where price > 5 and branch = $2 and genre = $1", ["'x'", "'north'"], (2,)),
        ("select * from books where branch = 'west' or branch = $1", ["'north'"], (1, 2)),
        ("select * from books where branch in ($1, 'west', $3, $2)", ["'west'", "NULL", "'north'"], (1, 2)),
        ("select * from books where branch in ($1, $2)", ["'west'", "?"], ALL),
        ("select * from books where branch = any($1)", ["'{west,north}'"], (1, 2)),
        ("select * from books where branch = any($1::text[])", ["'{west}'"], (1,)),
        ("select * from books where branch = any($1)", ["?"], ALL),
        ("select * from books where branch = any(array[$1, $2])", ["'west'", "'west'"], (1,)),
        ("select * from books where branch between $1 and $2", ["'e'", "'o'"], (2,)),
        ("select * from books where branch between $1 and $2", ["?", "'o'"], (0, 2)),
        ("select * from books where branch > $1", ["'e'"], (1, 2)),
        ("select * from books where branch is not distinct from $1", ["'west'"], (1,)),
        ("select * from books where (branch, isbn) = ($1, $2)", ["'west'", "1"], (1,)),
        ("select * from books where branch = $1 || $2", ["'we'", "'st'"], ALL),
        ("select * from books where branch = (select $1)", ["'west'"], ALL),
        ("select * from books where branch = $0", [], ALL),
        ("select * from books where branch = $70000", [], ALL),
        ("select * from patrons where patron_id = $1::int8 and patron_id = $2", ["7", "'7'"], None),
        ("insert into books (isbn, branch) values ($1, $2)", ["5", "'west'"], (1,)),
        ("insert into books (isbn, branch) values ($1, $2::varchar)", ["5", "'west'"], (1,)),
        ("insert into books (isbn, branch) values (1, $1), (2, 'west'), ($2, $3)", ["'north'", "5", "'west'"], (1, 2)),
        ("insert into books (isbn, branch) values ($1, $2)", ["5", "'nowhere'"], ()),
        ("insert into books (isbn, branch) values ($1, $2) on conflict do nothing", ["5", "'west'"], (1,)),
        ("insert into patrons (patron_id) values ($1::integer)", ["'7'"], None),
        ("update books set price = $1 where branch = $2 and isbn = $3", ["1", "'west'", "2"], (1,)),
        ("update books set branch = $1 where branch = $2", ["'west'", "'west'"], (1,)),
        ("delete from books where isbn = $1 and branch = $2", ["1", "'west'"], (1,)),
        ("delete from books where branch = $1", ["?"], ALL),
    ],
)
def test_shards_by_parameters(planner: Planner, sql: str, texts: Sequence[str], shards: tuple[int, ...] | None) -> None:
    """`shards` None: the one that holds patron 7."""
    for _ in range(2):  # planned, then remembered
        planned = planner.plan(sql)
        assert planned.parameters == len(texts)
        home = planner._placements["patrons"].shard_of(7)
        assert chosen(with_parameters(planned, texts)) == ((home,) if shards is None else shards)
        assert sql_for(planned.plan.route, planned.plan.table.shards[0], planned.arguments).count("$") == sql.count("$")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("sql", "texts"),
    [
        ("insert into books (isbn, branch) values ($1, $2)", ["5", "?"]),
        ("insert into books (isbn, branch) values ($1, $2)", ["5", "5"]),
        ("insert into books (isbn, branch) values ($1, $2)", ["5", "NULL"]),
        ("insert into books (isbn, branch) values (5, $1)", []),
        ("update books set branch = $1 where branch = $2", ["'west'", "'north'"]),
        ("update books set branch = $1 where branch = 'west'", ["?"]),
    ],
)
def test_writes_with_unknown_keys_are_refused(planner: Planner, sql: str, texts: Sequence[str]) -> None:
    planned = with_parameters(planner.plan(sql), texts)
    if texts[1:] == ["NULL"]:
        assert chosen(planned) == (0,)  # its node says that the key is NOT NULL
        return
    with pytest.raises(Refused):
        chosen(planned)


_CONSTANTS = st.sampled_from(
    [
        "'west'",
        "'north'",
        "'nowhere'",
        "NULL",
        "5",
        "-5",
        "'5'",
        "7.0",
        "7.5",
        "true",
        "'it''s'",
        "'{west,north}'",
        "'{5,7}'",
    ]
)


@pytest.mark.parametrize(
    "shape",
    [
        "select isbn from books where branch = {} or {} >= branch and branch is not distinct from {}",
        "select isbn from books where branch in ({}, {}) and branch = any({})",
        "select isbn from books where branch between {} and {} and price = {}",
        "select name from patrons where patron_id = {} or patron_id = any({}) or patron_id in ({}, 12)",
        "insert into books (isbn, branch) values ({}, {}), (6, {})",
        "insert into patrons (name, patron_id) values ({}, {}), ('x', cast({} as int8))",
        "update books set branch = {}, price = {} where branch = {}",
        "delete from patrons where patron_id = {} and name = {} or patron_id = {}",
        "select isbn from books where price > {} limit {} offset {}",
    ],
)
@given(values=st.lists(_CONSTANTS, min_size=3, max_size=3), bound=st.lists(st.booleans(), min_size=3, max_size=3))
def test_a_parameter_chooses_as_its_constant_does(shape: str, values: list[str], bound: list[bool]) -> None:
    planner = Planner(make_shard_map(), make_facts(), cache_size=10)
    texts = [value for value, is_bound in zip(values, bound, strict=True) if is_bound]
    numbers = iter(range(1, 4))
    mixed = [f"${next(numbers)}" if is_bound else value for value, is_bound in zip(values, bound, strict=True)]
    written = planner.plan(shape.format(*values))
    planned = with_parameters(planner.plan(shape.format(*mixed)), texts)
    assert _decisions(planned) == _decisions(written)


def _decisions(planned: Planned) -> object:
    plan = planned.plan
    assert isinstance(plan, Sharded)
    try:
        shards = chosen(planned)
        if not isinstance(plan.scatter, Scatter):
            return shards
        limits = [step for step in plan.scatter.pipeline.steps if isinstance(step, Limit)]
        tail = (
            sql_for(plan.scatter.text, plan.table.shards[0], planned.arguments).rpartition("LIMIT")[2] if limits else ""
        )
        return shards, [bounds(step.limit, step.offset, planned.arguments) for step in limits], tail
    except ProxyError as error:
        return error.fields()


def test_rows_are_counted_by_parameters(planner: Planner) -> None:
    planned = with_parameters(planner.plan("select isbn from books where price > 3 limit $2 offset $1"), ["4", "'10'"])
    plan = planned.plan
    assert isinstance(plan, Sharded)
    assert isinstance(plan.scatter, Scatter)
    shard = plan.table.shards[1]
    assert sql_for(plan.scatter.text, shard, planned.arguments) == (
        "select isbn from books_b AS books where price > 3   LIMIT 14"
    )
    assert sql_for(plan.route, shard, planned.arguments) == (
        "select isbn from books_b AS books where price > 3 limit $2 offset $1"
    )
    with pytest.raises(Refused):
        sql_for(
            plan.scatter.text,
            shard,
            planner.plan("select isbn from books where price > 3 limit $2 offset $1").arguments,
        )


def test_a_text_with_a_clock_word_is_refused_on_several_shards(planner: Planner) -> None:
    planned = planner.plan("select isbn from books where updated_at > $1 and branch > $2")
    assert chosen(with_parameters(planned, ["'2024-05-01'", "'a'"])) == ALL
    with pytest.raises(Refused):
        chosen(with_parameters(planned, ["E'now'", "'a'"]))
    assert chosen(with_parameters(planned, ["'2024-05-01'", "'now'"])) == (1,)


# --- the plan's parameters and the cache ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "parameters", "literals"),
    [
        ("select * from books where branch = $1", 1, ("?",)),
        ("select * from books where price = 5 and branch = $3", 3, ("5", "?", "?", "?")),
        ("select * from books where branch = '$1'", 0, ("'$1'",)),
        ("select * from books where branch = $1 -- $5", 1, ("?",)),
        ("select name from genres where id = $2 and name = 'x'", 2, ("'x'", "?", "?")),
        ("select -(5), $1", 1, ("?",)),
        ("explain select * from books where price > 5 and branch = $1", 1, ("5", "?")),
        ("select $70000, $2", 2, ("?", "?")),
        ("call lend($1)", 1, ("?",)),
        ("begin", 0, ()),
        ("", 0, ()),
    ],
)
def test_a_plan_knows_its_parameters(planner: Planner, sql: str, parameters: int, literals: tuple[str, ...]) -> None:
    for _ in range(30):  # anew, from the cache, and recognised without normalising
        try:
            planned = planner.plan(sql)
        except Refused:
            assert sql.startswith("call")
            continue
        assert (planned.parameters, planned.arguments.literals) == (parameters, literals)
    assert planner.cache.misses <= 1 or sql.startswith("call")


def test_with_parameters_replaces_what_is_given(planner: Planner) -> None:
    planned = planner.plan("select 5, $1, $2")
    assert with_parameters(planned, ["1", "2"]).arguments.literals == ("5", "1", "2")
    assert with_parameters(planned, ["1"]).arguments.literals == ("5", "1", "?")
    assert with_parameters(planned, ["1", "2", "3"]).arguments.literals == ("5", "1", "2")
    assert with_parameters(with_parameters(planned, ["1", "2"]), ["3", "4"]).arguments.literals == ("5", "3", "4")
    unparametrised = planner.plan("select 5")
    assert with_parameters(unparametrised, ["1"]) is unparametrised
    empty = planner.plan("")
    assert isinstance(with_parameters(empty, []).plan, Empty)


def test_a_default_limit_stands_before_the_parameters() -> None:
    planner = Planner(make_shard_map(), make_facts(), cache_size=10, default_limit=7)
    for price in range(30):
        planned = planner.plan(f"select isbn from books where price > {price} and branch = $1")
        assert planned.default_limit == 7
        assert planned.arguments.literals == (str(price), "8", "?")
        assert chosen(with_parameters(planned, ["'west'"])) == (1,)
        planned = with_parameters(planned, ["?"])
        assert isinstance(planned.plan, Sharded)
        assert isinstance(planned.plan.scatter, Scatter)
        text = sql_for(planned.plan.scatter.text, planned.plan.table.shards[0], planned.arguments)
        assert text == f"select isbn from books_a AS books where price > {price} and branch = $1  LIMIT 8"
    assert planner.cache.misses == 1


def test_one_template_with_and_without_parameters(planner: Planner) -> None:
    """`branch = $1` is also the template of `branch = 'west'`, and `($1, $2)` that of `($1, 5)`."""
    for _ in range(30):
        assert chosen(planner.plan("select * from books where branch = 'west'")) == (1,)
        bound = planner.plan("select * from books where branch = $1")
        assert chosen(with_parameters(bound, ["'north'"])) == (2,)
        assert planner.plan("select isbn from books where price in ($1, 5)").arguments.literals == ("5", "?")
        assert planner.plan("select isbn from books where price in ($1, $2)").arguments.literals == ("?", "?")
    assert planner.cache.misses == 4


def test_plans_pinned_to_constants_are_kept_apart_from_parameters(planner: Planner) -> None:
    for _ in range(3):
        written = planner.plan("select price + 7, price * 5 from books group by price + 7, price * 5")
        bound = planner.plan("select price + $1, price * 5 from books group by price + $1, price * 5")
        assert (written.arguments.literals, bound.arguments.literals) == (("7", "5", "7", "5"), ("5", "5", "?"))


def test_an_unfaithful_explain_reads_its_parameters(planner: Planner) -> None:
    for branch, shard in (("'west'", 1), ("'north'", 2)):
        planned = planner.plan("explain select -(5) from books where price > 3 and branch = $1")
        assert isinstance(planned.plan, Explain)
        planned = with_parameters(planned, [branch])
        assert isinstance(planned.plan, Explain)
        assert planned.plan.plan.choice.shards(planned.arguments) == (shard,)


def test_a_statement_in_cockroachdb_s_syntax(cockroach_planner: Planner) -> None:
    planned = cockroach_planner.plan("upsert into loans values ($1, $2)")
    assert isinstance(planned.plan, ToNode)
    assert planned.parameters == 2
    assert with_parameters(planned, ["1", "2"]).arguments.literals == ("1", "2")


@pytest.mark.parametrize(
    ("sql", "values", "formats", "types", "shards"),
    [
        ("select * from books where branch = $1 and isbn = $2", [b"west", b"\0\0\0\5"], [0, 1], [0, 23], (1,)),
        ("select * from books where branch = $1 and isbn = $2", [b"west", b"5"], [0, 0], [1042, 23], ALL),
        ("select * from books where branch = $1 and isbn = $2", [None, b"5"], [0, 0], [25, 23], ()),
        ("explain select * from books where branch = $1", [b"west"], [1], [25], (1,)),
    ],
)
def test_a_bind(
    planner: Planner,
    sql: str,
    values: list[bytes | None],
    formats: list[int],
    types: list[int],
    shards: tuple[int, ...],
) -> None:
    planned = planner.bound(planner.plan(sql), values, formats, types)
    plan = planned.plan.plan if isinstance(planned.plan, Explain) else planned.plan
    assert isinstance(plan, Sharded)
    assert plan.choice.shards(planned.arguments) == shards


def test_a_bind_of_a_statement_for_one_node_reads_nothing(planner: Planner) -> None:
    planned = planner.plan("select name from genres where id = $1")
    assert planner.bound(planned, [b"x"], [0], [25]) is planned


@given(st.integers(0, 3), st.text("ab'$1 -/*\n\"é(", max_size=12))
def test_a_sure_text_has_the_template_s_parameters(number: int, text: str) -> None:
    """What is recognised without normalising is planned as it would be anew, whatever the constant."""
    constant = "'" + text.replace("'", "''") + "'"
    shape = "select isbn, price from books where genre = {} and isbn = $2 and branch = $1"
    planner = Planner(make_shard_map(), make_facts(), cache_size=10)
    for _ in range(25):
        planner.plan(shape.format("'x'"))
    assume(planner._sure)
    planned = planner.plan(shape.format(constant))
    fresh = Planner(make_shard_map(), make_facts(), cache_size=10).plan(shape.format(constant))
    assert (planned.arguments, planned.parameters) == (fresh.arguments, fresh.parameters) == (fresh.arguments, 2)
    branch = ["'west'", "'north'", "NULL", "?"][number]
    assert chosen(with_parameters(planned, [branch, "1"])) == chosen(with_parameters(fresh, [branch, "1"]))


def test_null_is_no_text() -> None:
    assert KEY_TYPES[25].parse_literal(routing_text(None, TEXT, 25)) is NULL
    assert KEY_TYPES[25].parse_literal(routing_text(b"NULL", TEXT, 25)) == "NULL"
