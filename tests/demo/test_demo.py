"""`pgproxy demo` as a user runs it: what it prints, how it ends, and that nothing is left running."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from pgproxy.demo.nodes import HOST, free_port

ROOT = Path(__file__).parent.parent.parent
TIMEOUT_S = 240.0


def demo(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "pgproxy", "demo", *map(str, arguments)]


def run_demo(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(demo(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S)


def start_demo(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        demo(*arguments), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def left_running(directory: Path) -> list[str]:
    """Command lines of the processes that work on the directory."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        command = " ".join(process.info["cmdline"] or ())
        if str(directory) in command and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(command)
    return found


def one_line(text: str) -> str:
    lines = text.splitlines()
    assert len(lines) == 1, text
    return lines[0]


@pytest.fixture
def port() -> int:
    return free_port()


def test_statements_run_through_the_proxy_and_psql_prints_them(port: int) -> None:
    ended = run_demo(
        "--port", port, "-c", "SELECT count(*) FROM books", "-c", "SELECT author FROM books WHERE isbn = 9780451524935"
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == (
        " count \n-------\n    72\n(1 row)\n\n"
        "    author     \n---------------\n" + " George Orwell\n" * 3 + "(3 rows)\n\n"
    )


def test_limit_holds_over_all_shards(port: int) -> None:
    query = "SELECT book_name, checked_out FROM books WHERE book_name ILIKE '%ring%' LIMIT 5"
    ended = run_demo("--port", port, "-c", query)
    assert ended.returncode == 0
    count = re.search(r"\((\d+) rows?\)", ended.stdout)
    assert count
    assert 1 <= int(count[1]) <= 5


def test_a_wrong_statement_is_an_exit_code_of_psql(port: int) -> None:
    ended = run_demo("--port", port, "-c", "SELECT nothing FROM books")
    assert ended.returncode == 1
    assert ended.stderr.startswith('ERROR:  column "nothing" does not exist\n')


def test_generated_rows(port: int) -> None:
    ended = run_demo(
        "--port", port, "--rows", 3000, "-c", "SELECT count(*) FROM books", "-c", "SELECT count(*) FROM patrons"
    )
    assert ended.returncode == 0
    assert re.findall(r"^ +(\d+)$", ended.stdout, re.MULTILINE) == ["3072", "360"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stays_until_it_is_told_to_stop(port: int, demo_directory: Path, number: signal.Signals) -> None:
    running = start_demo("--port", port, "--data-dir", demo_directory)
    try:
        assert running.stdout
        welcome = ""
        while "Ctrl-C" not in welcome:
            line = running.stdout.readline()
            assert line, running.communicate()[1]
            welcome += line
        assert f"-h {HOST} -p {port} -U postgres library_system" in welcome
        target = re.search(r'psycopg\.connect\("([^"]+)"', welcome)
        assert target
        with psycopg.connect(target[1], cursor_factory=psycopg.ClientCursor) as connection:
            assert connection.execute("SELECT count(*) FROM patrons").fetchone() == (60,)

        second = run_demo("--port", free_port(), "--data-dir", demo_directory)
        assert second.returncode == 1
        assert (
            one_line(second.stderr) == f"pgproxy demo: another demo (process {running.pid}) is using {demo_directory}"
        )
    finally:
        running.send_signal(number)
        running.communicate(timeout=TIMEOUT_S)
    assert running.returncode == 0
    assert left_running(demo_directory) == []


def test_data_is_kept_and_reset_begins_anew(port: int, demo_directory: Path) -> None:
    def count(*options: str) -> str:
        query = "SELECT count(*) FROM patrons WHERE branch = 'west'"
        return run_demo("--port", port, "--data-dir", demo_directory, *options, "-c", query).stdout.split()[2]

    before = count()
    added = run_demo(
        "--port", port, "--data-dir", demo_directory,
        "-c", "INSERT INTO patrons VALUES (5, 'Someone', NULL, 'west', '2020-02-02')",
    )  # fmt: skip
    assert added.stdout == "INSERT 0 1\n"
    assert int(count()) == int(before) + 1
    assert count("--reset") == before


def test_a_taken_port(demo_directory: Path) -> None:
    with socket.create_server((HOST, free_port())) as taken:
        port = taken.getsockname()[1]
        ended = run_demo("--port", port, "--data-dir", demo_directory / "data")
    assert ended.returncode == 1
    told = f"cannot listen on port {port} of {HOST}: Address already in use; choose another with --port"
    assert one_line(ended.stderr) == f"pgproxy demo: {told}"
    assert not (demo_directory / "data").exists()


def test_a_directory_that_cannot_be_made(port: int, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = run_demo("--port", port, "--data-dir", tmp_path / "file" / "data")
    assert ended.returncode == 1
    assert one_line(ended.stderr) == f"pgproxy demo: cannot use {tmp_path}/file/data: Not a directory"


def test_a_directory_of_something_else(port: int, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    ended = run_demo("--port", port, "--data-dir", tmp_path, "--reset")
    assert ended.returncode == 1
    assert one_line(ended.stderr) == f"pgproxy demo: {tmp_path} is not empty and was not made by a demo"
    assert (tmp_path / "thesis.tex").exists()


def test_a_node_that_cannot_start(port: int, demo_directory: Path) -> None:
    run_demo("--port", port, "--data-dir", demo_directory, "-c", "SELECT 1")
    (demo_directory / "west-library/data/PG_VERSION").write_text("9.6\n")
    ended = run_demo("--port", port, "--data-dir", demo_directory)
    assert ended.returncode == 1
    assert "node west-library did not start: " in one_line(ended.stderr.removeprefix(_first_line(ended.stderr)))
    assert left_running(demo_directory) == []


@pytest.mark.parametrize(
    ("until", "number"),
    [
        ("downtown-library/server.log", signal.SIGTERM),
        ("north-library/made", signal.SIGINT),
        ("shardmap.toml", signal.SIGTERM),
    ],
)
def test_stopped_during_start_up(
    port: int, demo_directory: Path, until: str, number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The proxy takes its time: otherwise all might be ready before a slow machine lets us send the signal.
    (tmp_path / "sitecustomize.py").write_text("import sys, time\n'serve' in sys.orig_argv and time.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    running = start_demo("--port", port, "--data-dir", demo_directory)
    deadline = time.monotonic() + TIMEOUT_S
    while not (demo_directory / until).exists():
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    running.send_signal(number)
    _, errors = running.communicate(timeout=TIMEOUT_S)
    assert running.returncode == 1
    assert errors.splitlines()[-1] == "pgproxy demo: stopped before it was ready"
    assert left_running(demo_directory) == []


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells children that their parent is gone")
def test_killed_it_takes_everything_with_it(port: int, demo_directory: Path) -> None:
    running = start_demo("--port", port, "--data-dir", demo_directory)
    assert running.stdout
    while "Ctrl-C" not in running.stdout.readline():
        assert running.poll() is None
    running.kill()
    running.communicate()
    deadline = time.monotonic() + TIMEOUT_S
    while left := left_running(demo_directory):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def _first_line(text: str) -> str:
    return text.splitlines(keepends=True)[0]
