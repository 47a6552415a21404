"""Histograms estimate within a quarter; counters are plain integers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgproxy.metrics import Figures, Histogram, Metrics, bounds_us, bucket_of, count, rows_of_answer, rows_of_tag


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
    assert exact / 1.25 <= estimate <= exact * 1.25 + 1
    assert histogram.count == len(values)


@pytest.mark.parametrize(
    ("value", "bucket"),
    [(0, 0), (1, 1), (3, 3), (4, 4), (7, 7), (8, 8), (9, 8), (10, 9), (15, 11), (16, 12), (1023, 35), (1024, 36)],
)
def test_buckets(value: int, bucket: int) -> None:
    histogram = Histogram()
    histogram.observe(value)
    assert histogram.buckets[bucket] == 1


@given(st.integers(0, 2**50))
def test_every_value_lies_within_its_buckets_bounds(value: int) -> None:
    bucket = bucket_of(value)
    lower, upper = bounds_us(bucket)
    assert lower <= value
    assert value < max(upper, 1) or bucket == len(Histogram().buckets) - 1
    histogram = Histogram()
    histogram.observe(value)
    assert histogram.buckets[bucket] == 1


def test_quantiles_interpolate() -> None:
    histogram = Histogram()
    for _ in range(4):
        histogram.observe(1100)  # the bucket of 1024 to 1279
    assert histogram.quantile_us(0.5) == 1152
    assert histogram.quantile_us(1.0) == 1280


def test_figures_say_how_statements_ended() -> None:
    metrics = Metrics(["a", "b"])
    count(metrics.nodes["a"].routed, None, 100, 1)
    count(metrics.nodes["b"].to_node, None, 70_000, 5)
    metrics.scattered.failed("57014")
    metrics.scattered.failed("22012")
    assert metrics.latency.count == 2
    assert metrics.nodes["b"].latency.count == metrics.nodes["b"].statements == 1
    assert (metrics.scattered.cancelled, metrics.scattered.errors) == (1, 1)
    assert sum(figures.total_us for _way, _node, figures in metrics.ways) == 70_100


def test_a_templates_figures() -> None:
    ran, template = Figures(), Figures()
    assert template.mean_us is None
    for microseconds, rows in ((100, 1), (300, 7), (100_000_000, 0)):
        count(ran, template, microseconds, rows)
    assert template.count == ran.count == 3
    assert template.rows == 8
    assert template.mean_us == (400 + 100_000_000) / 3
    assert template.ran is ran


@pytest.mark.parametrize(
    ("tag", "rows"),
    [(b"SELECT 12", 12), (b"INSERT 0 3", 3), (b"UPDATE 1", 1), (b"BEGIN", 0), (b"", 0), (b"CREATE TABLE", 0)],
)
def test_rows_by_tag(tag: bytes, rows: int) -> None:
    assert rows_of_tag(tag) == rows
    complete = b"C" + (len(tag) + 5).to_bytes(4, "big") + tag + b"\0"
    assert rows_of_answer(b"D\0\0\0\x0c 1 2 3 4 5" * 20 + complete + b"Z\0\0\0\5I") == rows


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
