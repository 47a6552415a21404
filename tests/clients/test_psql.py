"""psql's commands: the newest psql, from the embedded package, and the system's (`make test-system`).

Most must print on the proxy what they print on one PostgreSQL.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from pgproxy.demo.nodes import programs_folder
from tests.activity import await_nothing_open, await_running
from tests.clients.sides import Side, Sides
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy

PRICE = "SELECT price FROM books WHERE branch = 'west' AND isbn = 9780451524935;"
UPDATE = "UPDATE books SET price = 1 WHERE branch = 'west' AND isbn = 9780451524935;"
INTO = "patrons (patron_id, name, email, branch, joined)"
MINE = "SELECT patron_id, name, email, joined FROM patrons WHERE patron_id >= 9600000 ORDER BY patron_id"


@dataclass(frozen=True)
class Psql:
    program: Path

    def start(self, side: Side, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.command(side), *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def command(self, side: Side) -> list[str]:
        return [str(self.program), "-X", "-h", side.host, "-p", str(side.port), "-U", side.user, "-d", side.database]

    def run(self, side: Side, script: str, *options: str) -> tuple[str, str, int]:
        """What it prints, its errors, and its exit code."""
        with self.start(side, *options) as process:
            try:
                printed, errors = process.communicate(script + "\n", timeout=180)
            finally:
                process.kill()
            return printed, errors, process.returncode


@pytest.fixture(scope="module", params=["newest", pytest.param("system", marks=pytest.mark.system_postgres)])
def psql(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Psql:
    program = programs_folder(tmp_path_factory.mktemp("programs")) / "psql"
    if request.param == "system":
        program = Path(shutil.which("psql") or pytest.fail("no psql in PATH: install Debian's postgresql-client"))
    return Psql(program)


# What an older psql does not know (\bind: 16, pipelines: 18), it says.
SCRIPTS: dict[str, str] = {
    "tables described": r"""
        \d books
        \d+ patrons
        \d books_pkey
        \d nope
        \dS pg_class
        \dp books
        \d+ books
    """,
    "catalogs": r"""
        \l
        \du
        \df
        \dn+
        \dv
        \ds
        \dT
        \dx
        \db
        \dD
        \dL
        \dP
        \dRp
        \dy
        \ddp
        \des
    """,
    "more catalogs": r"""
        \df lower
        \do ||
        \dO C
        \dconfig work_mem
        \dF
        \dC text
        \drds
        \sf lower
        \dg
    """,
    "one table listed": r"""
        \dt books
        \di books_pkey
        \z patrons
        \dt nope
    """,
    "gset": r"""
        SELECT isbn, branch FROM books ORDER BY 1, 2 LIMIT 1 \gset my_
        \echo :my_isbn :my_branch
    """,
    "gset of no row": r"""
        SELECT isbn FROM books WHERE branch = 'nowhere' \gset
        SELECT branch FROM books \gset
    """,
    "gexec": r"""
        SELECT 'SELECT count(*) FROM ' || t FROM (VALUES ('books'), ('patrons')) v(t) \gexec
    """,
    "crosstabview": r"""
        SELECT branch, genre, count(*) FROM books GROUP BY 1, 2 ORDER BY 1, 2 \crosstabview
    """,
    "gdesc": r"""
        SELECT book_name, price, updated_at FROM books \gdesc
        SELECT genre, count(*) AS n, sum(price) FROM books GROUP BY genre \gdesc
        SELECT nope FROM books \gdesc
        SELECT \gdesc
        SELECT 1;
    """,
    "rows by a cursor": r"""
        \set FETCH_COUNT 10
        SELECT isbn, branch, price FROM books ORDER BY 1, 2;
        SELECT nope;
        SELECT isbn FROM books WHERE branch = 'west' ORDER BY 1;
        BEGIN;
        SELECT count(*) FROM books;
        COMMIT;
    """,
    "errors rolled back": rf"""
        \set ON_ERROR_ROLLBACK on
        BEGIN;
        {UPDATE}
        SELECT nope FROM books;
        {PRICE}
        ROLLBACK;
        {PRICE}
    """,
    "autocommit off": rf"""
        \set AUTOCOMMIT off
        {UPDATE}
        {PRICE}
        SELECT nope;
        {PRICE}
        ROLLBACK;
        {PRICE}
    """,
    "statements together": rf"""
        SELECT 1 \; SELECT count(*) FROM books \; SELECT nope FROM books;
        SELECT 1\;{PRICE}
        \set SHOW_ALL_RESULTS off
        SELECT 1 \; SELECT 2;
    """,
    "errors": r"""
        SELECT nope FROM books;
        SELECT 1 +;
        SELECT
          isbn,
          nope FROM books
        ORDER BY isbn;
        SELECT price / 0 FROM books;
        INSERT INTO books (branch, isbn, price) VALUES ('west', 1, 1e9);
        SELECT 1 FROM nope;
    """,
    "verbose errors": r"""
        \set VERBOSITY verbose
        SELECT nope FROM books ORDER BY isbn;
        \set VERBOSITY sqlstate
        SELECT nope FROM books;
        \set VERBOSITY default
        SELECT nope FROM books;
        \errverbose
    """,
    "connect again": r"""
        \c
        \c library_system postgres
        SELECT count(*) FROM books;
    """,
    "formats": rf"""
        \x
        {PRICE}
        \x
        \pset format csv
        SELECT * FROM books WHERE isbn = 9780451524935 ORDER BY branch;
        \pset null N
        \a
        SELECT NULL;
        \H
        {PRICE}
    """,
    "output to a program": rf"""
        {PRICE[:-1]} \g | cat
        \o | cat
        {PRICE}
        \o
    """,
    "notices": r"""
        DO $$ BEGIN RAISE NOTICE 'hello'; END $$;
        BEGIN;
        BEGIN;
        ROLLBACK;
    """,
    "listen": r"""
        LISTEN psql_shelf;
        UNLISTEN *;
        NOTIFY psql_shelf;
    """,
    "variables": r"""
        SELECT count(*) FROM books;
        \echo :SERVER_VERSION_NUM :DBNAME :USER :ROW_COUNT :ERROR :SQLSTATE
        SELECT nope;
        \echo :ERROR :SQLSTATE :LAST_ERROR_MESSAGE
        \encoding
        \if true
        SELECT :'USER';
        \endif
    """,
    "copy out": r"""
        \copy (SELECT isbn, branch FROM books ORDER BY 1, 2 LIMIT 3) to stdout csv header
        \copy (SELECT nope) to stdout
        COPY (SELECT count(*) FROM books) TO STDOUT;
    """,
    "bind": r"""
        SELECT branch FROM books WHERE isbn = $1 AND branch = $2 \bind 9780451524935 west \g
        SELECT branch, count(*) FROM books WHERE price > $1 GROUP BY 1 ORDER BY 1 \bind 10 \g
        SELECT $1::int + 1 \bind x \g
        SELECT $1 \bind \g
    """,
    "bind_named": r"""
        SELECT branch FROM books WHERE isbn = $1 ORDER BY 1 \parse one
        \bind_named one 9780451524935 \g
        \bind_named one 1 \g
        SELECT 1 \parse one
        \close_prepared one
        \bind_named one 1 \g
    """,
    "pipeline": r"""
        \startpipeline
        SELECT 1 \bind \sendpipeline
        SELECT count(*) FROM books WHERE branch = $1 \bind west \sendpipeline
        SELECT count(*) FROM books \bind \sendpipeline
        \endpipeline
    """,
    "pipeline with parts": r"""
        \startpipeline
        SELECT 1;
        SELECT count(*) FROM books;
        \flushrequest
        \getresults
        SELECT 2;
        \syncpipeline
        SELECT 1 / 0;
        SELECT 3;
        \syncpipeline
        SELECT 4;
        \endpipeline
        SELECT 5;
    """,
    "pipeline with a transaction": rf"""
        \startpipeline
        BEGIN;
        {UPDATE}
        {PRICE}
        ROLLBACK;
        {PRICE}
        \endpipeline
    """,
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_psql_prints_the_same(sides: Sides, psql: Psql, script: str) -> None:
    printed, errors, _ = sides.alike(lambda side: psql.run(side, script))
    assert printed or errors


@pytest.mark.parametrize("psql", ["newest"], indirect=True)
def test_watch_so_many_times(sides: Sides, psql: Psql) -> None:
    def program(side: Side) -> tuple[str, str, int]:
        printed, errors, code = psql.run(side, "SELECT count(*) FROM books \\watch i=0.05 c=3")
        return re.sub(r"^.*\(every .*$", "(every)", printed, flags=re.MULTILINE), errors, code

    assert sides.alike(program)[0].count("(every)") == 3


@pytest.mark.parametrize("listing", ["\\dt", "\\d", "\\di", "\\dt+", "\\z"])
def test_listings_have_the_logical_tables(sides: Sides, psql: Psql, listing: str) -> None:
    """And those of one node besides, as the nodes' catalogs are not merged."""
    expected, errors, _ = psql.run(sides.reference, listing)
    printed, *_ = psql.run(sides.proxy, listing)
    assert not errors
    names = set(re.findall(r"\| (books\S*|patrons\S*) ", expected))
    assert len(names) == 2
    assert names <= set(re.findall(r"\| (books\S*|patrons\S*) ", printed))


