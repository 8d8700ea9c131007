"""A loaded model as the rest of the service sees it: what it takes, gives and keeps, and how it runs."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

import numpy as np

from tapehead.bundle import Vocabulary
from tapehead.v1.manifest_pb2 import Manifest

Arrays = dict[str, np.ndarray]
Kind = Literal["sequence", "question_answering"]


class Run(Protocol):
    """Runs entries of one model; `Runner` does it with onnxruntime, a test may do it by hand."""

    def run(self, entry: str, inputs: Arrays, state: Arrays, outputs: tuple[str, ...]) -> tuple[Arrays, Arrays]:
        """Runs `entry` on a batch; returns the outputs named and the next state.

        Names are the manifest's. Every array, in and out, has the batch along axis 0; inputs and outputs of the entry
        `chunk` have its steps along axis 1. A constant has the same value in every row. `state` is ignored by an entry
        that reads none; the next state is empty for one that writes none.
        """
        ...


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What a tensor must look like, without batch axis."""

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]  # -1 is any length
    inspection: bool = False  # an output computed only for those who name it
    reject_non_finite: bool = True
    maximum: tuple[int, ...] = ()  # of a state that grows: the greatest length of each axis
    words: int = 0  # of integers that are the ids of so many words, from 0; 0 if they are none

    @property
    def grows(self) -> bool:
        """Whether the tensor is state that gets longer from step to step."""
        return bool(self.maximum)

    def too_long(self, shape: tuple[int, ...]) -> tuple[int, int] | None:
        """The limit and the length of the first axis of `shape` that has outgrown its maximum."""
        return next(((most, got) for most, got in zip(self.maximum, shape, strict=False) if got > most), None)

    def strange_word(self, array: np.ndarray) -> tuple[int, ...] | None:
        """The index of the first element that is the id of no word; a graph might take it for another word's."""
        if not self.words or not array.size or (array.min() >= 0 and array.max() < self.words):
            return None
        return tuple(int(place) for place in np.argwhere((array < 0) | (array >= self.words))[0])

    @property
    def least_bytes(self) -> int:
        """The size, with axes of any length counted as 0."""
        return math.prod(max(0, length) for length in self.shape) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class EntrySpec:
    """What an entry takes and gives."""

    name: str
    inputs: tuple[TensorSpec, ...]  # of every call
    outputs: tuple[TensorSpec, ...]
    reads_state: bool
    writes_state: bool
    constants: tuple[TensorSpec, ...] = ()  # inputs that are given once, when a session is created


def chunk_key(steps: int) -> str:
    """Names the runs of the entry `chunk` over so many steps, where times and batch sizes are kept by entry."""
    return f"chunk/{steps}"


@dataclass(frozen=True)
class Model:
    """One version of one model, checked and ready to run.

    Whatever is measured or checked at load is here; nothing changes afterwards.
    """

    model_id: str
    version: int
    kind: Kind
    manifest: Manifest
    runner: Run
    entries: Mapping[str, EntrySpec]
    state: tuple[TensorSpec, ...]
    initial_state: Mapping[str, np.ndarray]  # without batch axis, read-only
    fingerprint: str  # hexadecimal; equal fingerprints give equal bits
    vocabulary: Vocabulary | None  # of a question-answering model
    batch_invariant: bool  # whether steps run in batches without changing a bit, as checked at load
    batch_reason: str  # which entries run one row at a time, and why; for logs and people
    max_batch: int  # the most steps of one run; 1 if not invariant
    run_seconds: Mapping[str, tuple[tuple[int, float], ...]]  # entry -> (rows, seconds) as measured, by rows
    max_batches: Mapping[str, int] = field(default_factory=dict)  # by entry, where it is not `max_batch`
    chunk_sizes: tuple[int, ...] = ()  # steps that one run may take, most first, as checked at load; 1 always may

    @cached_property
    def state_bytes(self) -> int:
        """The size of one session's state."""
        return sum(array.nbytes for array in self.initial_state.values())

    @cached_property
    def most_state_bytes(self) -> int:
        """The size of one session's state, as large as it may grow."""
        sizes = (math.prod(tensor.maximum or tensor.shape) * tensor.dtype.itemsize for tensor in self.state)
        return sum(sizes)

    @cached_property
    def constants(self) -> tuple[TensorSpec, ...]:
        """What a session must be given once, over all entries."""
        known = {spec.name: spec for entry in self.entries.values() for spec in entry.constants}
        return tuple(known.values())

    @cached_property
    def grows(self) -> bool:
        """Whether a session's state gets longer from step to step."""
        return any(tensor.grows for tensor in self.state)

    @cached_property
    def chunk_outputs(self) -> frozenset[str]:
        """What runs of several steps give; what they do not is had from single steps."""
        return frozenset(output.name for output in self.entries["chunk"].outputs) if self.chunk_sizes else frozenset()

    @cached_property
    def open_entries(self) -> frozenset[str]:
        """The entries that take an input of any length: calls of different lengths do not fit one array."""
        return frozenset(
            name for name, entry in self.entries.items() if any(-1 in tensor.shape for tensor in entry.inputs)
        )

    def chunk_size(self, steps: int) -> int:
        """Returns how many of so many steps one run may take."""
        return next((size for size in self.chunk_sizes if size <= steps), 1)

    def max_batch_of(self, entry: str) -> int:
        """Returns the most rows of one run of `entry`; 1 if a row's bits depended on its batch."""
        return self.max_batches.get(entry, self.max_batch)

    def default_outputs(self, entry: str) -> tuple[str, ...]:
        """Names the outputs of those who name none: all that are not for inspection."""
        return tuple(output.name for output in self.entries[entry].outputs if not output.inspection)

    def seconds_per_run(self, entry: str, batch: int) -> float:
        """Predicts the time of one run of `batch` rows from what was measured at load, by straight lines between."""
        points = self.run_seconds[entry]
        at = bisect_left(points, (batch, 0.0))
        if at == 0:
            return points[0][1]
        if at == len(points):
            rows, seconds = points[-1]
            return seconds * batch / rows
        (low, low_seconds), (high, high_seconds) = points[at - 1], points[at]
        return low_seconds + (high_seconds - low_seconds) * (batch - low) / (high - low)

    def rows_within(self, entry: str, seconds: float) -> int:
        """Predicts the most rows of one run that takes at most so long; 1 if even one takes longer."""
        sizes = range(1, self.max_batch_of(entry) + 1)
        return max(1, bisect_right(sizes, seconds, key=lambda rows: self.seconds_per_run(entry, rows)))
