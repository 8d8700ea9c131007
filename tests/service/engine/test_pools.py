"""Slots: stack and unstack are inverses."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.engine.pools import FIRST_CAPACITY, Pool
from service.hosting.model import TensorSpec

TENSORS = [
    TensorSpec("memory", np.dtype(np.float32), (3, 4)),
    TensorSpec("count", np.dtype(np.int64), (1,)),
]


@given(st.permutations(range(FIRST_CAPACITY + 3)), st.integers(1, FIRST_CAPACITY))
def test_what_is_unstacked_into_slots_is_stacked_from_them(order: list[int], size: int) -> None:
    pool = Pool(TENSORS)
    slots = [pool.take() for _ in range(FIRST_CAPACITY + 3)]
    rows = np.arange(len(slots))
    batch = {"memory": np.float32(rows)[:, None, None] + np.zeros((1, 3, 4), np.float32), "count": rows[:, None]}
    pool.unstack(slots, batch)

    some = order[:size]

    stacked = pool.stack([slots[row] for row in some])
    assert stacked["count"].reshape(-1).tolist() == some
    assert (stacked["memory"] == np.float32(some)[:, None, None]).all()


def test_a_slot_given_back_is_taken_again() -> None:
    pool = Pool(TENSORS)
    slot = pool.take()
    pool.free(slot)

    assert pool.take() == slot
    assert len(pool) == 1
