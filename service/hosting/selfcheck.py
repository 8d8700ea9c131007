"""Checks that a row's answer does not depend on its batch, bit for bit, before batches are used at all.

Runtimes promise nothing here: a kernel may sum in another order for another batch size or row. So every entry is run
with real inputs on initial and evolved states, alone and in batches of many sizes, with every row compared with the
same row run alone, and with half of the neighbours at extremes. What was not tried is not used.

A chunk, several steps of a session in one run, must give each row what its single steps give it alone.

Where plain batches fail, batches padded to a multiple of 2 or 4 rows are tried, which cures the commonest causes. A
question is not padded but run alone: nothing waits behind it, and it may be heavy enough to feel the second row.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tapehead.bundle import CHUNK, BundleError, is_random

from .model import Arrays, EntrySpec, Model
from .padding import padded
from .sampling import Sampler
from .verdict import EntryVerdict, Verdict, read_verdict, write_verdict

BUDGET_SECONDS = 2.0  # for one entry; a slow model is checked, and then used, with smaller batches
_SMALLEST_MAXIMUM = 4  # checked even if that takes longer than the budget
_RUNS_PER_SIZE = 4  # see _trials
CHUNK_BUDGETS = {32: 2.0, 8: 1.0, 2: 0.5}  # the steps that one run may take, and seconds to check each
_TIMED_RUNS = 6  # the first only prepares
_MULTIPLES = (1, 2, 4)  # kernels leave over at most 3 elements; the smallest that passes is used, whatever it costs


@dataclass(frozen=True, slots=True)
class _Trial:
    """One run of a batch."""

    rows: np.ndarray  # of the pool
    strangers: np.ndarray  # positions in the batch that get extreme values instead, and are not compared
    outputs: tuple[str, ...]
    at_odd_address: bool = False


def check_batches(model: Model, max_batch: int, cache_folder: Path | None = None, *, obstacle: str = "") -> Verdict:
    """Returns the verdict on batches of up to `max_batch` rows, from `cache_folder` if it was found before.

    `obstacle` says why batches are out of the question, if they are; then only chunks of one session are tried. Raises
    BundleError if the model cannot run a single row.
    """
    place = cache_folder / f"{model.fingerprint}-{max_batch}.json" if cache_folder else None
    known = read_verdict(place) if place else None
    if known is not None:
        return known
    verdict = _check(model, max_batch, obstacle)
    if place:
        write_verdict(place, verdict)
    return verdict


def batch_sizes(max_batch: int) -> list[int]:
    """Returns the sizes that are tried: every power of two, its two odd neighbours, and the largest."""
    powers = [2**n for n in range(max_batch.bit_length())]
    near = {power + step for power in powers for step in (-1, 0, 1)} | {max_batch}
    return sorted(size for size in near if 1 <= size <= max_batch)


def _check(model: Model, max_batch: int, obstacle: str) -> Verdict:
    entries = [entry for entry in model.entries.values() if entry.name != CHUNK]
    if is_random(model.manifest):
        obstacle = "the model is not deterministic"
    if obstacle:
        verdict = Verdict({entry.name: EntryVerdict(1, reason=obstacle) for entry in entries})
    else:
        verdict = Verdict({entry.name: _check_entry(model, entry, max_batch) for entry in entries})
    if CHUNK not in model.entries or is_random(model.manifest):
        return verdict
    return replace(verdict, **_check_chunks(model, verdict.entries["step"]))


def _check_chunks(model: Model, step: EntryVerdict) -> dict[str, Any]:
    """Tries runs of several steps against single steps; what differs in a bit is not used, nor what is longer."""
    chunk, found = model.entries[CHUNK], dict[int, int]()
    candidate = replace(model, runner=padded(model.runner, {"step": step.multiple, CHUNK: step.multiple}))
    sampler = Sampler(candidate)
    for steps, budget in reversed(CHUNK_BUDGETS.items()):
        rows = _affordable(candidate, sampler, chunk, steps, step.max_batch, budget, least=1)
        reason = _find_difference(candidate, sampler, chunk, steps, rows)
        if reason:
            return {"chunks": found, "chunk_reason": f"{steps} steps at once: {reason}"}
        found[steps] = rows
    return {"chunks": found}


def _check_entry(model: Model, entry: EntrySpec, max_batch: int) -> EntryVerdict:
    """Returns the verdict with the smallest padding that passes, or the difference that the largest left."""
    found = ""
    for multiple in _MULTIPLES if entry.writes_state else (1,):
        candidate = replace(model, runner=padded(model.runner, {entry.name: multiple}))
        try:
            reason, largest = _check_lengths(candidate, entry, max_batch)
        except BundleError:
            if multiple == 1:
                raise  # it cannot run a single row
            break  # nor as many as padding makes
        if not reason:
            return EntryVerdict(largest, multiple)
        found = reason
    return EntryVerdict(1, reason=found)


def _check_lengths(model: Model, entry: EntrySpec, max_batch: int) -> tuple[str, int]:
    """Returns the first difference, or nothing and the largest batch that was checked at every length."""
    sampler = Sampler(model)
    largest = max_batch
    for length in sampler.lengths(entry):
        checked = _affordable(model, sampler, entry, length, max_batch)
        difference = _find_difference(model, sampler, entry, length, checked)
        if difference:
            return difference, 1
        largest = min(largest, checked)
    return "", largest


def _affordable(
    model: Model,
    sampler: Sampler,
    entry: EntrySpec,
    length: int,
    max_batch: int,
    budget: float = BUDGET_SECONDS,
    least: int = _SMALLEST_MAXIMUM,
) -> int:
    """Returns the largest batch whose check fits into the budget, as if a batch saved nothing."""
    inputs, state = sampler.inputs(entry, 1, length), _initial_row(model)
    fastest = budget
    for _ in range(_TIMED_RUNS):  # the fastest: what else the machine does must not shrink the batches
        start = time.perf_counter()
        _run_alone(model, entry, inputs, state)
        fastest = min(fastest, time.perf_counter() - start)
    while max_batch > least and fastest * _RUNS_PER_SIZE * sum(batch_sizes(max_batch)) > budget:
        max_batch = max(max_batch // 2, least)
    return max_batch


def _find_difference(model: Model, sampler: Sampler, entry: EntrySpec, length: int, max_batch: int) -> str:
    """Returns a description of the first row that its batch changed, or nothing."""
    inputs = sampler.inputs(entry, max_batch, length)
    state = sampler.states(max_batch) if entry.reads_state else {}
    run = _step_alone if entry.name == CHUNK else _run_alone
    alone = [run(model, entry, _take(inputs, [row]), _take(state, [row])) for row in range(max_batch)]
    expected = {name: np.concatenate([row[name] for row in alone]) for name in alone[0]}
    extreme_inputs = sampler.extreme_inputs(entry, max_batch, length)
    extreme_state = sampler.extreme_states(max_batch) if entry.reads_state else {}
    for size in batch_sizes(max_batch):
        for trial in _trials(model, entry, size, max_batch):
            feed, before = _take(inputs, trial.rows), _take(state, trial.rows)
            _replace(feed, trial.strangers, extreme_inputs)
            _replace(before, trial.strangers, extreme_state)
            if trial.at_odd_address:
                feed, before = _misalign(feed), _misalign(before)
            try:
                got = _run(model, entry, feed, before, trial.outputs)
            except Exception as error:  # onnxruntime's errors share no base class of their own
                return f"a batch of {size} cannot be run: {error}"
            compared = np.setdiff1d(np.arange(size), trial.strangers)
            difference = _compare(_take(expected, trial.rows), got, compared, size)
            if difference:
                return difference
    return ""


def _trials(model: Model, entry: EntrySpec, size: int, pool: int) -> Iterator[_Trial]:
    """Gives the runs of one size, each with other rows of the pool.

    1. All outputs. 2. Rows backwards and at odd addresses in memory, the plain outputs only: leaving an output out must
    not change the rest. 3. and 4. Every second neighbour at extremes, so that each position is once beside such ones.
    """
    every, plain = tuple(output.name for output in entry.outputs), model.default_outputs(entry.name)
    rows, nobody = np.arange(size), np.zeros(0, np.intp)
    yield _Trial(rows, nobody, every)
    yield _Trial((rows[::-1] + size) % pool, nobody, plain, at_odd_address=True)
    if size > 1:
        yield _Trial((rows + 1) % pool, rows[0::2], every)
        yield _Trial((rows + 2) % pool, rows[1::2], plain)


def _run_alone(model: Model, entry: EntrySpec, inputs: Arrays, state: Arrays) -> Arrays:
    try:
        return _run(model, entry, inputs, state, tuple(output.name for output in entry.outputs))
    except Exception as error:  # as above
        raise BundleError(f"entry {entry.name!r} cannot be run: {error}") from error


def _step_alone(model: Model, entry: EntrySpec, inputs: Arrays, state: Arrays) -> Arrays:
    """What a chunk of one row must give: its steps one after the other, as the entry `step` runs them."""
    step, constants = model.entries["step"], {spec.name for spec in entry.constants}
    names = tuple(output.name for output in entry.outputs)
    steps = []
    for index in range(inputs[entry.inputs[0].name].shape[1]):
        at = {name: array if name in constants else array[:, index] for name, array in inputs.items()}
        try:
            outputs, state = model.runner.run(step.name, at, state, names)
        except Exception as error:  # as above
            raise BundleError(f"entry 'step' cannot be run: {error}") from error
        steps.append(outputs)
    given = {name: np.stack([one[name] for one in steps], axis=1) for name in names}
    return _named(given, state)


def _run(model: Model, entry: EntrySpec, inputs: Arrays, state: Arrays, outputs: tuple[str, ...]) -> Arrays:
    given, next_state = model.runner.run(entry.name, inputs, state, outputs)
    return _named(given, next_state)


def _named(outputs: Arrays, next_state: Arrays) -> Arrays:
    return {f"output {name!r}": array for name, array in outputs.items()} | {
        f"next state {name!r}": array for name, array in next_state.items()
    }


def _compare(expected: Arrays, got: Arrays, rows: np.ndarray, size: int) -> str:
    for name, array in got.items():
        if array.shape != expected[name].shape:
            return f"a batch of {size} gives {name} with shape {list(array.shape)}, not {list(expected[name].shape)}"
        same = _bits(array) == _bits(expected[name])
        for row in rows:
            if not same[row].all():
                return f"row {row} of {name} in a batch of {size} has other bits than the same row run alone"
    return ""


def _bits(array: np.ndarray) -> np.ndarray:
    """Returns the bytes of each row, [rows, bytes]: NaN equals itself, and 0 is not -0."""
    flat = np.ascontiguousarray(array).reshape(len(array), -1)
    return flat.view(np.uint8)


def _take(arrays: Arrays, rows: np.ndarray | list[int]) -> Arrays:
    return {name: array[rows] for name, array in arrays.items()}


def _replace(arrays: Arrays, rows: np.ndarray, others: Arrays) -> None:
    for name, array in arrays.items():
        array[rows] = others[name][rows]


def _misalign(arrays: Arrays) -> Arrays:
    """Returns copies that begin one element behind a boundary, as a state read from a record may."""
    moved = {}
    for name, array in arrays.items():
        longer = np.empty(array.size + 1, array.dtype)
        moved[name] = longer[1:].reshape(array.shape)
        moved[name][...] = array
    return moved


def _initial_row(model: Model) -> Arrays:
    return {name: array[np.newaxis] for name, array in model.initial_state.items()}
