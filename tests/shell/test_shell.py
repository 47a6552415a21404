"""The shell as its user meets it: on a terminal, and fed by a file; against a real proxy and real nodes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from tests.activity import await_running, until
from tests.clients.restarts import RestartedProxy
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy, end, running_proxy

ROOT = Path(__file__).parent.parent.parent
TIMEOUT_S = 120


def run(proxy: RunningProxy, *arguments: str, typed: str | None = None) -> tuple[int, str]:
    """Without a terminal: the exit code and what was printed."""
    ended = subprocess.run(
        [sys.executable, "-m", "pgproxy", "shell", "--port", str(proxy.port), "--user", "reader", *arguments],
        cwd=ROOT,
        input=typed,
        stdin=subprocess.DEVNULL if typed is None else None,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


@contextmanager
def terminal(proxy: RunningProxy, home: Path, *arguments: str) -> Iterator[pexpect.spawn]:
    """The shell on a pseudo-terminal, at its first prompt."""
    child = pexpect.spawn(
        sys.executable,
        ["-m", "pgproxy", "shell", "--port", str(proxy.port), "--user", "reader", *arguments],
        cwd=str(ROOT),
        env={"TERM": "xterm", "XDG_STATE_HOME": str(home), "PATH": "/usr/bin", "PROMPT_TOOLKIT_NO_CPR": "1"},
        encoding="utf-8",
        timeout=TIMEOUT_S,
        dimensions=(40, 120),
    )
    try:
        child.expect_exact("SQL>")
        yield child
    finally:
        child.close(force=True)


def test_statements_on_the_command_line(shared_proxy: RunningProxy) -> None:
    code, output = run(
        shared_proxy, "-c", "SELECT branch, count(*), NULL AS nothing FROM books GROUP BY branch ORDER BY branch"
    )
    assert code == 0
    lines = [line.split() for line in output.splitlines()]
    assert lines[0] == ["branch", "count", "nothing"]
    assert lines[2:] == [[name, "24", "NULL"] for name in ("downtown", "north", "west")] + [["(3", "rows)"]]


def test_an_error_says_its_sqlstate_and_place(shared_proxy: RunningProxy) -> None:
    code, output = run(shared_proxy, "-c", "SELECT\n  nosuch FROM books WHERE branch = 'west'")
    assert code == 1
    assert output.splitlines()[:3] == [
        'ERROR:  42703: column "nosuch" does not exist',
        "LINE 2:   nosuch FROM books WHERE branch = 'west'",
        "          ^",
    ]


def test_a_script_goes_on_after_an_error_unless_told(shared_proxy: RunningProxy) -> None:
    script = "SELECT 'one' AS a; nonsense; SELECT 'two' AS a; -- the end"
    code, output = run(shared_proxy, typed=script)
    assert (code, "one" in output, "two" in output) == (1, True, True)
    code, output = run(shared_proxy, "--stop-on-error", typed=script)
    assert (code, "one" in output, "two" in output) == (1, True, False)


def test_a_script_says_commands_too(shared_proxy: RunningProxy) -> None:
    """Each on a line of its own; what is behind them runs."""
    code, output = run(
        shared_proxy,
        typed="-- few\n\\limit 2\n\\x on\nSELECT g FROM generate_series(1, 9) g;\nEXIT\nSELECT 'never';",
    )
    assert code == 0
    assert output.splitlines()[:2] == ["At most 2 rows are shown.", "Expanded display is on."]
    assert "record 2" in output
    assert "record 3" not in output
    assert "never" not in output


def test_each_text_of_the_command_line_stands_alone(shared_proxy: RunningProxy) -> None:
    code, output = run(shared_proxy, "-c", "SELECT 'one' AS a -- why", "-c", "SELECT 'two' AS a;", "-c", "SELECT 'x")
    assert code == 1
    assert "one" in output
    assert "two" in output
    assert "unterminated quoted string" in output


def test_the_default_limit(shared_proxy: RunningProxy) -> None:
    big = "SELECT g FROM generate_series(1, 5000) g"
    code, output = run(shared_proxy, "-c", big, "-c", "SELECT 'still here' AS a")
    assert code == 0
    assert "(only the first 100 rows are shown" in output
    assert "still here" in output
    code, output = run(shared_proxy, "-c", "\\limit off", "-c", big)
    assert "(5000 rows)" in output or output.count("\n") > 5000
    assert "5000" in output


def test_the_limit_does_not_abort_a_transaction(shared_proxy: RunningProxy) -> None:
    code, output = run(
        shared_proxy,
        "-c",
        "BEGIN",
        "-c",
        "SELECT g FROM generate_series(1, 5000) g",
        "-c",
        "SELECT 7 AS a",
        "-c",
        "COMMIT",
    )
    assert code == 0
    assert output.rstrip().endswith("COMMIT")


def test_copy_is_refused_and_hurts_nothing(shared_proxy: RunningProxy) -> None:
    code, output = run(shared_proxy, "-c", "COPY (VALUES (1)) TO STDOUT", "-c", "SELECT 'alive' AS a")
    assert code == 1
    assert "0A000" in output
    assert "alive" in output


def test_no_proxy_there() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "pgproxy", "shell", "--port", "1"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "Connection refused" in ended.stderr


def test_a_conversation(shared_proxy: RunningProxy, tmp_path: Path) -> None:
    with terminal(shared_proxy, tmp_path) as shell:
        shell.sendline("SELECT count(*)")
        shell.expect_exact("...>")
        shell.sendline("FROM books;")
        shell.expect_exact("72")
        shell.expect_exact("(1 row)")
        shell.sendline("\\timing")
        shell.expect_exact("Timing is on.")
        shell.sendline("STATUS;")
        shell.expect_exact("north-library")
        shell.expect(r"Time: [\d.]+ ms")
        shell.sendline("\\d books")
        shell.expect_exact("book_name")
        shell.expect_exact("SQL>")
        shell.sendline("exit")
        shell.expect(pexpect.EOF)
    history = tmp_path / "pgproxy" / "history"
    assert "STATUS;" in history.read_text()
    assert history.stat().st_mode & 0o777 == 0o600


def test_control_c_cancels_the_statement(
    library_cluster: LibraryCluster, shared_proxy: RunningProxy, tmp_path: Path
) -> None:
    with terminal(shared_proxy, tmp_path) as shell:
        shell.sendline("SELECT 'begun'; SELECT pg_sleep(60);")
        shell.expect_exact("(1 row)")
        await_running(library_cluster, "pg_sleep(60)")
        shell.sendintr()
        shell.expect_exact("57014")
        shell.expect_exact("SQL>")
        shell.sendline("SELECT 6 * 7 AS answer;")
        shell.expect_exact("42")


def test_completion_knows_the_tables(shared_proxy: RunningProxy, tmp_path: Path) -> None:
    with terminal(shared_proxy, tmp_path) as shell:
        shell.send("SELECT max(publ\t")
        shell.expect_exact("ished_year")
        shell.sendline(") FROM books WHERE branch = 'west';")
        shell.expect_exact("(1 row)")


def test_an_alert_is_printed_at_the_prompt(own_cluster: LibraryCluster, tmp_path: Path) -> None:
    with running_proxy(own_cluster, tmp_path) as proxy, terminal(proxy, tmp_path) as shell:
        shell.sendline("STATUS;")
        shell.expect_exact("(3 rows)")
        await_alerts(proxy)
        own_cluster.kill("west-library")
        shell.expect_exact("node west-library is DOWN")
        own_cluster.restart("west-library")
        shell.expect_exact("node west-library is UP")


def await_alerts(proxy: RunningProxy) -> None:
    """Until the shell's alerts have seen a first state: when they have asked for the second time."""

    def asked() -> int:
        with proxy.connect(dbname="pgproxy") as admin:
            cursor = admin.execute("SHOW CLIENTS")
            names = [column.name for column in cursor.description or ()]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        alerts = [row for row in rows if (row["user"], row["database"]) == ("reader", "pgproxy")]
        return max((row["statements"] for row in alerts), default=0)

    until(lambda: asked() >= 2, "the alerts have begun")


