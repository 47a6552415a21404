"""The client's side of a COPY FROM STDIN: its data, how it ends, and what else it may say meanwhile."""

from __future__ import annotations

from pgproxy.errors import ProtocolViolation, ProxyError
from pgproxy.session.client import Client
from pgproxy.wire import messages

_PIECE_BYTES = 128 * 1024  # of the client's data that are looked at together


class ClientData:
    """The CopyData, CopyDone and CopyFail messages of a client. `done` is set by CopyDone, `failure` by what ends the
    COPY otherwise."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.done = False
        self.failure: ProxyError | None = None
        self.lost = False  # the client does not know of the COPY: PostgreSQL takes its stream for garbled then

    def take(self) -> bytes:
        """What has come of the data, as much as is looked at together."""
        pieces: list[bytes] = []
        size = 0
        poll = self._client.poll
        while size < _PIECE_BYTES and not self.over and (frame := poll()) is not None:
            kind, payload = frame
            if kind == messages.COPY_DATA:
                pieces.append(payload)
                size += len(payload)
            else:
                self._other(kind, payload)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    @property
    def over(self) -> bool:
        return self.done or self.failure is not None

    def _other(self, kind: int, payload: bytes) -> None:
        if kind == messages.COPY_DONE:
            self.done = True
        elif kind == messages.COPY_FAIL:
            reason = messages.decode_text(payload.partition(b"\0")[0])
            self.failure = ProxyError("57014", f"COPY from stdin failed: {reason}")
        elif kind not in (messages.FLUSH, messages.SYNC):  # which clients may send without knowing of the COPY
            self.failure = ProxyError("08P01", f"unexpected message type 0x{kind:02X} during COPY from stdin")
            self.lost = True


def synchronization_lost(client: Client, error: ProxyError) -> ProtocolViolation:
    client.send(messages.error_response(error.fields()))
    return ProtocolViolation("terminating connection because protocol synchronization was lost")
