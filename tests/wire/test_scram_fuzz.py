"""Whatever a client sends, the server's side of SCRAM answers, refuses or says that the proof is wrong."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from pgproxy.errors import ProxyError
from pgproxy.wire import scram
from pgproxy.wire.scram_server import ScramServer, WrongProof

VERIFIER = scram.ScramVerifier(4096, b"salt" * 4, bytes(32), bytes(32))
_ATOMS = st.sampled_from(
    [b"n", b"y", b"p", b",", b"=", b"n=", b"r=", b"c=", b"p=", b"a=", b"m=", b"biws", b"eSws", b"abc", b"\0", b"\xff"]
)
_SCRAM = st.one_of(st.lists(_ATOMS, max_size=12).map(b"".join), st.binary(max_size=40))


def _initial(mechanism: bytes, data: bytes) -> bytes:
    return mechanism + b"\0" + len(data).to_bytes(4, "big") + data


_FIRST = st.one_of(
    st.binary(max_size=60),
    st.builds(_initial, st.sampled_from([b"SCRAM-SHA-256", b"SCRAM-SHA-256-PLUS", b"X"]), _SCRAM),
    st.just(_initial(b"SCRAM-SHA-256", b"n,,n=,r=abc")),
)


@given(_FIRST, st.lists(_SCRAM, max_size=3), st.sampled_from([None, b"hash" * 8]))
def test_any_messages(first: bytes, others: list[bytes], end_point: bytes | None) -> None:
    server = ScramServer(VERIFIER, end_point)
    with contextlib.suppress(ProxyError, WrongProof):
        for payload in (first, *others):
            server.feed(payload)
    assert not server.done
