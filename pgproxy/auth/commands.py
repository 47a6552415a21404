"""`pgproxy user add`, `remove` and `list`: what they do to the users file and say about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pgproxy.auth.stored import Stored
from pgproxy.auth.users_file import UsersFileErrors, read_users, write_user
from pgproxy.wire.scram import ScramVerifier, make_verifier


class CommandFailed(Exception):
    """The text is for the user."""


def check_new(path: Path, user: str, *, replaces: bool) -> None:
    """Before anyone is asked for a password. A file that does not exist yet is made later."""
    if not user or any(character in user for character in "\0\n\r"):
        raise CommandFailed("a user's name must not be empty or hold a line's end")
    if path.exists() and user in _read(path) and not replaces:
        raise CommandFailed(f'"{user}" is in {path} already; --replace gives a new password')


def add(path: Path, user: str, password: str) -> str:
    if not password:
        raise CommandFailed("an empty password is refused: no client could log in with it")
    if "\0" in password:
        raise CommandFailed("a password must not hold a NUL byte: no client could send it")
    there = _write(path, user, make_verifier(password))
    return f'{path}: "{user}" {"has a new password" if there else "added"}'


def remove(path: Path, user: str) -> str:
    if user not in _read(path):
        raise CommandFailed(f'"{user}" is not in {path}')
    _write(path, user, None)
    return f'{path}: "{user}" removed'


def listing(path: Path) -> Iterator[str]:
    for user, stored in _read(path).items():
        kind = f"SCRAM-SHA-256, {stored.iterations} iterations" if isinstance(stored, ScramVerifier) else "md5"
        yield f"{user}\t{kind}"


def _read(path: Path) -> dict[str, Stored]:
    try:
        return read_users(path)
    except UsersFileErrors as wrong:
        raise CommandFailed(str(wrong)) from None


def _write(path: Path, user: str, stored: Stored | None) -> bool:
    try:
        return write_user(path, user, stored)
    except OSError as failed:
        raise CommandFailed(f"{path}: {failed.strerror or failed}") from None
