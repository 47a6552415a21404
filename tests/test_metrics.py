"""Histograms estimate within a factor of two; counters are plain integers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgproxy.metrics import Histogram, Metrics


def test_an_empty_histogram_has_no_quantiles() -> None:
    assert Histogram().quantile_us(0.5) is None


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=200), st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_right_within_its_bucket(values: list[int], fraction: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    exact = sorted(values)[max(0, -(-int(fraction * len(values) * 1000) // 1000) - 1)]
    estimate = histogram.quantile_us(fraction)
    assert estimate is not None
    assert exact / 2 <= estimate <= exact * 2 + 1
    assert histogram.count == len(values)


@pytest.mark.parametrize(
    ("value", "bucket"), [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (1023, 10), (1024, 11), (2**38, 39), (2**60, 39)]
)
def test_buckets(value: int, bucket: int) -> None:
    histogram = Histogram()
    histogram.observe(value)
    assert histogram.buckets[bucket] == 1


def test_quantiles_interpolate() -> None:
    histogram = Histogram()
    for _ in range(4):
        histogram.observe(1500)  # the bucket of 1024 to 2047
    assert histogram.quantile_us(0.5) == 1536
    assert histogram.quantile_us(1.0) == 2048


def test_errors_are_counted_by_sqlstate_and_bounded() -> None:
    metrics = Metrics(["west-library"])
    for number in range(1000):
        metrics.count_error(f"{number:05}")
    metrics.count_error("00000")
    assert metrics.errors["00000"] == 2
    assert len(metrics.errors) == 501
    assert sum(metrics.errors.values()) == 1001


def test_sums_and_rates() -> None:
    metrics = Metrics(["a", "b"])
    assert metrics.plan_cache_hit_rate is None
    metrics.plan_cache_hits += 3
    metrics.plan_cache_misses += 1
    metrics.route += 2
    metrics.scatter += 1
    assert metrics.plan_cache_hit_rate == 0.75
    assert metrics.statements == 3
    assert list(metrics.nodes) == ["a", "b"]


def test_a_misspelt_counter_is_an_error() -> None:
    with pytest.raises(AttributeError):
        Metrics([]).routes = 1  # type: ignore[attr-defined]
