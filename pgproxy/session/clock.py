"""The time that all shards of a statement are told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.exchange import Mode
from pgproxy.session.client import Client
from pgproxy.session.small_answers import all_rows

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORMAT = "%Y-%m-%d %H:%M:%S.%f+00"


def now() -> str:
    """The proxy's own."""
    return datetime.now(UTC).strftime(_FORMAT)


async def now_on(connection: BackendConnection, client: Client) -> str:
    """The time of the transaction that is open there, in whatever style the session shows times."""
    ((seconds,),) = await all_rows(
        connection.query("SELECT extract(epoch FROM pg_catalog.now())", Mode.ROWS, client.wake), client
    )
    microseconds = round(Decimal((seconds or b"0").decode()) * 1_000_000)
    return (_EPOCH + timedelta(microseconds=microseconds)).strftime(_FORMAT)
