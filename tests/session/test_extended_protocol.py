"""The extended query protocol message by message: the same conversation with the proxy and with one PostgreSQL."""

# ruff: noqa: E501

from __future__ import annotations

import random
import struct

import pytest

from tests.extended_client import (
    SYNC,
    Shown,
    Step,
    bind,
    close,
    converse_with,
    describe,
    execute,
    flush,
    once,
    parse,
    raw,
    simple,
)
from tests.fix_nodes import ReferencePostgres
from tests.fix_proxy import RunningProxy
from tests.session.library_sql import BRANCHES, DELETE, INSERT, ISBN, ONE, WEST

ISBN_BINARY = struct.pack("!q", int(ISBN))
INT4, INT8, TEXT, NUMERIC = 23, 20, 25, 1700
ALL = "SELECT isbn, branch, price, published_year FROM books WHERE price > $1 ORDER BY isbn, branch"

CONVERSATIONS: dict[str, list[Step]] = {
    # One statement.
    "routed": once(ONE, b"west", ISBN),
    "nowhere": once(ONE, b"nowhere", ISBN),
    "scattered": once(ALL, b"10"),
    "on any node": once("SELECT $1::int + 1 AS more", b"41"),
    "without parameters": once("SELECT count(*) FROM books"),
    "without Describe": [parse(ONE), bind(b"west", ISBN), execute(), SYNC],
    "scattered without Describe": [parse(ALL), bind(b"10"), execute(), SYNC],
    "NULL parameters": [*once(ONE, None, ISBN), *once(ONE, b"west", None), *once(ALL, None)],
    "NULL LIMIT": once("SELECT isbn, branch FROM books ORDER BY 1, 2 LIMIT $1 OFFSET $2", None, None),
    "described at every step": [parse(ONE, "s"), describe("S", "s"), bind(b"west", ISBN, name="s"), describe(), execute(), SYNC],
    "described twice": [parse(ONE), describe("S"), describe("S"), bind(b"west", ISBN), describe(), describe(), execute(), SYNC],
    "described after it ran": [parse(ONE), bind(b"west", ISBN), execute(), describe(), describe("S"), SYNC],
    "only parsed": [parse(ONE), SYNC, parse(ALL, "n"), SYNC, describe("S"), describe("S", "n"), SYNC],
    "only parsed and bound": [parse(ONE), bind(b"west", ISBN), SYNC, parse(ALL), bind(b"1"), describe(), SYNC],
    "portal gone with Sync": [parse(ONE), bind(b"west", ISBN), SYNC, execute(), SYNC, describe(), SYNC],
    "statement stays": [parse(ONE, "s"), SYNC, bind(b"west", ISBN, name="s"), execute(), SYNC, bind(b"north", ISBN, name="s"), describe(), execute(), SYNC],
    "the unnamed statement stays": [parse(ONE), SYNC, bind(b"west", ISBN), execute(), SYNC, bind(b"north", ISBN), execute(), SYNC],
    # Several before one Sync.
    "several nodes in one batch": [parse(ONE, "s"), *(step for branch in BRANCHES * 3 for step in (bind(branch, ISBN, name="s"), describe(), execute())), SYNC],
    "portals run in another order": [parse(ONE, "s"), bind(b"west", ISBN, name="s", portal="a"), bind(b"north", ISBN, name="s", portal="b"), describe("P", "b"), execute(0, "b"), describe("P", "a"), execute(0, "a"), SYNC],
    "statements of all kinds": [*once(ONE, b"west", ISBN)[:-1], *once(ALL, b"20")[:-1], *once("SELECT 1")[:-1], *once("SHOW server_encoding")[:-1], *once("")[:-1], SYNC],
    "a portal run twice": [parse(ONE), bind(b"west", ISBN), execute(), execute(), SYNC],
    "a scattered portal run twice": [parse(ALL), bind(b"20"), execute(), execute(), SYNC],
    "an unnamed portal bound again": [parse(ONE), bind(b"west", ISBN), bind(b"north", ISBN), execute(), SYNC],
    "an unnamed statement parsed again": [parse(ONE), parse(ALL), bind(b"20"), execute(), SYNC],
    "parsed again after Bind": [parse(ONE), bind(b"west", ISBN), parse(ALL), execute(), bind(b"20"), execute(), SYNC],
    # Names.
    "the same name twice": [parse(ONE, "s"), parse(ONE, "s"), SYNC, parse(ONE, "s"), SYNC],
    "the same name after an error": [parse("SELECT nope FROM books", "s"), SYNC, parse(ONE, "s"), describe("S", "s"), SYNC],
    "the same name after an error at Execute": [parse("SELECT nope FROM books", "s"), bind(name="s"), execute(), SYNC, parse(ONE, "s"), SYNC, close("S", "s"), SYNC],
    "an error before Parse is told": [parse("SELECT 1 AS a", "s"), parse("SELECT nope", "t"), SYNC, bind(name="s"), execute(), SYNC],
    "parsed in a batch that fails later": [parse(ONE, "s"), bind(b"west", ISBN, name="s"), execute(), *once("SELECT 1/0")[:-1], SYNC, bind(b"west", ISBN, name="s"), execute(), SYNC],
    "parsed, and the value is wrong": [parse(ONE, "s"), bind(b"west", b"x", name="s"), execute(), SYNC, bind(b"west", ISBN, name="s"), execute(), SYNC],
    "unnamed after an error": [parse(ONE), SYNC, parse("SELEC"), SYNC, bind(b"west", ISBN), SYNC],
    "unnamed after an error on the node": [parse(ONE), SYNC, parse("SELECT nope FROM books"), SYNC, bind(b"west", ISBN), SYNC],
    "unknown names": [bind(name="none"), SYNC, bind(), SYNC, describe("S", "none"), SYNC, describe("S"), SYNC, describe("P", "none"), SYNC, describe(), SYNC, execute(0, "none"), SYNC, execute(), SYNC],
    "the unknown closed": [close("S", "none"), close("P", "none"), close("S"), close("P"), SYNC],
    "closed": [parse(ONE, "s"), SYNC, close("S", "s"), bind(b"west", ISBN, name="s"), SYNC],
    "closed unnamed": [parse(ONE), SYNC, close("S"), bind(b"west", ISBN), SYNC],
    "closed between Bind and Execute": [parse(ONE, "s"), bind(b"west", ISBN, name="s"), close("S", "s"), execute(), SYNC],
    "portal closed": [parse(ONE), bind(b"west", ISBN), close("P"), execute(), SYNC],
    "named portal twice": [parse(ONE), bind(b"west", ISBN, portal="p"), bind(b"west", ISBN, portal="p"), SYNC],
    "named portal after it ran": [parse(ONE), bind(b"west", ISBN, portal="p"), execute(0, "p"), close("P", "p"), bind(b"west", ISBN, portal="p"), execute(0, "p"), SYNC],
    "closed while owed": [parse(ONE, "s"), close("S", "s"), parse(ONE, "s"), bind(b"west", ISBN, name="s"), execute(), SYNC, close("S", "s"), SYNC],
    "strange names": [parse("SELECT 1", "ü 'x' \\ \"y\""), bind(name="ü 'x' \\ \"y\"", portal="pgproxy_1"), execute(0, "pgproxy_1"), SYNC, parse("SELECT 1", "pgproxy_1"), bind(name="pgproxy_1"), execute(), SYNC],
    # Errors.
    "syntax error": [parse("SELEC"), bind(), execute(), SYNC, *once("SELECT 1")],
    "wrong column": [parse("SELECT nope FROM books"), bind(), describe(), execute(), SYNC],
    "wrong column described": [parse("SELECT nope FROM books"), describe("S"), SYNC],
    "too few values": [parse(ONE), bind(b"west"), execute(), SYNC, parse("SELECT nope", "n"), bind(b"x", name="n"), SYNC],
    "too many values": [parse(ONE, "s"), bind(b"west", ISBN, ISBN, name="s"), execute(), SYNC, parse("SELECT 1"), bind(b"1"), SYNC],
    "a wrong value": once(ONE, b"west", b"x"),
    "a wrong value for all": once(ALL, b"x"),
    "a wrong key": once("SELECT name FROM patrons WHERE patron_id = $1", b"x"),
    "a wrong binary key": once("SELECT name FROM patrons WHERE patron_id = $1", b"xyz", formats=[1]),
    "error at Execute": [*once("SELECT 1/$1::int", b"0"), *once("SELECT isbn / $1 FROM books", b"0"), *once("SELECT isbn / $1 FROM books WHERE branch = 'west'", b"0")],
    "a negative LIMIT": [*once("SELECT isbn FROM books ORDER BY 1 LIMIT $1", b"-1"), *once("SELECT isbn FROM books WHERE branch = 'west' LIMIT $1", b"-1")],
    "all is skipped after an error": [*once(ONE, b"west", b"x")[:-1], *once(ONE, b"west", ISBN)[:-1], close("S"), raw("D", b""), SYNC, *once(ONE, b"west", ISBN)],
    "an error undoes the batch": [*once(INSERT, b"1", b"west", b"undone")[:-1], *once("SELECT 1/0"), *once(DELETE, b"west", b"1")],
    "two commands": [*once("SELECT 1; SELECT 2"), *once("SELECT 1;")],
    "Query after an error": [parse("SELEC"), raw("Q", b"SELECT 1\0"), SYNC],
    "a value with NUL": once("SELECT $1::text", b"a\0b"),
    "a value that is no UTF-8": [*once("SELECT $1::text", b"\xff"), *once("SELECT isbn FROM books WHERE branch = $1", b"\xff")],
    "no UTF-8 in the text": [parse(b"SELECT '\xff'"), SYNC, *once("SELECT 1")],
    "undetermined type": [*once("SELECT $1 IS NULL", b"x"), *once("SELECT $2::int", b"x", b"1"), *once("SELECT $1", b"x")],
    "declared types": [*once("SELECT $1, $2", b"1", b"2", types=[INT4]), *once("SELECT $1", b"1", types=[INT4, INT4]), *once("SELECT $1 + 1", b"1", b"x", types=[INT8, TEXT])],
    "unknown type": once("SELECT $1", b"1", types=[999999]),
    "$0": once("SELECT $0", b"1"),
    "malformed": [step for payload in (b"", b"\0", b"\0\0", b"\0\0\0", b"x", b"\0\0\0\1", b"\0\0\0\0\0\0\0", b"\0\0\0\0\0\0\0\0") for kind in "PBDECH" if (kind, payload) != ("H", b"") for step in (raw(kind, payload), SYNC) if kind != "H"],
    "wrong subtypes": [raw("D", b"X\0"), SYNC, raw("C", b"X\0"), SYNC],
    # Formats.
    "binary values": [*once(ONE, b"west", ISBN_BINARY, formats=[0, 1]), *once(ONE, b"west", ISBN_BINARY, formats=[1, 1]), *once(ALL, b"\0\1\0\0\0\0\0\0\0\x14", formats=[1])],
    "binary results": [*once(ONE, b"west", ISBN, results=[1]), *once(ALL, b"20", results=[1]), *once(ALL, b"20", results=[1, 0, 0, 1]), *once(ALL, b"20", results=[0, 1, 1, 0]), *once(ONE, b"west", ISBN, results=[0, 1])],
    "binary aggregates": [*once("SELECT count(*), avg(price), sum(price), min(book_name), max(published_year) FROM books WHERE price > $1", b"1", results=[1]), *once("SELECT genre, avg(price) FROM books GROUP BY genre ORDER BY genre", results=[0, 1])],
    "binary concatenation": [*once("SELECT count(*) FROM (SELECT 1) AS x", results=[1]), *once("SELECT updated_at, checked_out FROM books WHERE isbn = 9780451524935 AND branch IN ('west', 'nowhere')", results=[1])],
    "one format for all": [*once(ALL, b"20", formats=[0], results=[0]), *once(ONE, b"west", ISBN, formats=[0], results=[0])],
    "wrong number of formats": [*once(ONE, b"west", ISBN, formats=[0, 0, 0]), *once(ONE, b"west", ISBN, results=[0, 0, 0]), *once(ALL, b"20", results=[0, 0]), parse(ALL), bind(b"20", results=[0, 0]), execute(), SYNC],
    "unknown formats": [*once(ONE, b"west", ISBN, formats=[2, 0]), *once(ONE, b"west", ISBN, results=[2]), *once(ONE, b"nowhere", ISBN, results=[2])],
    "formats for a statement without rows": [*once("SET work_mem = '4MB'", results=[1]), *once("BEGIN", results=[1]), *once("COMMIT", results=[1, 1]), *once("", results=[1])],
    "formats of SHOW": [*once("SHOW server_encoding", results=[1]), *once("SHOW server_encoding", results=[0, 1])],
    # Flush.
    "Flush": [parse(ONE), flush(1), bind(b"west", ISBN), flush(1), describe(), flush(1), execute(), flush(2), SYNC],
    "Flush after Parse and Describe": [parse(ONE, "s"), describe("S", "s"), flush(3), bind(b"west", ISBN, name="s"), execute(), SYNC],
    "Flush of a scatter": [parse(ALL, "s"), describe("S", "s"), flush(3), bind(b"30", name="s"), describe(), flush(2), execute(), SYNC],
    "Flush after an error": [parse("SELECT nope"), flush(1), bind(), flush(0), SYNC, *once("SELECT 1")],
    "Flush of nothing": [flush(0), flush(0), SYNC],
    "Flush after Execute, then an error": [*once(INSERT, b"1", b"west", b"x")[:-1], flush(4), *once("SELECT 1/0"), *once(DELETE, b"west", b"1")],
    # Other statements.
    "empty": [*once(""), parse("-- nothing", "e"), describe("S", "e"), bind(name="e"), execute(), SYNC, bind(name="e"), describe(), execute(5), SYNC],
    "utilities": [step for sql in ("BEGIN", "SAVEPOINT a", "SET work_mem = '5MB'", "SHOW work_mem", "ROLLBACK TO a", "SHOW work_mem", "RELEASE a", "COMMIT", "SET LOCAL work_mem = '1MB'", "RESET work_mem", "RESET ALL", "DISCARD ALL", "DEALLOCATE ALL", "SET TIME ZONE 'UTC'", "SET nope = 1", "COMMIT", "BEGIN", "ROLLBACK AND CHAIN", "ROLLBACK") for step in once(sql)],
    "utilities described": [step for sql in ("BEGIN", "COMMIT", "SET work_mem = '5MB'", "SHOW work_mem", "RESET work_mem", "DISCARD ALL", "DEALLOCATE x", "EXPLAIN SELECT 1", "SHOW nope", "") for step in (parse(sql), describe("S"), SYNC)],
    "a transaction in one batch": [*once("BEGIN")[:-1], *once(INSERT, b"1", b"west", b"x")[:-1], *once("ROLLBACK")[:-1], SYNC, *once(DELETE, b"west", b"1")],
    "BEGIN without COMMIT": [*once("BEGIN")[:-1], *once(ONE, b"west", ISBN), *once(ONE, b"north", ISBN), *once("COMMIT")],
    "COMMIT in the middle": [*once(INSERT, b"1", b"west", b"x")[:-1], *once("COMMIT")[:-1], *once("SELECT 1/0"), *once(DELETE, b"west", b"1")],
    "a failed transaction": [*once("BEGIN"), *once("SELECT 1/0"), *once("SELECT 1"), *once(ALL, b"1"), *once("SHOW work_mem"), *once("SET work_mem = '1MB'"), *once("SAVEPOINT a"), parse(""), SYNC, *once(""), *once("SELEC"), close("S", "x"), SYNC, describe("S"), SYNC, *once("COMMIT"), *once("SELECT 1")],
    "prepared before the failure": [parse(ONE, "s"), parse("ROLLBACK", "r"), parse("", "e"), *once("BEGIN"), *once("SELECT 1/0"), bind(b"west", ISBN, name="s"), SYNC, describe("S", "s"), SYNC, describe("S", "r"), SYNC, bind(name="e"), execute(), SYNC, bind(name="r"), describe(), execute(), SYNC, bind(b"west", ISBN, name="s"), execute(), SYNC],
    "statements survive ROLLBACK": [*once("BEGIN"), parse(ONE, "s"), SYNC, *once("ROLLBACK"), bind(b"west", ISBN, name="s"), execute(), SYNC],
    "portals end with the transaction": [*once("BEGIN"), parse(ONE, "s"), bind(b"west", ISBN, name="s", portal="p"), SYNC, *once("COMMIT"), execute(0, "p"), SYNC],
    "portals live in the transaction": [*once("BEGIN"), parse(ONE, "s"), bind(b"west", ISBN, name="s", portal="p"), SYNC, execute(0, "p"), SYNC, execute(0, "p"), SYNC, *once("COMMIT")],
    "the unnamed portal lives in the transaction": [*once("BEGIN"), parse(ONE), bind(b"west", ISBN), SYNC, execute(), SYNC, *once("COMMIT")],
    "COMMIT ends portals within a batch": [*once("BEGIN"), parse(ONE), bind(b"west", ISBN, portal="p"), parse("COMMIT"), bind(), execute(), execute(0, "p"), SYNC],
    "savepoints and portals": [*once("BEGIN"), *once("SAVEPOINT a"), parse(ONE), bind(b"west", ISBN, portal="p"), SYNC, *once("ROLLBACK TO a"), execute(0, "p"), SYNC, *once("ROLLBACK")],
    "Query between": [parse(ONE), SYNC, simple("SELECT 1"), bind(b"west", ISBN), SYNC, parse(ONE, "s"), SYNC, simple("SELECT 2"), bind(b"west", ISBN, name="s"), execute(), SYNC],
    "Query without a Sync": [parse(ONE, "s"), bind(b"west", ISBN, name="s"), describe(), simple("SELECT 1"), SYNC],
    "Query after Execute without a Sync": [*once(INSERT, b"1", b"west", b"x")[:-1], simple("SELECT 1"), simple("SELECT 1/0"), *once(DELETE, b"west", b"1")],
    "several in a Query after Parse": [parse("SELECT 1", "s"), simple("SELECT 2; SELECT 3"), bind(name="s"), execute(), SYNC],
    "writes": [*once(INSERT, b"1", b"west", b"a"), *once(INSERT + " RETURNING isbn, book_name", b"2", b"west", b"b", results=[1, 0]), *once("UPDATE books SET price = $1 WHERE branch = $2 AND isbn IN ($3, $4) RETURNING isbn, price", b"3.50", b"west", b"1", b"3"), *once(DELETE, b"west", b"1"), *once(DELETE, b"west", b"2"), *once("DELETE FROM books WHERE branch = $1 AND isbn = $2", b"west", b"2")],
    "DISCARD ALL before others": [*once("DISCARD ALL")[:-1], *once("SELECT 1")],
    "DISCARD ALL behind others": [*once("SELECT 1")[:-1], *once("DISCARD ALL"), *once("BEGIN"), *once("SELECT 1")[:-1], *once("DISCARD ALL"), *once("ROLLBACK"), simple("DISCARD ALL; SELECT 1")],
    "DISCARD ALL twice": [*once("DISCARD ALL")[:-1], execute(), SYNC, parse("SELECT 1", "s"), bind(name="s", portal="p"), simple("DISCARD ALL"), execute(0, "p"), SYNC],
    "CLOSE ALL": [*once("BEGIN"), parse(WEST, "s"), parse(ALL, "a"), *(bind(b"west", name="s", portal=portal) for portal in "pqr"), bind(b"1", name="a", portal="z"), execute(1, "p"), execute(0, "q"), execute(2, "z"), *once("SAVEPOINT s"), *once("CLOSE ALL")[:-1], execute(), SYNC, *(step for portal in "pqrz" for step in (*once("ROLLBACK TO s"), execute(0, portal), SYNC)), *once("ROLLBACK")],
    "CLOSE of itself": [parse("CLOSE c", "s"), bind(name="s", portal="c"), execute(0, "c"), execute(0, "c"), SYNC, bind(name="s", portal="d"), execute(0, "d"), SYNC],
    "CLOSE ALL behind portals": [*once("BEGIN"), parse(WEST, "s"), bind(b"west", name="s", portal="p"), execute(2, "p"), SYNC, simple("CLOSE ALL"), execute(2, "p"), SYNC, *once("ROLLBACK")],
    "DEALLOCATE": [parse(ONE, "s"), SYNC, *once("DEALLOCATE s"), bind(b"west", ISBN, name="s"), SYNC, simple("DEALLOCATE s"), parse(ONE, "S"), simple("DEALLOCATE s"), simple('DEALLOCATE "S"'), parse(ONE, "s"), simple("DEALLOCATE ALL"), describe("S", "s"), SYNC, parse(ONE, "s"), simple("DISCARD ALL"), describe("S", "s"), SYNC],
    # Row limits.
    "a row limit": [*once(WEST, b"west", rows=3), *once(WEST, b"west", rows=1000), *once(ALL, b"10", rows=3), *once(ALL, b"10", rows=1000), *once("SELECT 1", rows=1), *once("SELECT 1", rows=2)],
    "a row limit in a transaction": [*once("BEGIN"), parse(WEST), bind(b"west", portal="p"), describe("P", "p"), execute(3, "p"), SYNC, execute(4, "p"), SYNC, execute(0, "p"), SYNC, execute(0, "p"), SYNC, *once("COMMIT")],
    "a row limit before the next": [parse(WEST), bind(b"west"), execute(3), execute(2), execute(0), execute(1), SYNC],
    "comments before a portal that is through": [parse(f"{'/**/ ' * 100}(SELECT 1)"), bind(), execute(), execute(), SYNC],
    "a row limit of exactly all": [*once("BEGIN"), parse("SELECT n FROM generate_series(1, 3) n"), bind(portal="p"), execute(3, "p"), SYNC, execute(3, "p"), SYNC, execute(3, "p"), SYNC, *once("COMMIT")],
    "a suspended portal described": [*once("BEGIN"), parse(WEST), bind(b"west", portal="p", results=[1]), execute(3, "p"), SYNC, describe("P", "p"), execute(1, "p"), SYNC, close("P", "p"), execute(1, "p"), SYNC, *once("ROLLBACK")],
    "suspended portals of several nodes": [*once("BEGIN"), parse(WEST, "s"), bind(b"west", name="s", portal="w"), bind(b"north", name="s", portal="n"), execute(2, "w"), execute(2, "n"), execute(2, "w"), SYNC, execute(1, "n"), execute(1, "w"), SYNC, *once("COMMIT"), execute(1, "n"), SYNC],
    "a suspended portal in a failed transaction": [*once("BEGIN"), parse(WEST), bind(b"west", portal="p"), execute(2, "p"), SYNC, *once("SELECT 1/0"), execute(2, "p"), SYNC, close("P", "p"), SYNC, *once("ROLLBACK")],
    "a suspended portal and a statement beside it": [*once("BEGIN"), parse(WEST), bind(b"west"), execute(2), SYNC, *once(ONE, b"west", ISBN), execute(2), SYNC, *once("COMMIT")],
    "a row limit on a write": [*once(INSERT + " RETURNING isbn", b"1", b"west", b"a", rows=1), *once(DELETE, b"west", b"1", rows=1), *once("BEGIN"), *once(INSERT + " RETURNING isbn", b"1", b"west", b"a", rows=1), execute(1), SYNC, *once("ROLLBACK")],
    "a negative row limit": once(WEST, b"west", rows=-5),
    "a row limit on SHOW": [*once("SHOW server_encoding", rows=1), *once("SHOW server_encoding", rows=2), *once("BEGIN", rows=1), *once("COMMIT", rows=1)],
    # Many parameters.
    "2,000 parameters": once(f"SELECT isbn FROM books WHERE branch IN ({', '.join(f'${n}' for n in range(1, 2001))}) ORDER BY isbn, price", *[b"b%d" % n for n in range(1999)], b"west"),
    "parameters in LIMIT alone": [*once("SELECT isbn, branch FROM books ORDER BY 1, 2 LIMIT $1", b"3"), *once("SELECT isbn, branch FROM books ORDER BY 1, 2 LIMIT $2 OFFSET $1", b"3", b"2"), parse("SELECT isbn, branch FROM books WHERE price > $2 ORDER BY 1, 2 LIMIT $1", "s"), describe("S", "s"), bind(b"2", b"12", name="s"), execute(), SYNC],
    "a binary LIMIT": [*once("SELECT isbn, branch FROM books ORDER BY 1, 2 LIMIT $1", struct.pack("!q", 3), formats=[1]), *once("SELECT isbn, branch FROM books ORDER BY 1, 2 LIMIT $1", struct.pack("!i", 3), formats=[1], types=[INT4])],
    "a gap among the parameters": once("SELECT isbn, branch FROM books WHERE branch = $3 ORDER BY isbn LIMIT $1", b"3", b"x", b"west", types=[INT8, TEXT, TEXT]),
    "a parameter used twice": [*once("SELECT isbn FROM books WHERE branch = $1 OR author = $1 ORDER BY isbn, branch", b"west"), *once("SELECT name FROM patrons WHERE patron_id = $1 AND patron_id < $1 + 1", b"1005")],
    "types asked": [step for sql in (ONE, ALL, WEST, INSERT, DELETE, "SELECT $1::date, $2 || 'x', $3 + 1.5", "SELECT isbn FROM books WHERE branch = ANY($1) AND price BETWEEN $2 AND $3 LIMIT $4", "UPDATE patrons SET email = $1 WHERE patron_id = $2") for step in (parse(sql, types=[TEXT] if sql == ONE else []), describe("S"), SYNC)],
}  # fmt: skip


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_conversation_is_that_with_postgres(
    name: str, shared_proxy: RunningProxy, reference_pg: ReferencePostgres
) -> None:
    steps = CONVERSATIONS[name]
    want = converse_with(reference_pg.conninfo, steps)
    for _ in range(3):  # on connections where the statements are prepared already
        assert converse_with(shared_proxy.conninfo, steps) == want


