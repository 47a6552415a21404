"""What was found by fuzzing, reading and measuring, each case by itself."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

import pytest

from pgproxy.backend.exchange import MOST_ASIDE_BYTES, Exchange, Mode, ServerError
from pgproxy.backend.prepared import LONGEST_PREPARED, BoundStatement, PreparedStatements
from pgproxy.session.client import LOG_IN_MESSAGE_BYTES, MOST_UNFLUSHED
from pgproxy.session.owed import MOST_OWED
from pgproxy.wire import extended, messages
from pgproxy.wire.rows import data_row, row_description
from tests.hostile.clients import USER
from tests.hostile.nodes import ANSWER, COLUMNS, LOGGED_IN, Plausible
from tests.hostile.stand import Stand, StreamEnd, VirtualLoop
from tests.raw_client import SSL_REQUEST, Message, frame, query, startup

ROUTED = "SELECT isbn, branch, price FROM books WHERE branch = 'west'"
BY_PRICE = "SELECT isbn, branch, price FROM books ORDER BY price"
MERGED = "SELECT isbn, branch, price FROM books ORDER BY isbn"


def answers(data: bytes) -> list[Message]:
    found = []
    while data:
        length = struct.unpack_from("!I", data, 1)[0]
        found.append(Message(chr(data[0]), data[5 : 1 + length]))
        data = data[1 + length :]
    return found


def errors(data: bytes) -> list[str]:
    return [message.fields["C"] for message in answers(data) if message.kind == "E"]


def told(answer: Callable[[str], bytes], *sent: bytes) -> bytes:
    """What a client hears behind its log-in, of nodes that answer a Query by this function of its text."""

    class Node(Plausible):
        def _answer(self, kind: int, payload: bytes) -> bytes:
            return answer(payload[:-1].decode()) if kind == messages.QUERY else super()._answer(kind, payload)

    def node(loop: VirtualLoop, protocol: asyncio.Protocol) -> StreamEnd:
        return Node(loop, protocol).stream

    with Stand(node) as stand:
        client = stand.connect()
        client.deliver(startup(USER))
        stand.loop.pass_time(0.1)
        start = len(client.written)
        for data in sent:
            client.deliver(data)
            stand.loop.pass_time(0.3)
        heard = bytes(client.written[start:])
        assert not stand.close()
    return heard


def test_the_stand_answers() -> None:
    heard = answers(told(lambda sql: ANSWER, query(ROUTED)))
    assert [message.kind for message in heard] == ["T", "D", "D", "D", "C", "Z"]


@pytest.mark.parametrize("sql", [ROUTED, MERGED], ids=["routed", "merged"])
@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b"Z\0\0\0\4", id="ReadyForQuery without a status"),
        pytest.param(b"Z\0\0\0\5?", id="ReadyForQuery of an unknown status"),
        pytest.param(b"C\x7f\xff\xff\xff", id="CommandComplete of 2 GB"),
        pytest.param(b"T\0\0\0\3", id="a length below four"),
        pytest.param(b"?\0\0\0\4", id="an unknown message"),
        pytest.param(b"G\0\0\0\4", id="COPY that nobody asked for"),
        pytest.param(b"R\0\0\0\x08\0\0\0\0", id="a second log-in"),
        pytest.param(b"E\0\0\0\6xx", id="a malformed error"),
    ],
)
def test_a_node_that_breaks_the_protocol(sql: str, broken: bytes) -> None:
    heard = told(lambda text: broken if "books" in text else ANSWER, query(sql))
    assert errors(heard) == ["08006"]


@pytest.mark.parametrize("sql", ["COPY books FROM STDIN", "COPY books TO STDOUT"])
def test_a_node_that_answers_a_copy_with_something_else(sql: str) -> None:
    assert errors(told(lambda text: ANSWER, query(sql))) == ["08006"]


def test_one_ready_for_query_too_many_ends_the_connection() -> None:
    """Taken for the next statement's, it would put all answers in the wrong place."""
    twice = ANSWER + messages.ready_for_query(b"I")
    heard = answers(told(lambda sql: twice, query(ROUTED), query(ROUTED), query(ROUTED)))
    assert [message.kind for message in heard] == ["T", "D", "D", "D", "C", "Z"] * 3


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(b"D\0\0\0\x08\0\3\0\0", id="cut in a length"),
        pytest.param(b"D\0\0\0\x0a\0\3\x7f\xff\xff\xff", id="a field of 2 GB"),
        pytest.param(data_row([b"1"]), id="too few fields"),
        pytest.param(data_row([b"1", b"west", b"cheap"]), id="a number that is none"),
    ],
)
def test_rows_that_cannot_be_read(row: bytes) -> None:
    end = messages.command_complete("SELECT 1") + messages.ready_for_query(b"I")
    heard = told(lambda sql: row_description(COLUMNS) + row + end, query(BY_PRICE), query("SELECT 1"))
    assert errors(heard) in (["08006"], ["0A000"])  # a value that the proxy cannot compare is refused as any other
    assert answers(heard)[-1].text == "I", "the session goes on"


