"""Time as a dependency, so that tests drive it by hand."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time in seconds."""

    def now(self) -> float:
        """Seconds since the epoch, for facts that are stored."""

    def monotonic(self) -> float:
        """Seconds since some moment, for durations."""


class SystemClock:
    """The machine's own clocks."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
