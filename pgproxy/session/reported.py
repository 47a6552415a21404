"""What the client has been told of its parameters by ParameterStatus: each change once, whichever node tells it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pgproxy.session.client import Client
from pgproxy.wire.frames import HEADER_BYTES
from pgproxy.wire.messages import PARAMETER_STATUS, parameter_status, parse_parameter_status


class Reported:
    """`values` is never changed in place: whoever keeps it has a snapshot to put back after a rollback, for
    which no node need have been there to tell what it undid."""

    def __init__(self, client: Client) -> None:
        self.values: Mapping[str, str] = {}
        self._told: Mapping[str, str] = self.values
        self._client = client

    def relay(self, asides: Iterable[bytes]) -> None:
        """Pass on what a node said besides its answer: a notice at once, a ParameterStatus when `tell` is called."""
        for aside in asides:
            if aside[0] == PARAMETER_STATUS:
                name, value = parse_parameter_status(aside[HEADER_BYTES:])
                self.values = {**self.values, name: value}
            else:
                self._client.send(aside)

    def tell(self) -> None:
        """What has changed since the last time; just before ReadyForQuery, as PostgreSQL does."""
        told, self._told = self._told, self.values
        if told is self.values:
            return
        for name, value in self.values.items():
            if told.get(name) != value:
                self._client.send(parameter_status(name, value))
