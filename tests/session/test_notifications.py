"""LISTEN and NOTIFY: a notification reaches whoever listens, between its transactions and never inside an answer."""

from __future__ import annotations

import select

import psycopg
import psycopg2
import psycopg2.extensions
import pytest

from tests.fix_nodes import ReferencePostgres
from tests.fix_proxy import RunningProxy
from tests.raw_client import Message, RawClient

WEST = "SELECT count(*) FROM books WHERE branch = 'west'"


def shown(message: Message) -> tuple[object, ...]:
    """A NotificationResponse as (A, channel, payload)."""
    if message.kind != "A":
        return message.shown()
    channel, payload, _ = message.payload[4:].decode().split("\0")
    return ("A", channel, payload)


def pid_of(message: Message) -> int:
    return int.from_bytes(message.payload[:4], "big")


@pytest.fixture(params=["proxy", "postgres"])
def conninfo(request: pytest.FixtureRequest) -> str:
    """Each test below is true of one PostgreSQL as well."""
    side: RunningProxy | ReferencePostgres = request.getfixturevalue(
        {"proxy": "shared_proxy", "postgres": "reference_pg"}[request.param]
    )
    return side.conninfo


def test_an_idle_client_hears_at_once(conninfo: str) -> None:
    with RawClient.logged_in(conninfo) as listener, RawClient.logged_in(conninfo) as speaker:
        listener.query("LISTEN a")
        listener.query('LISTEN "B b"')
        speaker.query("NOTIFY a; NOTIFY other; NOTIFY \"B b\", 'it''s'; SELECT pg_notify('a', 'x')")
        heard = [listener.message() for _ in range(3)]
        assert [shown(message) for message in heard if message] == [
            ("A", "a", ""),
            ("A", "B b", "it's"),
            ("A", "a", "x"),
        ]
        assert all(pid_of(message) != listener.key[0] for message in heard if message)


def test_one_s_own_notification_comes_before_ready(conninfo: str) -> None:
    with RawClient.logged_in(conninfo) as client:
        client.query("LISTEN a")
        answer = client.query("NOTIFY a, 'me'")
        assert [shown(message) for message in answer] == [("C", "NOTIFY"), ("A", "a", "me"), ("Z", "I")]
        assert pid_of(answer[1]) == client.key[0]
        assert [shown(message) for message in client.query("BEGIN; NOTIFY a, 'us'; COMMIT")][-2:] == [
            ("A", "a", "us"),
            ("Z", "I"),
        ]


@pytest.mark.parametrize("first", ["SELECT 1", WEST, "SELECT count(*) FROM books"])
def test_a_client_in_a_transaction_hears_after_it(first: str, conninfo: str) -> None:
    with RawClient.logged_in(conninfo) as listener, RawClient.logged_in(conninfo) as speaker:
        listener.query("LISTEN a")
        listener.query("BEGIN")
        listener.query(first)
        speaker.query("NOTIFY a, '1'")
        assert "A" not in [message.kind for message in listener.query(WEST)]
        answer = listener.query("COMMIT")
        if len(answer) == 2:  # it was not there yet
            answer += [message for message in [listener.message()] if message is not None]
        assert [shown(message) for message in answer if message.kind != "Z"] == [("C", "COMMIT"), ("A", "a", "1")]


def test_what_is_rolled_back_is_not_heard(conninfo: str) -> None:
    with RawClient.logged_in(conninfo) as listener, RawClient.logged_in(conninfo) as speaker:
        listener.query("LISTEN a")
        for statement in ("BEGIN", "NOTIFY a, 'lost'", "ROLLBACK", "BEGIN", "NOTIFY a, 'kept'", "COMMIT"):
            speaker.query(statement)
        message = listener.message()
        assert message is not None
        assert shown(message) == ("A", "a", "kept")
        listener.query("BEGIN")
        listener.query("LISTEN b")
        listener.query("ROLLBACK")
        speaker.query("NOTIFY b; NOTIFY a, 'last'")
        message = listener.message()
        assert message is not None
        assert shown(message) == ("A", "a", "last")


