"""The users file: a line `"user" "SCRAM-SHA-256$…"` for each, as in PgBouncer's userlist. Read, watched, rewritten.

Lines that are empty or begin with `;` or `#` are comments. A quote inside a name is doubled.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

from pgproxy.auth.stored import Stored, parse_stored
from pgproxy.shardmap.auth_rules import AuthUsers

log = logging.getLogger("pgproxy.auth")

LOOK_AGAIN_S = 1.0
_QUOTED = r'"((?:[^"]|"")*)"'
_LINE = re.compile(rf"\s*{_QUOTED}\s+{_QUOTED}\s*")
_MODE = 0o600
_MODE_OF_GROUP = 0o060


class UsersFileErrors(Exception):
    """Everything that is wrong with a users file, each problem a line `path:line: what is wrong`."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


def read_users(path: Path) -> dict[str, Stored]:
    """Raises UsersFileErrors. What is stored is never part of a message."""
    try:
        lines = _lines(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as failed:
        raise UsersFileErrors([f"{path}: {_reason(failed)}"]) from None
    users: dict[str, Stored] = {}
    problems = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith((";", "#")):
            continue
        user, stored = _parse(line)
        if not user:
            problems.append(f'{path}:{number}: must be "user" "verifier", both in double quotes')
        elif stored is None:
            problems.append(
                f'{path}:{number}: what is stored for "{user}" is no SCRAM verifier or md5 hash; '
                '"pgproxy user add" makes one'
            )
        elif user in users:
            problems.append(f'{path}:{number}: "{user}" is there twice')
        else:
            users[user] = stored
    if problems:
        raise UsersFileErrors(problems)
    return users


def open_users_file(settings: AuthUsers) -> UsersFile | None:
    """The shard map's users file if it names one. Raises UsersFileErrors."""
    return None if settings.file is None else UsersFile(Path(settings.file))


def mode_warning(path: Path) -> str | None:
    """Verifiers are not passwords, but passwords can be guessed from them, and a server be impersonated with them."""
    with suppress(OSError):
        if path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
            return f"{path}: can be read or written by everyone on this machine; chmod 600 it"
    return None


def write_user(path: Path, user: str, stored: Stored | None) -> bool:
    """Set (None: remove) a user's line, everything else left as it is; whether the user was there before.

    The file is replaced in one step, with a mode that only its owner can read. Two who do so come one after the other.
    """
    with _alone(path.resolve().parent):
        lines = _lines(path.read_text(encoding="utf-8")) if path.exists() else []
        at = next((at for at, line in enumerate(lines) if _parse(line)[0] == user), None)
        new = [] if stored is None else [f'{_quote(user)} "{stored}"']
        lines[len(lines) if at is None else at : len(lines) if at is None else at + 1] = new
        _replace(path, "".join(f"{line}\n" for line in lines))
    return at is not None


class UsersFile:
    """The users of a file, read again when it has changed. A file that has become wrong changes nothing."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._seen = self._stamp()
        self._users: Mapping[str, Stored] = read_users(path)
        self._looked_at = clock()
        self._warn()

    @property
    def users(self) -> Mapping[str, Stored]:
        return MappingProxyType(self._users)

    def find(self, user: str) -> Stored | None:
        now = self._clock()
        if now - self._looked_at >= LOOK_AGAIN_S:
            self._looked_at = now
            if self._stamp() != self._seen:
                self.read_again()
        return self._users.get(user)

    def read_again(self) -> None:
        seen = self._stamp()
        try:
            self._users = read_users(self._path)
        except UsersFileErrors as wrong:
            log.error("the users file is left as it was: %s", "; ".join(wrong.problems))
        else:
            log.info("%s: %d users", self._path, len(self._users))
            self._warn()
        self._seen = seen

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _warn(self) -> None:
        warning = mode_warning(self._path)
        if warning is not None:
            log.warning("%s", warning)


def _lines(text: str) -> list[str]:
    """Of line feeds alone: `splitlines` would cut names at U+2028 and its kin."""
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]


def _parse(line: str) -> tuple[str | None, Stored | None]:
    found = _LINE.fullmatch(line)
    if found is None:
        return None, None
    return found[1].replace('""', '"'), parse_stored(found[2])


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """The folder is locked, since the file itself is replaced. Where that cannot be done nobody is kept out."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _replace(path: Path, text: str) -> None:
    path = path.resolve()  # a link stays a link
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 600 from the beginning
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as output:
            output.write(text)
            output.flush()
            os.fsync(output.fileno())
        _keep_owner(path, Path(temporary))
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _keep_owner(path: Path, temporary: Path) -> None:
    """An owner or group that may read the file – the proxy, when an administrator writes it – still may."""
    with suppress(OSError):
        before = path.stat()
        os.chown(temporary, before.st_uid, before.st_gid)  # first, or the group would be the writer's own
        temporary.chmod(before.st_mode & _MODE_OF_GROUP | _MODE)


def _reason(failed: OSError | UnicodeDecodeError) -> str:
    if isinstance(failed, OSError):
        return failed.strerror or str(failed)
    return f"not UTF-8 text (byte {failed.start})"
