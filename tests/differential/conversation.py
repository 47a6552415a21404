"""Random conversations with everything that a session can hold: transactions, cursors, prepared statements, COPY,
settings, temporary tables, locks, notifications, by both protocols, in steps and in pipelines.

A conversation is a list of turns; a turn is the bytes sent at once, whose answer is read to its last ReadyForQuery.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.extended_client import SYNC, Shown, Step, bind, close, describe, execute, parse, raw, shown
from tests.raw_client import Message, RawClient, frame, query

TABLE, TEMPORARY = "talked", "talked_temp"
ISBN, LAST_ISBN = 9780451524935, 99  # of a book that stays; those up to the last come and go
REFUSED, UNDEFINED_TABLE = "0A000", "42P01"

_FEW = "SELECT isbn, branch, price, book_name FROM books WHERE isbn > 9780300000000 ORDER BY isbn, branch LIMIT 7"
_WEST = "SELECT isbn, price FROM books WHERE branch = 'west' AND isbn > 1000 ORDER BY isbn LIMIT 4"

_OR_ELSE = "ON CONFLICT (branch, isbn) DO UPDATE SET book_name = 'again' RETURNING book_name"

READS = (
    _FEW,
    _WEST,
    "SELECT count(*) FROM books WHERE isbn > 1000",
    "SELECT genre, count(*), sum(price) FROM books WHERE isbn > 1000 GROUP BY genre ORDER BY genre",
    "SELECT name FROM patrons WHERE patron_id = 1002",
    "SELECT isbn, branch, book_name FROM books WHERE isbn < 100 ORDER BY 1, 2",
    "SELECT isbn FROM books WHERE branch = 'north' AND isbn < 100 ORDER BY 1",
    "SELECT '2020-01-01 00:00'::timestamptz AT TIME ZONE 'UTC', '01/02/2020'::date - date '2020-01-01'",
    "SELECT timestamptz '2020-06-01 12:00+00', date '2021-02-03', interval '1 day 2 h'",
    "SELECT isbn FROM books WHERE branch = 'west' AND updated_at < '2001-01-01 00:00' ORDER BY 1",
    "SELECT 'now'::timestamptz < now() - interval '1 minute'",
    "SELECT 1",
    "SELECT 1 AS one, NULL AS none, 'ü' AS two",
    "",
    "-- nothing",
    "SELECT current_setting('TimeZone'), current_setting('application_name')",
    "SELECT current_setting('work_mem')",
    "SELECT current_setting('work_mem'), current_setting('geqo') FROM books WHERE branch = 'north' LIMIT 1",
    "SELECT current_setting('work_mem'), current_setting('geqo') FROM books WHERE branch = 'downtown' LIMIT 1",
    "SELECT current_setting('talked.setting', true) IS NOT DISTINCT FROM 'x'",
    "SHOW TimeZone",
    "SHOW work_mem",
    "SHOW DateStyle",
    "SHOW search_path",
    "SHOW transaction_isolation",
    "SHOW transaction_read_only",
    "SELECT generate_series(1, 3)",
)
FAILING = (
    "SELECT 1/0",
    "SELEC 1",
    "SELECT nope FROM books",
    "SELECT nope FROM nowhere",
    "SELECT 1 / (isbn - isbn) FROM books WHERE branch = 'west'",
    "SELECT 1 / (isbn - isbn) FROM books ORDER BY 1",
    "SELECT 'x'::int",
    "SELECT name FROM patrons WHERE patron_id = 'x'",
)
WRITES = (
    "INSERT INTO books (isbn, branch, book_name, author) VALUES (1, 'west', 'one', 'x')",
    "INSERT INTO books (isbn, branch, book_name, author) VALUES (2, 'west', 'two', 'x'), (3, 'west', 'three', 'x')",
    "INSERT INTO books (isbn, branch, book_name, author) VALUES (4, 'north', 'four', 'x') RETURNING isbn, branch",
    "INSERT INTO books (isbn, branch, book_name) VALUES (6, 'west', 'no author')",
    f"INSERT INTO books (isbn, branch, book_name, author) VALUES (1, 'west', 'one', 'y') {_OR_ELSE}",
    "UPDATE books SET book_name = book_name || '!' WHERE branch = 'west' AND isbn = 1 RETURNING book_name",
    "UPDATE books SET price = 1 WHERE branch = 'west' AND isbn < 100",
    "DELETE FROM books WHERE branch = 'west' AND isbn = 2",
    "DELETE FROM books WHERE branch = 'north' AND isbn < 100 RETURNING isbn",
    "INSERT INTO books (isbn, branch, book_name, author) VALUES (1, 'west', 'a', 'x'), (7, 'north', 'b', 'x')",
    f"INSERT INTO books (isbn, branch, book_name, author) VALUES (8, 'north', '', ''), (8, 'west', '', '') {_OR_ELSE}",
    "INSERT INTO books (isbn, branch, book_name, author) VALUES (9, 'north', 'c', 'x'), (9, 'west', NULL, 'x')",
    "UPDATE books SET book_name = book_name || '?' WHERE isbn < 100",
    "UPDATE books SET price = 1 / (isbn - 7) WHERE isbn < 100",
    "DELETE FROM books WHERE isbn < 100",
)
OWN_TABLES = (
    f"CREATE TABLE {TABLE} (a int, b text)",
    f"CREATE TABLE IF NOT EXISTS {TABLE} (a int)",
    f"DROP TABLE {TABLE}",
    f"DROP TABLE IF EXISTS {TABLE}",
    f"ALTER TABLE {TABLE} ADD COLUMN c int DEFAULT 7",
    f"ALTER TABLE {TABLE} DROP COLUMN c",
    f"INSERT INTO {TABLE} VALUES (1), (2)",
    f"TRUNCATE {TABLE}",
    f"SELECT * FROM {TABLE} ORDER BY a",
    f"CREATE TEMP TABLE {TEMPORARY} (a int)",
    f"CREATE TEMP TABLE {TEMPORARY} ON COMMIT DROP AS SELECT 1 AS a",
    f"CREATE TEMP TABLE {TEMPORARY} ON COMMIT DELETE ROWS AS SELECT 2 AS a",
    f"INSERT INTO {TEMPORARY} VALUES (1), (2)",
    f"SELECT * FROM {TEMPORARY} ORDER BY a",
    f"ALTER TABLE {TEMPORARY} ADD COLUMN b int",
    f"DROP TABLE {TEMPORARY}",
    f"SELECT '{TEMPORARY}'::regclass",
    f"CREATE TEMP TABLE {TABLE} (z int)",
)
TRANSACTIONS = (
    "BEGIN",
    "BEGIN",
    "BEGIN READ ONLY",
    "/* a /* b */ c */ BEGIN -- d",
    "START TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE",
    "BEGIN ISOLATION LEVEL REPEATABLE READ",
    "START TRANSACTION",
    "COMMIT",
    "COMMIT",
    "END",
    "ROLLBACK",
    "ROLLBACK",
    "ABORT",
    "COMMIT AND CHAIN",
    "ROLLBACK AND CHAIN",
    "SAVEPOINT a",
    "SAVEPOINT b",
    "ROLLBACK TO a",
    "ROLLBACK TO b",
    "RELEASE a",
    "RELEASE b",
    "SET TRANSACTION READ ONLY",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
)
SETTINGS = (
    "SET TimeZone = 'Asia/Tokyo'",
    "SET TimeZone TO 'UTC'",
    "SET LOCAL TimeZone = 'America/New_York'",
    "RESET TimeZone",
    "SET DateStyle = 'ISO, DMY'",
    "SET LOCAL DateStyle = 'ISO, YMD'",
    "RESET DateStyle",
    "SET work_mem = '1MB'",
    "SET work_mem = 'x'",
    "/* a */ SET work_mem = '4MB' -- b",
    "SET LOCAL geqo = off -- a",
    "RESET geqo -- a",
    "SHOW geqo",
    "SET LOCAL work_mem = '3MB'",
    "SET CONSTRAINTS ALL IMMEDIATE",
    "SET CONSTRAINTS ALL DEFERRED",
    "SET application_name = 'talker'",
    "SET search_path = pg_catalog",
    "SET search_path = public, pg_catalog",
    "RESET search_path",
    "SET talked.setting = 'x'",
    "SELECT set_config('work_mem', '2MB', false)",
    "SET nonsense = 1",
    "RESET ALL",
    "DISCARD ALL",
    "DISCARD TEMP",
    "DISCARD PLANS",
)
CURSORS = (
    f"DECLARE c CURSOR FOR {_FEW}",
    f"DECLARE c CURSOR FOR {_WEST}",
    f"DECLARE c SCROLL CURSOR FOR {_FEW}",
    f"DECLARE c CURSOR WITH HOLD FOR {_FEW}",
    f"DECLARE d CURSOR WITH HOLD FOR {_WEST}",
    f"DECLARE d SCROLL CURSOR WITH HOLD FOR {_FEW}",
    "DECLARE d NO SCROLL CURSOR FOR SELECT 1 / (3 - generate_series(1, 5))",
    f"DECLARE d BINARY CURSOR FOR {_FEW}",
    "FETCH c",
    "FETCH 2 FROM c",
    "FETCH ALL FROM c",
    "FETCH 3 FROM d",
    "FETCH PRIOR FROM d",
    "FETCH FIRST FROM d",
    "FETCH LAST FROM c",
    "FETCH ABSOLUTE 2 FROM d",
    "FETCH 0 FROM c",
    "MOVE 2 IN c",
    "MOVE FORWARD ALL IN d",
    "CLOSE c",
    "CLOSE d",
    "CLOSE ALL",
)
PREPARED = (
    f"PREPARE s AS {_FEW}",
    f"PREPARE s AS {_WEST}",
    "PREPARE t(text) AS SELECT isbn FROM books WHERE branch = $1 AND isbn > 1000 ORDER BY isbn LIMIT 3",
    "PREPARE t(int) AS SELECT $1 + 1 AS more",
    f"PREPARE u AS SELECT * FROM {TABLE} ORDER BY 1",
    "PREPARE u AS SELECT 1/0",
    "EXECUTE s",
    "EXECUTE t('west')",
    "EXECUTE t(3)",
    "EXECUTE t(1/0)",
    "EXECUTE t",
    "EXECUTE u",
    "DEALLOCATE s",
    "DEALLOCATE t",
    "DEALLOCATE ALL",
)
LOCKS = (
    "SELECT pg_advisory_lock(4242)",
    "SELECT pg_try_advisory_lock(4242)",
    "SELECT pg_advisory_unlock(4242)",
    "SELECT pg_advisory_xact_lock(4243)",
    "SELECT pg_advisory_unlock_all()",
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'",
    "LISTEN talk",
    "LISTEN more",
    "UNLISTEN talk",
    "UNLISTEN *",
    "NOTIFY talk, 'heard'",
    "NOTIFY more",
    "SELECT pg_notify('talk', 'said')",
)
COPY_OUT = (
    f"COPY ({_FEW}) TO STDOUT",
    f"COPY ({_WEST}) TO STDOUT (FORMAT csv, HEADER)",
    "COPY (SELECT 1/0) TO STDOUT",
    "COPY (SELECT count(*) + 1, max(updated_at) + interval '1 h' FROM books WHERE isbn > 1000) TO STDOUT",
    "COPY (SELECT genre, max(price) * 2 FROM books WHERE isbn > 1000 GROUP BY 1 ORDER BY 1) TO STDOUT (FORMAT csv)",
    "COPY nowhere TO STDOUT",
)
_COPY = "COPY books (isbn, branch, book_name, author) FROM STDIN"
COPY_IN: tuple[tuple[str, bytes], ...] = (
    (_COPY, b"10\twest\tten\tx\n11\tnorth\televen\tx\n12\tdowntown\ttwelve\tx\n"),
    (_COPY, b"13\twest\tthirteen\tx\n13\twest\tagain\tx\n"),
    (_COPY, b"x\twest\tno number\tx\n"),
    (_COPY, b"14\twest\ttoo\tmany\tcolumns\n"),
    (_COPY, b""),
    (f"COPY {TABLE} (a) FROM STDIN", b"21\n22\n"),
    ("COPY nowhere FROM STDIN", b"1\n"),
)
GIVEN_UP: tuple[tuple[str, bytes], ...] = ((f"COPY {TABLE} (a) FROM STDIN", b"21\n"),)

_ALL = READS * 2 + FAILING + WRITES + OWN_TABLES + TRANSACTIONS * 2 + SETTINGS + CURSORS + PREPARED + LOCKS + COPY_OUT

_FETCHES = ("FETCH 2 FROM c", "MOVE 1 IN c", f"DECLARE c CURSOR FOR {_FEW}", "EXECUTE s", "CLOSE c")
# Statements with parameters, and values that fit.
BOUND: tuple[tuple[str, tuple[bytes | None, ...]], ...] = (
    ("SELECT isbn, price FROM books WHERE branch = $1 AND isbn > 1000 ORDER BY isbn", (b"west",)),
    ("SELECT isbn, branch, price FROM books WHERE price > $1 ORDER BY isbn, branch", (b"15",)),
    ("SELECT book_name, price FROM books WHERE branch = $1 AND isbn = $2", (b"north", b"%d" % ISBN)),
    ("SELECT name, joined FROM patrons WHERE patron_id = $1", (b"1003",)),
    ("SELECT $1::int + 1, $2::text", (b"1", None)),
    ("SELECT 1 / $1::int", (b"0",)),
    ("SELECT date '2020-02-01' + $1::int, timestamptz '2020-01-01 00:00' AT TIME ZONE 'UTC'", (b"1",)),
    ("INSERT INTO books (isbn, branch, book_name, author) VALUES ($1, $2, 'bound', 'x')", (b"30", b"west")),
    ("DELETE FROM books WHERE branch = $1 AND isbn = $2 RETURNING book_name", (b"west", b"30")),
    (
        "INSERT INTO books (isbn, branch, book_name, author) VALUES ($1, $2, '', ''), ($1, $3, '', '') RETURNING 1",
        (b"31", b"west", b"north"),
    ),
    ("UPDATE books SET price = $2 WHERE isbn = $1", (b"31", b"1.5")),
)
_NAMES, _PORTALS = ("", "", "s", "t"), ("", "", "p", "c")
_NAMED_PORTALS = ("p", "c")
_RESULTS: tuple[tuple[int, ...], ...] = ((), (), (), (1,), (0,))


@dataclass(frozen=True)
class Turn:
    """What is sent at once. `ends`: how many ReadyForQuery its answer has when nothing of it is skipped."""

    data: bytes
    ends: int
    name: str
    keeps_open: bool = False  # more of the same follows without Sync

    def __repr__(self) -> str:
        return self.name


def said(sql: str) -> Turn:
    return Turn(query(sql), 1, f"query({sql!r})")


def _of_steps(steps: Sequence[Step]) -> Turn:
    return Turn(b"".join(step.data for step in steps), 1, " ".join(map(repr, steps)))


def _copied(copied: tuple[str, bytes], ending: bytes, cut: int) -> Turn:
    sql, rows = copied
    pieces = b"".join(frame("d", piece) for piece in (rows[:cut], rows[cut:]) if piece)
    return Turn(query(sql) + pieces + ending, 1, f"copy({sql!r}, {rows!r}, {ending[:1]!r})")


def _whole(sql: str, values: tuple[bytes | None, ...], results: tuple[int, ...], rows: int, name: str) -> list[Step]:
    return [parse(sql, name), bind(*values, name=name, results=results), describe(), execute(rows)]


_sql = st.sampled_from(_ALL)
_bound = st.sampled_from(BOUND) | st.sampled_from(_ALL + _FETCHES).map(lambda sql: (sql, ()))
_usual = st.builds(
    lambda one, *more: _whole(*one, *more),
    _bound,
    st.sampled_from(_RESULTS),
    st.sampled_from((0, 0, 0, 1, 2)),
    st.just(""),
)
_single = st.one_of(
    st.builds(lambda one, name: parse(one[0], name), _bound, st.sampled_from(_NAMES)),
    st.builds(
        lambda one, name, portal, results: bind(*one[1], name=name, portal=portal, results=results),
        _bound,
        st.sampled_from(_NAMES),
        st.sampled_from(_PORTALS),
        st.sampled_from(_RESULTS),
    ),
    st.builds(describe, st.just("S"), st.sampled_from(_NAMES)),
    # Not the unnamed portal: that of a Query that has failed stays in PostgreSQL, and to run it may end the server.
    st.builds(describe, st.just("P"), st.sampled_from(_NAMED_PORTALS)),
    st.builds(execute, st.sampled_from((0, 0, 1, 3)), st.sampled_from(_NAMED_PORTALS)),
    st.builds(close, st.sampled_from("SP"), st.sampled_from(_NAMES)),
    st.just(raw("H", b"")),
)
_named = st.builds(
    lambda one, name, portal, results, rows: [
        parse(one[0], name),
        bind(*one[1], name=name, portal=portal, results=results),
        *([describe("P", portal)] if rows != 1 else []),
        execute(rows, portal),
        execute(rows, portal),
    ],
    _bound,
    st.sampled_from(_NAMES),
    st.sampled_from(_PORTALS),
    st.sampled_from(_RESULTS),
    st.sampled_from((0, 1, 2)),
)
_extended = st.lists(_usual | _named | _single.map(lambda step: [step]), min_size=1, max_size=5).map(
    lambda groups: _of_steps([*(step for group in groups for step in group), SYNC])
)
TURNS = st.one_of(
    _sql.map(said),
    _sql.map(said),
    st.lists(_sql, min_size=2, max_size=4).map(lambda several: said("; ".join(several))),
    _extended,
    _extended,
    st.builds(_copied, st.sampled_from(COPY_IN), st.just(frame("c")), st.integers(0, 40)),
    st.builds(_copied, st.sampled_from(GIVEN_UP), st.just(frame("f", b"no more\0")), st.just(2)),
)
CONVERSATIONS = st.lists(TURNS, min_size=1, max_size=14)


# Comparing


class Talker:
    """One side of a conversation."""

    def __init__(self, conninfo: str) -> None:
        self.client = RawClient.logged_in(conninfo)

    def take(self, turn: Turn) -> list[Any]:
        """The answer, up to the ReadyForQuery that ends it or the close."""
        self.client.send(turn.data)
        answer = self.client.until_ready()
        return same_order([comparable(message, self.client.key[0]) for message in answer])

    def close(self) -> None:
        self.client.socket.close()


_NOW = re.compile(r"20[2-9][0-9]-[0-9: .+-]+")
_SHARDS = re.compile(r"\b(books|patrons)_[abc]\b|\b(books|patrons)_[abc](?=_)")


# Of the first statement in a pipeline.
_NOT_TOLD = tuple(
    f"{what} can only be used in transaction blocks" for what in ("SET LOCAL", "SET TRANSACTION", "SET CONSTRAINTS")
)


def same_order(answer: list[Shown]) -> list[Shown]:
    """A setting of a transaction that no node has joined yet is reported when one does; a COPY whose rows
    cannot be stored is agreed to all the same; of rows of several shards the first of which fails nothing is told."""
    told = [one for one in answer if one[0] != "S" and not (one[0] == "N" and one[1]["M"] in _NOT_TOLD)]
    return [one for one, after in zip(told, [*told[1:], ("",)], strict=True) if one[0] not in "GTn" or after[0] != "E"]


def _logical(found: re.Match[str]) -> str:
    return found[1] or found[2]


def comparable(message: Message, pid: int) -> Shown:
    """What must be the same on both sides: names of shards, process ids and object ids are not."""
    if message.kind == "A":
        by = struct.unpack_from("!I", message.payload)[0]
        return ("A", by == pid, message.payload[4:])
    if message.kind in "EN":
        fields = {code: _NOW.sub("now", _SHARDS.sub(_logical, text)) for code, text in shown(message)[1].items()}
        if fields.get("C") == UNDEFINED_TABLE:  # of a shard's name it is not told
            fields.pop("P", None)
        return (message.kind, fields)
    if message.kind in "dGHc":
        return (message.kind, message.payload)
    return shown(message)


def is_refused(answer: Sequence[Shown]) -> bool:
    return any(one[0] == "E" and one[1]["C"] == REFUSED for one in answer)