# Statements for random conversations, each with values that fit.
STATEMENTS: dict[str, tuple[bytes, ...]] = {
    ONE: (b"west", ISBN),
    ALL: (b"20",),
    WEST: (b"west",),
    "SELECT 1": (),
    "SELECT $1::int / $2": (b"4", b"2"),
    "SELECT isbn / $1 FROM books ORDER BY 1, branch": (b"0",),
    "SELECT isbn, branch FROM books ORDER BY 1, 2 LIMIT $1": (b"2",),
    "SELECT count(*), avg(price) FROM books WHERE branch = ANY($1)": (b"{west,north}",),
    "UPDATE books SET price = price WHERE branch = $1 AND isbn = $2": (b"west", ISBN),
    "UPDATE books SET price = price WHERE branch = $1 AND isbn = $2 RETURNING price": (b"west", ISBN),
    "SELECT nope FROM books": (),
    "SELEC": (),
    "SELECT 1; SELECT 2": (),
    "": (),
    **dict.fromkeys(("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT a", "ROLLBACK TO a", "RELEASE a", "DEALLOCATE s1"), ()),
    "SHOW server_encoding": (),
    "SET work_mem = '1MB'": (),
}
QUERIES = ("SELECT 2", "BEGIN", "COMMIT", "SELECT isbn, branch FROM books ORDER BY 1, 2 LIMIT 1", "SELECT 1/0")
NAMES, PORTALS = ("", "", "s1", "s2"), ("", "", "p", "q")
RESULTS: tuple[tuple[int, ...], ...] = ((), (), (), (1,), (0,), (0, 1))


