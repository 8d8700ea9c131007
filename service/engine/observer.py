"""What the engine tells about itself, so that telemetry can count without the engine knowing how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Observer(Protocol):
    """Hears of what has happened. Called on the hot path: an implementation adds to counters and returns."""

    def batch_run(self, model_id: str, entry: str, size: int, seconds: float) -> None:
        """A batch of `size` rows was run."""

    def messages_done(
        self, model_id: str, steps: int, queue: Sequence[float], infer: Sequence[float], commit: float
    ) -> None:
        """Messages of so many steps in all were committed together; seconds each waited and ran, and of the commit."""

    def question_done(self, model_id: str, queue: float, infer: float) -> None:
        """A question was answered; seconds waited and run."""

    def replayed(self, model_id: str, steps: int) -> None:
        """A stored answer was given again."""
