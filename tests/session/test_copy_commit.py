"""COPY into several nodes of which one fails between its last row and the end of the last COMMIT: all rows or none, or,
where nodes cannot commit together, what is known, node by node."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from pgproxy.demo.nodes import NODE_NAMES
from tests.activity import await_nothing_open, connect, until
from tests.fix_copy import LETTERS, CopySides, copying
from tests.raw_client import Message, RawClient, query

ROWS = b"".join(b"%d\tx\n" % k for k in range(300))
COPY = copying("COPY numbers FROM STDIN", ROWS)[0]
DECIDER, FAILING = NODE_NAMES[:2]
IN_DOUBT = (
    f"COPY was committed on node {', '.join(sorted(set(NODE_NAMES) - {FAILING}))}, "
    f"and whether it was on node {FAILING} is not known"
)


def dies_at_commit(node: str) -> tuple[str, ...]:
    """SET CONSTRAINTS ALL IMMEDIATE, which may come before, calls the first function; what that does is deferred again,
    so the second is called by COMMIT itself, or by PREPARE TRANSACTION."""
    return (
        "CREATE TABLE again (v int)",
        """CREATE FUNCTION once_more() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN SET CONSTRAINTS ALL DEFERRED; INSERT INTO again VALUES (1); RETURN NULL; END'""",
        """CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(60); RETURN NULL; END'""",
        f"""CREATE CONSTRAINT TRIGGER early AFTER INSERT ON {shard(node)} DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION once_more()""",
        """CREATE CONSTRAINT TRIGGER late AFTER INSERT ON again DEFERRABLE INITIALLY DEFERRED
           FOR EACH ROW EXECUTE FUNCTION die()""",
    )


def lives_again(node: str) -> tuple[str, ...]:
    return (f"DROP TRIGGER early ON {shard(node)}", "DROP TABLE again", "DROP FUNCTION once_more, die")


