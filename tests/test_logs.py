"""Log lines: JSON with the facts that an error line must carry, or a line for people; no secrets."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgproxy.logs import HumanFormatter, JsonFormatter, Sparing, about_no_secrets, without_secrets
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy, running_proxy


def _record(**extra: Any) -> logging.LogRecord:
    return logging.getLogger("pgproxy.test").makeRecord(
        "pgproxy.test", logging.WARNING, __file__, 1, "said %s", ('"é"',), None, extra=extra
    )


def test_json() -> None:
    line = json.loads(JsonFormatter().format(_record(client="127.0.0.1:5", node="west", sqlstate="08006", other=1)))
    assert line.pop("ts").endswith("+00:00")
    assert line == {
        "level": "warning", "logger": "pgproxy.test", "message": 'said "é"',
        "client": "127.0.0.1:5", "node": "west", "sqlstate": "08006",
    }  # fmt: skip


def test_json_of_an_exception_is_one_line() -> None:
    record = _record()
    try:
        raise ValueError("two\nlines")
    except ValueError as broken:
        record.exc_info = (type(broken), broken, broken.__traceback__)
    text = JsonFormatter().format(record)
    assert "\n" not in text
    assert "ValueError: two" in json.loads(text)["exception"]


def test_human() -> None:
    form = HumanFormatter("%(levelname)s %(message)s")
    assert form.format(_record(client="c", node="", sqlstate="08006")) == 'WARNING said "é" (client=c sqlstate=08006)'
    assert form.format(_record()) == 'WARNING said "é"'


@pytest.mark.parametrize(
    ("sql", "shown"),
    [
        ("SELECT 'x'", "SELECT 'x'"),
        ("ALTER ROLE a PASSWORD 'se''cret'", "ALTER ROLE a PASSWORD '…'"),
        ("CREATE USER a WITH password\n E'a\\'b' LOGIN", "CREATE USER a WITH password\n '…' LOGIN"),
        ("ALTER ROLE a PASSWORD 'ends in \\' VALID UNTIL 'x'", "ALTER ROLE a PASSWORD '…' VALID UNTIL 'x'"),
        ("ALTER ROLE a PASSWORD'secret'", "ALTER ROLE a PASSWORD'…'"),
        ("ALTER ROLE a PASSWORD U&'s\\00e9cret' LOGIN", "ALTER ROLE a PASSWORD '…' LOGIN"),
        ("ALTER ROLE a PASSWORD $x$se$$cret$x$ LOGIN", "ALTER ROLE a PASSWORD '…' LOGIN"),
        ("ALTER ROLE a PASSWORD $$secret$$ LOGIN", "ALTER ROLE a PASSWORD '…' LOGIN"),
        ("ALTER ROLE a PASSWORD -- the\n/* old */ 'secret'", "ALTER ROLE a PASSWORD -- the\n/* old */ '…'"),
        ("ALTER ROLE a PASSWORD 'not closed", "ALTER ROLE a PASSWORD '…'"),
        (
            "CREATE USER MAPPING FOR a SERVER s OPTIONS (password 'secret')",
            "CREATE USER MAPPING FOR a SERVER s OPTIONS (password '…')",
        ),
        ("SELECT dblink('host=x password=secret user=y')", "SELECT dblink('host=x password='…' user=y')"),
        ("SELECT password FROM a WHERE password = $1", "SELECT password FROM a WHERE password = $1"),
        ("SELECT password, 'x' FROM a", "SELECT password, 'x' FROM a"),
    ],
)
def test_passwords_are_left_out(sql: str, shown: str) -> None:
    assert without_secrets(sql) == shown


def test_an_error_quotes_no_password() -> None:
    message = "syntax error at or near \"'secret' x\""
    assert about_no_secrets(message, "ALTER ROLE a PASSWORD E'secret' x") == 'syntax error at or near "…"'
    assert about_no_secrets(message, "SELECT 'secret' x") == message


def test_sparing() -> None:
    now = 0.0
    sparing = Sparing(2, lambda: now)
    assert [sparing.allows() for _ in range(5)] == [True, True, False, False, False]
    now = 1.5
    assert sparing.allows()
    assert sparing.left_out() == " (3 more were not logged)"
    assert sparing.left_out() == ""


def _lines(proxy: RunningProxy) -> list[dict[str, Any]]:
    return [json.loads(line) for line in proxy.log_text().splitlines()]


def test_off_a_terminal_every_line_is_json(proxy: RunningProxy) -> None:
    with proxy.connect() as connection, pytest.raises(psycopg.errors.DivisionByZero):
        connection.execute("SELECT 1/0, 'a secret'")
    lines = _lines(proxy)
    assert any(line["message"].startswith("pgproxy ") for line in lines)
    assert all({"ts", "level", "logger", "message"} <= set(line) for line in lines)
    assert "a secret" not in proxy.log_text()
    assert "22012" not in proxy.log_text()  # the client's own fault


def test_errors_with_their_statements_when_asked(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    with running_proxy(library_cluster, tmp_path, log_statements="errors") as proxy:
        with proxy.connect() as connection:
            connection.execute("SELECT 'fine'")
            for sql in ("SELECT 1/0", "SELECT 1/0 AS routed FROM books WHERE branch = 'west'"):
                with pytest.raises(psycopg.errors.DivisionByZero):
                    connection.execute(sql.encode())
        with psycopg.connect(proxy.conninfo) as connection, pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1/%s AS bound", (0,))
        errors = [line for line in _lines(proxy) if line.get("sqlstate") == "22012"]
        assert [line["statement"] for line in errors] == [
            "SELECT 1/0",
            "SELECT 1/0 AS routed FROM books_b AS books WHERE branch = 'west'",
            "SELECT 1/$1 AS bound",
        ]
        assert [line["node"] for line in errors] == ["downtown-library", "west-library", "downtown-library"]
        assert all(line["client"].startswith("127.0.0.1:") for line in errors)
        assert "fine" not in proxy.log_text()


def test_all_statements_when_asked(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    with running_proxy(library_cluster, tmp_path, log_statements="all") as proxy:
        with proxy.connect() as connection:
            for _ in range(2):
                connection.execute("SELECT author FROM books WHERE branch = 'west'")
        with psycopg.connect(proxy.conninfo, autocommit=True) as connection:
            connection.execute("SELECT %s::text", ("not logged",))
        statements = [line["statement"] for line in _lines(proxy) if line["message"] == "statement"]
    assert statements == ["SELECT author FROM books WHERE branch = 'west'"] * 2 + ["SELECT $1::text"]


def test_errors_of_a_dead_node(own_cluster: LibraryCluster, tmp_path: Path) -> None:
    with running_proxy(own_cluster, tmp_path) as proxy:
        own_cluster.kill("west-library")
        with proxy.connect() as connection:
            for _ in range(50):
                with pytest.raises(psycopg.OperationalError):
                    connection.execute("SELECT author FROM books WHERE branch = 'west'")
        errors = [line for line in _lines(proxy) if line.get("sqlstate") == "08006"]
        assert 1 <= len(errors) < 50
        assert {line["node"] for line in errors} == {"west-library"}
        assert all(line["level"] == "warning" and line["client"] for line in errors)


def test_what_a_client_says_begins_no_line() -> None:
    line = HumanFormatter("%(message)s").format(_record(client="x\nFAKE \x1b[31m"))
    assert line == 'said "é" (client=x\\nFAKE \\x1b[31m)'
