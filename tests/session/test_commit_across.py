"""COMMIT of what was written on several nodes, failing at each of its steps: afterwards all of it is there or nothing.

The first node written to decides. What the client has heard is true: COMMIT, or an error other than 40003 when there is
nothing.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from loadtest.tcp_relay import TcpRelay
from pgproxy.demo.nodes import NODE_NAMES, free_port
from pgproxy.shardmap.model import ShardMap
from tests.fix_accounts import (
    NO_MORE,
    NODE_OF,
    PLACES,
    AccountsCluster,
    Moment,
    at_its_end,
    deferred,
    in_background,
    until,
)
from tests.fix_proxy import RunningProxy, running_proxy
from tests.raw_client import Message, RawClient, query

DECIDER, OTHER, THIRD = "west", "north", "downtown"
TRANSACTION = (
    "BEGIN",
    *(f"INSERT INTO accounts VALUES (1, '{place}', 10)" for place in (DECIDER, OTHER)),
)
LONG_AGO = "prepared < now() - interval '11 s'"
UNKNOWN = "40003"
LOST = {"08006", "57P01", "57P02", "57P03"}

# Each with what it is that waits there.
AT_PREPARE = at_its_end(OTHER, "PREPARE TRANSACTION")
AT_DECISION = Moment(DECIDER, "INSERT INTO pgproxy.commit_log", "LOCK TABLE pgproxy.commit_log IN EXCLUSIVE MODE")
AT_COMMIT = at_its_end(DECIDER, "COMMIT")
MOMENTS = {"at PREPARE": AT_PREPARE, "at the decision": AT_DECISION, "at COMMIT": AT_COMMIT}


@pytest.fixture
def cluster(accounts_cluster: AccountsCluster) -> Iterator[AccountsCluster]:
    """Whole again, and empty."""
    yield accounts_cluster
    for name in accounts_cluster.nodes:
        accounts_cluster.restart(name)
    for place in PLACES:
        accounts_cluster.on(place, *NO_MORE)
    accounts_cluster.recover()
    accounts_cluster.empty()


@pytest.fixture
def running(cluster: AccountsCluster, tmp_path: Path) -> Iterator[RunningProxy]:
    """A proxy that a test may kill."""
    with running_proxy(cluster, tmp_path) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def steady(accounts_cluster: AccountsCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    with running_proxy(accounts_cluster, tmp_path_factory.mktemp("steady")) as proxy:
        yield proxy


def begun(proxy: RunningProxy) -> RawClient:
    client = RawClient.logged_in(proxy.conninfo)
    for statement in TRANSACTION:
        assert client.query(statement)[-1].text == "T"
    return client


def error_of(answer: list[Message]) -> dict[str, str]:
    (error,) = [message.fields for message in answer if message.kind == "E"]
    return error


def outcome(answer: list[Message]) -> str:
    """COMMIT, ROLLBACK or the error's code; empty when the connection broke."""
    errors = [message.fields["C"] for message in answer if message.kind == "E"]
    return (errors or [message.text for message in answer if message.kind == "C"] or [""])[0]


def assert_settled(cluster: AccountsCluster, heard: str) -> None:
    """Everything or nothing is there, as the client has heard; nothing is in doubt or locked."""
    stored = cluster.stored()
    there = {place for place, ids in stored.items() if ids}
    assert there in (set(), {DECIDER, OTHER})
    if heard == "COMMIT":
        assert there
    elif heard not in (UNKNOWN, ""):
        assert not there, f"the client heard {heard}"
    assert cluster.prepared() == set()
    until(lambda: cluster.locks() == 0, "nobody holds a lock")


def test_a_transaction_over_all_nodes(steady: RunningProxy, cluster: AccountsCluster) -> None:
    with steady.connect(autocommit=False) as client:
        for place in PLACES:
            client.execute("INSERT INTO accounts VALUES (1, %s, 10)", [place])
        client.commit()
        client.execute("UPDATE accounts SET amount = amount - 1 WHERE place = 'west'")
        client.execute("DELETE FROM accounts WHERE place = 'north'")
        client.rollback()
        assert client.execute("SELECT sum(amount) FROM accounts").fetchone() == (30,)
    assert cluster.stored() == {place: {1} for place in PLACES}
    assert cluster.prepared() == set()
    decisions = [cluster.on(place, "SELECT committed FROM pgproxy.commit_log") for place in PLACES]
    assert decisions == [[(True,)], [], []]


