"""Bounds on what may wait. Pure: counts in, a retry time out."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import OverCapacity, QuotaExceeded, TooLong

SHORTEST_RETRY = 0.01  # seconds
LONGEST_RETRY = 5.0
SHARE = 4  # times the room that is left in the line: the most of it that an owner may have
UNMEASURED_RETRY = 0.1  # while nothing is known of the rate, as in the first second


@dataclass(frozen=True, slots=True)
class Limits:
    """What the engine accepts."""

    waiting_steps: int = 8192  # over all sessions; a chunk of T counts T
    max_batch: int = 128  # rows of one run


@dataclass(frozen=True, slots=True)
class Share:
    """What one owner has in the line, where owners are told apart."""

    waiting: int
    quota: int = 0  # 0 is no bound


def admit(waiting: int, steps: int, steps_per_second: float, limits: Limits, share: Share | None = None) -> None:
    """Raises OverCapacity, with the time that the line needs to move up by half, if the steps do not fit in it now.

    Raises TooLong if they never will. Of an owner with a `share`: QuotaExceeded beyond its quota; and OverCapacity for
    what would be more than SHARE times the room that is left. So one owner alone gets four fifths of the line, two get
    four ninths each, and whoever comes next always finds some.
    """
    if steps > limits.waiting_steps:
        raise TooLong("steps of a chunk, which must fit the line of this server", limits.waiting_steps, steps)
    if share is not None and 0 < share.quota < steps:
        raise TooLong("steps of a chunk, which must fit the owner's quota", share.quota, steps)
    if share is None and waiting + steps <= limits.waiting_steps:
        return
    wait = waiting / 2 / steps_per_second if steps_per_second > 0 else UNMEASURED_RETRY
    retry_after = min(max(wait, SHORTEST_RETRY), LONGEST_RETRY)
    if share is not None and 0 < share.quota < share.waiting + steps:
        raise QuotaExceeded("steps waiting", share.quota, retry_after=retry_after)
    if waiting + steps > limits.waiting_steps:
        raise OverCapacity("steps waiting on this server", limits.waiting_steps, retry_after=retry_after)
    if share is not None and share.waiting and share.waiting + steps > SHARE * (limits.waiting_steps - waiting):
        raise OverCapacity("this owner's share of the waiting steps", share.waiting, retry_after=retry_after)
