"""COPY data in pieces of any size is cut into the same rows. (What rows are, the differential tests ask PostgreSQL.)"""

from __future__ import annotations

import pytest

from pgproxy.wire.copy import BINARY_HEADER, BINARY_TRAILER, CopyFormat, CopyKind
from pgproxy.wire.copy_rows import RowSplitter, splitter_for

TEXT = CopyFormat()
CSV = CopyFormat(CopyKind.CSV, b",", b"")
BINARY = CopyFormat(CopyKind.BINARY)
FIELD = b"\0\0\0\1k"
BINARY_ROW = b"\0\2\xff\xff\xff\xff" + FIELD
CASES = [
    (TEXT, b"a\tk\tc\nd\te\\\tf\tg\n\\.\nrest", [b"a\tk\tc", b"d\te\\\tf\tg"], [b"k", b"e\\\tf"]),
    (TEXT, b"a\tk\r\nb\\\n\tl\r\nm", [b"a\tk", b"b\\\n\tl", b"m"], None),
    (CSV, b'a,"k,\n""x"\nb,l\n', [b'a,"k,\n""x"', b"b,l"], [b'"k,\n""x"', b"l"]),
    (CSV, b'a,"k"\r\n"b\r\n,",l,\r\n', [b'a,"k"', b'"b\r\n,",l,'], [b'"k"', b"l"]),
    (BINARY, BINARY_HEADER + BINARY_ROW + BINARY_TRAILER, [BINARY_ROW], [FIELD]),
]  # fmt: skip


def cut(splitter: RowSplitter, data: bytes, size: int) -> tuple[list[bytes], list[bytes | None]]:
    rows: list[bytes] = []
    keys: list[bytes | None] = []
    for at in range(0, len(data), size):
        found = splitter.feed(data[at : at + size])
        assert found.problem is None
        rows += found.rows
        keys += found.keys
    found = splitter.feed(b"", final=True)
    return rows + found.rows, keys + found.keys


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(("form", "data", "rows", "keys"), CASES)
def test_pieces_make_no_difference(
    form: CopyFormat, data: bytes, rows: list[bytes], keys: list[bytes | None] | None, size: int
) -> None:
    found_rows, found_keys = cut(splitter_for(form, 1, 1_000_000), data, size)
    assert found_rows == rows
    assert keys is None or found_keys == keys


def test_a_row_has_a_limit() -> None:
    splitter = splitter_for(TEXT, 0, 1_000)
    found = [splitter.feed(b"x" * 100).problem for _ in range(40)]
    assert any(problem is not None and problem.sqlstate == "54000" for problem in found)
