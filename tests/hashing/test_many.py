"""Many hashes at once are those of one at a time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pgproxy.hashing.keys import hash_int
from pgproxy.hashing.many import shards_of_ints

BORDERS = st.sampled_from([0, -1, 1, 2**31, 2**32 - 1, 2**32, -(2**32), -(2**63), 2**63 - 1])


@given(st.lists(BORDERS | st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=50), st.integers(1, 40))
def test_shards_are_those_of_single_values(values: list[int], modulus: int) -> None:
    assert shards_of_ints(values, modulus) == [hash_int(value) % modulus for value in values]
