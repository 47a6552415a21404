"""Drivers of other languages: one program each, run on the proxy and on one PostgreSQL, must print the same.

They are built under build/clients with what the languages' own registries give, and run by `make test-clients`.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.clients.sides import Side, Sides

pytestmark = pytest.mark.other_clients

_HERE = Path(__file__).parent
_BUILD = _HERE.parents[2] / "build" / "clients"
_PGJDBC = "42.7.8"
_BUILD_TIMEOUT_S, _RUN_TIMEOUT_S = 600, 60

Command = list[str]


def _needs(*tools: str) -> None:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def _run(command: Sequence[str], directory: Path, timeout_s: float) -> str:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def _sources(language: str) -> Path:
    """A copy of the program's sources to build in."""
    directory = _BUILD / language
    shutil.copytree(_HERE / language, directory, dirs_exist_ok=True)
    return directory


def _node(program: str) -> Command:
    _needs("node", "npm")
    directory = _sources("node")
    _run(["npm", "install", "--no-audit", "--no-fund", "--silent"], directory, _BUILD_TIMEOUT_S)
    return ["node", str(directory / program)]


def _go() -> Command:
    _needs("go")
    directory = _sources("go")
    _run(["go", "build", "-o", "clients", "."], directory, _BUILD_TIMEOUT_S)
    return [str(directory / "clients")]


def _jdbc() -> Command:
    _needs("mvn", "javac", "java")
    directory = _sources("jdbc")
    artifact = f"-Dartifact=org.postgresql:postgresql:{_PGJDBC}"
    fetch = ["mvn", "-q", "-B", "dependency:get", artifact, f"-Dmaven.repo.local={directory / 'repository'}"]
    _run(fetch, directory, _BUILD_TIMEOUT_S)
    driver = directory / "repository/org/postgresql/postgresql" / _PGJDBC / f"postgresql-{_PGJDBC}.jar"
    _run(["javac", "-d", "classes", "Client.java"], directory, _BUILD_TIMEOUT_S)
    return ["java", "-cp", f"{directory / 'classes'}:{driver}", "Client"]


def _rust() -> Command:
    _needs("cargo")
    directory = _sources("rust")
    _run(["cargo", "build", "--quiet"], directory, _BUILD_TIMEOUT_S)
    return [str(directory / "target" / "debug" / "clients")]


PROGRAMS: dict[str, Callable[[], Command]] = {
    "node-postgres": lambda: _node("pg.js"),
    "postgres.js": lambda: _node("postgres.js"),
    "go": _go,
    "pgjdbc": _jdbc,
    "tokio-postgres": _rust,
}


@pytest.mark.parametrize("build", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_a_program_prints_the_same(sides: Sides, build: Callable[[], Command]) -> None:
    command = build()

    def program(side: Side) -> list[str]:
        printed = _run([*command, side.host, str(side.port)], _BUILD, _RUN_TIMEOUT_S)
        return printed.replace(',"', ',\n"').splitlines()

    assert len(sides.alike(program)) > 15