@pytest.mark.parametrize("options", ["", "csv", "(format csv, header, null '-')", "(format binary)"])
def test_copy_from_and_to_files(sides: Sides, psql: Psql, tmp_path: Path, options: str) -> None:
    file, again = tmp_path / "rows", tmp_path / "again"
    rows = "".join(f"({9600000 + at}, E'Tab\\t\\\\ \"{at}\"', NULL, 'west', '2024-05-0{at + 1}')," for at in range(9))
    script = (
        f"CREATE TEMP TABLE t (patron_id bigint, name text, email text, branch text, joined date);\n"
        f"INSERT INTO t VALUES {rows[:-1]};\n"
        f"\\copy t to '{file}' {options}\n"
        f"\\copy {INTO} from '{file}' {options}\n"
        f"\\copy {INTO} from '{file}' {options}\n"
        f"{MINE};\n"
        f"\\copy ({MINE}) to '{again}' {options}\n"
        f"\\copy {INTO} from '/nowhere/at/all'\n"
        + "".join(f"DELETE FROM patrons WHERE patron_id = {9600000 + at};\n" for at in range(9))
    )

    def program(side: Side) -> tuple[str, list[str], bytes]:
        printed, errors, _ = psql.run(side, script)
        return printed, re.sub(r"patrons_[abc]_pkey", "patrons_pkey", errors).splitlines(), again.read_bytes()

    assert sides.alike(program)[0].count("COPY 9") == 3


