"""A clock that stands still until a test moves it."""

from __future__ import annotations


class HandClock:
    """Shows the time that it was last set to, in seconds."""

    def __init__(self, time: float = 1_000_000.0) -> None:
        self.time = time

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += seconds
