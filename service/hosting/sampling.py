"""Inputs and states to try a model with: like real ones, and at the extremes."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from tapehead.bundle import CHUNK, to_array

from .model import Arrays, EntrySpec, Model, TensorSpec

EVOLVED_STEPS = 20  # a state counts as evolved from here on
_FLOAT_EXTREMES = (0.0, -0.0, 1e-40, -1e-40, 1e4, -1e4, 3e38, -3e38, np.inf, -np.inf, np.nan)
_LONG_STORY = 50  # sentences, for a memory that takes in any number of them
_UNKNOWN_LENGTHS = (1, 3)  # of an axis of any length, where no probe shows one


class Sampler:
    """Draws rows for one model, always the same ones: its generator starts from a fixed seed."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._random = np.random.default_rng(20)
        self._constants = _probed_constants(model)

    @cached_property
    def _seen(self) -> dict[tuple[str, str], np.ndarray]:
        return _probed_values(self._model)

    def lengths(self, entry: EntrySpec) -> tuple[int, ...]:
        """Returns the lengths to try for the entry's axes of any length; (1,) if it has none."""
        if not any(-1 in tensor.shape for tensor in entry.inputs):
            return (1,)
        if self._model.kind == "question_answering":
            longest = self._model.manifest.question_answering.memory_sentences or _LONG_STORY
            return tuple(sorted({1, 2, longest}))
        return self._probed_lengths(entry) or _UNKNOWN_LENGTHS

    def _probed_lengths(self, entry: EntrySpec) -> tuple[int, ...]:
        """Returns the lengths that probes give to open axes of an entry's inputs: a graph may run with no others."""
        shapes = {tensor.name: tensor.shape for tensor in entry.inputs}
        calls = [call for probe in self._model.manifest.probes for call in probe.calls]
        other = "step" if entry.name == CHUNK else entry.name  # of a chunk: what its single steps are given
        given = [tensor for call in calls if call.entry == other for tensor in call.inputs if tensor.name in shapes]
        pairs = [pair for tensor in given for pair in zip(tensor.shape, shapes[tensor.name], strict=True)]
        return tuple(sorted({length for length, declared in pairs if declared == -1}))

    def inputs(self, entry: EntrySpec, rows: int, length: int) -> Arrays:
        """Returns inputs like real ones, batch first; `length` is that of open axes, or of a chunk in steps."""
        values = {t.name: self._values(entry, t, self._shape(entry, t, rows, length)) for t in entry.inputs}
        return values | self._constant_rows(entry, rows)

    def extreme_inputs(self, entry: EntrySpec, rows: int, length: int) -> Arrays:
        """Returns inputs of the largest, smallest and least finite values that the entry can be given."""
        extremes = {t.name: self._extremes(entry, t, self._shape(entry, t, rows, length)) for t in entry.inputs}
        return extremes | self._constant_rows(entry, rows)

    def _constant_rows(self, entry: EntrySpec, rows: int) -> Arrays:
        """What a session is given once, as the probes give it: equal in every row, as in every batch."""
        zeros = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in entry.constants}
        return {name: np.stack([self._constants.get(name, zero)] * rows) for name, zero in zeros.items()}

    def extreme_states(self, rows: int) -> Arrays:
        """Returns states at the extremes; integers, which may count or index, stay as they begin."""
        states = {}
        for tensor in self._model.state:
            first = self._model.initial_state[tensor.name]
            initial = np.broadcast_to(first, (rows, *first.shape))
            is_float = tensor.dtype.kind == "f"
            states[tensor.name] = self._float_extremes(tensor, initial.shape) if is_float else initial.copy()
        return states

    def states(self, rows: int) -> Arrays:
        """Returns initial and evolved states of several sessions, one a row; every eighth is initial."""
        histories = [self._evolve() for _ in range(4)]
        chosen = []
        for row in range(rows):
            history = histories[row % 4]
            evolved = len(history) - 1 - EVOLVED_STEPS
            step = 0 if row % 8 == 0 else EVOLVED_STEPS + (row // 4) % (evolved + 1)
            chosen.append(history[min(step, len(history) - 1)])
        return {tensor.name: np.stack([state[tensor.name] for state in chosen]) for tensor in self._model.state}

    def _evolve(self) -> list[Arrays]:
        """Returns the states of one session from step 0 on, run alone."""
        entry = next(e for e in self._model.entries.values() if e.reads_state and e.writes_state and e.name != CHUNK)
        steps = EVOLVED_STEPS + 5
        if self._model.kind == "question_answering":  # past the point where the first sentences are forgotten
            steps = max(steps, min(self._model.manifest.question_answering.memory_sentences, 100) + 5)
        length, state = self.lengths(entry)[0], self._first_state()
        history = [state]
        for _ in range(steps):
            _, state = self._model.runner.run(entry.name, self.inputs(entry, 1, length), state, ())
            if any(tensor.too_long(state[tensor.name].shape[1:]) for tensor in self._model.state):
                break
            history.append(state)
        return [{name: array[0] for name, array in state.items()} for state in history]

    def _first_state(self) -> Arrays:
        """The state of one new session, batch first."""
        state = {name: array[np.newaxis] for name, array in self._model.initial_state.items()}
        if start := self._model.entries.get("start"):
            state |= self._model.runner.run(start.name, self.inputs(start, 1, self.lengths(start)[0]), {}, ())[1]
        return state

    def _shape(self, entry: EntrySpec, tensor: TensorSpec, rows: int, length: int) -> tuple[int, ...]:
        if entry.name == CHUNK:
            return (rows, length, *_fill(tensor.shape, self.lengths(entry)[-1]))
        return (rows, *_fill(tensor.shape, length))

    def _values(self, entry: EntrySpec, tensor: TensorSpec, shape: tuple[int, ...]) -> np.ndarray:
        if self._model.kind == "question_answering":
            return self._sentences(shape)
        if tensor.dtype.kind == "f":
            normal = self._random.standard_normal(shape)
            bits = self._random.integers(0, 2, shape)
            by_row = (np.arange(shape[0]) % 2 == 0).reshape(-1, *(1 for _ in shape[1:]))
            return np.where(by_row, bits, normal).astype(tensor.dtype)
        return self._random.choice(self._seen_of(entry, tensor), shape).astype(tensor.dtype)

    def _sentences(self, shape: tuple[int, ...]) -> np.ndarray:
        words = len(self._model.manifest.question_answering.words)
        ids = self._random.integers(1, max(words, 2), shape) if words > 1 else np.zeros(shape, np.int64)
        used = self._random.integers(1, shape[-1] + 1, shape[:-1])
        return np.where(np.arange(shape[-1]) < used[..., np.newaxis], ids, 0).astype(np.int64)

    def _extremes(self, entry: EntrySpec, tensor: TensorSpec, shape: tuple[int, ...]) -> np.ndarray:
        if self._model.kind == "question_answering":
            words = len(self._model.manifest.question_answering.words)
            return self._random.choice(np.array([0, words - 1]), shape).astype(tensor.dtype)
        if tensor.dtype.kind == "f":
            return self._float_extremes(tensor, shape)
        seen = self._seen_of(entry, tensor)
        return self._random.choice(np.array([seen.min(), seen.max()]), shape).astype(tensor.dtype)

    def _float_extremes(self, tensor: TensorSpec, shape: tuple[int, ...]) -> np.ndarray:
        with np.errstate(over="ignore"):  # half precision knows fewer
            return self._random.choice(np.array(_FLOAT_EXTREMES), shape).astype(tensor.dtype)

    def _seen_of(self, entry: EntrySpec, tensor: TensorSpec) -> np.ndarray:
        """Returns values known to be valid: an integer may be an index, and only the probes show of what."""
        other = CHUNK if entry.name == "step" else "step"  # the same inputs, and a bundle may prove one of the two
        for name in (entry.name, other):
            if (name, tensor.name) in self._seen:
                return self._seen[name, tensor.name]
        return np.zeros(1, tensor.dtype)


def _probed_constants(model: Model) -> Arrays:
    """The first value that a probe gives to each constant."""
    names = {spec.name for spec in model.constants}
    found: Arrays = {}
    for probe in model.manifest.probes:
        for call in probe.calls:
            for tensor in call.inputs:
                if tensor.name in names:
                    found.setdefault(tensor.name, to_array(tensor))
    return found


def _fill(shape: tuple[int, ...], length: int) -> tuple[int, ...]:
    return tuple(length if axis == -1 else axis for axis in shape)


def _probed_values(model: Model) -> dict[tuple[str, str], np.ndarray]:
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    for probe in model.manifest.probes:
        for call in probe.calls:
            for tensor in call.inputs:
                found.setdefault((call.entry, tensor.name), []).append(to_array(tensor).ravel())
    joined = {key: np.unique(np.concatenate(arrays)) for key, arrays in found.items()}
    return {key: values for key, values in joined.items() if values.size}