def test_files_in_one_transaction(sides: Sides, psql: Psql, tmp_path: Path) -> None:
    main, inner = tmp_path / "main.sql", tmp_path / "inner.sql"
    main.write_text(f"{UPDATE}\n\\ir inner.sql\n{PRICE}\nSELECT nope FROM books;\n")
    inner.write_text(f"{PRICE}\n\\echo :price\n")

    def program(side: Side) -> object:
        options = ("--single-transaction", "-v", "ON_ERROR_STOP=1", "-v", "price=1.00", "-f", str(main))
        failed = psql.run(side, "", *options)
        return failed, psql.run(side, PRICE)

    (printed, errors, code), (after, *_) = sides.alike(program)
    assert code == 3
    assert f"{main}:4: ERROR:" in errors
    assert "1.00" in printed
    assert "1.00" not in after


def test_what_one_postgres_would_say_otherwise(sides: Sides, psql: Psql) -> None:
    """Refused with a hint, and the connection goes on."""
    script = (
        "\\timing on\nSELECT 1;\n\\conninfo\n\\lo_import /etc/hostname\n\\encoding SQL_ASCII\n"
        "\\password postgres\nx\nx\n\\c nosuch\n"
    )
    printed, errors, code = psql.run(sides.proxy, script)
    assert "Time: " in printed
    assert "library_system" in printed
    assert str(sides.proxy.port) in printed
    assert "ERROR:  the function call protocol is not supported" in errors
    assert "SQL_ASCII: invalid encoding name" in errors
    assert "ERROR:  ALTER ROLE is not supported through the proxy\nHINT:" in errors
    assert 'FATAL:  database "nosuch" does not exist\nHINT:' in errors
    assert code in (0, 2)


