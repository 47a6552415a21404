"""COMMIT over several nodes: what may go wrong in each of its steps, and what it must not depend on."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from pgproxy.shardmap.model import ShardMap
from tests.activity import await_nothing_open, await_running, connect
from tests.fix_nodes import LibraryCluster, running_cluster
from tests.fix_proxy import RunningProxy, running_proxy
from tests.raw_client import RawClient, query

FIRST, LAST = 72_000, 72_999
FOUND = f"SELECT branch FROM books WHERE isbn BETWEEN {FIRST} AND {LAST} ORDER BY isbn"
SHARDS = {"downtown-library": "books_a", "west-library": "books_b", "north-library": "books_c"}
PREPARED = "SELECT gid FROM pg_prepared_xacts"


def insert(branch: str, isbn: int = FIRST) -> str:
    return f"INSERT INTO books (isbn, branch, book_name, author) VALUES ({isbn}, '{branch}', 'x', 'y')"


def codes(client: RawClient, *statements: str) -> list[tuple[str | None, str]]:
    """Of each statement (SQLSTATE of its error or None, ReadyForQuery's status)."""
    answers = [client.query(sql) for sql in statements]
    errors = [[message.fields["C"] for message in answer if message.kind == "E"] for answer in answers]
    return [(error[0] if error else None, answer[-1].text) for error, answer in zip(errors, answers, strict=True)]


def error_of(client: RawClient, sql: str) -> dict[str, str]:
    (error,) = [message.fields for message in client.query(sql) if message.kind == "E"]
    return error


def found(client: RawClient) -> list[bytes | None]:
    return [message.values[0] for message in client.query(FOUND) if message.kind == "D"]


def assert_nothing_prepared(cluster: LibraryCluster) -> None:
    for node in cluster.nodes:
        with connect(cluster, node) as connection:
            assert connection.execute(PREPARED).fetchall() == []


@contextmanager
def at_commit(cluster: LibraryCluster, node: str, body: str) -> Iterator[None]:
    """A function that the COMMIT of a new book runs on this node."""
    function = f"CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NULL; END $$"
    trigger = f"""CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON {SHARDS[node]} DEFERRABLE INITIALLY DEFERRED
                  FOR EACH ROW EXECUTE FUNCTION at_commit()"""
    with connect(cluster, node) as connection:
        connection.execute(function.encode())
        connection.execute(trigger.encode())
        try:
            yield
        finally:
            connection.execute("SET lock_timeout = '10s'")
            connection.execute("DROP FUNCTION at_commit CASCADE")


@pytest.fixture
def client(shared_proxy: RunningProxy, library_cluster: LibraryCluster) -> Iterator[RawClient]:
    with RawClient.logged_in(shared_proxy.conninfo) as client:
        yield client
    await_nothing_open(library_cluster)
    assert_nothing_prepared(library_cluster)
    for node, shard in SHARDS.items():
        with connect(library_cluster, node) as connection:
            connection.execute(f"DELETE FROM {shard} WHERE isbn BETWEEN {FIRST} AND {LAST}".encode())


@pytest.mark.parametrize("told_on", ["west-library", "north-library"])
def test_triggers_that_notify_cannot_be_prepared(
    told_on: str, client: RawClient, library_cluster: LibraryCluster
) -> None:
    """Nothing makes the proxy choose that node as the decider but luck."""
    with at_commit(library_cluster, told_on, "NOTIFY told"):
        codes(client, "BEGIN", insert("downtown"), insert("west"), insert("north"))
        error = error_of(client, "COMMIT")
        assert error["C"] == "0A000"
        assert error["M"] == "cannot PREPARE a transaction that has executed LISTEN, UNLISTEN, or NOTIFY"
        assert "one that writes on one" in error["H"]
        assert found(client) == []
        (branch,) = [name.partition("-")[0] for name in SHARDS if name == told_on]
        assert codes(client, "BEGIN", insert(branch), "COMMIT")[-1] == (None, "I")


def test_read_only_after_it_has_written(client: RawClient) -> None:
    codes(client, "BEGIN", insert("west"), insert("north"), "SET TRANSACTION READ ONLY")
    assert "READ ONLY" in error_of(client, "COMMIT")["M"]
    assert found(client) == []
    assert codes(client, "BEGIN", insert("west"), "SET TRANSACTION READ ONLY", "COMMIT")[-1] == (None, "I")


@pytest.mark.parametrize(("slow", "running"), [("west-library", "COMMIT"), ("north-library", "PREPARE TRANSACTION")])
def test_a_cancel_before_the_decision_undoes_all(
    slow: str, running: str, client: RawClient, shared_proxy: RunningProxy, library_cluster: LibraryCluster
) -> None:
    pid = client.key[0]
    with at_commit(library_cluster, slow, "PERFORM pg_sleep(60)"):
        codes(client, "BEGIN", insert("west"), insert("north"), insert("downtown"))
        threading.Thread(target=_cancel_commit, args=(shared_proxy, library_cluster, client, running)).start()
        assert error_of(client, "COMMIT")["C"] == "57014"
        assert client.key[0] == pid
        assert found(client) == []
        assert codes(client, "SELECT 1") == [(None, "I")]


def _cancel_commit(proxy: RunningProxy, cluster: LibraryCluster, client: RawClient, running: str) -> None:
    await_running(cluster, running)
    _cancel(proxy, client)


def _cancel(proxy: RunningProxy, client: RawClient) -> None:
    with RawClient(proxy.host, proxy.port) as canceller:
        body = (80877102).to_bytes(4, "big") + client.key[0].to_bytes(4, "big") + client.key[1]
        canceller.send((len(body) + 4).to_bytes(4, "big") + body)
        assert canceller.closed()


@pytest.mark.parametrize("pause_ms", range(12))
def test_a_cancel_at_any_moment_undoes_all_or_nothing(
    pause_ms: int, client: RawClient, shared_proxy: RunningProxy
) -> None:
    branches = ["west", "north", "downtown"]
    codes(client, "BEGIN", *[insert(branch) for branch in branches])
    client.send(query("COMMIT"))
    time.sleep(pause_ms / 2_000)
    _cancel(shared_proxy, client)
    told = [message for message in client.until_ready() if message.kind in "CEN"]
    assert len(told) == 1, told
    if told[0].kind == "C":
        assert told[0].text == "COMMIT"
        assert sorted(found(client)) == sorted(branch.encode() for branch in branches)
    else:
        assert told[0].fields["C"] == "57014"
        assert found(client) == []


@pytest.mark.parametrize("gone", ["downtown-library", "west-library", "north-library"])
def test_a_node_that_was_lost_before_the_commit(gone: str, client: RawClient, library_cluster: LibraryCluster) -> None:
    """It was read only, decides, or is to prepare."""
    assert codes(client, "BEGIN", "SELECT count(*) FROM books", insert("west"), insert("north"))[-1] == (None, "T")
    with connect(library_cluster, gone) as node:
        node.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'")
    state, status = codes(client, "COMMIT")[0]
    assert state in {"57P01", "08006"}
    assert status == "I"
    assert found(client) == []


def _order(text: str) -> Callable[[RunningProxy], None]:
    def give(proxy: RunningProxy) -> None:
        conninfo = psycopg.conninfo.make_conninfo(proxy.conninfo, dbname="pgproxy")
        with psycopg.connect(conninfo, autocommit=True, cursor_factory=psycopg.ClientCursor) as admin:
            admin.execute(text.encode())

    return give


def _pause_and_resume(proxy: RunningProxy) -> None:
    _order("PAUSE")(proxy)  # returns when all nodes are let go of
    _order("RESUME")(proxy)


@pytest.mark.parametrize(
    ("interfere", "goes_on"),
    [
        (_pause_and_resume, True),
        (_order("RECONNECT"), True),
        (lambda proxy: proxy.process.send_signal(signal.SIGHUP), True),
        (lambda proxy: proxy.process.terminate(), False),
    ],
    ids=["pause", "reconnect", "reload", "shutdown"],
)
def test_what_operators_do_in_the_middle_of_a_commit(
    interfere: Callable[[RunningProxy], None],
    goes_on: bool,
    library_cluster: LibraryCluster,
    client: RawClient,
    tmp_path: Path,
) -> None:
    with (
        at_commit(library_cluster, "north-library", "PERFORM pg_sleep(1.5)"),
        running_proxy(library_cluster, tmp_path) as proxy,
        RawClient.logged_in(proxy.conninfo) as committing,
        ThreadPoolExecutor(1) as thread,
    ):
        codes(committing, "BEGIN", insert("west"), insert("north"), insert("downtown"))
        answer = thread.submit(codes, committing, "COMMIT")
        await_running(library_cluster, "PREPARE TRANSACTION")
        interfere(proxy)
        assert answer.result() == [(None, "I")]
        if goes_on:
            assert codes(committing, "SELECT count(*) FROM books") == [(None, "I")]
        else:
            assert [message.fields["C"] for message in committing.messages() if message.kind == "E"] == ["57P01"]
    assert sorted(found(client)) == [b"downtown", b"north", b"west"]


def _as_login(shard_map: ShardMap) -> ShardMap:
    return replace(shard_map, cluster=replace(shard_map.cluster, user="across_login"))


@pytest.fixture(scope="module")
def plain_login(library_cluster: LibraryCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    """A proxy whose user on the nodes is no superuser, but a member of `across_app`."""
    for node in library_cluster.nodes:
        with connect(library_cluster, node) as connection:
            connection.execute("CREATE ROLE across_app; CREATE ROLE across_login LOGIN IN ROLE across_app")
            connection.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO across_app")
    try:
        with running_proxy(library_cluster, tmp_path_factory.mktemp("plain-login"), _as_login) as proxy:
            yield proxy
    finally:
        for node in library_cluster.nodes:
            with connect(library_cluster, node) as connection:
                connection.execute("DROP OWNED BY across_app, across_login; DROP ROLE across_app, across_login")


@pytest.mark.parametrize(
    ("before", "inside", "in_there"),
    [
        ((), (), b"across_login"),
        ((), ("SET LOCAL ROLE across_app",), b"across_app"),
        ((), ("SET ROLE across_app",), b"across_app"),
        ((), ("SAVEPOINT a", "SET LOCAL role = across_app", "RELEASE a"), b"across_app"),
        (("SET ROLE across_app",), (), b"across_app"),
        (("SET ROLE across_app",), ("SET LOCAL ROLE NONE",), b"across_login"),
        (("SET ROLE across_app",), ("RESET ROLE",), b"across_login"),
    ],
)
def test_the_role_in_the_transaction_may_differ_from_that_after_it(
    before: Sequence[str],
    inside: Sequence[str],
    in_there: bytes,
    plain_login: RunningProxy,
    library_cluster: LibraryCluster,
    client: RawClient,
) -> None:
    """Only who has prepared a transaction may commit it. Deferred triggers run as the role within it."""
    tell = "RAISE NOTICE '%', current_user"
    with (
        at_commit(library_cluster, "west-library", tell),
        at_commit(library_cluster, "north-library", tell),
        RawClient.logged_in(plain_login.conninfo) as plain,
    ):
        said = [*before, "BEGIN", *inside, insert("west"), insert("north")]
        assert {code for code, _ in codes(plain, *said)} == {None}
        answer = plain.query("COMMIT")
        assert [message.fields["M"] for message in answer if message.kind == "N"] == [in_there.decode()] * 2
        assert [message.text for message in answer if message.kind in "CZ"] == ["COMMIT", "I"]
        assert_nothing_prepared(library_cluster)
        assert found(client) == [b"west", b"north"]


@pytest.mark.parametrize(
    ("before", "inside"),
    [
        ("SET SESSION AUTHORIZATION across_app", "SET LOCAL SESSION AUTHORIZATION DEFAULT"),
        ("SET SESSION AUTHORIZATION across_login; SET ROLE across_app", "SET LOCAL session_authorization = DEFAULT"),
        ("SET ROLE across_app", "SET LOCAL SESSION AUTHORIZATION across_login"),
    ],
)
def test_the_user_in_the_transaction_may_differ_from_that_after_it(
    before: str, inside: str, plain_login: RunningProxy, library_cluster: LibraryCluster, client: RawClient
) -> None:
    said = [*before.split("; "), "BEGIN", inside, insert("west"), insert("north")]
    assert {code for code, _ in codes(client, *said)} == {None}
    assert [message.kind for message in client.query("COMMIT") if message.kind != "S"] == ["C", "Z"]
    assert_nothing_prepared(library_cluster)
    assert codes(client, "RESET SESSION AUTHORIZATION", "RESET ROLE") == [(None, "I")] * 2
    assert found(client) == [b"west", b"north"]


def test_the_decision_is_flushed_whatever_the_session_says(tmp_path: Path) -> None:
    """A decider that is killed just after the commit must not forget it: the others do not."""
    with running_cluster() as cluster:
        for node in cluster.nodes:
            with cluster.connect(node) as connection:
                connection.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
                connection.execute("SELECT pg_reload_conf()")
        with running_proxy(cluster, tmp_path) as proxy, RawClient.logged_in(proxy.conninfo) as client:
            said = ["SET synchronous_commit = off", "BEGIN", insert("west"), insert("north")]
            assert codes(client, *said, "COMMIT")[-1] == (None, "I")
            cluster.kill("west-library")
        cluster.restart("west-library")
        for node, count in (("west-library", 1), ("north-library", 1)):
            with psycopg.connect(cluster.conninfo(node)) as connection:
                query = f"SELECT count(*) FROM {SHARDS[node]} WHERE isbn = {FIRST}"
                assert connection.execute(query.encode()).fetchone() == (count,)
