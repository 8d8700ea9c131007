"""How fast steps are being settled, so that a refused caller hears a useful time to come back."""

from __future__ import annotations

from ..clock import Clock

WINDOW_SECONDS = 1.0


class Rate:
    """Steps per second over the last full window."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since = clock.monotonic()
        self._count = 0
        self._last = 0.0

    def add(self, steps: int) -> None:
        """Notes that steps were settled."""
        self._count += steps
        elapsed = self._clock.monotonic() - self._since
        if elapsed >= WINDOW_SECONDS:
            self._last = self._count / elapsed
            self._since += elapsed
            self._count = 0

    def per_second(self) -> float:
        """The last window's rate; 0 before the first is full."""
        return self._last
