"""What goes into a session and what comes out, after the door and before the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

Arrays = dict[str, np.ndarray]

# Named tuples where one is made for every step: they cost half of what a frozen dataclass does.


class StepMessage(NamedTuple):
    """One step, or one chunk of consecutive steps, whose arrays were checked at the door."""

    first_step: int
    step_count: int  # 0 for a single step without a time axis on the wire
    inputs: Arrays  # each with a leading time axis of `length`
    outputs: tuple[str, ...]  # names wanted
    input_hash: bytes
    acknowledged_step: int = 0
    as_lists: bool = False  # the kind of tensor content in which the answer is wanted
    entry: str = "step"
    note: bytes = b""  # opaque; stored and given back with the answer
    next_state: tuple[np.ndarray, ...] | None = None  # of a rewind, which runs nothing: the state it goes back to

    @property
    def length(self) -> int:
        """How many steps this is."""
        return max(1, self.step_count)


class StepAnswer(NamedTuple):
    """The committed answer of one message."""

    first_step: int
    step_count: int  # 0 for a single step; then the outputs have no time axis
    outputs: Arrays
    input_hash: bytes
    committed_step: int  # of the session when this was answered
    replayed: bool
    as_lists: bool
    note: bytes


@dataclass(frozen=True, slots=True)
class Asked:
    """The outputs of a question, and what it saw."""

    outputs: Arrays
    step: int  # of the session; 0 for a whole story
    told: int  # sentences told, those that no longer fit the memory among them
