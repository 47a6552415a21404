"""psql as a user has it: the one of the embedded package, so that it is always there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pgproxy.demo.nodes import programs_folder
from tests.fix_proxy import RunningProxy


@pytest.fixture(scope="module")
def psql_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return programs_folder(tmp_path_factory.mktemp("programs")) / "psql"


def run_psql(program: Path, proxy: RunningProxy, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, "-X", "-v", "ON_ERROR_STOP=1", proxy.conninfo],
        input=script,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("\\d books", ['Table "public.books"', "numeric(8,2)", '"books_pkey" PRIMARY KEY, btree (branch, isbn)']),
        ("\\d patrons", ['Table "public.patrons"', "patron_id | bigint"]),
        ("\\dt", ["books", "patrons"]),
        ("\\l", ["library_system"]),
        ("\\du", ["postgres"]),
        ("\\conninfo", ["library_system"]),
        ("SELECT branch, count(*) FROM books GROUP BY branch ORDER BY branch;", ["downtown |", "(3 rows)"]),
        ("SELECT 1 \\; SELECT count(*) FROM books WHERE branch = 'west';", ["(1 row)"]),
        ("SELECT isbn FROM books ORDER BY isbn LIMIT 1 \\gset\n\\echo :isbn", ["978"]),
        ("SELECT book_name, price FROM books WHERE isbn = 9780451524935 \\gdesc", ["numeric(8,2)"]),
        ("SELECT count(*) AS n FROM books WHERE branch = $1 \\bind west \\g", ["n", "(1 row)"]),
        ("BEGIN;\nUPDATE books SET price = 1 WHERE branch = 'west';\nROLLBACK;", ["BEGIN", "UPDATE 24", "ROLLBACK"]),
        ("EXPLAIN SELECT book_name FROM books ORDER BY price LIMIT 3;", ["Merge Sort", "books_c on north-library"]),
        ("STATUS;", ["downtown-library | up", "(3 rows)"]),
        ("\\timing on\nSELECT 1;", ["Time:"]),
    ],
)
def test_what_psql_says(psql_program: Path, shared_proxy: RunningProxy, script: str, expected: list[str]) -> None:
    done = run_psql(psql_program, shared_proxy, script + "\n")
    assert done.returncode == 0, done.stderr
    for text in expected:
        assert text in done.stdout


@pytest.mark.parametrize(
    ("sql", "message", "under"),
    [
        ("SELECT nope FROM books WHERE branch = 'west';", 'column "nope" does not exist', "nope"),
        ("SELECT isbn, nope FROM books ORDER BY isbn LIMIT 5;", 'column "nope" does not exist', "nope"),
        ("SELECT FROM WHERE;", 'syntax error at or near "WHERE"', "WHERE"),
        ("SELECT * FROM books JOIN patrons USING (patron_id);", "not supported", None),
    ],
)
def test_errors_point_at_what_the_user_wrote(
    psql_program: Path, shared_proxy: RunningProxy, sql: str, message: str, under: str | None
) -> None:
    done = run_psql(psql_program, shared_proxy, sql + "\n")
    assert done.returncode == 3
    assert message in done.stderr
    if under is None:
        assert "HINT:" in done.stderr
        return
    line, marker = done.stderr.splitlines()[1:3]
    assert line.startswith("LINE 1: ")
    assert line[marker.index("^") :].startswith(under)
