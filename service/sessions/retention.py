"""Which states are kept besides the latest, so that a session can be forked from them or rewound to them. Pure.

The first commit at or after every k-th step is kept, the newest m of them. What a session began with is always there:
step 0 comes from the model, or from the first record where the session began with a state of its own, and so does the
step that a fork was forked at.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_KEPT = 64  # states of one session


@dataclass(frozen=True, slots=True)
class Retention:
    """What one commit does to the kept states."""

    keep: bool
    drop: tuple[int, ...]


NOTHING = Retention(keep=False, drop=())


def retain(
    committed_step: int, last_step: int, kept_steps: tuple[int, ...], *, origin_step: int, every: int, most: int
) -> Retention:
    """Decides for the commit that takes a session from `committed_step` to `last_step`; `every` 0 keeps nothing."""
    if every == 0 or last_step // every == committed_step // every:
        return NOTHING
    own = [step for step in kept_steps if step not in (0, origin_step)]
    return Retention(keep=True, drop=tuple(own[: max(0, len(own) + 1 - most)]))


def steps_to_go_back_to(committed_step: int, kept_steps: tuple[int, ...], origin_step: int) -> tuple[int, ...]:
    """Every step whose state can be had, ascending: the model's beginning, the origin, the kept ones, the latest."""
    return tuple(sorted({0, origin_step, *kept_steps, committed_step}))
