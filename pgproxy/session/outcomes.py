"""How statements have ended: counted for the way and the template that they took; slow ones and errors are told."""

from __future__ import annotations

from time import monotonic

from pgproxy.errors import ProxyError, Refused
from pgproxy.metrics import count
from pgproxy.session.client import Client
from pgproxy.session.services import Services
from pgproxy.session.statements import Statements
from pgproxy.wire.messages import error_response


class Outcomes:
    """Of one session, but for those that the relay has answered. What ran, the `runner` knows."""

    def __init__(self, client: Client, services: Services, runner: Statements) -> None:
        self._client = client
        self._services = services
        self._runner = runner

    def ended(self, started_at: float) -> None:
        """A statement has ended well, if it has run at all."""
        runner, services = self._runner, self._services
        if runner.ran is None:
            return
        figures = None if runner.planned is None else runner.planned.figures
        took_us = int((monotonic() - started_at) * 1e6)
        count(runner.ran, figures, took_us, runner.rows)
        if took_us > services.slow_us:
            services.slow(runner.ran, figures, took_us, self._client.address)
        runner.ran = None

    def failed(self, error: ProxyError) -> None:
        """A statement has failed, maybe before it ran."""
        runner = self._runner
        if runner.ran is not None:
            runner.ran.failed(error.sqlstate)
            if runner.planned is not None and runner.planned.figures is not None:
                runner.planned.figures.failed(error.sqlstate)
                runner.planned.figures.ran = runner.ran
            runner.ran = None
        elif not isinstance(error, Refused):
            self._services.metrics.unplanned += 1

    def send_error(self, error: ProxyError, sql: str) -> None:
        """To the client, and to the log."""
        self._services.metrics.count_error(error.sqlstate)
        self._services.log_error(error, self._client.address, sql)
        self._client.send(error_response(error.fields()))
