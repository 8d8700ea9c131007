"""What may wait, and how long the others should."""

from __future__ import annotations

import pytest

from service.engine.admission import LONGEST_RETRY, SHORTEST_RETRY, UNMEASURED_RETRY, Limits, Share, admit
from service.errors import OverCapacity, QuotaExceeded, TooLong


def test_the_line_takes_exactly_its_limit() -> None:
    admit(7, 3, 0.0, Limits(waiting_steps=10))
    with pytest.raises(OverCapacity):
        admit(8, 3, 0.0, Limits(waiting_steps=10))


@pytest.mark.parametrize(
    ("waiting", "rate", "retry_after"),
    [(100, 100.0, 0.5), (100, 1e9, SHORTEST_RETRY), (100, 1e-9, LONGEST_RETRY), (100, 0.0, UNMEASURED_RETRY)],
)
def test_the_refused_hear_when_half_of_the_line_will_have_moved_up(
    waiting: int, rate: float, retry_after: float
) -> None:
    with pytest.raises(OverCapacity) as caught:
        admit(waiting, 1, rate, Limits(waiting_steps=100))

    assert caught.value.retry_after == pytest.approx(retry_after)


def test_an_owner_gets_its_quota_of_the_line_and_no_more() -> None:
    admit(10, 2, 0.0, Limits(waiting_steps=100), Share(3, quota=5))
    with pytest.raises(QuotaExceeded):
        admit(10, 3, 0.0, Limits(waiting_steps=100), Share(3, quota=5))
    with pytest.raises(TooLong):
        admit(0, 6, 0.0, Limits(waiting_steps=100), Share(0, quota=5))


def test_no_owner_takes_the_whole_line_and_a_newcomer_always_finds_room() -> None:
    """However many are greedy, the line is never full of theirs."""
    limits, had = Limits(waiting_steps=100), [0] * 6
    for _ in range(200):
        for owner in range(5):
            try:
                admit(sum(had), 1, 0.0, limits, Share(had[owner]))
                had[owner] += 1
            except OverCapacity:
                pass
        assert sum(had) < limits.waiting_steps

    assert min(had[:5]) >= max(had[:5]) - 1
    admit(sum(had), 1, 0.0, limits, Share(had[5]))


def test_one_owner_alone_gets_most_of_the_line() -> None:
    limits, had = Limits(waiting_steps=100), 0
    while had < 80:
        admit(had, 1, 0.0, limits, Share(had))
        had += 1

    with pytest.raises(OverCapacity):
        admit(had, 1, 0.0, limits, Share(had))
