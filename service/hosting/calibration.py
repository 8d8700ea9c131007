"""Measures how long a model's runs take, so that the engine can choose where to run them and how many at once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tapehead.bundle import CHUNK

from .cache import recall, remember
from .model import Model, chunk_key
from .sampling import Sampler

Times = dict[str, tuple[tuple[int, float], ...]]  # by what is run: (rows, seconds), by rows

_REPEATS = 3  # the fastest counts: everything else is somebody else's time
_BUDGET_SECONDS = 0.3  # for one entry and size; a slow run is measured once
_DRIFT = 2.0  # times slower or faster, from which on everything is measured again


@dataclass(frozen=True, slots=True)
class _Run:
    """What is measured of an entry."""

    key: str
    entry: str
    length: int  # of open axes, or of a chunk in steps
    sizes: list[int]  # rows


def run_seconds(model: Model, place: Path | None) -> Times:
    """Returns for each entry (rows, seconds) of runs of few and of the most rows, at the longest open axes.

    They are those that `place` remembers from an earlier start, if single rows still take about as long.
    """
    sampler = Sampler(model)
    plan = _plan(model, sampler)
    known = _known(place, plan) if place else None
    if known is not None and _still_holds(model, sampler, plan, known):
        return known
    measured = {
        run.key: tuple((rows, _measure(model, sampler, run.entry, rows, run.length)) for rows in run.sizes)
        for run in plan
    }
    if place:
        remember(place, measured)
    return measured


def _plan(model: Model, sampler: Sampler) -> list[_Run]:
    runs = [(name, name, sampler.lengths(entry)[-1]) for name, entry in model.entries.items() if name != CHUNK]
    runs += [(chunk_key(steps), CHUNK, steps) for steps in model.chunk_sizes]
    return [_Run(key, entry, length, _sizes(model.max_batch_of(key))) for key, entry, length in runs]


def _sizes(most: int) -> list[int]:
    return sorted({1, min(8, most), most})


def _known(place: Path, plan: list[_Run]) -> Times | None:
    """What was remembered, if it answers this plan."""
    try:
        found = {key: tuple((int(rows), float(took)) for rows, took in points) for key, points in recall(place).items()}
    except (ValueError, TypeError, AttributeError):
        return None  # not there, or not ours: measure again
    sizes = {key: [rows for rows, took in points if took > 0] for key, points in found.items()}
    return found if sizes == {run.key: run.sizes for run in plan} else None


def _still_holds(model: Model, sampler: Sampler, plan: list[_Run], known: Times) -> bool:
    """Whether the machine is about as fast as it was, or as it seemed: the quickest run tells."""
    quickest = min((run for run in plan if run.entry != CHUNK), key=lambda run: known[run.key][0][1])
    now = _measure(model, sampler, quickest.entry, 1, quickest.length)
    return 1 / _DRIFT < now / known[quickest.key][0][1] < _DRIFT


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