def test_no_answer_is_broken_by_notifications(conninfo: str) -> None:
    """Many of them while rows stream, from the node of the rows and from others."""
    with RawClient.logged_in(conninfo) as listener, psycopg.connect(conninfo, autocommit=True) as speaker:
        listener.query("LISTEN a")
        heard = []
        for number in range(60):
            speaker.execute(f"NOTIFY a, '{number}'".encode())
            answer = listener.query(
                ("SELECT isbn, branch FROM books ORDER BY 1, 2", "SELECT * FROM books WHERE branch = 'downtown'")[
                    number % 2
                ]
            )
            kinds = "".join(message.kind for message in answer)
            heard += [shown(message) for message in answer if message.kind == "A"]
            assert kinds.replace("A", "").strip("D") == "T" + "D" * kinds.count("D") + "CZ"
            assert "A" not in kinds.lstrip("A")[: kinds.lstrip("A").index("C")]
        while len(heard) < 60:
            message = listener.message()
            assert message is not None
            heard.append(shown(message))
        assert heard == [("A", "a", str(number)) for number in range(60)]


def test_a_client_that_does_not_read_gets_all_in_the_end(conninfo: str) -> None:
    payload, count = "x" * 7000, 1500  # more than all buffers on the way
    with RawClient.logged_in(conninfo) as listener, psycopg.connect(conninfo, autocommit=True) as speaker:
        listener.query("LISTEN a")
        for _ in range(count // 100):
            speaker.execute(f"SELECT pg_notify('a', n || '{payload}') FROM generate_series(1, 100) n".encode())
        for number in range(count):
            message = listener.message()
            assert message is not None
            assert shown(message)[2] == f"{number % 100 + 1}{payload}"
        assert [message.kind for message in listener.query("UNLISTEN *")] == ["C", "Z"]


def test_many_wait_for_the_end_of_a_transaction(conninfo: str) -> None:
    """14 MB: the proxy stops reading them until the client may hear them."""
    with RawClient.logged_in(conninfo) as listener, psycopg.connect(conninfo, autocommit=True) as speaker:
        listener.query("LISTEN a")
        listener.query("BEGIN")
        listener.query(WEST)
        for _ in range(20):
            speaker.execute("SELECT pg_notify('a', n || repeat('x', 7000)) FROM generate_series(1, 100) n")
        heard = listener.query("COMMIT")
        got = sum(message.kind == "A" for message in heard)
        while got < 2000:
            message = listener.message()
            assert message is not None
            got += message.kind == "A"


def test_psycopg2_polls(conninfo: str) -> None:
    listener, speaker = psycopg2.connect(conninfo), psycopg2.connect(conninfo)
    try:
        for connection in (listener, speaker):
            connection.set_isolation_level(psycopg2.extensions.ISOLATION_LEVEL_AUTOCOMMIT)
        listener.cursor().execute("LISTEN a")
        speaker.cursor().execute("NOTIFY a, 'hello'")
        assert select.select([listener], [], [], 90) == ([listener], [], [])
        listener.poll()
        assert [(notify.channel, notify.payload) for notify in listener.notifies] == [("a", "hello")]
    finally:
        listener.close()
        speaker.close()


def test_psycopg_notifies(conninfo: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as listener, psycopg.connect(conninfo) as speaker:
        listener.execute("LISTEN a")
        speaker.execute("NOTIFY a, 'hello'")
        speaker.commit()
        listener.execute("SELECT pg_notify('a', %s)", ("myself",))
        found = [
            (notify.channel, notify.payload, notify.pid == listener.info.backend_pid)
            for notify in listener.notifies(timeout=90, stop_after=2)
        ]
        assert found == [("a", "hello", False), ("a", "myself", True)]
