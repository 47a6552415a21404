"""`GET /metrics`: Prometheus can read it, and the figures are those of what was done."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pgproxy.demo.nodes import NODE_NAMES
from tests.activity import until
from tests.http.conftest import HttpProxy

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(web: HttpProxy) -> Samples:
    answer = web.ask("/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def grown(web: HttpProxy, before: Samples, name: str, **labels: str) -> float:
    return value(scrape(web), name, **labels) - value(before, name, **labels)


def test_statements_by_way_and_outcome(web: HttpProxy) -> None:
    with web.proxy.connect() as connection:
        before = scrape(web)
        for _ in range(3):
            connection.execute("SELECT book_name FROM books WHERE branch = 'west' LIMIT 4").fetchall()
        connection.execute("SELECT count(*) FROM books").fetchall()
        connection.execute("SELECT 1").fetchall()
        for sql in ("SELECT 1/0 FROM books WHERE branch = 'north'", "SELECT * FROM nowhere", "SELEC"):
            with pytest.raises(psycopg.Error):
                connection.execute(sql.encode())
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            connection.execute("UPDATE books SET branch = 'west'")
        after = scrape(web)

    def statements(way: str, outcome: str) -> float:
        labels = {"way": way, "outcome": outcome}
        name = "pgproxy_statements_total"
        return value(after, name, **labels) - value(before, name, **labels)

    assert statements("route", "ok") == 3
    assert statements("route", "error") == 1
    assert statements("scatter", "ok") == 1
    assert statements("node", "ok") == 1
    assert statements("node", "error") == 1
    assert statements("none", "error") == 1
    assert statements("none", "refused") == 1
    west = {"way": "route", "node": "west-library"}
    count = "pgproxy_statement_seconds_count"
    assert value(after, count, **west) - value(before, count, **west) == 3
    assert value(after, "pgproxy_errors_total", sqlstate="22012") >= 1


def test_what_is_in_doubt(web: HttpProxy) -> None:
    found = scrape(web)
    for name in ("pgproxy_node_in_doubt", "pgproxy_doubts_committed_total", "pgproxy_doubts_rolled_back_total"):
        assert value(found, name, node="west-library") >= 0


def test_the_extended_protocol_counts_too(web: HttpProxy) -> None:
    with psycopg.connect(web.proxy.conninfo, autocommit=True) as connection:
        before = scrape(web)
        for isbn in (9780062315007, 9780062316097):
            connection.execute(
                "SELECT book_name FROM books WHERE branch = %s AND isbn = %s", ("west", isbn), prepare=True
            ).fetchall()
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1/%s FROM books WHERE branch = 'west'", (0,))
        assert grown(web, before, "pgproxy_statements_total", way="route", outcome="ok") == 2
        assert grown(web, before, "pgproxy_statements_total", way="route", outcome="error") == 1


def test_histograms_are_cumulative_and_whole(web: HttpProxy) -> None:
    web.rows("SELECT pg_sleep(0.05)")
    samples = scrape(web)
    for way, node in [("node", "downtown-library"), ("local", "")]:
        buckets = [
            (float(dict(labels)["le"]), count)
            for (name, labels), count in samples.items()
            if name == "pgproxy_statement_seconds_bucket" and {("way", way), ("node", node)} <= labels
        ]
        counts = [count for _, count in sorted(buckets)]
        assert counts == sorted(counts)
        assert counts[-1] == value(samples, "pgproxy_statement_seconds_count", way=way, node=node) > 0
    assert value(samples, "pgproxy_statement_seconds_sum", way="node", node="downtown-library") >= 0.05


def test_nodes_and_pools(web: HttpProxy) -> None:
    until(lambda: value(scrape(web), "pgproxy_clients") == 0, "the clients of other tests have left")
    samples = scrape(web)
    for node in NODE_NAMES:
        assert value(samples, "pgproxy_node_up", node=node) == 1
        assert 0 < value(samples, "pgproxy_heartbeat_seconds", node=node) < 60
        assert value(samples, "pgproxy_pool_max_size", node=node, user="postgres") == 20
        assert value(samples, "pgproxy_pool_leases_total", node=node) >= 0
    assert value(samples, "pgproxy_plan_cache_capacity") == 2000
    assert value(samples, "process_open_fds") > 5


def test_openmetrics(web: HttpProxy) -> None:
    answer = web.ask("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.body.endswith(b"# EOF\n")


def test_every_metric_is_documented(web: HttpProxy) -> None:
    page = (Path(__file__).parents[2] / "docs/http.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`(pgproxy_\w+)`", page))
    assert web.sql("SELECT 1/0").status == 400  # errors are shown when there are some
    families = {
        re.sub("_(created|bucket|sum|count)$", "", name) for name, _ in scrape(web) if name.startswith("pgproxy_")
    }
    assert families == documented
