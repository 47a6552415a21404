"""Cursors and portals fetched in parts: the same conversation with the proxy and with one PostgreSQL."""

# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.extended_client import (
    SYNC,
    Step,
    bind,
    close,
    converse_with,
    describe,
    execute,
    flush,
    once,
    parse,
    simple,
)
from tests.fix_nodes import ReferencePostgres
from tests.fix_proxy import RunningProxy
from tests.session.library_sql import ISBN

ALL = "SELECT isbn, branch, price FROM books ORDER BY isbn, branch"
WEST = "SELECT isbn, branch, price FROM books WHERE branch = 'west' ORDER BY isbn"
SOME = "SELECT isbn, branch, price FROM books WHERE price > $1 ORDER BY isbn, branch"
ONE = "SELECT isbn, branch FROM books WHERE branch = $1 AND isbn > $2 ORDER BY isbn"
GROUPS = "SELECT genre, count(*), avg(price) FROM books GROUP BY genre ORDER BY genre"
HAVING = "SELECT genre, count(*) + 1 AS more FROM books GROUP BY genre HAVING count(*) > 2 ORDER BY genre"
INSERT = "INSERT INTO books (isbn, branch, book_name, author, price) VALUES (1, 'west', 'new', 'x', 3)"


def said(*statements: str) -> list[Step]:
    return [simple(sql) for sql in statements]


def over(*queries: str, with_: Sequence[str]) -> list[Step]:
    """The same fetches of a cursor over each query."""
    return [
        step
        for query in queries
        for step in said("BEGIN", f"DECLARE c SCROLL CURSOR FOR {query}", *(sql for sql in with_), "COMMIT")
    ]


FORWARD = ["FETCH c", "FETCH NEXT FROM c", "FETCH 3 IN c", "FETCH FORWARD 4 FROM c", "MOVE 5 FROM c", "MOVE c", "FETCH FORWARD c", "FETCH RELATIVE 2 FROM c", "FETCH ABSOLUTE 40 FROM c", "FETCH ALL FROM c", "FETCH c", "FETCH ALL c", "MOVE ALL FROM c"]  # fmt: skip
BACKWARD = ["FETCH 0 FROM c", "FETCH PRIOR FROM c", "FETCH LAST FROM c", "FETCH 0 FROM c", "FETCH FIRST FROM c", "FETCH 3 FROM c", "FETCH 0 FROM c", "MOVE 0 FROM c", "FETCH BACKWARD 2 FROM c", "FETCH -1 FROM c", "FETCH PRIOR FROM c", "FETCH PRIOR FROM c", "MOVE 0 FROM c", "FETCH ABSOLUTE 5 FROM c", "FETCH ABSOLUTE -5 FROM c", "FETCH ABSOLUTE 2 FROM c", "FETCH RELATIVE -1 FROM c", "FETCH RELATIVE 0 FROM c", "FETCH ABSOLUTE 0 FROM c", "FETCH c", "MOVE ALL FROM c", "FETCH BACKWARD 3 FROM c", "FETCH BACKWARD ALL FROM c", "FETCH FORWARD ALL FROM c", "MOVE BACKWARD ALL FROM c", "FETCH c", "MOVE LAST FROM c", "FETCH c", "FETCH PRIOR FROM c", "FETCH ABSOLUTE 1000 FROM c", "FETCH ABSOLUTE -1000 FROM c", "FETCH BACKWARD 0 FROM c", "FETCH RELATIVE -3 FROM c"]  # fmt: skip

