"""What each model has done, in the words of the statistics extension.

The counts are those of the metrics: of every way to reach a model, since its server was started, over all its versions.
What failed is counted here, at this edge alone.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...hosting.model import Model
from .messages import pb


class Phase(Protocol):
    """How often something was done, and how long it took in all."""

    @property
    def count(self) -> int: ...

    @property
    def total(self) -> float:
        """Seconds."""


class ModelCounts(Protocol):
    """What the metrics have counted of one model."""

    @property
    def phases(self) -> Mapping[str, Sequence[Phase]]:
        """By name: queue, infer, commit; of steps and of questions."""

    @property
    def run_count(self) -> int:
        """Runs, of as many rows as there were."""


@dataclass(slots=True)
class _Edge:
    """What is counted here of one model."""

    failed: int = 0
    failed_seconds: float = 0.0
    last: float = 0.0  # seconds since the epoch


class Statistics:
    """Counts what fails, and tells of everything."""

    def __init__(self, counts_of: Callable[[str], ModelCounts]) -> None:
        self._counts_of = counts_of
        self._edges: defaultdict[str, _Edge] = defaultdict(_Edge)

    def answered(self, model_id: str) -> None:
        self._edges[model_id].last = time.time()

    def failed(self, model_id: str, seconds: float) -> None:
        """A request failed after so long. Only models that have answered are told of, so that names cannot pile up."""
        if model_id in self._edges:
            self._edges[model_id].failed += 1
            self._edges[model_id].failed_seconds += seconds

    def of(self, model: Model, *, is_newest: bool) -> pb.ModelStatistics:
        """What is told of one version: of the newest all there is, since versions are not counted apart."""
        told = pb.ModelStatistics(name=model.model_id, version=str(model.version))
        if not is_newest:
            return told
        counts, edge = self._counts_of(model.model_id), self._edges.get(model.model_id, _Edge())
        phases = counts.phases
        done = sum(phase.count for phase in phases["infer"])
        told.last_inference = int(edge.last * 1e3)
        told.inference_count = done
        told.execution_count = counts.run_count
        stats = told.inference_stats
        _fill(stats.success, done, sum(phase.total for group in phases.values() for phase in group))
        _fill(stats.fail, edge.failed, edge.failed_seconds)
        for duration, name in (
            (stats.queue, "queue"),
            (stats.compute_infer, "infer"),
            (stats.compute_output, "commit"),
        ):
            # Load tools divide one by the other and end where counts differ, as they would: a question commits nothing.
            _fill(duration, done, sum(phase.total for phase in phases[name]))
        _fill(stats.compute_input, done, 0.0)  # rows are gathered as part of the run
        return told


def _fill(duration: pb.StatisticDuration, count: int, seconds: float) -> None:
    duration.count = count
    duration.ns = int(seconds * 1e9)