# A step fails, and everybody lives


@pytest.mark.parametrize("place", [DECIDER, OTHER])
def test_a_deferred_constraint_fails(place: str, steady: RunningProxy, cluster: AccountsCluster) -> None:
    """At COMMIT on the decider, at PREPARE TRANSACTION elsewhere: the client hears what one PostgreSQL would say."""
    raises = "RAISE EXCEPTION 'not so' USING ERRCODE = '23514', HINT = 'otherwise'"
    cluster.on(place, *deferred(place, raises))
    with begun(steady) as client:
        error = error_of(answer := client.query("COMMIT"))
        assert (error["C"], error["M"], error["H"]) == ("23514", "not so", "otherwise")
        assert answer[-1].text == "I"
        assert outcome(client.query("SELECT count(*) FROM accounts")) == "SELECT 1"
    assert_settled(cluster, "23514")


def test_nothing_can_be_prepared_any_more(steady: RunningProxy, cluster: AccountsCluster) -> None:
    """max_prepared_transactions are there already."""
    (most,) = cluster.on(OTHER, "SHOW max_prepared_transactions")[0]
    gids = [f"of somebody else {number}" for number in range(int(str(most)))]
    for gid in gids:
        cluster.on(OTHER, f"BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION '{gid}'")
    try:
        with begun(steady) as client:
            error = error_of(client.query("COMMIT"))
            assert (error["C"], error["M"]) == ("53200", "maximum number of prepared transactions reached")
    finally:
        for gid in gids:
            cluster.on(OTHER, f"ROLLBACK PREPARED '{gid}'")
    assert_settled(cluster, "53200")


@pytest.mark.parametrize("ending", ["a temporary table", "LISTEN", "a cursor WITH HOLD"])
def test_what_cannot_be_prepared(ending: str, steady: RunningProxy, cluster: AccountsCluster) -> None:
    """A session keeps such things on one node, and that one decides."""
    does = {
        "a temporary table": "CREATE TEMP TABLE mine AS SELECT 1 AS a",
        "LISTEN": "LISTEN something",
        "a cursor WITH HOLD": "DECLARE held CURSOR WITH HOLD FOR SELECT id FROM accounts WHERE place = 'north'",
    }
    with begun(steady) as client:
        assert client.query(does[ending])[-1].text == "T"
        heard = outcome(client.query("COMMIT"))
    assert heard in ("COMMIT", "0A000")
    assert_settled(cluster, heard)


def test_the_commit_log_goes_missing(steady: RunningProxy, cluster: AccountsCluster) -> None:
    """The proxy has not noticed yet."""
    with begun(steady) as client:
        cluster.on(DECIDER, "ALTER TABLE pgproxy.commit_log RENAME TO gone")
        try:
            error = error_of(client.query("COMMIT"))
            assert error["C"] == "42P01"
        finally:
            cluster.on(DECIDER, "ALTER TABLE pgproxy.gone RENAME TO commit_log")
        assert outcome(client.query("SELECT 1")) == "SELECT 1"
    assert_settled(cluster, "42P01")


def test_without_a_commit_log_one_node_is_written(cluster: AccountsCluster, tmp_path: Path) -> None:
    cluster.on(THIRD, "ALTER TABLE pgproxy.commit_log RENAME TO gone")
    try:
        with running_proxy(cluster, tmp_path) as proxy, RawClient.logged_in(proxy.conninfo) as client:
            for statement in TRANSACTION[:2]:
                client.query(statement)
            error = error_of(client.query(TRANSACTION[2]))
            assert error["C"] == "0A000"
            assert error["H"] == "pgproxy.commit_log is missing on a node: run pgproxy init, or commit in between."
            assert outcome(client.query("COMMIT")) == "ROLLBACK"
    finally:
        cluster.on(THIRD, "ALTER TABLE pgproxy.gone RENAME TO commit_log")
    assert_settled(cluster, "0A000")


def test_without_prepared_transactions_one_node_is_written(cluster: AccountsCluster, tmp_path: Path) -> None:
    node = cluster.nodes[NODE_OF[THIRD]]
    node.stop()
    node.settings["max_prepared_transactions"] = "0"
    node.start()
    try:
        with running_proxy(cluster, tmp_path) as proxy, RawClient.logged_in(proxy.conninfo) as client:
            for statement in TRANSACTION[:2]:
                client.query(statement)
            error = error_of(client.query(TRANSACTION[2]))
            assert error["C"] == "0A000"
            assert error["H"] == "Set max_prepared_transactions on every node, or commit in between."
            assert outcome(client.query("COMMIT")) == "ROLLBACK"
    finally:
        node.stop()
        del node.settings["max_prepared_transactions"]
        node.start()
    assert_settled(cluster, "0A000")