CONVERSATIONS: dict[str, list[Step]] = {
    "forward": over(ALL, WEST, GROUPS, HAVING, "SELECT 1 AS one", with_=FORWARD),
    "scrolling": over(ALL, WEST, GROUPS, with_=BACKWARD),
    "over no rows": over("SELECT isbn FROM books WHERE price < 0 ORDER BY isbn", "SELECT isbn FROM books WHERE branch = 'nowhere'", with_=["FETCH c", "FETCH PRIOR FROM c", "FETCH LAST FROM c", "FETCH 0 FROM c", "MOVE 0 FROM c", "FETCH FIRST FROM c", "FETCH BACKWARD ALL FROM c"]),
    "NO SCROLL": [step for query in (ALL, WEST) for sql in ("FETCH PRIOR FROM c", "FETCH 0 FROM c", "FETCH ABSOLUTE 1 FROM c", "FETCH FIRST FROM c", "FETCH ABSOLUTE 9 FROM c", "FETCH LAST FROM c", "MOVE 0 FROM c", "MOVE BACKWARD ALL FROM c", "FETCH ABSOLUTE 0 FROM c") for step in said("BEGIN", f"DECLARE c NO SCROLL CURSOR FOR {query}", "FETCH 3 FROM c", sql, "ROLLBACK")],
    "NO SCROLL before the first row": [step for query in (ALL, WEST) for sql in ("FETCH 0 FROM c", "FETCH ABSOLUTE 0 FROM c", "FETCH FIRST FROM c", "MOVE BACKWARD ALL FROM c", "FETCH PRIOR FROM c") for step in said("BEGIN", f"DECLARE c NO SCROLL CURSOR FOR {query}", sql, "FETCH c", "ROLLBACK")],
    "several at once": said("BEGIN", f"DECLARE a CURSOR FOR {ALL}", f"DECLARE b CURSOR FOR {GROUPS}", f"DECLARE c CURSOR FOR {WEST}", f"DECLARE d CURSOR FOR {HAVING}", *(f"FETCH {n} FROM {name}" for n in (1, 2, 5, 30) for name in "abcd"), "SELECT count(*) FROM books", "FETCH 2 FROM a", "CLOSE b", "FETCH c", "FETCH b", "ROLLBACK"),
    "insensitive": said("BEGIN", f"DECLARE a CURSOR FOR {ALL}", f"DECLARE w CURSOR FOR {WEST}", "DECLARE n CURSOR FOR SELECT count(*) FROM books", INSERT, "FETCH 3 FROM a", "FETCH 3 FROM w", "FETCH 1 FROM n", "SELECT count(*) FROM books", "ROLLBACK"),
    "outside a transaction": said(f"DECLARE c CURSOR FOR {ALL}", f"DECLARE c CURSOR FOR {WEST}", "FETCH c", "MOVE c", "CLOSE c", "CLOSE ALL"),
    "in one Query": said(f"DECLARE c CURSOR FOR {ALL}; FETCH 2 FROM c; FETCH 3 FROM c; CLOSE c", "FETCH c", f"BEGIN; DECLARE c CURSOR FOR {ALL}", "FETCH c; MOVE 2 FROM c; FETCH c", "COMMIT; FETCH c"),
    "names": said("BEGIN", f'DECLARE "A b" CURSOR FOR {ALL}', f"DECLARE A CURSOR FOR {WEST}", 'FETCH "A b"', "FETCH a", 'CLOSE "A b"', 'FETCH "A b"', "ROLLBACK"),
    "a name twice": [step for one in (ALL, WEST) for two in (ALL, WEST) for step in said("BEGIN", f"DECLARE c CURSOR FOR {one}", f"DECLARE c CURSOR FOR {two}", "ROLLBACK", "BEGIN", f"DECLARE c CURSOR FOR {one}", "CLOSE c", f"DECLARE c CURSOR FOR {two}", "FETCH c", "COMMIT")],
    "CLOSE ALL": said("BEGIN", f"DECLARE a CURSOR FOR {ALL}", f"DECLARE b CURSOR FOR {WEST}", f"DECLARE c CURSOR WITH HOLD FOR {WEST}", "CLOSE ALL", "FETCH a", "ROLLBACK", "FETCH b", "FETCH c"),
    "options": said("BEGIN", f"DECLARE a INSENSITIVE CURSOR FOR {ALL}", f"DECLARE b ASENSITIVE CURSOR WITHOUT HOLD FOR {ALL}", f"DECLARE c INSENSITIVE NO SCROLL CURSOR FOR {WEST}", "FETCH a", "FETCH b", "FETCH c", "ROLLBACK", "BEGIN", f"DECLARE c SCROLL NO SCROLL CURSOR FOR {ALL}", "ROLLBACK", "BEGIN", f"DECLARE c ASENSITIVE INSENSITIVE CURSOR FOR {WEST}", "ROLLBACK"),
    "a row limit on FETCH": [step for query in (ALL, WEST) for step in (*once("BEGIN"), *once(f"DECLARE c CURSOR FOR {query}", rows=3), *once("FETCH 3 FROM c", rows=4), *once("FETCH ABSOLUTE 6 FROM c", rows=2), *once("MOVE 3 FROM c", rows=1), parse("FETCH 2 FROM c"), bind(), execute(), execute(), SYNC, *once("COMMIT"))],
    "BINARY": said("BEGIN", f"DECLARE a BINARY CURSOR FOR {ALL}", f"DECLARE w BINARY CURSOR FOR {WEST}", "FETCH 3 FROM a", "FETCH 3 FROM w", "COMMIT"),
    "constants": said("BEGIN", "DECLARE c CURSOR FOR SELECT isbn FROM books WHERE price > 10 AND branch IN ('west', 'north') ORDER BY isbn, branch LIMIT 7 OFFSET 2", "FETCH ALL FROM c", "CLOSE c", "DECLARE c CURSOR FOR SELECT isbn FROM books WHERE price > 20 AND branch IN ('west') ORDER BY isbn, branch LIMIT 3 OFFSET 1", "FETCH ALL FROM c", "COMMIT"),
    "OFFSET": said("BEGIN", "DECLARE c CURSOR FOR SELECT isbn, branch FROM books ORDER BY isbn, branch OFFSET 60", "FETCH 1 FROM c", "FETCH ALL FROM c", "COMMIT"),
    "settings": said("SET DateStyle = 'SQL, DMY'", "BEGIN", "DECLARE c CURSOR FOR SELECT name, joined FROM patrons ORDER BY patron_id", "FETCH 2 FROM c", "SET LOCAL statement_timeout = 50000", "FETCH 2 FROM c", f"DECLARE d SCROLL CURSOR FOR {ALL}", "FETCH d", "SET TIME ZONE 'Asia/Tokyo'", "FETCH d", "FETCH FIRST FROM d", "ROLLBACK"),
    "WHERE CURRENT OF": said("BEGIN", "DECLARE c CURSOR FOR SELECT isbn FROM books WHERE branch = 'west' ORDER BY isbn FOR UPDATE", "FETCH 3 FROM c", "UPDATE books SET price = 1 WHERE CURRENT OF c RETURNING isbn, price", "FETCH c", "DELETE FROM books AS b WHERE CURRENT OF c RETURNING b.isbn", "DELETE FROM books WHERE CURRENT OF c", "FETCH c", "SELECT count(*), sum(price) FROM books", "SAVEPOINT s", "MOVE ALL FROM c", "DELETE FROM books WHERE CURRENT OF c", "ROLLBACK TO s", "DECLARE d CURSOR FOR SELECT count(*) FROM books WHERE branch = 'west'", "FETCH d", "DELETE FROM books WHERE CURRENT OF d", "ROLLBACK TO s", "DELETE FROM patrons WHERE CURRENT OF c", "ROLLBACK TO s", "DELETE FROM books WHERE CURRENT OF nowhere", "ROLLBACK"),
    "WHERE CURRENT OF, extended": [simple("BEGIN"), *once("DECLARE c CURSOR FOR SELECT isbn FROM books WHERE branch = $1 AND isbn > $2 ORDER BY isbn FOR UPDATE", b"west", b"0"), *once("FETCH 1 FROM c"), *once("UPDATE books SET price = $1 WHERE CURRENT OF c", b"77"), *once("SELECT count(*) FROM books WHERE price = 77"), simple("ROLLBACK")],
    "WHERE CURRENT OF outside a transaction": said("DELETE FROM books WHERE CURRENT OF c"),
    # Savepoints.
    "savepoints": said("BEGIN", f"DECLARE a CURSOR FOR {ALL}", f"DECLARE w CURSOR FOR {WEST}", "FETCH 2 FROM a", "SAVEPOINT s", f"DECLARE b CURSOR FOR {ALL}", f"DECLARE x CURSOR FOR {WEST}", "FETCH 3 FROM b", "FETCH 3 FROM a", "FETCH w", "ROLLBACK TO s", "FETCH 2 FROM a", "FETCH w", f"DECLARE b CURSOR FOR {WEST}", f"DECLARE x CURSOR FOR {ALL}", "FETCH b", "FETCH x", "RELEASE s", "FETCH b", "FETCH x", "COMMIT", "FETCH a"),
    "gone with the savepoint": said("BEGIN", "SAVEPOINT s", f"DECLARE b CURSOR FOR {ALL}", "FETCH b", "ROLLBACK TO s", "FETCH b", "ROLLBACK TO s", "FETCH b", "ROLLBACK"),
    "gone with the savepoint on its node": said("BEGIN", "SAVEPOINT s", f"DECLARE b CURSOR FOR {WEST}", "FETCH b", "ROLLBACK TO s", "FETCH b", "ROLLBACK"),
    # Errors.
    "unknown": said("FETCH c", "MOVE c", "CLOSE c", "BEGIN", "FETCH c", "FETCH c", "ROLLBACK", "BEGIN", "CLOSE c", "ROLLBACK"),
    "wrong queries": [step for sql in ("SELECT nope FROM books", "SELECT nope FROM books WHERE branch = 'west'", "SELECT 1/0 FROM nowhere", "SELECT") for step in said("BEGIN", f"DECLARE c CURSOR FOR {sql}", "FETCH c", "ROLLBACK")],
    "errors at FETCH": [step for sql in ("SELECT 1 / (isbn - isbn) FROM books ORDER BY isbn, branch", "SELECT 1 / (isbn - isbn) FROM books WHERE branch = 'west'") for step in said("BEGIN", f"DECLARE c CURSOR FOR {sql}", "FETCH c", "FETCH c", "COMMIT", "BEGIN", f"DECLARE c CURSOR FOR {sql}", "SAVEPOINT s", "FETCH c", "ROLLBACK TO s", "FETCH c", "ROLLBACK TO s", "CLOSE c", "SELECT count(*) FROM books", "COMMIT")],
    "in a failed transaction": said("BEGIN", f"DECLARE c CURSOR FOR {ALL}", "SELECT 1/0", "FETCH c", "CLOSE c", "MOVE c", f"DECLARE d CURSOR FOR {ALL}", "COMMIT"),
    # WITH HOLD.
    "held": [step for query in (ALL, WEST, GROUPS, HAVING) for step in said("BEGIN", f"DECLARE c CURSOR WITH HOLD FOR {query}", "FETCH 2 FROM c", "COMMIT", "FETCH 3 FROM c", INSERT, "MOVE 2 FROM c", "BEGIN", "FETCH c", "ROLLBACK", "FETCH ALL FROM c", "FETCH c", "CLOSE c", "FETCH c", "DELETE FROM books WHERE branch = 'west' AND isbn = 1")],
    "held and scrolling": [step for query in (ALL, WEST, GROUPS) for step in said("BEGIN", f"DECLARE c SCROLL CURSOR WITH HOLD FOR {query}", "FETCH 5 FROM c", "FETCH PRIOR FROM c", "COMMIT", *BACKWARD, "CLOSE c")],
    "held from the start": said(f"DECLARE c CURSOR WITH HOLD FOR {ALL}", "FETCH 3 FROM c", f"DECLARE d SCROLL CURSOR WITH HOLD FOR {WEST}", "FETCH LAST FROM d", "FETCH c", "CLOSE ALL", "FETCH d"),
    "held and rolled back": said("BEGIN", f"DECLARE c CURSOR WITH HOLD FOR {ALL}", f"DECLARE d CURSOR WITH HOLD FOR {WEST}", "ROLLBACK", "FETCH c", "FETCH d", "BEGIN", "SAVEPOINT s", f"DECLARE c CURSOR WITH HOLD FOR {ALL}", "ROLLBACK TO s", f"DECLARE d CURSOR WITH HOLD FOR {WEST}", "COMMIT", "FETCH c", "FETCH d", "BEGIN", "FETCH d", "ROLLBACK", "FETCH d", "CLOSE d"),
    "held, and COMMIT fails": [step for sql in ("SELECT 1 / (isbn - isbn) FROM books", "SELECT 1 / (isbn - isbn) FROM books WHERE branch = 'west'") for step in said("BEGIN", INSERT, f"DECLARE c CURSOR WITH HOLD FOR {sql}", "COMMIT", "SELECT count(*) FROM books", "FETCH c", f"DECLARE c CURSOR WITH HOLD FOR {sql}", "SELECT 1", "FETCH c")],
    "held NO SCROLL": said(f"DECLARE c NO SCROLL CURSOR WITH HOLD FOR {ALL}", "FETCH 2 FROM c", "FETCH PRIOR FROM c", "FETCH c", "CLOSE c"),
    "held BINARY": said(f"DECLARE c BINARY CURSOR WITH HOLD FOR {ALL}", "FETCH 2 FROM c", "CLOSE c"),
    "DISCARD ALL": said(f"DECLARE c CURSOR WITH HOLD FOR {ALL}", "FETCH 2 FROM c", "DISCARD ALL", "FETCH c"),
    # The extended protocol.
    "extended": [step for query in (ALL, WEST, GROUPS) for step in (*once("BEGIN"), *once(f"DECLARE c CURSOR FOR {query}"), *once("FETCH 3 FROM c"), *once("FETCH 2 FROM c", results=[1]), *once("MOVE 2 FROM c"), *once("FETCH FORWARD 1 FROM c", results=[1, 0, 1]), *once("FETCH ALL FROM c"), *once("CLOSE c"), *once("FETCH c"), *once("COMMIT"))],
    "bound": [*once("BEGIN"), *once(f"DECLARE c CURSOR FOR {SOME}", b"10"), *once(f"DECLARE d CURSOR FOR {ONE}", b"north", ISBN), *once(f"DECLARE e CURSOR WITH HOLD FOR {ONE}", b"north", ISBN), *once("FETCH 5 FROM c"), *once("FETCH 5 FROM d"), *once("COMMIT"), *once("FETCH 5 FROM e"), *once("CLOSE e")],
    "bound in binary": [*once("BEGIN"), *once(f"DECLARE c CURSOR FOR {ONE}", b"north", int(ISBN).to_bytes(8, "big"), formats=[0, 1]), *once("FETCH ALL FROM c", results=[1]), *once("COMMIT")],
    "wrong values bound": [step for query, values in ((SOME, [b"x"]), (ONE, [b"west", b"x"]), (ONE, [b"west"])) for step in (*once("BEGIN"), *once(f"DECLARE c CURSOR FOR {query}", *values), *once("ROLLBACK"))],
    "outside a transaction, extended": [*once(f"DECLARE c CURSOR FOR {ALL}"), *once(f"DECLARE c CURSOR WITH HOLD FOR {SOME}", b"20"), *once("FETCH 3 FROM c"), *once("CLOSE c")],
    "described": [simple("BEGIN"), simple(f"DECLARE c CURSOR FOR {ALL}"), simple(f"DECLARE w CURSOR FOR {WEST}"), describe("P", "c"), describe("P", "w"), SYNC, parse("FETCH c", "f"), describe("S", "f"), bind(name="f"), describe(), execute(), SYNC, parse("FETCH 2 FROM w", "g"), describe("S", "g"), bind(name="g"), describe(), execute(), SYNC, parse("MOVE c", "m"), describe("S", "m"), bind(name="m"), describe(), execute(), SYNC, simple("CLOSE c"), simple("DECLARE c CURSOR FOR SELECT genre FROM books ORDER BY genre"), bind(name="f"), describe(), execute(), SYNC, simple("ROLLBACK"), describe("P", "c"), SYNC],
    "DECLARE described": [simple("BEGIN"), parse(f"DECLARE c CURSOR FOR {SOME}", "d"), describe("S", "d"), SYNC, bind(b"10", name="d"), describe(), execute(), SYNC, *once("FETCH c"), simple("COMMIT")],
    "cursors run as portals": [step for query in (ALL, WEST) for step in (simple("BEGIN"), simple(f"DECLARE c CURSOR FOR {query}"), execute(2, "c"), SYNC, simple("FETCH c"), execute(3, "c"), SYNC, execute(0, "c"), SYNC, execute(0, "c"), SYNC, close("P", "c"), SYNC, simple("FETCH c"), simple("ROLLBACK"))],
    "names of cursors and portals": [step for query in (ALL, WEST) for step in (simple("BEGIN"), simple(f"DECLARE c CURSOR FOR {query}"), parse(WEST), bind(portal="c"), SYNC, simple("ROLLBACK"), simple("BEGIN"), parse(WEST), bind(portal="p"), SYNC, simple(f"DECLARE p CURSOR FOR {query}"), simple("ROLLBACK"))],
    # Portals of the protocol.
    "portals in parts": [step for query in (ALL, WEST, GROUPS, HAVING) for results in ([], [1]) for step in (simple("BEGIN"), parse(query), bind(portal="p", results=results), describe("P", "p"), execute(2, "p"), SYNC, execute(3, "p"), SYNC, simple("SELECT count(*) FROM books"), execute(1, "p"), SYNC, execute(0, "p"), SYNC, execute(1, "p"), SYNC, close("P", "p"), SYNC, execute(1, "p"), SYNC, simple("ROLLBACK"))],
    "portals side by side": [simple("BEGIN"), parse(SOME, "s"), parse(ONE, "o"), bind(b"1", name="s", portal="a"), bind(b"5", name="s", portal="b"), bind(b"west", b"1", name="o", portal="c"), *(step for n in (1, 2, 4, 30, 60) for name in "abc" for step in (execute(n, name), SYNC)), simple("COMMIT"), execute(1, "a"), SYNC],
    "portals in one batch": [parse(ALL), bind(portal="p"), execute(2, "p"), execute(3, "p"), execute(70, "p"), SYNC, execute(1, "p"), SYNC],
    "exactly all rows": [simple("BEGIN"), parse(ALL), bind(portal="p"), execute(72, "p"), SYNC, execute(1, "p"), SYNC, simple("COMMIT")],
    "portals and savepoints": [simple("BEGIN"), parse(ALL, "s"), bind(name="s", portal="a"), execute(2, "a"), SYNC, simple("SAVEPOINT x"), bind(name="s", portal="b"), execute(2, "b"), SYNC, execute(2, "a"), SYNC, simple("ROLLBACK TO x"), execute(2, "a"), SYNC, execute(2, "b"), SYNC, simple("ROLLBACK")],
    "portals with Flush": [simple("BEGIN"), parse(ALL), bind(portal="p"), execute(2, "p"), flush(5), execute(3, "p"), flush(4), close("P", "p"), flush(1), SYNC, simple("COMMIT")],
    "portals that fail": [simple("BEGIN"), parse("SELECT 1 / (isbn - isbn) FROM books"), bind(portal="p"), execute(2, "p"), SYNC, execute(2, "p"), SYNC, simple("ROLLBACK")],
    "MOVE in a portal": [step for query in (ALL, WEST) for step in (simple("BEGIN"), parse(query), bind(portal="p"), SYNC, simple("MOVE FORWARD 3 FROM p"), execute(2, "p"), SYNC, simple("MOVE 2 FROM p"), simple("FETCH 2 FROM p"), execute(2, "p"), SYNC, simple("MOVE ALL FROM p"), execute(2, "p"), SYNC, simple("COMMIT"))],
    "MOVE in a portal that has run": [step for query in (ALL, WEST) for step in (simple("BEGIN"), parse(query), bind(portal="p"), execute(4, "p"), SYNC, simple("MOVE FORWARD 3 FROM p"), execute(2, "p"), SYNC, simple("CLOSE p"), execute(2, "p"), SYNC, simple("ROLLBACK"))],
}  # fmt: skip


