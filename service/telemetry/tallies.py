"""Numbers that the hot path adds to and a scrape reads.

They are written on the event loop alone, and a scrape in another thread reads a moment of each, so they need no lock:
an observation costs a fraction of a microsecond, where prometheus_client's own takes several times that.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

from prometheus_client.utils import floatToGoString

# Seconds, from a step of a small network to a client that has long gone.
SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


class Distribution:
    """How often a quantity was at most each of some bounds."""

    __slots__ = ("_bounds", "_counts", "_total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, value: float, count: int = 1) -> None:
        """Notes a value that was seen so often."""
        self._counts[bisect_left(self._bounds, value)] += count
        self._total += value * count

    def observe_all(self, values: Sequence[float]) -> None:
        """Notes values that were seen once each."""
        bounds, counts = self._bounds, self._counts
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        self._total += sum(values)

    @property
    def total(self) -> float:
        """The sum of everything observed."""
        return self._total

    @property
    def count(self) -> int:
        """How often something was observed."""
        return sum(self._counts)

    def buckets(self) -> list[tuple[str, float]]:
        """Returns, for each bound and for infinity, its text and how many values were at most that."""
        texts = [*map(floatToGoString, self._bounds), "+Inf"]
        return list(zip(texts, map(float, accumulate(list(self._counts))), strict=True))


class MethodTally:
    """The calls of one RPC."""

    __slots__ = ("handled_by_code", "handling", "kind", "name", "received", "sent", "service", "started_count")

    def __init__(self, kind: str, service: str, name: str) -> None:
        self.kind = kind
        self.service = service
        self.name = name
        self.started_count = 0
        self.received = 0  # messages
        self.sent = 0  # messages
        self.handled_by_code: dict[str, int] = {}
        self.handling = Distribution(SECONDS)

    def started(self) -> None:
        self.started_count += 1

    def handled(self, code: str, seconds: float) -> None:
        self.handled_by_code[code] = self.handled_by_code.get(code, 0) + 1
        self.handling.observe(seconds)

    @property
    def labels(self) -> list[str]:
        return [self.kind, self.service, self.name]


class ModelTally:
    """What was done with one model."""

    __slots__ = (
        "batches",
        "duplicates",
        "fingerprint_changes",
        "question_phases",
        "questions",
        "replaced_sequences",
        "replayed_answers",
        "step_phases",
        "steps",
    )

    def __init__(self) -> None:
        self.steps = 0
        self.questions = 0
        self.replayed_answers = 0
        self.replaced_sequences = 0
        self.duplicates = 0
        self.fingerprint_changes = 0
        self.step_phases = {phase: Distribution(SECONDS) for phase in ("queue", "infer", "commit", "send")}
        self.question_phases = {phase: Distribution(SECONDS) for phase in ("queue", "infer")}
        self.batches: dict[str, Distribution] = {}  # rows, by entry

    @property
    def phases(self) -> dict[str, list[Distribution]]:
        """The times of steps and of questions, by phase; of a commit, which questions have none of, those of steps."""
        steps, questions = self.step_phases, self.question_phases
        return {
            "queue": [steps["queue"], questions["queue"]],
            "infer": [steps["infer"], questions["infer"]],
            "commit": [steps["commit"]],
        }

    @property
    def run_count(self) -> int:
        """How many runs there were, of as many rows as they had."""
        return sum(rows.count for rows in list(self.batches.values()))
