"""The command line: exit codes and messages; what the commands do is tested with what they call."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from pgproxy import __version__
from pgproxy.auth.stored import is_password, parse_stored
from pgproxy.cli import main
from pgproxy.demo.nodes import free_port
from pgproxy.shardmap.auth_rules import AuthMethod, AuthRule
from pgproxy.shardmap.write import to_toml
from pgproxy.wire.scram import make_verifier
from tests.activity import TIMEOUT_S, until
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy, running_proxy
from tests.session.fix_authentication import PASSWORD, with_rules, write_users

ROOT = Path(__file__).parent.parent


def run(*arguments: str) -> tuple[int, str, str]:
    ended = CliRunner().invoke(main, arguments)
    return ended.exit_code, ended.stdout, ended.stderr


@pytest.fixture
def config(library_cluster: LibraryCluster, tmp_path: Path) -> str:
    path = tmp_path / "shardmap.toml"
    path.write_text(to_toml(library_cluster.shard_map()), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("arguments", [["version"], ["--version"]])
def test_version(arguments: list[str]) -> None:
    assert run(*arguments) == (0, f"pgproxy {__version__}\n", "")


def test_the_command_line_loads_nothing_heavy() -> None:
    heavy = "{'psycopg', 'pglast', 'sqlglot', 'rich', 'uvloop', 'asyncio'}"
    code = f"import sys, pgproxy.cli; print(sorted({heavy} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


@pytest.mark.parametrize("command", ["serve", "check", "init"])
def test_every_problem_of_the_file_is_told(command: str, tmp_path: Path) -> None:
    path = tmp_path / "shardmap.toml"
    path.write_text('[proxy]\nprot = 1\n[cluster]\nengine = "mysql"\n', encoding="utf-8")
    code, output, errors = run(command, "--config", str(path))
    assert (code, output) == (1, "")
    for key in ("proxy.prot", "cluster.engine", "cluster.name", "nodes"):
        assert f"{key}: " in errors


def run_with(text: str, *arguments: str) -> tuple[int, str, str]:
    """With text on standard input."""
    ended = CliRunner().invoke(main, arguments, input=text)
    return ended.exit_code, ended.stdout, ended.stderr


def test_users_are_added_listed_and_removed(tmp_path: Path) -> None:
    path = str(tmp_path / "users.txt")
    assert run_with("secret\n", "user", "add", "alice", "--file", path, "--password-stdin")[0] == 0
    text = Path(path).read_text()
    assert text.startswith('"alice" "SCRAM-SHA-256$4096:')
    assert "secret" not in text
    assert Path(path).stat().st_mode & 0o777 == 0o600
    code, _, errors = run("user", "add", "alice", "--file", path)
    assert code == 1
    assert "--replace" in errors
    assert run_with("other\nother\n", "user", "add", "alice", "--file", path, "--replace")[0] == 0
    assert Path(path).read_text() != text
    assert run("user", "list", "--file", path) == (0, "alice\tSCRAM-SHA-256, 4096 iterations\n", "")
    assert run("user", "remove", "alice", "--file", path)[0] == 0
    assert run("user", "list", "--file", path) == (0, "", "")
    assert run("user", "remove", "alice", "--file", path)[0] == 1


@pytest.mark.parametrize(
    ("name", "text"), [("bob", "\n"), ("bob", ""), ("", "x\n"), ("a\nb", "x\n"), ("bob", "a\0b\n")]
)
def test_what_is_no_user_or_password(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "users.txt"
    code, _, errors = run_with(text, "user", "add", name, "--file", str(path), "--password-stdin")
    assert code == 1
    assert errors.startswith("Error: ")
    assert not path.exists()


def test_passwords_that_differ_are_asked_for_again(tmp_path: Path) -> None:
    path = str(tmp_path / "users.txt")
    assert run_with("one\ntwo\nthree\nthree\n", "user", "add", "alice", "--file", path)[0] == 0
    stored = parse_stored(Path(path).read_text().split('"')[3])
    assert stored is not None
    assert is_password(stored, "alice", b"three")


def test_the_shard_map_names_the_users_file(config: str) -> None:
    code, _, errors = run("user", "list", "--config", config)
    assert (code, errors) == (1, f"Error: {config} has no auth_users.file: name one with --file\n")
    rules = '[[auth]]\nmethod = "scram-sha-256"\nuser = ["alice", "bob"]\n[auth_users]\nfile = "users.txt"\n'
    Path(config).write_text(Path(config).read_text() + rules)
    code, _, errors = run("check", "--config", config, "--offline")
    assert code == 1
    assert "error: auth_users.file: " in errors
    assert run_with("x\n", "user", "add", "alice", "--config", config, "--password-stdin")[0] == 0
    assert (Path(config).parent / "users.txt").exists()
    (Path(config).parent / "users.txt").chmod(0o644)
    code, _, errors = run("check", "--config", config, "--offline")
    assert code == 0
    assert 'warning: auth[0].user: "bob" is not in' in errors
    assert "warning: auth_users.file: " in errors
    assert "chmod 600" in errors


def test_serve_needs_a_users_file_that_is_right(config: str) -> None:
    rules = '[[auth]]\nmethod = "scram-sha-256"\n[auth_users]\nfile = "users.txt"\n'
    Path(config).write_text(Path(config).read_text() + rules)
    (Path(config).parent / "users.txt").write_text('"alice" "hunter2"\n')
    command = [sys.executable, "-m", "pgproxy", "serve", "--config", config, "--log-format", "human"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 1
    assert 'users.txt:1: what is stored for "alice" is no SCRAM verifier' in ended.stderr
    assert "hunter2" not in ended.stderr


def test_the_listen_option_does_not_get_around_the_flag(config: str) -> None:
    code, _, errors = run("serve", "--config", config, "--listen", "0.0.0.0", "--port", str(free_port()))
    assert code == 1
    assert "set proxy.allow_trust_from_anywhere = true" in errors


def test_trust_from_anywhere_is_warned_of(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    settings = {"listen": "0.0.0.0", "allow_trust_from_anywhere": True}
    with running_proxy(library_cluster, tmp_path, **settings) as proxy:
        assert r"ANYONE who reaches \"0.0.0.0\" is let in without a password" in proxy.log_text()


def test_sighup_reads_the_users_again(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    path = tmp_path / "users.txt"
    write_users(path, {"alice": str(make_verifier("x"))})
    rules = with_rules(AuthRule(AuthMethod.SCRAM), file=path)
    with running_proxy(library_cluster, tmp_path, rules) as proxy:
        path.write_text("")
        proxy.process.send_signal(signal.SIGHUP)
        until(lambda: "users.txt: 0 users" in proxy.log_text(), "the file is read again")
        proxy.connect().close()


def test_status_logs_in(guarded_proxy: RunningProxy) -> None:
    command = [sys.executable, "-m", "pgproxy", "status", "--json", "--port", str(guarded_proxy.port)]

    def told(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONUTF8": "1", **environment}
        return subprocess.run(
            [*command, *options],
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=env,
        )

    assert told("--user", "by_scram", PGPASSWORD=PASSWORD).returncode == 0
    for refused, reason in (
        (told("--user", "by_scram"), "no password supplied"),
        (told("--user", "by_scram", PGPASSWORD="wrong"), "password authentication failed"),
        (told("--user", "by_password", PGPASSWORD=PASSWORD), "permission denied"),
        (told(), "no authentication rule"),
    ):
        assert refused.returncode == 2
        assert reason in refused.stderr


def test_a_missing_file(tmp_path: Path) -> None:
    code, output, errors = run("serve", "--config", str(tmp_path / "none.toml"))
    assert (code, output) == (1, "")
    assert "No such file or directory" in errors
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize("name", ["shardmap.toml", "docker/shardmap.postgres.toml"])
def test_the_shipped_files_are_right(name: str) -> None:
    code, output, errors = run("check", "--offline", "--config", str(ROOT / name))
    assert (code, errors) == (0, "")
    assert output == f"{ROOT / name}: no errors in the file; the nodes were not asked\n"


def test_init_twice_and_check(config: str) -> None:
    told = "downtown-library: books_a, patrons_a\nwest-library: books_b, patrons_b\nnorth-library: books_c, patrons_c\n"
    assert run("init", "--config", config) == (0, told, "")
    assert run("init", "--config", config) == (0, told, "")
    assert run("check", "--config", config) == (0, f"{config}: no errors\n", "")


def test_status_without_a_proxy() -> None:
    code, output, errors = run("status", "--port", str(free_port()))
    assert (code, output) == (2, "")
    assert len(errors.splitlines()) == 1


def test_status_of_a_running_proxy(shared_proxy: RunningProxy) -> None:
    code, output, errors = run("status", "--port", str(shared_proxy.port))
    assert (code, errors) == (0, "")
    for name in ("downtown-library", "west-library", "north-library"):
        assert name in output


def test_status_follows_a_killed_node(own_cluster: LibraryCluster, tmp_path: Path) -> None:
    def states(proxy: RunningProxy) -> tuple[int, dict[str, str]]:
        code, output, _ = run("status", "--port", str(proxy.port), "--json")
        return code, {node["node"]: node["state"] for node in json.loads(output)["nodes"]}

    def await_states(proxy: RunningProxy, expected: tuple[int, dict[str, str]]) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while (found := states(proxy)) != expected:
            assert time.monotonic() < deadline, found
            time.sleep(0.1)

    all_up = {"downtown-library": "up", "west-library": "up", "north-library": "up"}
    with running_proxy(own_cluster, tmp_path) as proxy:
        await_states(proxy, (0, all_up))
        own_cluster.kill("west-library")
        await_states(proxy, (1, all_up | {"west-library": "down"}))
        own_cluster.restart("west-library")
        await_states(proxy, (0, all_up))


def test_a_second_proxy_on_the_same_port(shared_proxy: RunningProxy) -> None:
    serve = [sys.executable, "-m", "pgproxy", "serve", "--config", str(shared_proxy.config)]
    ended = subprocess.run(serve, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1
    assert f"cannot listen on 127.0.0.1:{shared_proxy.port}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_sigterm_ends_the_proxy_well(proxy: RunningProxy) -> None:
    proxy.process.send_signal(signal.SIGTERM)
    assert proxy.process.wait(90) == 0
    assert "Traceback" not in proxy.log_text()
