"""Rows that wait for their shard's turn: in memory, and beyond that in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgproxy.errors import ProxyError
from pgproxy.session.copy_legs import PutAside

PIECES = [b"%d\tsome text\n" % at for at in range(5_000)]


@pytest.mark.parametrize("memory_bytes", [1_000, 1_000_000])
@pytest.mark.parametrize("size", [7, 64 * 1024])
def test_what_was_written_is_read_in_its_order(memory_bytes: int, size: int) -> None:
    aside = PutAside(memory_bytes)
    for piece in PIECES:
        aside.write(piece)
    read = []
    while piece := aside.read(size):
        read.append(piece)
    aside.close()
    assert b"".join(read) == b"".join(PIECES)
    assert {len(piece) for piece in read[:-1]} <= {size}


def test_nothing() -> None:
    aside = PutAside(1_000)
    assert aside.read(10) == b""
    aside.close()


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    aside = PutAside(1)
    aside.close()
    with Path("/dev/full").open("wb", buffering=0) as full:
        monkeypatch.setattr(aside, "_file", full)
        with pytest.raises(ProxyError) as caught:
            aside.write(b"x")
    assert caught.value.sqlstate == "53100"
