"""What the engine tells about itself, so that telemetry can count without the engine knowing how."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Hears of what has happened. Called on the hot path: an implementation adds to counters and returns."""

    def batch_run(self, model_id: str, entry: str, size: int, seconds: float) -> None:
        """A batch of `size` rows was run."""

    def message_done(self, model_id: str, steps: int, queue: float, infer: float, commit: float) -> None:
        """A message of so many steps was committed; seconds waited, run, and committed."""

    def question_done(self, model_id: str, queue: float, infer: float) -> None:
        """A question was answered; seconds waited and run."""

    def replayed(self, model_id: str, steps: int) -> None:
        """A stored answer was given again."""