# Somebody dies


def kill_proxy(proxy: RunningProxy, _client: RawClient, _cluster: AccountsCluster) -> None:
    proxy.process.send_signal(signal.SIGKILL)
    proxy.process.wait()


def stop_proxy(proxy: RunningProxy, _client: RawClient, _cluster: AccountsCluster) -> None:
    """In order: it lets the transaction come to its end."""
    proxy.process.send_signal(signal.SIGTERM)


def client_vanishes(_proxy: RunningProxy, client: RawClient, _cluster: AccountsCluster) -> None:
    client.vanish()


def kill_decider(_proxy: RunningProxy, _client: RawClient, cluster: AccountsCluster) -> None:
    cluster.kill(NODE_OF[DECIDER])


def kill_other(_proxy: RunningProxy, _client: RawClient, cluster: AccountsCluster) -> None:
    cluster.kill(NODE_OF[OTHER])


def kill_all(_proxy: RunningProxy, _client: RawClient, cluster: AccountsCluster) -> None:
    for name in NODE_NAMES:
        cluster.kill(name)


@pytest.mark.parametrize("dies", [kill_proxy, stop_proxy, client_vanishes, kill_decider, kill_other, kill_all])
@pytest.mark.parametrize("moment", MOMENTS.values(), ids=list(MOMENTS))
def test_somebody_dies(
    moment: Moment,
    dies: Callable[[RunningProxy, RawClient, AccountsCluster], None],
    running: RunningProxy,
    cluster: AccountsCluster,
) -> None:
    with moment.held(cluster) as reached:
        client = begun(running)
        client.send(query("COMMIT"))
        reached()
        dies(running, client, cluster)
    with client:
        heard = "" if dies is client_vanishes else outcome(client.until_ready())
    for name in cluster.nodes:
        cluster.restart(name)
    if dies in (kill_proxy, stop_proxy):
        running.process.wait()
        until(lambda: not open_transactions(cluster), "what it had sent is through")
        cluster.recover()
    until(lambda: cluster.prepared() == set(), "nothing is in doubt")
    until(lambda: not open_transactions(cluster), "nothing is open")
    assert_settled(cluster, heard)
    if dies is stop_proxy:
        assert heard == "COMMIT"
    if dies is kill_decider and moment is not AT_COMMIT:
        assert heard in LOST, "it was not even asked to commit"


_OPEN = """SELECT 1 FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
           AND state <> 'idle' AND application_name NOT LIKE 'pgproxy %'"""


def open_transactions(cluster: AccountsCluster) -> bool:
    return any(cluster.on(place, _OPEN) for place in PLACES)


@pytest.mark.parametrize("dies", [kill_proxy, client_vanishes, kill_other, None])
def test_somebody_dies_behind_the_decision(
    dies: Callable[[RunningProxy, RawClient, AccountsCluster], None] | None, cluster: AccountsCluster, tmp_path: Path
) -> None:
    """The other node does not hear COMMIT PREPARED."""
    with ExitStack() as stack:
        node = cluster.nodes[NODE_OF[OTHER]]
        relay = stack.enter_context(TcpRelay(node.port, free_port()))

        def through_relay(shard_map: ShardMap) -> ShardMap:
            moved = replace(shard_map.nodes[node.name], port=relay.port)
            return replace(shard_map, nodes={**shard_map.nodes, node.name: moved})

        proxy = stack.enter_context(running_proxy(cluster, tmp_path, through_relay))
        with AT_COMMIT.held(cluster) as reached:
            client = stack.enter_context(begun(proxy))
            client.send(query("COMMIT"))
            reached()
            relay.stall()
        until(lambda: cluster.on(DECIDER, "SELECT 1 FROM pgproxy.commit_log WHERE committed"), "it is decided")
        assert len(cluster.prepared()) == 1
        if dies is None:
            relay.cut()  # the answer of a session that has it in hand
        else:
            dies(proxy, client, cluster)
        cluster.restart(node.name)
        relay.heal()
        if dies is kill_proxy:
            cluster.recover()
        until(lambda: not cluster.prepared(), "nothing is in doubt")
        if dies in (kill_other, None):
            answer = client.until_ready()
            assert outcome(answer) == "COMMIT"
            assert [message.fields["C"] for message in answer if message.kind == "N"] == ["01000"]
    assert cluster.stored() == {DECIDER: {1}, OTHER: {1}, THIRD: set()}
    assert_settled(cluster, "COMMIT")


