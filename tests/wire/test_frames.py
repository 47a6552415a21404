"""Cutting a stream into messages: whole, byte by byte, in any pieces, with limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgproxy.errors import ProtocolViolation
from pgproxy.wire.frames import FrameReader, Reassembler, scan_rows
from pgproxy.wire.messages import command_complete, query, sync, terminate
from pgproxy.wire.rows import data_row

STREAM = query("SELECT 1") + sync() + query("") + terminate()
FRAMES = [(0x51, b"SELECT 1\0"), (0x53, b""), (0x51, b"\0"), (0x58, b"")]


def take_all(reader: FrameReader) -> list[tuple[int, bytes]]:
    return list(iter(reader.take, None))


def test_whole() -> None:
    reader = FrameReader(100)
    reader.feed(STREAM)
    assert take_all(reader) == FRAMES
    assert reader.waiting_bytes == 0


def test_byte_by_byte() -> None:
    reader = FrameReader(100)
    taken = []
    for at in range(len(STREAM)):
        reader.feed(STREAM[at : at + 1])
        taken += take_all(reader)
    assert taken == FRAMES


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40)), max_size=8), st.data())
def test_any_frames_in_any_pieces(frames: list[tuple[int, bytes]], data: st.DataObject) -> None:
    stream = b"".join(bytes([kind]) + (len(body) + 4).to_bytes(4, "big") + body for kind, body in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    reader = FrameReader(44)
    taken = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        reader.feed(stream[start:end])
        if data.draw(st.booleans()):  # frames may also wait for the next feed
            taken += take_all(reader)
    assert taken + take_all(reader) == frames


def test_trailing_data_waits() -> None:
    reader = FrameReader(100)
    reader.feed(sync() + b"Q\0\0")
    assert take_all(reader) == [(0x53, b"")]
    assert reader.waiting_bytes == 3
    reader.feed(b"\0\5\0")
    assert take_all(reader) == [(0x51, b"\0")]


def test_whole_messages_are_told_from_beginnings() -> None:
    reader = FrameReader(100)
    assert not reader.has_whole_message
    for byte in query("x")[:-1]:
        reader.feed(bytes([byte]))
        assert not reader.has_whole_message
    reader.feed(b"\0" + sync())
    assert reader.has_whole_message
    assert reader.take() == (0x51, b"x\0")
    assert reader.has_whole_message
    assert reader.take() == (0x53, b"")
    assert not reader.has_whole_message


def test_reassembler_gives_all_once_enough_has_come() -> None:
    waiting = Reassembler()
    assert waiting.feed(b"ab") == b"ab"
    waiting.keep(b"b", missing=3)
    assert waiting.held_bytes == 1
    assert waiting.feed(b"c") is None
    assert waiting.feed(b"d") is None
    assert waiting.held_bytes == 3
    assert waiting.feed(b"efg") == b"bcdefg"
    assert waiting.held_bytes == 0
    assert waiting.feed(b"h") == b"h"


def test_single_bytes_are_joined_as_they_come() -> None:
    waiting = Reassembler()
    waiting.keep(b"x", missing=20_000)
    for _ in range(19_999):
        assert waiting.feed(b"y") is None
    assert len(waiting.pieces) < 10
    assert waiting.feed(b"z") == b"x" + b"y" * 19_999 + b"z"


@pytest.mark.parametrize("length", [0, 1, 3, 101, 2**31, 2**32 - 1])
def test_a_bad_length_is_refused_with_the_header(length: int) -> None:
    reader = FrameReader(100)
    reader.feed(b"Q" + length.to_bytes(4, "big"))
    with pytest.raises(ProtocolViolation):
        reader.take()


@pytest.mark.parametrize("length", [4, 100])
def test_lengths_within_the_limit(length: int) -> None:
    reader = FrameReader(100)
    reader.feed(b"Q" + length.to_bytes(4, "big"))
    body = bytes(length - 4)
    if body:
        assert reader.take() is None
        reader.feed(body)
    assert reader.take() == (0x51, body)


ROW = data_row([b"one", None])
WIDE = data_row([b"x" * 300])


@pytest.mark.parametrize(
    ("data", "at", "expected"),
    [
        (b"", 0, (0, 0)),
        (ROW, 0, (len(ROW), 1)),
        (ROW + WIDE + ROW, 0, (len(ROW) * 2 + len(WIDE), 3)),
        (ROW + command_complete("SELECT 1"), 0, (len(ROW), 1)),
        (command_complete("SELECT 1") + ROW, 0, (0, 0)),
        (command_complete("SELECT 0") + ROW, 14, (14 + len(ROW), 1)),
        (ROW + b"D", 0, (len(ROW), 1)),
        (ROW + b"D\0\0\0", 0, (len(ROW), 1)),
    ],
)
def test_scan_rows(data: bytes, at: int, expected: tuple[int, int]) -> None:
    assert scan_rows(data, at) == expected


def test_scan_rows_stops_before_a_partial_row() -> None:
    data = ROW + WIDE + ROW
    ends = [len(ROW), len(ROW + WIDE), len(data)]
    for size in range(len(data) + 1):
        whole = [end for end in ends if end <= size]
        assert scan_rows(data[:size], 0) == (whole[-1] if whole else 0, len(whole))