def test_a_pause_is_no_alert(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    with running_proxy(library_cluster, tmp_path) as proxy, terminal(proxy, tmp_path) as shell:
        shell.sendline("STATUS;")
        shell.expect_exact("(3 rows)")
        await_alerts(proxy)
        with proxy.connect(dbname="pgproxy") as admin:
            admin.execute('PAUSE "west-library"')
            shell.expect_exact("node west-library is paused")
            assert "ALERT" not in shell.before
            admin.execute('RESUME "west-library"')
            shell.expect_exact("node west-library goes on")
            assert "ALERT" not in shell.before


def test_who_may_not_ask_the_admin_database(guarded_proxy: RunningProxy, tmp_path: Path) -> None:
    """No alerts, which is said once; and no database by itself, which is told with the server's hint."""
    with terminal(guarded_proxy, tmp_path, "--user", "by_trust", "--database", "library_system") as shell:
        shell.expect_exact("no alerts: ")
        shell.expect_exact("denied for database")
        time.sleep(2.5)
        shell.sendline("SELECT 6 * 7 AS answer;")
        shell.expect_exact("(1 row)")
        assert "does not answer" not in shell.before
        assert "no alerts" not in shell.before
    code, output = run(guarded_proxy, "--user", "by_trust", "-c", "SELECT 1")
    assert code == 2
    assert 'HINT:  Connect to "library_system"' in output


def test_a_restarted_proxy_is_found_again(restarted_proxy: RestartedProxy, tmp_path: Path) -> None:
    with terminal(restarted_proxy.first, tmp_path) as shell:
        end(restarted_proxy.first.process)
        shell.expect_exact("the proxy does not answer")
        shell.sendline("SELECT 1;")
        shell.expect_exact("FATAL")
        shell.expect_exact("SQL>")
        restarted_proxy.restart()
        shell.sendline("SELECT 2;")  # nothing is sent twice: this one finds out
        shell.expect_exact("connected again")
        shell.expect_exact("SQL>")
        shell.sendline("SELECT 6 * 7 AS answer;")
        shell.expect_exact("42")
        shell.sendline("exit")
        shell.expect(pexpect.EOF)


@pytest.mark.parametrize("wide", [False, True])
def test_a_table_too_wide_is_shown_as_records(shared_proxy: RunningProxy, tmp_path: Path, wide: bool) -> None:
    with terminal(shared_proxy, tmp_path) as shell:
        if wide:
            shell.sendline("\\x off")
        shell.sendline("SELECT * FROM books WHERE branch = 'west' AND isbn = 9780451524935;")
        shell.expect_exact("(1 row)")
        assert ("record 1" in shell.before) is not wide