def test_a_part_may_take_longer_to_prepare_than_recovery_has_patience(
    steady: RunningProxy, cluster: AccountsCluster
) -> None:
    """The transaction is in the hands of its session as long as the decider has it open."""
    with AT_PREPARE.held(cluster) as reached:
        client = begun(steady)
        client.query("INSERT INTO accounts VALUES (1, 'downtown', 10)")
        client.send(query("COMMIT"))
        reached()
        until(lambda: cluster.on(THIRD, f"SELECT 1 FROM pg_prepared_xacts WHERE {LONG_AGO}"), "recovery has come by")
        with steady.connect(dbname="pgproxy") as admin:
            until(lambda: in_doubt(admin, THIRD) == "1", "it is seen")
        time.sleep(1)
    with client:
        assert outcome(client.until_ready()) == "COMMIT"
    assert cluster.stored() == {place: {1} for place in PLACES}
    assert not cluster.prepared()


def in_doubt(admin: psycopg.Connection, place: str) -> str:
    rows = admin.execute("SHOW STATS").fetchall()
    return next(str(value) for name, node, value in rows if (name, node) == ("in_doubt", NODE_OF[place]))


@pytest.mark.parametrize("ended", ["COMMIT", "nothing"])
def test_the_deciders_answer_is_lost(ended: str, steady: RunningProxy, cluster: AccountsCluster) -> None:
    """The commit log has it."""
    if ended == "COMMIT":  # it waits, committed, for a standby that does not exist
        cluster.on(DECIDER, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()")
    else:
        cluster.on(DECIDER, *deferred(DECIDER, "PERFORM pg_sleep(600)"))
    waits = "FROM pg_stat_activity WHERE wait_event IN ('SyncRep', 'PgSleep')"
    try:
        with begun(steady) as client:
            client.send(query("COMMIT"))
            until(lambda: cluster.on(DECIDER, f"SELECT 1 {waits}"), "the decider waits in its COMMIT")
            cluster.on(DECIDER, f"SELECT pg_terminate_backend(pid) {waits}")
            answer = client.until_ready()
    finally:
        cluster.on(DECIDER, "ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
    until(lambda: not cluster.prepared(), "nothing is in doubt")
    heard = outcome(answer)
    assert heard == "COMMIT" if ended == "COMMIT" else heard in LOST
    assert "01000" not in {message.fields["C"] for message in answer if message.kind == "N"}
    assert_settled(cluster, heard)


def test_a_cancel_in_the_middle(steady: RunningProxy, cluster: AccountsCluster) -> None:
    """As in one PostgreSQL it is heard while something runs that can be cancelled."""
    with AT_PREPARE.held(cluster) as reached, steady.connect(autocommit=False) as client:
        for statement in TRANSACTION[1:]:
            client.execute(statement)
        committing = in_background(client.commit)
        reached()
        client.cancel_safe()
        with pytest.raises(psycopg.errors.QueryCanceled):
            committing.result(60)
    assert_settled(cluster, "57014")


def test_a_proxy_that_is_killed_is_succeeded_by_another(
    cluster: AccountsCluster, steady: RunningProxy, tmp_path: Path
) -> None:
    """With its patience, as an operator sees it."""
    waiting = f"FROM pg_stat_activity WHERE query LIKE '%{AT_DECISION.statement}%' AND wait_event_type = 'Lock'"
    with AT_DECISION.held(cluster) as reached, running_proxy(cluster, tmp_path) as proxy, begun(proxy) as client:
        client.send(query("COMMIT"))
        reached()
        kill_proxy(proxy, client, cluster)
        cluster.on(DECIDER, f"SELECT pg_terminate_backend(pid) {waiting}")
    assert len(cluster.prepared()) == 1
    with running_proxy(cluster, tmp_path) as successor:
        until(lambda: not cluster.prepared(), "nothing is in doubt")
        said = f"of the transactions in doubt on node {NODE_OF[OTHER]} 0 were committed, 1 rolled back"
        until(lambda: said in successor.log_text() + steady.log_text(), "the log of whoever was first says so")
    assert_settled(cluster, "")
