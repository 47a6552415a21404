"""The same COPY data for the proxy and for one PostgreSQL: the same messages, tags, errors and rows."""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fix_copy import CopySides, copying
from tests.raw_client import frame

FAIL = frame("f", b"changed my mind\0")
LOADS = "COPY loads FROM STDIN"
CSV = "COPY loads FROM STDIN WITH (FORMAT csv)"
SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)


def binary_row(*fields: bytes | None) -> bytes:
    parts = [b"\xff\xff\xff\xff" if field is None else struct.pack("!i", len(field)) + field for field in fields]
    return struct.pack("!h", len(fields)) + b"".join(parts)


MANY = b"".join(b"a%d\tkey%d\tsome text\t%d\n" % (at, at, at) for at in range(3_000))

IN = [
    pytest.param(LOADS, [b"a\tb\tc\t1\nd\te\tf\t2\ng\th\ti\t3\n"], id="text"),
    pytest.param(LOADS, [MANY], id="many"),
    pytest.param(LOADS, [bytes((byte,)) for byte in b"a\tb\tc\t1\r\nd\te\tf\t\\N\r\n\\.\r\nrubbish"], id="bytes, CRLF, marker"),
    pytest.param(LOADS, [b"a\tb\tc\t1\nd\te\tf\t2"], id="no last line end"),
    pytest.param(LOADS, [b"a\tb\tc\t1\rd\te\tf\t2\r"], id="CR"),
    pytest.param(LOADS, [], id="nothing"),
    pytest.param(LOADS, [b"a\\tx\tb\\ny\tc\\\nd\t1\n\\N\t\\x41\\101\\\\\t\\N\t\\N\n"], id="escapes"),
    pytest.param(LOADS, [b"a\tb\\\tc\td\t1\na\t\\\\.\td\t1\n"], id="escaped delimiter, escaped backslash"),
    pytest.param(LOADS, [b"a\tb\tc\t1\nd\te\tf\tx\n"], id="bad number"),
    pytest.param(LOADS, [MANY, b"a\tb\tc\tx\n", MANY], id="bad number among many"),
    pytest.param(LOADS, [MANY, b"a\tb\tc\n", MANY, b"a\tb\tc\n"], id="missing column"),
    pytest.param(LOADS, [MANY, b"a\tb\tc\t1\t2\n"], id="extra data"),
    pytest.param(LOADS, [MANY, b"a\t\\N\tc\t1\n"], id="null key"),
    pytest.param(LOADS, [b"a\n"], id="no key"),
    pytest.param(LOADS, [b"\n"], id="empty line"),
    pytest.param(LOADS, [b"a\tb\tc\t1\nd\te\rf\t2\n"], id="literal carriage return"),
    pytest.param(LOADS, [b"a\tb\tc\t1\r\nd\te\tf\t2\n"], id="literal newline"),
    pytest.param(LOADS, [b"a\tb\tc\t1\n\\.\r\n"], id="marker with another line end"),
    pytest.param(LOADS, [b"a\tb\tc\t1\nx\\.\n"], id="marker not alone"),
    pytest.param(LOADS, [b"a\tb\tc\t1\n\\.x\n"], id="marker not alone 2"),
    pytest.param(LOADS, [b"a\tb\tc\t1\n\\."], id="marker at the end"),
    pytest.param(LOADS, [b"a\tb\tc\t1\r\n\\.\n"], id="marker with LF after CRLF"),
    pytest.param(LOADS, [b"a\tb\tc\t1\r\\.\r"], id="marker after CR"),
    pytest.param(LOADS, [b"a\tb\xff\tc\t1\n"], id="not UTF-8 in the key"),
    pytest.param(LOADS, [b"a\tb\tc\xff\t1\n"], id="not UTF-8"),
    pytest.param(LOADS, [b"a\tb\0\tc\t1\n"], id="NUL"),
    pytest.param(LOADS, [b"a\tb\\"], id="ends in a backslash"),
    pytest.param("COPY loads (k, a) FROM STDIN", [b"b\ta\nc\td\n"], id="columns"),
    pytest.param("copy public.loads (k) from stdin using delimiters '|' with null as 'x'", [b"b\nx1\n"], id="old syntax"),
    pytest.param("COPY loads (a, k) FROM STDIN (DELIMITER '|', NULL 'nil')", [b"nil|b\na|nil\n"], id="null string"),
    pytest.param("COPY loads FROM STDIN (HEADER)", [b"any\tthing\na\tb\tc\t1\nd\te\tf\tx\n"], id="header"),
    pytest.param("COPY loads FROM STDIN (HEADER MATCH)", [b"a\tk\tb\tn\na\tb\tc\t1\nd\te\tf\t2\n"], id="header match"),
    pytest.param("COPY loads FROM STDIN (HEADER MATCH)", [b"a\tk\tb\tx\na\tb\tc\t1\n"], id="header does not match"),
    pytest.param("COPY loads FROM STDIN (HEADER MATCH)", [], id="header missing"),
    pytest.param("COPY loads FROM STDIN (HEADER)", [b"a\tk\tb\tx"], id="header without line end"),
    pytest.param("COPY loads (k, n) FROM STDIN (DEFAULT '\\D')", [b"a\t\\D\nb\t2\n"], id="default"),
    pytest.param("COPY loads (k, n) FROM STDIN WHERE n > 1", [b"a\t1\nb\t2\nc\t3\n"], id="where"),
    pytest.param("COPY loads (k, n) FROM STDIN WHERE n > (select 1)", [], id="where with a subquery"),
    pytest.param("COPY loads (k, n) FROM STDIN WHERE zzz > 1", [b"a\t1\n"], id="where with no column"),
    pytest.param("COPY loads FROM STDIN (FREEZE)", [], id="freeze"),
    pytest.param(CSV, [b'a,b,c,1\n"d","e","f",2\n,,,\n'], id="csv"),
    pytest.param(CSV, [b'a,"b\nx","c""y",1\nd,e,"f\r\n\n",2\ng,"h\n,",i,3\nj,k,l,x\n'], id="csv, newlines in quotes"),
    pytest.param(CSV, [bytes((byte,)) for byte in b'a,"b\r\nx",c,1\r\n"d",e"e,x"e,f,2\r\n'], id="csv, bytes"),
    pytest.param(CSV, [b'a,"b\nx,c,1\n'], id="csv, open quote"),
    pytest.param(CSV, [b"a,b,c,1\n\\.\n"], id="csv, marker is data"),
    pytest.param("COPY loads (k) FROM STDIN (FORMAT csv)", [b"a\n\\.\nb\n"], id="csv, marker is a key"),
    pytest.param(CSV, [b"a,b,c,1\nd,e,f\r,2\n"], id="csv, unquoted carriage return"),
    pytest.param(CSV, [b"a,b,c,1\r\nd,e,f,2\n"], id="csv, unquoted newline"),
    pytest.param("COPY loads FROM STDIN WITH CSV QUOTE '''' ESCAPE '\\' DELIMITER ';'",
                 [b"a;'b\\'c\\\\';'\\n\n';1\n"], id="csv, escape and quote"),
    pytest.param("COPY loads FROM STDIN (FORMAT csv, NULL 'nil', FORCE_NOT_NULL (k))", [b"nil,nil,nil,1\n"], id="force not null"),
    pytest.param("COPY loads FROM STDIN (FORMAT csv, NULL 'nil', FORCE_NULL (k, a))", [b'"nil","x","nil",1\n"nil","nil",,2\n'], id="force null"),
    pytest.param("COPY loads FROM STDIN (FORMAT csv, HEADER MATCH)", [b'a,"k",b,n\na,b,c,1\n'], id="csv header"),
    pytest.param("COPY loads FROM STDIN (FORMAT csv, HEADER)", [b'a,"k\n",b,n\na,b,c,1\nd,e,f,x\n'], id="csv header of two lines"),
    pytest.param("COPY loads FROM STDIN (FORMAT binary)",
                 [SIGNATURE + binary_row(b"a", b"b", None, struct.pack("!i", 5)) + binary_row(None, b"x", b"", None), b"\xff\xff"], id="binary"),
    pytest.param("COPY BINARY loads FROM STDIN",
                 [bytes((byte,)) for byte in SIGNATURE + binary_row(b"a", b"b", None, None)], id="binary without trailer"),
    pytest.param("COPY BINARY loads FROM STDIN", [SIGNATURE, b"\xff\xff"], id="binary, no rows"),
    pytest.param("COPY BINARY loads FROM STDIN", [SIGNATURE, b"\xff\xff", b"x"], id="binary, data behind the trailer"),
    pytest.param("COPY BINARY loads FROM STDIN", [SIGNATURE + b"\xff\xffx"], id="binary, data behind the trailer at once"),
    pytest.param("COPY BINARY loads FROM STDIN", [], id="binary, nothing"),
    pytest.param("COPY BINARY loads FROM STDIN", [b"a\tb\tc\t1\n" * 3], id="binary, text"),
    pytest.param("COPY BINARY loads FROM STDIN", [SIGNATURE[:12]], id="binary, half a header"),
    pytest.param("COPY BINARY loads FROM STDIN", [SIGNATURE[:11] + struct.pack("!ii", 1 << 16, 0)], id="binary, oids"),
    pytest.param("COPY BINARY loads FROM STDIN", [SIGNATURE + binary_row(b"a", b"b", None, None)[:-2]], id="binary, half a row"),
    pytest.param("COPY BINARY loads FROM STDIN", [SIGNATURE + binary_row(b"a", b"b")], id="binary, too few fields"),
    pytest.param("COPY BINARY loads FROM STDIN", [SIGNATURE + binary_row(b"a", b"b", None, b"xx")], id="binary, bad integer"),
    pytest.param("COPY BINARY loads FROM STDIN", [SIGNATURE + binary_row(b"a", None, None, None)], id="binary, null key"),
    pytest.param("COPY numbers FROM STDIN", [b"1\tx\n2\ty\n3\tz\nfour\tx\n"], id="bad key"),
    pytest.param("COPY numbers FROM STDIN", [b"1\tx\n2\ty\n99999999999\tx\n"], id="key out of range"),
    pytest.param("COPY BINARY numbers FROM STDIN", [SIGNATURE + binary_row(struct.pack("!i", -3), b"a") + binary_row(struct.pack("!i", 9), None)], id="binary integer key"),
    pytest.param("COPY BINARY numbers FROM STDIN", [SIGNATURE + binary_row(b"123", b"a")], id="binary, bad key"),
    pytest.param("COPY owned FROM STDIN", [b"1\tred\n2\tblue\n3\tred\n4\tred\n5\tblue\n"], id="deferred constraints hold"),
    pytest.param("COPY plain FROM STDIN", [b"1\tx\n", b"2\ty\n"], id="unmapped"),
    pytest.param("COPY plain FROM STDIN", [b"1\tx\n", b"z\ty\n"], id="unmapped, error"),
    pytest.param("COPY loads FROM STDIN (FORMAT xml)", [], id="unknown format"),
    pytest.param("COPY loads FROM STDIN (foo 1)", [], id="unknown option"),
    pytest.param("COPY loads FROM STDIN (format csv, format csv)", [], id="option twice"),
    pytest.param("COPY loads (a, zz, k) FROM STDIN", [], id="unknown column"),
    pytest.param("COPY loads (k, k) FROM STDIN", [], id="column twice"),
    pytest.param("COPY loads FROM STDIN (DELIMITER 'xx')", [], id="bad delimiter"),
    pytest.param("COPY loads FROM STDIN (QUOTE 'x')", [], id="quote without csv"),
    pytest.param("COPY nothing FROM STDIN", [], id="no table"),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "pieces"), IN)
