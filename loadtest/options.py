"""Which cluster is measured and where the report goes: what the measurements' command lines have in common."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager
from pathlib import Path

from loadtest.clusters import Cluster, given_cluster, open_cluster


def add_own_cluster_options(parser: argparse.ArgumentParser, rows: int) -> None:
    """For a measurement that makes its cluster itself."""
    parser.add_argument(
        "--engine",
        choices=("postgresql", "gateways"),
        default="postgresql",
        help="three PostgreSQL nodes, or one server behind three gateways, as a CockroachDB cluster has them",
    )
    parser.add_argument("--rows", type=int, default=rows, help=f"generated books (default: {rows})")
    parser.add_argument("--folder", type=Path, help="where the report goes (default: loadtest/reports/…)")


def add_cluster_options(parser: argparse.ArgumentParser, rows: int) -> None:
    """For one that can also be pointed at a cluster that runs already."""
    add_own_cluster_options(parser, rows)
    parser.add_argument("--config", type=Path, help="measure the cluster of this shard map instead")
    parser.add_argument("--target", help="with --config: the proxy, as a libpq connection string")
    parser.add_argument(
        "--stop-command", default="docker kill {node}", help="with --config (default: docker kill {node})"
    )
    parser.add_argument(
        "--start-command", default="docker start {node}", help="with --config (default: docker start {node})"
    )


def chosen_cluster(given: argparse.Namespace) -> AbstractContextManager[Cluster]:
    if given.config is None:
        return open_cluster(given.engine, given.rows)
    if given.target is None:
        raise SystemExit("--config needs --target: where the proxy is")
    return given_cluster(given.config, given.target, given.stop_command, given.start_command)
