"""Which states are kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.sessions.retention import retain, steps_to_go_back_to


def run(lengths: list[int], every: int, most: int, origin: int = 0) -> list[int]:
    """The kept steps after messages of these lengths."""
    kept: tuple[int, ...] = (origin,) if origin else ()
    step = origin
    for length in lengths:
        retention = retain(step, step + length, kept, origin_step=origin, every=every, most=most)
        step += length
        if retention.keep:
            kept = (*(old for old in kept if old not in retention.drop), step)
    return list(kept)


@pytest.mark.parametrize(
    ("lengths", "every", "most", "kept"),
    [
        ([1] * 10, 3, 8, [3, 6, 9]),
        ([1] * 10, 3, 2, [6, 9]),
        ([4, 4, 4], 3, 8, [4, 8, 12]),  # the first commit at or after every third step
        ([2, 2, 2, 2], 3, 8, [4, 6]),
        ([1] * 10, 0, 8, []),
    ],
)
def test_the_first_commit_at_or_after_every_kth_step_is_kept(
    lengths: list[int], every: int, most: int, kept: list[int]
) -> None:
    assert run(lengths, every, most) == kept


def test_a_forks_origin_always_stays() -> None:
    assert run([1] * 10, 2, 2, origin=5) == [5, 12, 14]


def test_what_a_session_began_with_stays_beside_a_forks_origin() -> None:
    """Step 0 is among the kept ones of a session that began with a state of its own."""
    assert retain(7, 8, (0, 5, 6, 7), origin_step=5, every=1, most=2).drop == (6,)


@given(st.lists(st.integers(1, 9), max_size=60), st.integers(1, 12), st.integers(1, 5))
def test_never_more_than_asked_for_are_kept_and_always_the_newest(lengths: list[int], every: int, most: int) -> None:
    everything = run(lengths, every, 10**6)

    assert run(lengths, every, most) == everything[-most:]


def test_one_can_go_back_to_the_origin_the_kept_steps_and_the_latest() -> None:
    assert steps_to_go_back_to(9, (3, 6), 0) == (0, 3, 6, 9)
    assert steps_to_go_back_to(6, (3, 6), 3) == (0, 3, 6)
