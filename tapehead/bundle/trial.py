"""Tries a manifest on its graphs: finds lengths that run, and proves that state changes and that axes are what it says.

What comes out are the calls that a bundle records as its probes, so that whatever was true here is tried again by
everybody who loads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from tapehead.bundle.build import ProbeCalls, first_state
from tapehead.bundle.errors import BundleError
from tapehead.bundle.graph import SHARED_SCALES, is_random, operators
from tapehead.bundle.manifest import find_entry
from tapehead.bundle.ports import CHUNK
from tapehead.bundle.tensors import dtype_of
from tapehead.bundle.verify import Arrays, Run, check_next_state, open_rows
from tapehead.v1.manifest_pb2 import Entry, EntryTensor, Manifest, NonFinite

SEED = 20
STEPS = 2  # of each try
# Small ones for whatever takes any length; then frames of audio, 5 to 64 ms of it at 8 or 16 kHz.
LENGTHS = (1, 3, 2, 4, 8, 16, 32, 64, 80, 160, 256, 320, 512, 576, 1024)
RATES = (16_000, 8_000, 44_100, 48_000)  # what a constant is tried with if nobody says
_CHUNK_STEPS = 3


@dataclass(frozen=True, slots=True)
class Trial:
    """What running a model has shown."""

    calls: ProbeCalls  # for its probe
    tolerance: float  # of that probe, by the size of the outputs
    notes: tuple[str, ...]


class Tried:
    """One manifest with its graphs open."""

    def __init__(self, manifest: Manifest, files: Mapping[str, bytes], constants: Mapping[str, np.ndarray]) -> None:
        self.manifest = manifest
        self._constants = dict(constants)
        self._run: Run = open_rows(manifest, {entry.file: files[entry.file] for entry in manifest.entries})
        self._initial = {name: array[np.newaxis] for name, array in first_state(manifest, files).items()}
        self._random = np.random.default_rng(SEED)
        self._entry = find_entry(manifest, "step") or find_entry(manifest, CHUNK)
        graphs = {entry.file: onnx.load_model_from_string(files[entry.file]) for entry in manifest.entries}
        self._shares_scales = any(operators(graph, file) & SHARED_SCALES for file, graph in graphs.items())

    def run(self) -> Trial:
        """Runs the model; fills in shapes of outputs that only a run can tell. Raises BundleError with a way out."""
        if self._entry is None:
            raise BundleError("entries: expected 'step' or 'chunk'")
        entry, notes = self._entry, []
        begin = self._begin()
        lengths = self._find_lengths(entry, begin)
        if _has_open_axes(entry):
            said = " and ".join(map(str, lengths))
            notes.append(f"Inputs have axes of any length; the graph was run with the length {said}.")
        calls: list[tuple[str, Arrays]] = list(self._start_calls)
        state, results = begin, []
        for length in lengths:
            for _ in range(STEPS):
                inputs = self._inputs(entry, 1, length)
                outputs, after = self._run(entry.name, inputs, state)
                check_next_state(self.manifest, entry.name, after)
                calls.append((entry.name, _only(inputs)))
                results.append(outputs)
                state = state | after
        notes += self._check_changes(begin, state)
        self._check_finite(entry, results, state)
        _settle_shapes(entry, results, has_open_axes=_has_open_axes(entry) or self._grows)
        if not is_random(self.manifest):
            notes += self._check_batch(entry, begin, lengths[0])
            notes += self._check_steps(entry, begin)
        return Trial(calls, _tolerance(results), tuple(notes))

    @property
    def _grows(self) -> bool:
        return any(-1 in tensor.shape for tensor in self.manifest.state)

    def _begin(self) -> Arrays:
        """The state of a new session, as `start` gives it if there is one."""
        self._start_calls: list[tuple[str, Arrays]] = []
        start = find_entry(self.manifest, "start")
        if start is None:
            return self._initial
        inputs = self._inputs(start, 1, 1)
        self._start_calls.append((start.name, _only(inputs)))
        return self._initial | self._run(start.name, inputs, {})[1]

    def _find_lengths(self, entry: Entry, begin: Arrays) -> tuple[int, ...]:
        """The first two lengths that run, one that is all there is, or an error that tells of the first."""
        if not _has_open_axes(entry):
            self._try_constants(entry, begin, 1)
            return (1,)
        found: list[int] = []
        first: BundleError | None = None
        for length in LENGTHS:
            try:
                self._try_constants(entry, begin, length)
                found.append(length)
            except BundleError as error:
                first = first or error
            if len(found) == 2:
                break
        if not found and first is not None:
            raise BundleError(
                f"the graph runs with none of the lengths {', '.join(map(str, LENGTHS))} of its open axes; say which "
                f"one it takes with --length INPUT=LENGTH. With {LENGTHS[0]}: {first}"
            )
        return tuple(found)

    def _try_constants(self, entry: Entry, begin: Arrays, length: int) -> None:
        """Runs two steps; where nobody said what a constant is, with the usual sample rates until one runs."""
        unknown = [tensor for tensor in entry.inputs if tensor.constant and tensor.name not in self._constants]
        failure: BundleError | None = None
        for rate in RATES if unknown else (0,):
            for tensor in unknown:
                self._constants[tensor.name] = np.full(tuple(tensor.shape), rate, dtype_of(tensor.dtype))
            try:
                state = begin
                for _ in range(STEPS):
                    _, after = self._run(entry.name, self._inputs(entry, 1, length), state)
                    check_next_state(self.manifest, entry.name, after)
                    state = state | after
                return
            except BundleError as error:
                failure = failure or error
        for tensor in unknown:
            del self._constants[tensor.name]
        assert failure is not None
        raise failure

    def _check_changes(self, begin: Arrays, state: Arrays) -> Iterator[str]:
        same = [name for name, array in begin.items() if np.array_equal(array, state[name], equal_nan=_is_float(array))]
        if len(same) == len(begin):
            raise BundleError(
                f"no state changed in {STEPS} steps: {', '.join(same)}. Either it is none (--not-state NAME), or the "
                "pairs of inputs and outputs are others (--state INPUT=OUTPUT)"
            )
        if same:
            yield f"This state did not change in {STEPS} steps, which may be right: {', '.join(same)}."

    def _check_finite(self, entry: Entry, results: Sequence[Arrays], state: Arrays) -> None:
        allowed = {tensor.name for tensor in entry.outputs if tensor.non_finite == NonFinite.NON_FINITE_ALLOW}
        allowed_state = {t.name for t in self.manifest.state if t.non_finite == NonFinite.NON_FINITE_ALLOW}
        found = [name for one in results for name, array in one.items() if name not in allowed and not _finite(array)]
        found += [name for name, array in state.items() if name not in allowed_state and not _finite(array)]
        if found:
            raise BundleError(
                f"{found[0]!r} is not finite for random inputs, and a server would refuse each such step; if that is "
                'meant, write non_finite = "NON_FINITE_ALLOW" beside it in a manifest, and build with --manifest'
            )

    def _check_batch(self, entry: Entry, begin: Arrays, length: int) -> Iterator[str]:
        """Runs two sessions apart and together; gives a note where that changes numbers and is meant to."""
        if self._grows or -1 in self._axes(entry).values():
            return
        inputs = [self._inputs(entry, 1, length) for _ in range(2 * STEPS)]
        state = [begin, begin]
        together = {name: np.concatenate([array, array]) for name, array in begin.items()}
        for step in range(STEPS):
            alone = []
            for row in (0, 1):
                outputs, after = self._run(entry.name, inputs[2 * step + row], state[row])
                state[row] = state[row] | after
                alone.append(_all(outputs, after))
            both = {t.name: _stack(t, inputs[2 * step : 2 * step + 2]) for t in entry.inputs}
            try:
                outputs, after = self._run(entry.name, both, together)
            except BundleError as error:
                raise BundleError(f"two sessions cannot be run together: {error}. {self._axes_hint(entry)}") from None
            together = together | after
            if self._differs(entry, alone, _all(outputs, after)):
                yield (
                    "Sessions that share a batch change each other's numbers a little, since they share the scale of "
                    "their quantisation: it runs one session at a time."
                )
                return

    def _differs(self, entry: Entry, alone: Sequence[Arrays], both: Arrays) -> bool:
        """Whether rows are not what they are alone, where that may be; raises BundleError where it may not."""
        for name, array in both.items():
            for row in (0, 1):
                expected = alone[row][name]
                if len(array) == 2 and _close(expected, array[row : row + 1]):
                    continue
                if len(array) == 2 and self._shares_scales and expected.shape == array[row : row + 1].shape:
                    return True
                raise BundleError(
                    f"{name} of a session differs when another one runs beside it: expected shape "
                    f"{list(expected[0].shape)} in each of 2 rows, got {list(array.shape)} in all, and the numbers "
                    f"of row {row} when it is alone. {self._axes_hint(entry)}"
                )
        return False

    def _check_steps(self, entry: Entry, begin: Arrays) -> Iterator[str]:
        """Where the graph takes many steps a call: a call of three is three calls, or a note says why it is not."""
        if entry.name != CHUNK:
            return
        whole = self._inputs(entry, 1, _CHUNK_STEPS)
        outputs, after = self._run(entry.name, whole, begin)
        state, parts = begin, []
        constants = {tensor.name for tensor in entry.inputs if tensor.constant}
        for step in range(_CHUNK_STEPS):
            one = {name: array if name in constants else array[:, step : step + 1] for name, array in whole.items()}
            part, next_state = self._run(entry.name, one, state)
            state = state | next_state
            parts.append(part)
        joined = {name: np.concatenate([part[name] for part in parts], axis=1) for name in outputs}
        singly = _all(joined, state)
        for name, array in _all(outputs, after).items():
            if _close(singly[name], array):
                continue
            if self._shares_scales and singly[name].shape == array.shape:
                yield (
                    "Steps that share a call change each other's numbers a little, since they share the scale of their "
                    "quantisation: it runs them one after the other."
                )
                return
            raise BundleError(
                f"{name} of {_CHUNK_STEPS} steps in one call differs from that of single calls, so these are no "
                "steps of one session; write --step-axis '*=none', or name another axis"
            )

    def _axes_hint(self, entry: Entry) -> str:
        axes = ", ".join(f"{name}={axis}" for name, axis in self._axes(entry).items())
        return (
            f"The batch axes are taken to be {axes}; write --batch-axis NAME=AXIS for one that is wrong, or "
            "--batch-axis '*=-1' if there is none"
        )

    def _axes(self, entry: Entry) -> dict[str, int]:
        axes = {t.name: t.batch_axis for t in (*entry.inputs, *entry.outputs) if not t.constant}
        return axes | {tensor.name: tensor.batch_axis for tensor in self.manifest.state}

    def _inputs(self, entry: Entry, rows: int, length: int) -> Arrays:
        """Random inputs; the entry `chunk` gets `length` steps, other open axes as many elements."""
        inputs = {}
        for tensor in entry.inputs:
            if tensor.constant:
                known = self._constants.get(tensor.name, np.zeros(tuple(tensor.shape), dtype_of(tensor.dtype)))
                inputs[tensor.name] = np.stack([known] * rows)
                continue
            shape = tuple(length if one == -1 else one for one in tensor.shape)
            steps = (max(length, 1),) if entry.name == CHUNK else ()
            inputs[tensor.name] = self._draw(tensor, (rows, *steps, *shape))
        return inputs

    def _draw(self, tensor: EntryTensor, shape: tuple[int, ...]) -> np.ndarray:
        dtype = dtype_of(tensor.dtype)
        if dtype.kind == "f":
            return self._random.standard_normal(shape).astype(dtype)
        return self._random.integers(0, min(len(tensor.words) or 2, 2), shape).astype(dtype)


def try_manifest(manifest: Manifest, files: Mapping[str, bytes], constants: Mapping[str, np.ndarray]) -> Trial:
    """Runs the graphs of `manifest` as `Tried.run` does."""
    return Tried(manifest, files, constants).run()


def _settle_shapes(entry: Entry, results: Sequence[Arrays], *, has_open_axes: bool) -> None:
    """Writes down the shapes of outputs; what differed between runs, or may differ, stays open."""
    for tensor in entry.outputs:
        shapes = {array[tensor.name].shape[2 if entry.name == CHUNK else 1 :] for array in results}
        ranks = {len(shape) for shape in shapes}
        if len(ranks) != 1:
            raise BundleError(f"output {tensor.name!r}: expected as many axes in each step, got {sorted(shapes)}")
        seen = [lengths.pop() if len(lengths) == 1 else -1 for lengths in map(set, zip(*shapes, strict=True))]
        said = list(tensor.shape) if len(tensor.shape) == len(seen) else [-1] * len(seen)
        tensor.shape[:] = [
            length if length and (not has_open_axes or declared == length) else -1
            for length, declared in zip(seen, said, strict=True)
        ]


def _has_open_axes(entry: Entry) -> bool:
    return entry.name == CHUNK or any(-1 in tensor.shape for tensor in entry.inputs)


def _stack(tensor: EntryTensor, rows: Sequence[Arrays]) -> np.ndarray:
    return np.concatenate([row[tensor.name] for row in rows])


def _all(outputs: Arrays, state: Arrays) -> Arrays:
    return {f"output {name!r}": a for name, a in outputs.items()} | {f"state {name!r}": a for name, a in state.items()}


def _only(arrays: Arrays) -> Arrays:
    return {name: array[0] for name, array in arrays.items()}


def _tolerance(results: Sequence[Arrays]) -> float:
    """Other processors round otherwise: a ten-thousandth of the largest output, or of 1."""
    sizes = [float(np.abs(array.astype(np.float64)).max(initial=0)) for one in results for array in one.values()]
    return 1e-4 * max(1.0, max((size for size in sizes if np.isfinite(size)), default=1.0))


def _close(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-4, atol=1e-5, equal_nan=_is_float(one))


def _finite(array: np.ndarray) -> bool:
    return bool(np.isfinite(array).all()) if _is_float(array) else True


def _is_float(array: np.ndarray) -> bool:
    return array.dtype.kind == "f"