def test_rows_come_in(sql: str, pieces: list[bytes], sides_to_copy: CopySides) -> None:
    ours, theirs = sides_to_copy.both(*copying(sql, *pieces), "SELECT 1")
    assert ours == theirs
    for table in ("loads", "numbers", "owned", "plain"):
        ours, theirs = sides_to_copy.rows(table)
        assert ours == theirs


FILL = (
    "INSERT INTO {0} VALUES ('a', 'key1', E'x\\ty\\nz\\\\', 1)",
    "INSERT INTO {0} VALUES (NULL, 'key2', E'\"q\",\\r', NULL)",
    "INSERT INTO {0} VALUES ('\\.', 'key3', E'\\b\\f\\v|''', -3)",
    "INSERT INTO {0} VALUES ('', 'key4', 'nil', 4)",
)
QUERIES = [
    "loads",
    "loads (k, a)",
    "(SELECT k, b FROM loads)",
    "(SELECT * FROM loads WHERE k = 'key1')",
    "(SELECT * FROM loads WHERE k IN ('key1', 'key3'))",
    "(SELECT * FROM loads ORDER BY k)",
    "(SELECT k FROM loads ORDER BY n LIMIT 2)",
    '(SELECT a AS "A b", b FROM loads ORDER BY k)',
    "(SELECT a FROM loads ORDER BY k)",
    "(SELECT n IS NULL AS x, count(*), sum(n) FROM loads GROUP BY 1 ORDER BY 1)",
    "(SELECT k FROM loads WHERE false)",
    "(SELECT k FROM loads WHERE false ORDER BY 1)",
    "(SELECT 1, 'x')",
    "(INSERT INTO loads VALUES ('n', 'new', 'x', 9) RETURNING k)",
    "(SELECT 1/(n-n) FROM loads ORDER BY k)",
    "(SELECT zzz FROM loads ORDER BY k)",
    "(SELECT zzz FROM loads)",
]
OPTIONS = [
    "",
    "(HEADER)",
    "(DELIMITER '|', NULL 'nil')",
    "(FORMAT csv)",
    "(FORMAT csv, HEADER)",
    "(FORMAT csv, FORCE_QUOTE *)",
    "CSV HEADER DELIMITER ';' QUOTE '''' ESCAPE '\"' NULL 'nil'",
    "(FORMAT binary)",
    "(FORMAT csv, FORCE_QUOTE (k))",
    "(FORMAT xml)",
    "(DELIMITER 'xx')",
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("query", QUERIES)
def test_rows_go_out(query: str, options: str, sides_to_copy: CopySides) -> None:
    fill = [statement.format("loads") for statement in FILL]
    ours, theirs = sides_to_copy.both(*fill, f"COPY {query} TO STDOUT {options}", "SELECT 1")
    kinds = [message[0] for message in ours]
    assert kinds.index("H") if "H" in kinds else "E" in kinds
    assert _unordered(ours) == _unordered(theirs)
    if "ORDER BY" in query and "binary" not in options:
        assert ours == theirs


def _unordered(answer: list[tuple[object, ...]]) -> tuple[list[object], list[bytes]]:
    """The messages but for the rows, and the rows sorted. The binary header stands in one message with a row."""
    data = [message[1] for message in answer if message[0] == "d"]
    rows = [part for payload in data if isinstance(payload, bytes) for part in _header_apart(payload)]
    return [message for message in answer if message[0] != "d"], sorted(rows)


def _header_apart(payload: bytes) -> list[bytes]:
    if not payload.startswith(SIGNATURE):
        return [payload]
    return [SIGNATURE, payload[len(SIGNATURE) :]] if len(payload) > len(SIGNATURE) else [SIGNATURE]


def bound(sql: str) -> bytes:
    """Parse, Bind, Describe, Execute."""
    return (
        frame("P", b"\0" + sql.encode() + b"\0\0\0")
        + frame("B", b"\0\0\0\0\0\0\0\0")
        + frame("D", b"P\0")
        + frame("E", b"\0\0\0\0\0")
    )


ROW = frame("d", b"a\tkey1\tc\t1\n") + frame("d", b"a\tkey2\tc\t1\n") + frame("d", b"a\tkey3\tc\t1\n")
BAD = frame("d", b"a\tkey1\tc\tx\n")
DONE, SYNC, FLUSH = frame("c"), frame("S"), frame("H")
NUMBERS = b"".join(b"%d\ta\n" % at for at in range(200))
OWNED = b"1\tred\n2\tblue\n3\tred\n4\tblue\n"
COUNTED = "SELECT count(*), sum(n) FROM loads"

CONVERSATIONS = [
    pytest.param(copying(LOADS, b"a\tb\tc\t1\n", end=FAIL), id="CopyFail"),
    pytest.param(copying("COPY plain FROM STDIN", b"1\tc\n", end=FAIL), id="CopyFail, unmapped"),
    pytest.param((bound(LOADS) + ROW + DONE + SYNC,), id="extended"),
    pytest.param((bound(LOADS) + SYNC + ROW + DONE + SYNC,), id="extended, Sync at once"),
    pytest.param((bound(LOADS) + FLUSH + ROW + FLUSH + DONE + SYNC,), id="extended, Flush"),
    pytest.param((bound(LOADS) + ROW + FAIL + SYNC,), id="extended, CopyFail"),
    pytest.param((bound(LOADS) + ROW + BAD + ROW + DONE + bound("SELECT 1") + SYNC,), id="extended, error"),
    pytest.param((bound("COPY plain FROM STDIN") + frame("d", b"1\tx\n") + DONE + SYNC,), id="extended, unmapped"),
    pytest.param((bound("COPY plain FROM STDIN") + frame("d", b"z\tx\n") + DONE + SYNC,), id="extended, unmapped error"),
    pytest.param((bound("COPY loads TO STDOUT") + SYNC,), id="extended, out"),
    pytest.param((bound("COPY (SELECT k FROM loads ORDER BY k) TO STDOUT") + SYNC,), id="extended, query out"),
    pytest.param((bound("COPY (SELECT 1) TO STDOUT") + SYNC,), id="extended, node out"),
    pytest.param((*copying("COPY plain FROM STDIN", b"1\tc\n"), "COPY plain TO STDOUT"), id="unmapped, out"),
    pytest.param(("CREATE TEMP TABLE own (a int)", "INSERT INTO own VALUES (7)", "COPY own TO STDOUT"), id="temporary, out"),
    pytest.param((bound("COPY loads TO STDOUT (DELIMITER 'xx')") + SYNC,), id="extended, bad option"),
    pytest.param(
        ("BEGIN", *copying(LOADS, b"a\tkey1\tc\t1\nd\tkey1\te\t2\n"), "COMMIT"), id="one shard in a transaction"
    ),
    pytest.param(("BEGIN", *copying(LOADS, b"a\tkey1\tc\t1\n"), "ROLLBACK"), id="rolled back"),
    pytest.param(("BEGIN", *copying(LOADS, b"a\tkey1\tc\tx\n"), "SELECT 1", "ROLLBACK"), id="error in a transaction"),
    pytest.param(("BEGIN", *copying(LOADS, end=FAIL), "SELECT 1", "ROLLBACK"), id="CopyFail in a transaction"),
    pytest.param(("BEGIN", *copying(LOADS), "COMMIT"), id="nothing in a transaction"),
    pytest.param(("BEGIN", *copying(LOADS, MANY), COUNTED, "COMMIT", COUNTED), id="many in a transaction"),
    pytest.param(("BEGIN", *copying(LOADS, MANY), COUNTED, "ROLLBACK", COUNTED), id="many, rolled back"),
    pytest.param(
        ("BEGIN", *copying(LOADS, MANY), "SAVEPOINT a", *copying(LOADS, MANY), COUNTED, "ROLLBACK TO a", COUNTED,
         *copying("COPY numbers FROM STDIN", NUMBERS), "RELEASE a", "COMMIT", COUNTED), id="savepoint"),
    pytest.param(
        ("BEGIN", "SAVEPOINT a", *copying(LOADS, MANY, b"a\tb\tc\tx\n", MANY), COUNTED, "ROLLBACK TO a", COUNTED,
         *copying(LOADS, MANY), "COMMIT", COUNTED), id="error behind a savepoint"),
    pytest.param(
        ("BEGIN", "INSERT INTO numbers VALUES (1000, 'x')", *copying("COPY numbers FROM STDIN", NUMBERS),
         "UPDATE numbers SET v = 'y' WHERE k = 7", *copying("COPY numbers FROM STDIN", b"1000\tbad\n"), "COMMIT"),
        id="what the transaction has written is seen"),
    pytest.param(("BEGIN", *copying("COPY numbers FROM STDIN", NUMBERS, b"300\tbad\n7\tx\n"), "COMMIT"), id="first of two errors"),
    pytest.param(("BEGIN READ ONLY", *copying(LOADS, MANY), "ROLLBACK"), id="read only"),
    pytest.param(("BEGIN", "COPY loads (a, k) FROM STDIN WHERE zzz > 1", "ROLLBACK"), id="refused at once"),
    pytest.param(("BEGIN", *copying("COPY owned FROM STDIN", OWNED, b"9\tgreen\n"), "COMMIT"), id="deferred constraint at COMMIT"),
    pytest.param(
        ("BEGIN", *copying("COPY owned FROM STDIN", OWNED, b"9\tgreen\n"), "DELETE FROM owned WHERE k = 9", "COMMIT"),
        id="deferred constraint holds at COMMIT"),
    pytest.param(copying(f"SELECT 1; {LOADS}; {COUNTED}", MANY), id="many among other statements"),
    pytest.param((*copying(f"{LOADS}; SELECT 1/0", MANY), COUNTED), id="many before an error in the same Query"),
    pytest.param(
        (*copying(f"{LOADS}; COPY numbers FROM STDIN", MANY, end=DONE + frame("d", NUMBERS) + DONE),), id="two in a Query"),
    pytest.param(
        (bound(LOADS) + frame("d", MANY) + DONE + bound(COUNTED) + bound("COPY numbers FROM STDIN") + frame("d", NUMBERS)
         + DONE + bound("UPDATE numbers SET v = 'y' WHERE k = 7") + SYNC,), id="extended, several"),
    pytest.param(
        (bound(LOADS) + SYNC + frame("d", MANY) + DONE + bound("SELECT 1/0") + SYNC, COUNTED), id="extended, error behind"),
    pytest.param((bound("COPY owned FROM STDIN") + frame("d", OWNED + b"9\tgreen\n") + DONE + SYNC,), id="extended, deferred constraint"),
    pytest.param((bound("BEGIN") + bound(LOADS) + frame("d", MANY) + DONE + SYNC, COUNTED, "ROLLBACK", COUNTED), id="extended, BEGIN"),
    pytest.param(("BEGIN", "SELECT 1/0", LOADS, "ROLLBACK"), id="in a failed transaction"),
    pytest.param(
        copying("SELECT 1; COPY loads FROM STDIN; SELECT 2", b"a\tkey1\tc\t1\n"), id="among other statements"
    ),
    pytest.param(
        copying("COPY loads FROM STDIN; SELECT 1/0", b"a\tkey1\tc\t1\n"), id="before an error in the same Query"
    ),
    pytest.param(copying("COPY owned FROM STDIN", b"1\tred\n2\tblue\n3\tgreen\n4\tred\n"), id="deferred constraint"),
    pytest.param(copying("COPY numbers FROM STDIN", b"1\ta\n2\ta\n3\tb\n4\tbad\n5\tc\n"), id="check constraint"),
    pytest.param(copying(LOADS, b"a\tkey1\tc\t1\n", end=frame("Q", b"SELECT 1\0")), id="Query in the middle"),
    pytest.param(copying("COPY plain FROM STDIN", b"1\tc\n", end=frame("Q", b"SELECT 1\0")), id="Query in the middle, unmapped"),
    pytest.param((frame("d", b"x") + DONE + FAIL + SYNC,), id="data without COPY"),
]  # fmt: skip


@pytest.mark.parametrize("steps", CONVERSATIONS)
def test_conversations_are_alike(steps: tuple[bytes | str, ...], sides_to_copy: CopySides) -> None:
    ours, theirs = sides_to_copy.both(*steps, "SELECT 1")
    assert ours == theirs
    for table in ("loads", "numbers", "owned", "plain", "places"):
        ours, theirs = sides_to_copy.rows(table)
        assert ours == theirs


# What makes rows and fields begin and end, and a few bytes that do not.
PIECES = st.sampled_from(
    [b"\n", b"\r\n", b"\r", b"\t", b",", b'"', b'""', b"\\", b"\\.", b"\\N", b"\\n", b"a", b"key", b"'", b" "]
)
GOOD_ROWS = st.lists(
    st.sampled_from([b"a\tkey1\tb\t1", b"a,key2,b,2", b'"a\nb","ke""y3",c,3', b"x\\\ny\tkey4\tz\t4", b",k,,"])
)
FORMS = [
    "",
    "(FORMAT csv)",
    "(FORMAT csv, HEADER)",
    "(FORMAT csv, QUOTE '''', ESCAPE '\\')",
    "(DELIMITER ',', NULL '')",
    "(FORMAT csv, ESCAPE 'k', NULL 'a')",
]


@pytest.mark.parametrize("columns", ["(k)", "(a, k)", ""])
@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(
    rows=GOOD_ROWS,
    end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    rest=st.lists(PIECES, max_size=14),
    cut=st.integers(1, 9),
)
def test_any_bytes_are_read_alike(
    form: str, columns: str, rows: list[bytes], end: bytes, rest: list[bytes], cut: int, copy_sides: CopySides
) -> None:
    data = b"".join(row + end for row in rows) + b"".join(rest)
    pieces = [data[at : at + cut] for at in range(0, len(data), cut)]
    sql = f"COPY loads {columns} FROM STDIN {form}"
    ours, theirs = copy_sides.both(*copying(sql, *pieces), "COPY loads TO STDOUT")
    if any(message[0] == "C" for message in theirs[:2]):
        copy_sides.empty()
    assert _rows_sorted(ours) == _rows_sorted(theirs)


def _rows_sorted(answer: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    rows = sorted((message for message in answer if message[0] == "d"), key=repr)
    return [message for message in answer if message[0] != "d"] + rows