@pytest.mark.parametrize("seed", range(40))
def test_random_conversations(seed: int, shared_proxy: RunningProxy, reference_pg: ReferencePostgres) -> None:
    for number in range(5):
        steps = drawn(random.Random(5 * seed + number))
        got, want = converse_with(shared_proxy.conninfo, steps), converse_with(reference_pg.conninfo, steps)
        differs = next((at for at, (mine, its) in enumerate(zip(got, want, strict=True)) if mine != its), None)
        if differs is not None and not _excused(got[: differs + 1], want[differs]):
            pytest.fail(f"{steps}\n  proxy:    {got[differs]}\n  postgres: {want[differs]}")


def _excused(got: list[list[Shown]], want: list[Shown]) -> bool:
    """The proxy has refused something, or a value was bound that is wrong and never used: the proxy does not see it."""
    refused = any(shown[0] == "E" and shown[1]["C"] == "0A000" for answer in got for shown in answer)
    return refused or any(shown[0] == "E" and shown[1]["C"] == "22P02" for shown in want)


def drawn(dice: random.Random) -> list[Step]:
    """A random conversation that ends outside of any transaction."""
    steps: list[Step] = []
    values: dict[str, tuple[bytes, ...]] = {}
    for _ in range(dice.randint(3, 25)):
        roll, name, portal = dice.random(), dice.choice(NAMES), dice.choice(PORTALS)
        if roll < 0.25:
            sql = dice.choice(list(STATEMENTS))
            values[name] = STATEMENTS[sql]
            steps.append(parse(sql, name))
        elif roll < 0.5:
            name = dice.choice(list(values) or [""])
            steps.append(bind(*values.get(name, ()), name=name, portal=portal, results=dice.choice(RESULTS)))
        elif roll < 0.62:
            steps.append(dice.choice((describe("S", name), describe("P", portal))))
        elif roll < 0.84:
            steps.append(execute(dice.choice((0, 0, 0, 0, 1, 2, 1000)), portal))
        elif roll < 0.88:
            steps.append(dice.choice((close("S", name), close("P", portal))))
        elif roll < 0.90 and (not steps or steps[-1].read):  # a Query that is skipped would never be answered
            steps.append(simple(dice.choice(QUERIES)))
        else:
            steps.append(SYNC)
    return [*steps, SYNC, *once("ROLLBACK")]
