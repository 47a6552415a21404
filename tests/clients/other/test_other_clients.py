"""Drivers of other languages: one program each, run on the proxy and on one PostgreSQL, must print the same.

They are built under build/clients with what the languages' own registries give, and run by `make test-clients`. A
program's first argument says what it does: `everyday` statements, `secure` log-ins, or `reconnect`.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest

from tests.clients.restarts import RestartedProxy, live_through
from tests.clients.sides import Side, Sides
from tests.fix_proxy import RunningProxy
from tests.fix_tls import Certificates

pytestmark = pytest.mark.other_clients

_HERE = Path(__file__).parent
_BUILD = _HERE.parents[2] / "build" / "clients"
_JARS = (
    "org.postgresql:postgresql:42.7.8",
    "com.zaxxer:HikariCP:6.3.0",
    "org.slf4j:slf4j-api:2.0.17",
    "org.slf4j:slf4j-nop:2.0.17",
)
_BUILD_TIMEOUT_S, _RUN_TIMEOUT_S = 900, 120

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


@cache
def _node_modules() -> Path:
    _needs("node", "npm")
    directory = _sources("node")
    _run(["npm", "ci", "--no-audit", "--no-fund", "--silent", "--prefer-offline"], directory, _BUILD_TIMEOUT_S)
    return directory


def _node(program: str) -> Command:
    return ["node", str(_node_modules() / program)]


@cache
def _go() -> Command:
    _needs("go")
    directory = _sources("go")
    _run(["go", "build", "-o", "clients", "."], directory, _BUILD_TIMEOUT_S)
    return [str(directory / "clients")]


@cache
def _jdbc() -> Command:
    _needs("mvn", "javac", "java")
    directory = _sources("jdbc")
    jars = [_jar(directory / "repository", artifact) for artifact in _JARS]
    path = ":".join(map(str, [directory / "classes", *jars]))
    sources = sorted(source.name for source in directory.glob("*.java"))
    _run(["javac", "-cp", path, "-d", "classes", *sources], directory, _BUILD_TIMEOUT_S)
    return ["java", "-cp", path, "Client"]


def _jar(repository: Path, artifact: str) -> Path:
    """A jar without what it depends on, from Maven's repository or from a run before."""
    group, name, version = artifact.split(":")
    jar = repository / group.replace(".", "/") / name / version / f"{name}-{version}.jar"
    if not jar.exists():
        options = [f"-Dartifact={artifact}", "-Dtransitive=false", f"-Dmaven.repo.local={repository}"]
        _run(["mvn", "-q", "-B", "dependency:get", *options], repository.parent, _BUILD_TIMEOUT_S)
    return jar


@cache
def _rust() -> Command:
    _needs("cargo")
    directory = _sources("rust")
    _run(["cargo", "build", "--quiet", "--locked"], directory, _BUILD_TIMEOUT_S)
    return [str(directory / "target" / "debug" / "clients")]


Build = Callable[[], Command]
EVERYDAY: dict[str, Build] = {
    "node-postgres": lambda: _node("pg.js"),
    "postgres.js": lambda: _node("postgres.js"),
    "go": _go,
    "pgjdbc": _jdbc,
    "tokio-postgres": _rust,
}


@pytest.mark.parametrize("build", EVERYDAY.values(), ids=EVERYDAY.keys())
def test_a_program_prints_the_same(sides: Sides, build: Build) -> None:
    command = build()

    def program(side: Side) -> list[str]:
        printed = _run([*command, "everyday", side.host, str(side.port)], _BUILD, _RUN_TIMEOUT_S)
        return printed.replace(',"', ',\n"').splitlines()

    assert len(sides.alike(program)) > 60


# What the program prints for each way to log in. SQLSTATEs are the server's (28000: it wants TLS), or the driver's own.
SECURE: dict[str, tuple[Build, str]] = {
    "node": (
        lambda: _node("secure.js"),
        """
        node-postgres verify-full: 24
        postgres.js verify-full: 24
        node-postgres require: 24
        postgres.js require: 24
        node-postgres disable: 28000
        postgres.js disable: 28000
        node-postgres other authority: UNABLE_TO_VERIFY_LEAF_SIGNATURE
        postgres.js other authority: UNABLE_TO_VERIFY_LEAF_SIGNATURE
        node-postgres wrong password: 28P01
        postgres.js wrong password: 28P01
        """,
    ),
    "go": (
        _go,
        """
        pgx verify-full: 24
        lib/pq verify-full: 24
        pgx verify-ca: 24
        lib/pq verify-ca: 24
        pgx require: 24
        lib/pq require: 24
        pgx disable: 28000
        lib/pq disable: 28000
        pgx other authority: unknown authority
        lib/pq other authority: unknown authority
        pgx wrong password: 28P01
        lib/pq wrong password: 28P01
        pgx channel binding: 24
        pgx cancelled: true
        """,
    ),
    "pgjdbc": (
        _jdbc,
        """
        pgJDBC verify-full: 24
        pgJDBC verify-ca: 24
        pgJDBC require: 24
        pgJDBC channel binding: 24
        pgJDBC direct: 24
        pgJDBC disable: 28000
        pgJDBC other authority: 08006
        pgJDBC wrong password: 28P01
        """,
    ),
    "tokio-postgres": (
        _rust,
        """
        tokio-postgres require: 24
        tokio-postgres direct: 24
        tokio-postgres disable: 28000
        tokio-postgres other authority: Some("invalid peer certificate: UnknownIssuer")
        tokio-postgres wrong password: 28P01
        """,
    ),
}


@pytest.mark.parametrize(("build", "expected"), SECURE.values(), ids=SECURE.keys())
def test_logging_in_by_a_password_over_tls(
    secure_proxy: RunningProxy, certificates: Certificates, build: Build, expected: str
) -> None:
    command = [*build(), "secure", "localhost", str(secure_proxy.port), certificates.ca, certificates.other_ca]
    printed = _run(command, _BUILD, _RUN_TIMEOUT_S)
    assert printed.split("\n") == [line.strip() for line in expected.strip().split("\n")] + [""]


POOLS: dict[str, Build] = {
    "node-postgres and postgres.js": lambda: _node("reconnect.js"),
    "pgxpool and database/sql": _go,
    "HikariCP": _jdbc,
    "tokio-postgres": _rust,
}


@pytest.mark.parametrize("build", POOLS.values(), ids=POOLS.keys())
def test_reconnecting(restarted_proxy: RestartedProxy, build: Build) -> None:
    side = restarted_proxy.side
    with subprocess.Popen(
        [*build(), "reconnect", side.host, str(side.port)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    ) as program:  # fmt: skip
        assert program.stdin is not None
        assert program.stdout is not None
        try:
            live_through(restarted_proxy, lambda word: _ask(program, word))
            program.stdin.close()
            assert program.wait(_RUN_TIMEOUT_S) == 0
        finally:
            program.kill()


def _ask(program: subprocess.Popen[str], word: str) -> list[str]:
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.write(word + "\n")
    return program.stdout.readline().split()
