"""Checks of cleartext passwords, in a thread: each is milliseconds of hashing, which the event loop does not have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from pgproxy.auth.pending import Pending
from pgproxy.auth.stored import Stored, is_password
from pgproxy.errors import ProxyError

CHECKS_AT_ONCE = 500  # waiting for their turn; about two seconds' worth


class PasswordChecks:
    """One thread, made when the first password is to be checked."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread: ThreadPoolExecutor | None = None
        self._running = 0

    def check(self, stored: Stored, user: str, password: bytes, wake: Callable[[], None]) -> Pending[bool]:
        pending: Pending[bool] = Pending(wake)
        if self._running >= CHECKS_AT_ONCE:
            error = ProxyError("53300", "too many passwords are being checked", hint="Try again.", severity="FATAL")
            pending.fail(error)
            return pending
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "pgproxy-passwords")
        self._running += 1
        future = self._loop.run_in_executor(self._thread, is_password, stored, user, password)
        future.add_done_callback(lambda done: self._checked(done, pending))
        return pending

    def close(self) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _checked(self, future: asyncio.Future[bool], pending: Pending[bool]) -> None:
        self._running -= 1
        pending.finish(not future.cancelled() and future.result())