@pytest.mark.parametrize("steps", CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_the_proxy_answers_as_one_postgres(
    steps: list[Step], shared_proxy: RunningProxy, reference_pg: ReferencePostgres
) -> None:
    compare(steps, shared_proxy, reference_pg)


def compare(steps: Sequence[Step], proxy: RunningProxy, reference: ReferencePostgres) -> None:
    for step, ours, theirs in zip(
        [step for step in steps if step.read],
        converse_with(proxy.conninfo, steps),
        converse_with(reference.conninfo, steps),
        strict=True,
    ):
        assert ours == theirs, step


REFUSED = {
    "backward without SCROLL": said("BEGIN", f"DECLARE c CURSOR FOR {ALL}", "FETCH 2 FROM c", "FETCH PRIOR FROM c"),
    "the same row without SCROLL": said("BEGIN", f"DECLARE c CURSOR FOR {ALL}", "FETCH 2 FROM c", "FETCH 0 FROM c"),
    "locking several shards": said("BEGIN", f"DECLARE c CURSOR FOR {ALL} FOR UPDATE"),
    "one snapshot": said("BEGIN ISOLATION LEVEL REPEATABLE READ", f"DECLARE c CURSOR FOR {ALL}"),
    "dates in another style": said("BEGIN", "DECLARE c SCROLL CURSOR FOR SELECT updated_at FROM books ORDER BY 1", "FETCH c", "SET LOCAL TIME ZONE 'Asia/Tokyo'", "FETCH FIRST FROM c"),
    "dates held in another style": said("DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT updated_at FROM books ORDER BY 1", "SET DateStyle = 'SQL'", "FETCH c"),
    "dates of a portal in another style": [simple("BEGIN"), parse("SELECT updated_at FROM books ORDER BY 1"), bind(portal="p"), execute(2, "p"), SYNC, simple("SET TIME ZONE 'Asia/Tokyo'"), execute(2, "p"), SYNC],
    "absolute in a portal": [simple("BEGIN"), parse(ALL), bind(portal="p"), SYNC, simple("MOVE ABSOLUTE 3 FROM p")],
    "parts of a FETCH": [simple("BEGIN"), simple(f"DECLARE c CURSOR FOR {ALL}"), *once("FETCH 5 FROM c", rows=5)],
    "a query that sets": said("BEGIN", "DECLARE c CURSOR FOR SELECT set_config('work_mem', '1MB', false)"),
    "WHERE CURRENT OF a cursor over several shards": said("BEGIN", f"DECLARE c CURSOR FOR {ALL}", "FETCH c", "DELETE FROM books WHERE CURRENT OF c"),
    "WHERE CURRENT OF and another key": said("BEGIN", "DECLARE c CURSOR FOR SELECT isbn FROM books WHERE branch = 'west' FOR UPDATE", "FETCH c", "UPDATE books SET branch = 'north' WHERE CURRENT OF c"),
}  # fmt: skip


@pytest.mark.parametrize("steps", REFUSED.values(), ids=REFUSED)
def test_refused(steps: list[Step], shared_proxy: RunningProxy) -> None:
    *before, last = converse_with(shared_proxy.conninfo, steps)
    assert not [shown for answer in before for shown in answer if shown[0] == "E"]
    (error,) = [shown[1] for shown in last if shown[0] == "E"]
    assert error["C"] == "0A000"
    assert error["H"]


# Random movements.

_COUNTS = st.sampled_from([0, 1, 2, 3, 7, 20, 71, 72, 73, 100])
_MOVES = st.one_of(
    st.sampled_from(["NEXT", "PRIOR", "FIRST", "LAST", "ALL", "FORWARD ALL", "BACKWARD ALL", "FORWARD", "BACKWARD"]),
    st.builds(
        "{} {}{}".format,
        st.sampled_from(["FORWARD", "BACKWARD", "ABSOLUTE", "RELATIVE", ""]),
        st.sampled_from(["", "-"]),
        _COUNTS,
    ),
)
_VERBS = st.sampled_from(["FETCH", "MOVE"])
_QUERIES = st.sampled_from([ALL, WEST, GROUPS, "SELECT isbn, branch FROM books WHERE isbn < 0 ORDER BY isbn"])
_OPTIONS = st.sampled_from(["SCROLL CURSOR", "SCROLL CURSOR WITH HOLD"])


@given(
    query=_QUERIES,
    options=_OPTIONS,
    moves=st.lists(st.tuples(_VERBS, _MOVES, st.sampled_from([None, 0, 1])), max_size=14),
    commit_at=st.integers(0, 14),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_cursor_moves_as_in_one_postgres(
    query: str,
    options: str,
    moves: list[tuple[str, str, int | None]],
    commit_at: int,
    shared_proxy: RunningProxy,
    reference_pg: ReferencePostgres,
) -> None:
    steps = said("BEGIN", f"DECLARE c {options} FOR {query}")
    for at, (verb, move, format_) in enumerate(moves):
        if at == commit_at and "HOLD" in options:
            steps += said("COMMIT")
        sql = f"{verb} {move} FROM c"
        steps += [simple(sql)] if format_ is None else once(sql, results=[format_])
    compare(steps, shared_proxy, reference_pg)
