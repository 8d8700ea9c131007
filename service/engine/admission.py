"""Bounds on what may wait. Pure: counts in, a retry time out."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import OverCapacity, TooLong

SHORTEST_RETRY = 0.01  # seconds
LONGEST_RETRY = 5.0
UNMEASURED_RETRY = 0.1  # while nothing is known of the rate, as in the first second


@dataclass(frozen=True, slots=True)
class Limits:
    """What the engine accepts."""

    waiting_steps: int = 8192  # over all sessions; a chunk of T counts T
    max_batch: int = 128  # rows of one run


def admit(waiting: int, steps: int, steps_per_second: float, limits: Limits) -> None:
    """Raises OverCapacity, with the time that the line needs to move up by half, if the steps do not fit in it now.

    Raises TooLong if they never will.
    """
    if steps > limits.waiting_steps:
        raise TooLong("steps of a chunk, which must fit the line of this server", limits.waiting_steps, steps)
    if waiting + steps <= limits.waiting_steps:
        return
    wait = waiting / 2 / steps_per_second if steps_per_second > 0 else UNMEASURED_RETRY
    retry_after = min(max(wait, SHORTEST_RETRY), LONGEST_RETRY)
    raise OverCapacity("steps waiting on this server", limits.waiting_steps, retry_after=retry_after)
