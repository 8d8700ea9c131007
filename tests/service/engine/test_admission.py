"""What may wait, and how long the others should."""

from __future__ import annotations

import pytest

from service.engine.admission import LONGEST_RETRY, SHORTEST_RETRY, UNMEASURED_RETRY, Limits, admit
from service.errors import OverCapacity


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
