"""Measures how long a model's runs take, so that the engine can choose where to run them and how many at once."""

from __future__ import annotations

import time

import numpy as np

from tapehead.bundle import CHUNK

from .model import Model, chunk_key
from .sampling import Sampler

_REPEATS = 3  # the fastest counts: everything else is somebody else's time
_BUDGET_SECONDS = 0.3  # for one entry and size; a slow run is measured once


def measure_runs(model: Model) -> dict[str, tuple[tuple[int, float], ...]]:
    """Returns for each entry (rows, seconds) of runs of few and of the most rows, at the longest open axes."""
    sampler = Sampler(model)
    measured = {}
    runs = [(name, name, sampler.lengths(entry)[-1]) for name, entry in model.entries.items() if name != CHUNK]
    runs += [(chunk_key(steps), CHUNK, steps) for steps in model.chunk_sizes]
    for key, name, length in runs:
        most = model.max_batch_of(key)
        sizes = sorted({1, min(8, most), most})
        measured[key] = tuple((rows, _measure(model, sampler, name, rows, length)) for rows in sizes)
    return measured


def _measure(model: Model, sampler: Sampler, name: str, rows: int, length: int) -> float:
    inputs = sampler.inputs(model.entries[name], rows, length)
    state = {key: np.stack([array] * rows) for key, array in model.initial_state.items()}
    outputs = model.default_outputs(name)
    fastest, spent = float("inf"), 0.0
    for _ in range(_REPEATS + 1):  # the first prepares
        start = time.thread_time()  # a run has one thread; while it did not have the processor counts for nothing
        model.runner.run(name, inputs, state, outputs)
        seconds = time.thread_time() - start
        fastest, spent = min(fastest, seconds), spent + seconds
        if spent > _BUDGET_SECONDS:
            break
    return fastest
