"""Who is known, and with which stored password: the file first, then a query on a node, remembered for a while.

The query itself is passed in; here is what keeps a flood of log-ins from becoming a flood of queries.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pgproxy.auth.pending import Pending
from pgproxy.auth.stored import Stored, parse_stored
from pgproxy.auth.users_file import UsersFile
from pgproxy.errors import ProxyError

log = logging.getLogger("pgproxy.auth")

LOOKUPS_AT_ONCE = 1_000
LOOKUP_TIMEOUT_S = 5.0

Query = Callable[[str], Awaitable[str | None]]
"""The stored password of a user, None for no such user (or one without a password). Raises ProxyError."""


@dataclass(frozen=True, slots=True)
class _Remembered:
    stored: Stored | None
    until: float


class Users:
    """`query` None: the file alone. One lookup serves all who ask for the same user meanwhile."""

    def __init__(
        self,
        file: UsersFile | None,
        query: Query | None,
        loop: asyncio.AbstractEventLoop,
        *,
        cache_s: float,
        cache_size: int,
    ) -> None:
        self.file = file
        self._query = query
        self._loop = loop
        self._cache_s = cache_s
        self._cache_size = cache_size
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()
        self._waiting: dict[str, list[Pending[Stored | None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def find(self, user: str, wake: Callable[[], None]) -> Pending[Stored | None]:
        """What is stored for a user, None for nothing. Fails with 57P03 when nobody can be asked."""
        pending: Pending[Stored | None] = Pending(wake)
        stored = None if self.file is None else self.file.find(user)
        remembered = self._remembered.get(user)
        if stored is not None or self._query is None:
            pending.finish(stored)
        elif remembered is not None and remembered.until > self._loop.time():
            pending.finish(remembered.stored)
        elif user in self._waiting:
            self._waiting[user].append(pending)
        elif len(self._waiting) >= LOOKUPS_AT_ONCE:
            pending.fail(_cannot("too many users are being looked up"))
        else:
            self._waiting[user] = [pending]
            task = self._loop.create_task(self._look_up(user, self._query))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return pending

    def forget(self) -> None:
        """Ask for every user anew, read the file anew."""
        self._remembered.clear()
        if self.file is not None:
            self.file.read_again()

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _look_up(self, user: str, query: Query) -> None:
        error: ProxyError | None = None
        stored: Stored | None = None
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                text = await query(user)
            stored = None if text is None else self._parse(user, text)
        except TimeoutError:
            error = _cannot("no node answers in time")
        except ProxyError as failure:
            error = _cannot(failure.message)
        except BaseException:
            error = _cannot("the lookup was given up")
            raise
        finally:
            waiting = self._waiting.pop(user)
            if error is None:
                self._remember(user, stored)
            for pending in waiting:
                pending.fail(error) if error is not None else pending.finish(stored)

    def _remember(self, user: str, stored: Stored | None) -> None:
        self._remembered[user] = _Remembered(stored, self._loop.time() + self._cache_s)
        self._remembered.move_to_end(user)
        if len(self._remembered) > self._cache_size:
            self._remembered.popitem(last=False)

    @staticmethod
    def _parse(user: str, text: str) -> Stored | None:
        stored = parse_stored(text)
        if stored is None:
            log.warning('what auth_users.query gives for user "%s" is no SCRAM verifier or md5 hash', user)
        return stored


def _cannot(reason: str) -> ProxyError:
    """The reason is the operator's business, not that of someone who has not logged in."""
    log.error("users cannot be looked up: %s", reason)
    return ProxyError(
        "57P03",
        "the proxy cannot authenticate users now",
        hint="The nodes, which know the users, cannot be asked. Try again later.",
        severity="FATAL",
    )
