"""The command line. Each command imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from pgproxy import __version__

if TYPE_CHECKING:
    from pgproxy.shardmap.load import ShardMapErrors
    from pgproxy.shardmap.model import ShardMap

EXIT_FAILURE = 1

_config = click.option(
    "--config",
    "-c",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("shardmap.toml"),
    show_default=True,
    envvar="PGPROXY_CONFIG",
    help="The shard map.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, message="pgproxy %(version)s")
def main() -> None:
    """One PostgreSQL server to its clients, many nodes behind it."""


@main.command()
@_config
@click.option("--listen", help="Address to listen on, instead of the file's.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on, instead of the file's.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="What is logged to standard error.",
)
@click.option(
    "--log-format",
    type=click.Choice(["auto", "human", "json"]),
    default="auto",
    show_default=True,
    help="Log lines for people or as JSON; auto: for people on a terminal, else JSON.",
)
@click.option("--http-port", type=click.IntRange(1, 65535), help="Port of the HTTP side, instead of the file's.")
@click.option("--no-http", is_flag=True, help="Do without the HTTP side.")
@click.option(
    "--take-over", is_flag=True, help="Take the port over from the proxy that has it, without losing a connection."
)
def serve(
    config: Path,
    listen: str | None,
    port: int | None,
    log_level: str,
    log_format: str,
    http_port: int | None,
    no_http: bool,
    take_over: bool,
) -> None:
    """Run the proxy until SIGTERM or Ctrl-C."""
    import uvloop

    from pgproxy import logs, server
    from pgproxy.shardmap.load import ShardMapErrors, load, trust_problem

    def read() -> ShardMap:
        """At the start, and again for each reload. Raises ShardMapErrors."""
        shard_map = load(config)
        settings, http = shard_map.proxy, shard_map.http
        settings = replace(settings, listen=listen or settings.listen, port=port or settings.port)
        problem = trust_problem(shard_map.auth, settings)
        if problem is not None:
            raise ShardMapErrors([": ".join(problem)])
        http = replace(http, enabled=http.enabled and not no_http, port=http_port or http.port)
        return replace(shard_map, proxy=settings, http=http)

    try:
        shard_map = read()
    except ShardMapErrors as errors:
        _give_up(config, errors)
    logs.set_up(log_level, log_format, sys.stderr)
    sys.exit(uvloop.run(server.serve(shard_map, read_again=read, config_path=config, take_over=take_over)))


@main.command()
@click.option("--port", type=click.IntRange(1, 65535), default=6432, show_default=True, help="The proxy's port.")
@click.option("--rows", type=click.IntRange(0), default=0, help="Add so many generated books, a tenth as many patrons.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Keep the nodes' data here (else it is temporary).")
@click.option("--reset", is_flag=True, help="Begin anew in --data-dir.")
@click.option("statements", "-c", "--command", multiple=True, help="Run this SQL through the proxy, then end.")
def demo(port: int, rows: int, data_dir: Path | None, reset: bool, statements: tuple[str, ...]) -> None:
    """Run three PostgreSQL nodes with a library's data and the proxy in front of them."""
    from pgproxy.demo.demo import DemoOptions, run

    sys.exit(run(DemoOptions(port, rows, data_dir, reset, statements)))


@main.command()
@_config
@click.option(
    "--schema",
    "schemas",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A SQL file with the tables, their rows or both; repeatable. Without it: the sample library.",
)
def init(config: Path, schemas: tuple[Path, ...]) -> None:
    """Create the database, the shards and the logical tables on the nodes. Safe to run twice."""
    from pgproxy.cluster.schema import SchemaError, lay_out
    from pgproxy.demo.library import library_scripts

    scripts = [path.read_text(encoding="utf-8") for path in schemas] or library_scripts()
    try:
        lay_out(_load(config), scripts, report=click.echo)
    except SchemaError as failure:
        raise click.ClickException(str(failure)) from None


@main.command()
@_config
@click.option("--offline", is_flag=True, help="Check the file only, ask no node.")
def check(config: Path, offline: bool) -> None:
    """Check the shard map and, unless --offline, that the nodes are as it says."""
    from pgproxy.cluster.check import run_check

    errors, warnings = run_check(config, offline)
    for problem in errors:
        click.echo(f"error: {problem}", err=True)
    for problem in warnings:
        click.echo(f"warning: {problem}", err=True)
    if errors:
        sys.exit(EXIT_FAILURE)
    click.echo(f"{config}: no errors" + (" in the file; the nodes were not asked" if offline else ""))


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The proxy's address.")
@click.option("--port", type=int, default=6432, show_default=True, help="The proxy's port.")
@click.option("--user", "-U", default="pgproxy", show_default=True, help="Who asks; see proxy.admin_users.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--watch", is_flag=True, help="Again every second, until Ctrl-C.")
def status(host: str, port: int, user: str, as_json: bool, watch: bool) -> None:
    """Show the state of a running proxy's nodes. A password comes from PGPASSWORD, ~/.pgpass or a prompt.

    Exit code 0: all nodes are up; 1: some are not; 2: the proxy cannot be reached.
    """
    from pgproxy.admin.render import Proxy, run_status

    sys.exit(run_status(Proxy(host, port, user), as_json, watch))


