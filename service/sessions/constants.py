"""What a session is given once for all its steps: arrays, and the bytes by which they are kept and told apart."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from ..store.record import decode_tensors, encode_tensors
from .hashing import step_hash
from .messages import Arrays


@dataclass(frozen=True, slots=True)
class Constants:
    """The constants of one session; equal ones have equal records."""

    arrays: Arrays = field(default_factory=dict)
    record: bytes = b""  # as it lies in the session's birth; empty if there are none

    @classmethod
    def of(cls, arrays: Arrays) -> Constants:
        """Writes arrays down, in the order of their names."""
        ordered = {name: arrays[name] for name in sorted(arrays)}
        return cls(ordered, encode_tensors(ordered)) if ordered else NO_CONSTANTS

    @classmethod
    def read(cls, record: bytes) -> Constants:
        """Reads what was written down. Raises StateCorrupt."""
        return cls(decode_tensors(record)[0], record) if record else NO_CONSTANTS


NO_CONSTANTS = Constants()


@dataclass(frozen=True, slots=True)
class Given:
    """What a caller gives for a new session, as its model wants it."""

    constants: Constants = NO_CONSTANTS
    start_inputs: Arrays = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Tells it from anything else that might have been given; empty for nothing."""
        if not self.constants.record and not self.start_inputs:
            return ""
        return hashlib.sha256(self.constants.record + step_hash(0, self.start_inputs, ())).hexdigest()


NOTHING = Given()
