"""RowDescription and DataRow, there and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgproxy.errors import ProtocolViolation
from pgproxy.wire.rows import (
    Column,
    data_row,
    fields_of,
    parse_row_description,
    row_description,
    split_rows,
)

fields = st.lists(st.none() | st.binary(max_size=50), max_size=12)
oids = st.integers(0, 2**32 - 1)
columns = st.lists(
    st.builds(
        Column,
        name=st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20),
        table_oid=oids,
        attribute=st.integers(-(2**15), 2**15 - 1),
        type_oid=oids,
        type_size=st.integers(-(2**15), 2**15 - 1),
        type_modifier=st.integers(-(2**31), 2**31 - 1),
        format=st.integers(0, 1),
    ),
    max_size=8,
)


def test_bytes() -> None:
    assert data_row([]) == b"D\0\0\0\6\0\0"
    assert data_row([b"1", None, b""]) == b"D\0\0\0\x13\0\3\0\0\0\x011\xff\xff\xff\xff\0\0\0\0"
    assert row_description([]) == b"T\0\0\0\6\0\0"
    assert row_description([Column("a", 16, 1, 23, 4, -1, 0)]) == (
        b"T\0\0\0\x1a\0\1a\0\0\0\0\x10\0\1\0\0\0\x17\0\4\xff\xff\xff\xff\0\0"
    )


@given(fields)
def test_data_row_round_trip(row: list[bytes | None]) -> None:
    assert fields_of(data_row(row)) == row


@given(columns)
def test_row_description_round_trip(described: list[Column]) -> None:
    assert parse_row_description(row_description(described)[5:]) == tuple(described)


@given(st.lists(fields, max_size=10))
def test_a_batch_splits_into_its_rows(rows: list[list[bytes | None]]) -> None:
    messages = [data_row(row) for row in rows]
    batch = b"".join(messages)
    assert split_rows(batch) == messages


@pytest.mark.parametrize("at", range(22))
def test_a_cut_row_description(at: int) -> None:
    payload = row_description([Column("name")])[5:]
    assert at < len(payload)
    with pytest.raises(ProtocolViolation):
        parse_row_description(payload[:at])


@pytest.mark.parametrize("payload", [b"\0\0x", b"\0\1a\0" + bytes(18) + b"x", b"\0\1\xff\0" + bytes(18)])
def test_malformed_row_description(payload: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        parse_row_description(payload)
