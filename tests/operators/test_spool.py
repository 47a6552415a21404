"""Rows kept on disk: any of them again, forward and backward."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgproxy.errors import ProxyError
from pgproxy.operators.spool import Spool
from pgproxy.wire.rows import Batch, data_row, fields_of, split_rows


def rows(start: int, count: int) -> Batch:
    return Batch(b"".join(data_row((b"%d" % n, b"x" * (n % 50))) for n in range(start, start + count)), count)


def numbers(batch: Batch | None) -> list[int]:
    if batch is None:
        return []
    found = [int(fields_of(row)[0] or b"") for row in split_rows(batch.data)]
    assert len(found) == batch.count
    return found


@given(
    sizes=st.lists(st.integers(1, 700), max_size=8),
    reads=st.lists(st.tuples(st.booleans(), st.floats(0, 1), st.integers(1, 900)), max_size=12),
    memory=st.sampled_from([1, 1000, 1 << 20]),
)
def test_what_is_read_is_what_was_written(sizes: list[int], reads: list[tuple[bool, float, int]], memory: int) -> None:
    spool = Spool(memory)
    for size in sizes:
        spool.append(rows(spool.count, size))
        assert spool.forward(spool.count, 1) is None
    assert spool.count == sum(sizes)
    for forward, where, most in reads:
        at = int(where * spool.count)
        if forward:
            found = numbers(spool.forward(at, most))
            assert found == list(range(at, at + len(found)))
        else:
            at -= 1
            found = numbers(spool.backward(at, most))
            assert found == list(range(at, at - len(found), -1))
        assert len(found) <= most
        assert found or not 0 <= at < spool.count
    spool.close()


def test_written_and_read_by_turns() -> None:
    spool = Spool(500)
    for n in range(1000):
        spool.append(rows(n, 1))
        assert numbers(spool.forward(n, 5)) == [n]
        assert numbers(spool.backward(n, 1)) == [n]
    everything: list[int] = []
    while (batch := spool.forward(len(everything), 300)) is not None:
        everything += numbers(batch)
    assert everything == list(range(1000))
    spool.close()


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(1)
    spool.append(rows(0, 1))
    spool.close()
    with Path("/dev/full").open("wb", buffering=0) as full:
        monkeypatch.setattr(spool, "_file", _Unseekable(full))
        with pytest.raises(ProxyError) as caught:
            spool.append(rows(1, 1))
    assert caught.value.sqlstate == "53100"


class _Unseekable:
    """/dev/full, whose every write fails as on a disk without room."""

    def __init__(self, file: object) -> None:
        self.write = file.write  # type: ignore[attr-defined]

    def seek(self, at: int) -> None:
        pass