@main.command("reload")
@click.option("--host", default="127.0.0.1", show_default=True, help="The proxy's address.")
@click.option("--port", type=int, default=6432, show_default=True, help="The proxy's port.")
@click.option("--user", "-U", default="pgproxy", show_default=True, help="Who asks; see proxy.admin_users.")
def reload_map(host: str, port: int, user: str) -> None:
    """Have a running proxy read its shard map again. A password comes from PGPASSWORD, ~/.pgpass or a prompt.

    Exit code 0: it is in force; 1: it was refused, nothing has changed; 2: the proxy cannot be reached.
    """
    from pgproxy.admin.render import Proxy, run_reload

    sys.exit(run_reload(Proxy(host, port, user)))


@main.group()
def user() -> None:
    """The users file: who may log in, with SCRAM verifiers instead of passwords."""


_users_file = click.option(
    "--file",
    "-f",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The users file, instead of the shard map's auth_users.file.",
)


@user.command("add")
@click.argument("name")
@_config
@_users_file
@click.option("--replace", "replaces", is_flag=True, help="Give a user who is there already a new password.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of asking twice.")
def add_user(name: str, config: Path, path: Path | None, replaces: bool, password_stdin: bool) -> None:
    """Write a verifier of NAME's password; the password itself is kept nowhere."""
    from pgproxy.auth import commands

    path = _users_path(config, path)
    try:
        commands.check_new(path, name, replaces=replaces)
        password = (
            sys.stdin.readline().rstrip("\r\n")
            if password_stdin
            else click.prompt("Password", hide_input=True, confirmation_prompt=True, default="", show_default=False)
        )
        click.echo(commands.add(path, name, password))
    except commands.CommandFailed as failure:
        raise click.ClickException(str(failure)) from None


@user.command("remove")
@click.argument("name")
@_config
@_users_file
def remove_user(name: str, config: Path, path: Path | None) -> None:
    """Take NAME out of the users file."""
    from pgproxy.auth import commands

    try:
        click.echo(commands.remove(_users_path(config, path), name))
    except commands.CommandFailed as failure:
        raise click.ClickException(str(failure)) from None


@user.command("list")
@_config
@_users_file
def list_users(config: Path, path: Path | None) -> None:
    """Show who is in the users file, and what is stored for each."""
    from pgproxy.auth import commands

    try:
        for line in commands.listing(_users_path(config, path)):
            click.echo(line)
    except commands.CommandFailed as failure:
        raise click.ClickException(str(failure)) from None


def _users_path(config: Path, path: Path | None) -> Path:
    """The file that was named, else the shard map's."""
    if path is not None:
        return path
    file = _load(config).auth_users.file
    if file is None:
        raise click.ClickException(f"{config} has no auth_users.file: name one with --file")
    return Path(file)


@main.command()
@click.option("--host", "-h", default="127.0.0.1", show_default=True, help="The proxy's address.")
@click.option("--port", "-p", type=int, default=6432, show_default=True, help="The proxy's port.")
@click.option("--user", "-U", help="Log in as this user (else PGUSER, or the system's user name).")
@click.option("--database", "-d", help="The database (else PGDATABASE, or the one that the proxy serves).")
@click.option("statements", "--command", "-c", multiple=True, help="Run this SQL, then end; repeatable.")
@click.option("--stop-on-error", is_flag=True, help="End at the first error of -c or standard input.")
def shell(
    host: str, port: int, user: str | None, database: str | None, statements: tuple[str, ...], stop_on_error: bool
) -> None:
    """Type SQL to a running proxy.

    Exit code 0; 1: a statement of -c or standard input failed; 2: the proxy cannot be reached.
    """
    from pgproxy.shell.connection import Target
    from pgproxy.shell.shell import ShellOptions, run_shell

    sys.exit(run_shell(ShellOptions(Target(host, port, user, database), statements, stop_on_error)))


@main.command()
def version() -> None:
    """Show the version."""
    click.echo(f"pgproxy {__version__}")


def _load(config: Path) -> ShardMap:
    """The shard map, or every problem with it and exit code 1."""
    from pgproxy.shardmap.load import ShardMapErrors, load

    try:
        return load(config)
    except ShardMapErrors as errors:
        _give_up(config, errors)


def _give_up(config: Path, errors: ShardMapErrors) -> NoReturn:
    for problem in errors.problems:
        click.echo(f"{config}: {problem}", err=True)
    sys.exit(EXIT_FAILURE)
