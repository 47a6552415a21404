"""Lag by what the primary has told of its WAL."""

from __future__ import annotations

from pgproxy.cluster.lag import WalHistory


def history(*notes: tuple[float, int], span_s: float = 10.0) -> WalHistory:
    told = WalHistory(span_s)
    for now, position in notes:
        told.note(now, position)
    return told


def test_nothing_told_nothing_known() -> None:
    assert history().lag_s(100) is None


def test_between_two_positions_counts_the_older() -> None:
    told = history((0, 100), (1, 200), (2, 300))
    assert [told.lag_s(at) for at in (99, 100, 150, 200, 299, 300, 999)] == [None, 2, 2, 1, 1, 0, 0]


def test_a_position_counts_as_of_the_last_time_it_was_told() -> None:
    told = history((0, 100), (60, 100), (61, 200))
    assert told.lag_s(100) == 1


def test_a_position_that_goes_back_is_taken_for_no_progress() -> None:
    assert history((0, 100), (1, 90)).lag_s(100) == 0


def test_what_is_older_than_the_span_is_forgotten() -> None:
    told = history(*((float(second), second * 100) for second in range(1000)))
    assert told.lag_s(98_900) == 10
    assert told.lag_s(100) is None


def test_it_is_bounded_however_long_the_span_is() -> None:
    told = history(*((float(second), second) for second in range(25_000)), span_s=1e9)
    assert told.lag_s(24_999) == 0
    assert told.lag_s(14_999 - 10) is None