# What COMMIT or PREPARE TRANSACTION does is done there, and then it waits for a standby that does not exist.
WAITS_AT_COMMIT = ("ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()")
WAITS_NO_MORE = ("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
WAITING = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


def shard(node: str) -> str:
    return f"numbers_{LETTERS[NODE_NAMES.index(node)]}"


def on_node(sides: CopySides, name: str, *statements: str) -> list[tuple[object, ...]]:
    """What the last of them says."""
    with connect(sides.cluster, name) as node:
        for statement in statements:
            cursor = node.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@contextmanager
def meanwhile(sides: CopySides, node: str, before: tuple[str, ...], after: tuple[str, ...]) -> Iterator[None]:
    on_node(sides, node, *before)
    try:
        if before is WAITS_AT_COMMIT:
            until(lambda: commits_wait(sides, node), "the node waits for its standby")
        yield
    finally:
        on_node(sides, node, *after)


def commits_wait(sides: CopySides, node: str) -> bool:
    """Whether the node knows of its standby by now; what waits for that to tell is cancelled."""
    cancelled = False
    with ThreadPoolExecutor(1) as thread:
        tried = thread.submit(on_node, sides, node, "SELECT pg_logical_emit_message(true, 'tried', '')")
        while not tried.done():
            cancelled |= bool(on_node(sides, node, f"SELECT pg_cancel_backend(pid) {WAITING}"))
        tried.result()
    return cancelled


def stored(sides: CopySides) -> set[str]:
    """The nodes that have rows."""
    return {name for name in NODE_NAMES if on_node(sides, name, f"SELECT 1 FROM {shard(name)} LIMIT 1")}


def await_nothing_prepared(sides: CopySides) -> None:
    until(
        lambda: not any(on_node(sides, name, "SELECT gid FROM pg_prepared_xacts") for name in NODE_NAMES),
        "no transaction is in doubt any more",
    )
    await_nothing_open(sides.cluster)


def error_of(answer: list[Message]) -> dict[str, str]:
    assert answer[-1].text == "I"
    (error,) = [message.fields for message in answer if message.kind == "E"]
    return error


def waits(sides: CopySides, node: str) -> None:
    until(lambda: on_node(sides, node, f"SELECT 1 {WAITING}"), "the node waits behind its COMMIT")


AT_ONCE = pytest.param([COPY], id="outside of a transaction")
IN_TRANSACTION = pytest.param([query("BEGIN"), COPY, query("COMMIT")], id="in a transaction")


@pytest.fixture(params=[AT_ONCE, IN_TRANSACTION])
def steps(request: pytest.FixtureRequest) -> list[bytes]:
    found: list[bytes] = request.param
    return found


def begin(client: RawClient, steps: list[bytes]) -> None:
    """All but the answer to the last."""
    for step in steps[:-1]:
        client.send(step)
        assert client.until_ready()[-1].text == "T"
    client.send(steps[-1])


@pytest.mark.parametrize("dying", NODE_NAMES)
def test_a_node_that_dies_in_its_commit(dying: str, steps: list[bytes], sides_to_copy: CopySides) -> None:
    """The decider, or one that prepares: nothing is left on any."""
    with (
        meanwhile(sides_to_copy, dying, dies_at_commit(dying), lives_again(dying)),
        RawClient.logged_in(sides_to_copy.proxy.conninfo) as client,
    ):
        begin(client, steps)
        assert error_of(client.until_ready())["C"] in ("57P01", "08006")
        assert stored(sides_to_copy) == set()
        assert [message.kind for message in client.query("SELECT 1")] == ["T", "D", "C", "Z"]
    await_nothing_prepared(sides_to_copy)


def test_a_decider_that_dies_behind_its_commit(steps: list[bytes], sides_to_copy: CopySides) -> None:
    """It has committed, so all do."""
    with (
        meanwhile(sides_to_copy, DECIDER, WAITS_AT_COMMIT, WAITS_NO_MORE),
        RawClient.logged_in(sides_to_copy.proxy.conninfo) as client,
    ):
        begin(client, steps)
        waits(sides_to_copy, DECIDER)
        on_node(sides_to_copy, DECIDER, f"SELECT pg_terminate_backend(pid) {WAITING}")
        answer = client.until_ready()
        assert [message.text for message in answer if message.kind in "CE"] in (["COPY 300"], ["COMMIT"])
        assert answer[-1].text == "I"
    assert stored(sides_to_copy) == set(NODE_NAMES)
    await_nothing_prepared(sides_to_copy)


def test_a_node_that_dies_behind_what_it_has_prepared(steps: list[bytes], sides_to_copy: CopySides) -> None:
    with (
        meanwhile(sides_to_copy, FAILING, WAITS_AT_COMMIT, WAITS_NO_MORE),
        RawClient.logged_in(sides_to_copy.proxy.conninfo) as client,
    ):
        begin(client, steps)
        waits(sides_to_copy, FAILING)
        on_node(sides_to_copy, FAILING, f"SELECT pg_terminate_backend(pid) {WAITING}", *WAITS_NO_MORE)
        assert error_of(client.until_ready())["C"] in ("57P01", "08006")
    await_nothing_prepared(sides_to_copy)
    assert stored(sides_to_copy) == set()


def test_a_node_that_is_gone_when_all_is_decided(steps: list[bytes], sides_to_copy: CopySides) -> None:
    """Its part is committed later, and the client hears of it."""
    with (
        meanwhile(sides_to_copy, DECIDER, WAITS_AT_COMMIT, WAITS_NO_MORE),
        RawClient.logged_in(sides_to_copy.proxy.conninfo) as client,
    ):
        begin(client, steps)
        waits(sides_to_copy, DECIDER)
        on_node(
            sides_to_copy,
            FAILING,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'PREPARE TRANSACTION%'",
        )
        on_node(sides_to_copy, DECIDER, *WAITS_NO_MORE)
        answer = client.until_ready()
        assert [message.text for message in answer if message.kind in "CE"] in (["COPY 300"], ["COMMIT"])
        (warning,) = [message.fields for message in answer if message.kind == "N"]
        assert warning["M"] == f"node {FAILING} will end its part of the transaction later"
    await_nothing_prepared(sides_to_copy)
    assert stored(sides_to_copy) == set(NODE_NAMES)


def test_a_client_that_vanishes_while_the_nodes_commit(steps: list[bytes], sides_to_copy: CopySides) -> None:
    with (
        meanwhile(sides_to_copy, DECIDER, WAITS_AT_COMMIT, WAITS_NO_MORE),
        RawClient.logged_in(sides_to_copy.proxy.conninfo) as client,
    ):
        begin(client, steps)
        waits(sides_to_copy, DECIDER)
    await_nothing_prepared(sides_to_copy)
    assert stored(sides_to_copy) == set(NODE_NAMES)


def test_the_only_node_with_rows_speaks_for_itself(sides_to_copy: CopySides) -> None:
    """As one PostgreSQL does: nothing has been committed elsewhere."""
    with RawClient.logged_in(sides_to_copy.proxy.conninfo) as client:
        client.send(COPY)
        assert client.until_ready()[-2].text == "COPY 300"
        mine = b"".join(b"%d\tx\n" % k for (k,) in on_node(sides_to_copy, FAILING, f"SELECT k FROM {shard(FAILING)}"))
        sides_to_copy.empty()
        with meanwhile(sides_to_copy, FAILING, dies_at_commit(FAILING), lives_again(FAILING)):
            client.send(copying("COPY numbers FROM STDIN", mine)[0])
            assert error_of(client.until_ready())["C"] == "57P01"
    assert stored(sides_to_copy) == set()


# Where nodes cannot commit together


def test_a_node_that_dies_in_a_commit_by_itself(plain_sides: CopySides) -> None:
    """It has not committed: only the proxy cannot know."""
    with (
        meanwhile(plain_sides, FAILING, dies_at_commit(FAILING), lives_again(FAILING)),
        RawClient.logged_in(plain_sides.proxy.conninfo) as client,
    ):
        client.send(COPY)
        error = error_of(client.until_ready())
        assert (error["C"], error["M"]) == ("40003", IN_DOUBT)
        assert "Compare" in error["H"]
        assert stored(plain_sides) == set(NODE_NAMES) - {FAILING}
        assert [message.kind for message in client.query("SELECT 1")] == ["T", "D", "C", "Z"]
    await_nothing_open(plain_sides.cluster)


def test_a_node_that_dies_behind_a_commit_by_itself(plain_sides: CopySides) -> None:
    with (
        meanwhile(plain_sides, FAILING, WAITS_AT_COMMIT, WAITS_NO_MORE),
        RawClient.logged_in(plain_sides.proxy.conninfo) as client,
    ):
        client.send(COPY)
        waits(plain_sides, FAILING)
        on_node(plain_sides, FAILING, f"SELECT pg_terminate_backend(pid) {WAITING}")
        error = error_of(client.until_ready())
        assert (error["C"], error["M"]) == ("40003", IN_DOUBT)
        assert stored(plain_sides) == set(NODE_NAMES)
    await_nothing_open(plain_sides.cluster)


def test_a_transaction_keeps_to_one_node(plain_sides: CopySides) -> None:
    with RawClient.logged_in(plain_sides.proxy.conninfo) as client:
        for steps in ([query("BEGIN"), COPY, query("ROLLBACK")], [query("BEGIN ISOLATION LEVEL SERIALIZABLE"), COPY]):
            begin(client, steps[:2])
            answer = client.until_ready()
            assert (answer[-2].fields["C"], answer[-1].text) == ("0A000", "E")
            client.query("ROLLBACK")
    assert stored(plain_sides) == set()
    await_nothing_open(plain_sides.cluster)
