"""COPY into several nodes of which one fails between the COMMITs: the client hears what is known, node by node."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from pgproxy.demo.nodes import NODE_NAMES
from tests.activity import await_nothing_open, connect, until
from tests.fix_copy import LETTERS, CopySides, copying
from tests.raw_client import Message, RawClient

ROWS = b"".join(b"%d\tx\n" % k for k in range(300))
FAILING = NODE_NAMES[1]
SHARD = f"numbers_{LETTERS[1]}"
IN_DOUBT = (
    f"COPY was committed on node {', '.join(sorted(set(NODE_NAMES) - {FAILING}))}, "
    f"and whether it was on node {FAILING} is not known"
)

# SET CONSTRAINTS ALL IMMEDIATE, which comes before the COMMITs, calls the first function; what that does is deferred
# again, so the second is called by COMMIT itself.
DIES_AT_COMMIT = (
    "CREATE TABLE again (v int)",
    """CREATE FUNCTION once_more() RETURNS trigger LANGUAGE plpgsql AS
       'BEGIN SET CONSTRAINTS ALL DEFERRED; INSERT INTO again VALUES (1); RETURN NULL; END'""",
    """CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS
       'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(60); RETURN NULL; END'""",
    f"""CREATE CONSTRAINT TRIGGER early AFTER INSERT ON {SHARD} DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION once_more()""",
    """CREATE CONSTRAINT TRIGGER late AFTER INSERT ON again DEFERRABLE INITIALLY DEFERRED
       FOR EACH ROW EXECUTE FUNCTION die()""",
)
LIVES_AGAIN = (f"DROP TRIGGER early ON {SHARD}", "DROP TABLE again", "DROP FUNCTION once_more, die")
# COMMIT is done there, and then waits for a standby that does not exist.
WAITS_AT_COMMIT = ("ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()")
WAITS_NO_MORE = ("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
WAITING = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


def on_failing(sides: CopySides, *statements: str) -> list[tuple[object, ...]]:
    """What the last of them says."""
    with connect(sides.cluster, FAILING) as node:
        for statement in statements:
            cursor = node.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@contextmanager
def meanwhile(sides: CopySides, before: tuple[str, ...], after: tuple[str, ...]) -> Iterator[None]:
    on_failing(sides, *before)
    try:
        yield
    finally:
        on_failing(sides, *after)


def commits_wait(sides: CopySides) -> bool:
    """Whether the node knows of its standby by now; what waits for that to tell is cancelled."""
    cancelled = False
    with ThreadPoolExecutor(1) as thread:
        tried = thread.submit(on_failing, sides, "SELECT pg_logical_emit_message(true, 'tried', '')")
        while not tried.done():
            cancelled |= bool(on_failing(sides, f"SELECT pg_cancel_backend(pid) {WAITING}"))
        tried.result()
    return cancelled


def stored(sides: CopySides) -> set[str]:
    """The nodes that have rows."""
    found = set()
    for name, letter in zip(NODE_NAMES, LETTERS, strict=True):
        with connect(sides.cluster, name) as node:
            if node.execute(f"SELECT FROM numbers_{letter} LIMIT 1".encode()).fetchone() is not None:
                found.add(name)
    return found


def error_of(answer: list[Message]) -> dict[str, str]:
    assert answer[-1].text == "I"
    (error,) = [message.fields for message in answer if message.kind == "E"]
    return error


def test_a_node_that_dies_in_its_commit(sides_to_copy: CopySides) -> None:
    """It has not committed: only the proxy cannot know."""
    with (
        meanwhile(sides_to_copy, DIES_AT_COMMIT, LIVES_AGAIN),
        RawClient.logged_in(sides_to_copy.proxy.conninfo) as client,
    ):
        client.send(copying("COPY numbers FROM STDIN", ROWS)[0])
        error = error_of(client.until_ready())
        assert (error["C"], error["M"]) == ("40003", IN_DOUBT)
        assert "Compare" in error["H"]
        assert stored(sides_to_copy) == set(NODE_NAMES) - {FAILING}
        assert [message.kind for message in client.query("SELECT 1")] == ["T", "D", "C", "Z"]
    await_nothing_open(sides_to_copy.cluster)


def test_a_node_that_dies_behind_its_commit(sides_to_copy: CopySides) -> None:
    with (
        meanwhile(sides_to_copy, WAITS_AT_COMMIT, WAITS_NO_MORE),
        RawClient.logged_in(sides_to_copy.proxy.conninfo) as client,
    ):
        until(lambda: commits_wait(sides_to_copy), "the node waits for its standby")
        client.send(copying("COPY numbers FROM STDIN", ROWS)[0])
        until(lambda: on_failing(sides_to_copy, f"SELECT 1 {WAITING}"), "the node waits in its COMMIT")
        on_failing(sides_to_copy, f"SELECT pg_terminate_backend(pid) {WAITING}")
        error = error_of(client.until_ready())
        assert (error["C"], error["M"]) == ("40003", IN_DOUBT)
        assert stored(sides_to_copy) == set(NODE_NAMES)
    await_nothing_open(sides_to_copy.cluster)


def test_the_only_node_with_rows_speaks_for_itself(sides_to_copy: CopySides) -> None:
    """As one PostgreSQL does: nothing has been committed elsewhere."""
    with RawClient.logged_in(sides_to_copy.proxy.conninfo) as client:
        client.send(copying("COPY numbers FROM STDIN", ROWS)[0])
        assert client.until_ready()[-2].text == "COPY 300"
        mine = b"".join(b"%d\tx\n" % k for (k,) in on_failing(sides_to_copy, f"SELECT k FROM {SHARD}"))
        sides_to_copy.empty()
        with meanwhile(sides_to_copy, DIES_AT_COMMIT, LIVES_AGAIN):
            client.send(copying("COPY numbers FROM STDIN", mine)[0])
            assert error_of(client.until_ready())["C"] == "57P01"
    assert stored(sides_to_copy) == set()