def test_rows_in_another_order_than_asked_for() -> None:
    rows = row_description(COLUMNS) + data_row([b"2", b"a", b"1"]) + data_row([b"1", b"a", b"1"])
    end = messages.command_complete("SELECT 2") + messages.ready_for_query(b"I")
    assert errors(told(lambda sql: rows + end, query(MERGED))) == ["XX001"]


@pytest.mark.parametrize("position", ["\u00b2", "9" * 5_000, "-1", ""])
def test_a_position_that_is_no_number(position: str) -> None:
    assert ServerError({"C": "42P01", "M": "no", "P": position}, "node").position is None


def test_endless_notices_are_dropped() -> None:
    exchange = Exchange(Mode.ROWS, lambda: None)
    notice = messages.notice_response({"S": "NOTICE", "M": "x" * 1_000})
    for _ in range(10_000):
        exchange.put_aside(notice)
    assert sum(map(len, exchange.asides)) <= MOST_ASIDE_BYTES + len(notice)


def test_long_texts_are_not_kept_by_connections() -> None:
    prepared = PreparedStatements()
    bound = BoundStatement("SELECT " + "x" * LONGEST_PREPARED, (), (), (), (), lasting=True)
    for _ in range(3):
        batch = prepared.messages_for(bound)
        assert batch.parses
        assert batch.key is None


def test_a_log_in_message_is_short() -> None:
    """Who has not logged in may not make the proxy keep much: with trust, what follows the packet is not looked at."""
    with Stand(lambda loop, protocol: Plausible(loop, protocol).stream) as stand:
        client = stand.connect()
        (connected,) = (found for found, _ in stand._clients)
        assert connected.reader.max_message_bytes == LOG_IN_MESSAGE_BYTES
        client.deliver(startup(USER) + query(f"SELECT '{'x' * LOG_IN_MESSAGE_BYTES * 2}'"))
        stand.loop.pass_time(0.3)
        heard = bytes(client.written)
        assert not stand.close()
    assert heard.startswith(LOGGED_IN[:9])
    assert not errors(heard)


def test_a_second_request_for_encryption_is_refused() -> None:
    with Stand(lambda loop, protocol: Plausible(loop, protocol).stream) as stand:
        client = stand.connect()
        client.deliver(SSL_REQUEST * 20_000)
        stand.loop.pass_time(0.1)
        assert client.written[:1] == b"N"
        assert errors(bytes(client.written[1:])) == ["0A000"]
        assert not stand.close()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(frame("C", b"Sa\0"), id="Close"),
        pytest.param(extended.parse_message("", "", ()), id="Parse"),
    ],
)
def test_a_pipeline_without_sync_is_answered_before_it(data: bytes) -> None:
    heard = told(lambda sql: ANSWER, data * (MOST_OWED + MOST_UNFLUSHED + 10))
    assert len(answers(heard)) > MOST_OWED


def test_others_have_their_turn_between_a_clients_statements() -> None:
    """A client that sends 5,000 statements at once does not hold up one that sends one."""
    with Stand(lambda loop, protocol: Plausible(loop, protocol).stream) as stand:
        busy, other = stand.connect(), stand.connect()
        for client in (busy, other):
            client.deliver(startup(USER))
        stand.loop.pass_time(0.1)
        seen: list[int] = []
        before = len(busy.written)
        other.on_write = lambda data: seen.append(len(busy.written) - before)
        busy.deliver(query("") * 5_000)
        other.deliver(query(""))
        stand.loop.pass_time(0.5)
        whole = len(busy.written) - before
        assert not stand.close()
    assert whole == 5_000 * len(messages.empty_query_response() + messages.ready_for_query(b"I"))
    assert seen
    assert seen[0] < whole / 10
