"""The command line: exit codes and messages; what the commands do is tested with what they call."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from pgproxy import __version__
from pgproxy.cli import main
from pgproxy.demo.nodes import free_port
from pgproxy.shardmap.write import to_toml
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy, running_proxy

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
        deadline = time.monotonic() + 30
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
    ended = subprocess.run(serve, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert f"cannot listen on 127.0.0.1:{shared_proxy.port}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_sigterm_ends_the_proxy_well(proxy: RunningProxy) -> None:
    proxy.process.send_signal(signal.SIGTERM)
    assert proxy.process.wait(60) == 0
    assert "Traceback" not in proxy.log_text()