@pytest.mark.parametrize("sql", ["SELECT 1, pg_sleep(60);", "SELECT isbn, pg_sleep(60) FROM books;"])
def test_interrupt_cancels(library_cluster: LibraryCluster, shared_proxy: RunningProxy, psql: Psql, sql: str) -> None:
    with psql.start(Side(shared_proxy.host, shared_proxy.port), "-c", sql) as process:
        try:
            await_running(library_cluster, "pg_sleep(60)")
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=180)
        finally:
            process.kill()
    assert errors.splitlines()[-1] == "ERROR:  canceling statement due to user request"
    await_nothing_open(library_cluster)


def test_watch_until_interrupted(shared_proxy: RunningProxy, psql: Psql) -> None:
    with psql.start(Side(shared_proxy.host, shared_proxy.port)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write("SELECT count(*) FROM books WHERE branch = 'west' \\watch 0.05\n")
            process.stdin.flush()
            for _ in range(5):
                assert any("24" in line for line in iter(process.stdout.readline, ""))
            process.send_signal(signal.SIGINT)
            rest, errors = process.communicate(timeout=180)
        finally:
            process.kill()
    assert "ERROR" not in errors.replace("ERROR:  canceling statement due to user request", ""), rest


@pytest.mark.system_postgres  # the embedded psql is built without readline
def test_tab_completes_tables_and_columns(shared_proxy: RunningProxy) -> None:
    """It asks the catalog while the user types."""
    psql = Psql(Path(shutil.which("psql") or "psql"))
    typed = (b"SELECT count(*) FROM pat\t;\n", b"UPDATE books SET checked\t= true WHERE false;\n", b"\\d book\t\n")
    screen = _typed(psql.command(Side(shared_proxy.host, shared_proxy.port)), *typed)
    assert "FROM patrons" in screen
    assert "checked_out" in screen
    assert 'Table "public.books"' in screen or "books_" in screen


def _typed(command: list[str], *lines: bytes) -> str:
    """What is on the terminal after these lines were typed, and \\q."""
    terminal, side = pty.openpty()
    environment = os.environ | {"TERM": "dumb", "PAGER": "cat", "PSQL_PAGER": "cat"}
    with subprocess.Popen(
        command, stdin=side, stdout=side, stderr=side, start_new_session=True, env=environment
    ) as psql:
        os.close(side)
        seen = b""
        try:
            for line in (*lines, b"\\q\n"):
                seen += _until_prompt(terminal)
                os.write(terminal, line)
            return (seen + _until_prompt(terminal)).decode().replace("\a", "")
        finally:
            psql.kill()
            os.close(terminal)


def _until_prompt(terminal: int) -> bytes:
    """Until the prompt stands there, or the terminal is closed."""
    seen, deadline = b"", time.monotonic() + 90
    while not seen.endswith(b"# ") and time.monotonic() < deadline:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            seen += os.read(terminal, 65536)
        except OSError:  # Linux says so when psql has gone
            break
    return seen
