"""The usual sequence of the extended protocol in bytes: found whole, never in part, nothing else taken for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgproxy.wire import extended as x
from pgproxy.wire.messages import query, sync
from pgproxy.wire.sequences import BoundSequence, bind_head, ends_with_sync, read_sequence

SQL = "SELECT é"
PARSE = x.parse_message("", SQL, (23,))
BIND = x.bind_message("", "s", (1,), (b"1", None), (0, 1))
DESCRIBE, EXECUTE = x.describe_portal(""), x.execute_message("", 0)


def read(data: bytes, at: int = 0) -> BoundSequence:
    found = read_sequence(data, at)
    assert found is not None
    return found


@pytest.mark.parametrize("before", [b"", b"anything"])
@pytest.mark.parametrize("behind", [b"", sync(), PARSE, b"B"])
@pytest.mark.parametrize("describes", [False, True])
@pytest.mark.parametrize("parse", [b"", PARSE])
def test_a_sequence(parse: bytes, describes: bool, behind: bytes, before: bytes) -> None:
    messages = parse + BIND + (DESCRIBE if describes else b"") + EXECUTE
    data = before + messages + behind
    found = read(data, len(before))
    assert found.parse == (parse[5:] or None)
    assert found.name == b"s"
    assert found.describes is describes
    assert found.end == len(before) + len(messages)
    assert ends_with_sync(data, found.end) is (behind == sync())
    values = data[found.values_at : found.bind_end]
    assert bind_head(b"\0s\0", len(values)) + values == BIND


@pytest.mark.parametrize(
    "data",
    [
        query("SELECT 1"),
        sync(),
        x.parse_message("named", SQL, ()) + BIND + EXECUTE,
        x.bind_message("portal", "s", (), (), ()) + EXECUTE,
        BIND + x.execute_message("", 5),
        BIND + x.execute_message("portal", 0),
        BIND + x.describe_statement("") + EXECUTE,
        BIND + x.describe_portal("p") + EXECUTE,
        PARSE + DESCRIBE + BIND + EXECUTE,
        PARSE + PARSE + BIND + EXECUTE,
        PARSE + EXECUTE,
        BIND + sync(),
        BIND + x.close_portal("") + EXECUTE,
        PARSE + b"B\0\0\0\4" + EXECUTE,
        b"B\0\0\0\0" + EXECUTE,
        b"B\0\0\0\7\0xx" + EXECUTE,
        b"P\0\0\0\0\0" + BIND + EXECUTE,
        b"P\0\0\0\5\0" + BIND + EXECUTE,
        b"P\xff\xff\xff\xff\0" + BIND + EXECUTE,
        b"B\xff\xff\xff\xff\0s\0" + EXECUTE,
    ],
)
def test_what_is_none(data: bytes) -> None:
    assert read_sequence(data, 0) is None


def test_no_part_is_taken_for_a_sequence() -> None:
    whole = PARSE + BIND + DESCRIBE + EXECUTE
    for size in range(1, len(whole)):
        assert read_sequence(whole[:size], 0) is None


@given(st.binary(min_size=1, max_size=60), st.sampled_from([b"", b"P\0\0\0", b"B\0\0\0", PARSE, BIND, PARSE + BIND]))
def test_any_bytes(data: bytes, start: bytes) -> None:
    found = read_sequence(start + data, 0)
    assert found is None or 0 < found.values_at <= found.bind_end < found.end <= len(start + data)
