"""pgbench in its modes: scripts over shards, pipelines, a connection for each transaction, retries, its own TPC-B."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgproxy.demo.nodes import programs_folder
from tests.clients.values import NEW_ISBN
from tests.fix_proxy import RunningProxy

CLIENTS, EACH = 4, 15
MODES = ["simple", "extended", "prepared"]
FIRST = NEW_ISBN + 700
MINE = f"branch = 'north' AND isbn BETWEEN {FIRST} AND {FIRST + 9}"

READS = """
\\set id random(1001, 1060)
SELECT name FROM patrons WHERE patron_id = :id;
SELECT count(*) FROM books WHERE isbn > :id;
SELECT isbn, branch FROM books ORDER BY isbn, branch LIMIT 3;
"""
# Money moves from one book to another, and a ledger is kept: all on one shard.
TRANSFERS = f"""
\\set from {FIRST} + random(0, 8)
\\set to {FIRST} + 9
\\set delta random(1, 5)
BEGIN;
UPDATE books SET price = price - :delta WHERE branch = 'north' AND isbn = :from;
SELECT price FROM books WHERE branch = 'north' AND isbn = :from;
UPDATE books SET price = price + :delta, published_year = published_year + 1 WHERE branch = 'north' AND isbn = :to;
END;
"""
PIPELINE = """
\\set id random(1001, 1060)
\\startpipeline
SELECT name FROM patrons WHERE patron_id = :id;
SELECT count(*) FROM books;
SELECT name FROM patrons WHERE patron_id = 1060;
\\endpipeline
"""


@pytest.fixture
def pgbench(tmp_path: Path) -> Path:
    return programs_folder(tmp_path) / "pgbench"


@pytest.fixture
def books(shared_proxy: RunningProxy) -> Iterator[None]:
    """Ten books of ours, which cost 1000 each."""
    with shared_proxy.connect() as connection:
        rows = ", ".join(f"({FIRST + at}, 'north', 'mine', 'me', 1000, 0)" for at in range(10))
        connection.execute(
            f"INSERT INTO books (isbn, branch, book_name, author, price, published_year) VALUES {rows}".encode()
        )
        yield
        connection.execute(f"DELETE FROM books WHERE {MINE}".encode())


def run(pgbench: Path, proxy: RunningProxy, *options: str) -> str:
    command = [str(pgbench), "-h", proxy.host, "-p", str(proxy.port), "-U", "postgres", *options, "library_system"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def bench(pgbench: Path, proxy: RunningProxy, directory: Path, script: str, *options: str) -> str:
    """Run the script by each client so often, without a failure."""
    file = directory / "script.sql"
    file.write_text(script)
    told = run(pgbench, proxy, "-n", "-f", str(file), "-c", str(CLIENTS), "-t", str(EACH), *options)
    assert f"actually processed: {CLIENTS * EACH}/{CLIENTS * EACH}" in told
    assert "number of failed transactions: 0 " in told
    return told


def check_money(proxy: RunningProxy, transfers: int = CLIENTS * EACH) -> None:
    with proxy.connect() as connection:
        found = connection.execute(f"SELECT sum(price), max(published_year) FROM books WHERE {MINE}".encode())
        assert found.fetchone() == (10_000, transfers)


@pytest.mark.parametrize("mode", MODES)
def test_reads(pgbench: Path, shared_proxy: RunningProxy, tmp_path: Path, mode: str) -> None:
    bench(pgbench, shared_proxy, tmp_path, READS, "-M", mode)


@pytest.mark.usefixtures("books")
@pytest.mark.parametrize("mode", MODES)
def test_transactions_of_one_shard(pgbench: Path, shared_proxy: RunningProxy, tmp_path: Path, mode: str) -> None:
    bench(pgbench, shared_proxy, tmp_path, TRANSFERS, "-M", mode)
    check_money(shared_proxy)


@pytest.mark.parametrize("mode", MODES[1:])
def test_pipelines(pgbench: Path, shared_proxy: RunningProxy, tmp_path: Path, mode: str) -> None:
    bench(pgbench, shared_proxy, tmp_path, PIPELINE, "-M", mode)


@pytest.mark.usefixtures("books")
@pytest.mark.parametrize("mode", MODES[1:])
def test_a_transaction_in_a_pipeline(pgbench: Path, shared_proxy: RunningProxy, tmp_path: Path, mode: str) -> None:
    script = TRANSFERS.replace("BEGIN;", "\\startpipeline\nBEGIN;").replace("END;", "END;\n\\endpipeline")
    bench(pgbench, shared_proxy, tmp_path, script, "-M", mode)
    check_money(shared_proxy)


@pytest.mark.usefixtures("books")
@pytest.mark.parametrize("mode", MODES)
def test_a_connection_for_each_transaction(
    pgbench: Path, shared_proxy: RunningProxy, tmp_path: Path, mode: str
) -> None:
    bench(pgbench, shared_proxy, tmp_path, TRANSFERS, "-M", mode, "-C")
    check_money(shared_proxy)


@pytest.mark.usefixtures("books")
@pytest.mark.parametrize("mode", MODES)
def test_serialization_failures_are_tried_again(
    pgbench: Path, shared_proxy: RunningProxy, tmp_path: Path, mode: str
) -> None:
    """All clients change the same book, so that some must see 40001."""
    script = TRANSFERS.replace("BEGIN;", "BEGIN ISOLATION LEVEL REPEATABLE READ;")
    told = bench(pgbench, shared_proxy, tmp_path, script, "-M", mode, "--max-tries=1000")
    assert "number of transactions retried: " in told
    check_money(shared_proxy)


def test_its_own_tpc_b(pgbench: Path, shared_proxy: RunningProxy) -> None:
    """`pgbench -i` makes tables that are not sharded, fills them by COPY, and vacuums them."""
    run(pgbench, shared_proxy, "-i", "-q", "--foreign-keys")
    try:
        for mode in MODES:
            told = run(pgbench, shared_proxy, "-n", "-M", mode, "-c", "3", "-t", "10")
            assert "actually processed: 30/30" in told
        with shared_proxy.connect() as connection:
            count, total = connection.execute("SELECT count(*), sum(delta) FROM pgbench_history").fetchone()
            assert count == 90
            for table in ("accounts", "branches", "tellers"):
                balances = f"SELECT sum({table[0]}balance) FROM pgbench_{table}"
                assert connection.execute(balances.encode()).fetchone() == (total,)
    finally:
        run(pgbench, shared_proxy, "-i", "-I", "d")
    with shared_proxy.connect() as connection:
        left = connection.execute("SELECT tablename FROM pg_tables WHERE tablename LIKE 'pgbench%'").fetchall()
        assert left == []
