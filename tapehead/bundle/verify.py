"""Replays a bundle's probes, which proves weights, names, axes and words on the machine at hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tapehead.bundle.errors import BundleError
from tapehead.bundle.files import read_file
from tapehead.bundle.graph import check_graph, is_random
from tapehead.bundle.manifest import find_entry, initial_state, read_manifest
from tapehead.bundle.ports import Plan, whole_state
from tapehead.bundle.tensors import dtype_of, to_array
from tapehead.v1.manifest_pb2 import EntryTensor, Manifest, Probe, StateTensor

Arrays = dict[str, np.ndarray]
# (entry, inputs, state) -> (outputs, next state); no array has a batch axis, unless rows are spoken of.
Run = Callable[[str, Arrays, Arrays], tuple[Arrays, Arrays]]


def verify(folder: Path) -> float:
    """Checks the whole bundle and replays its probes; returns the largest difference, raises BundleError."""
    manifest = read_manifest(folder)
    graphs = {entry.file: read_file(folder, manifest, entry.file) for entry in manifest.entries}
    for file, data in graphs.items():
        check_graph(data, where=str(folder / file), manifest=manifest, file=file)
    return replay_probes(manifest, open_graphs(manifest, graphs), initial_state(folder, manifest))


def replay_probes(manifest: Manifest, run: Run, initial: Mapping[str, np.ndarray]) -> float:
    """Replays every probe from the initial state; returns the largest difference.

    Raises BundleError, naming entry, call, output, index, expected and got, where one is above its probe's tolerance.
    Of a model that is not deterministic only types and shapes are compared.
    """
    may_differ = is_random(manifest)
    replayed = (_replay(probe, number, run, initial, may_differ) for number, probe in enumerate(manifest.probes, 1))
    return max(replayed, default=0.0)


def _replay(probe: Probe, number: int, run: Run, initial: Mapping[str, np.ndarray], may_differ: bool) -> float:
    tolerance = math.inf if may_differ else probe.tolerance
    state, largest = dict(initial), 0.0
    for index, call in enumerate(probe.calls, start=1):
        where = f"probe {number} call {index} (entry {call.entry!r})"
        outputs, next_state = run(call.entry, {tensor.name: to_array(tensor) for tensor in call.inputs}, state)
        state = state | next_state
        for tensor in call.outputs:
            if tensor.name not in outputs:
                raise BundleError(f"{where}: the model gives no output {tensor.name!r}")
            place = f"{where} output {tensor.name!r}"
            largest = max(largest, _difference(place, to_array(tensor), outputs[tensor.name], tolerance))
    return largest


def _difference(where: str, expected: np.ndarray, got: np.ndarray, tolerance: float) -> float:
    if expected.shape != got.shape or expected.dtype != got.dtype:
        raise BundleError(
            f"{where}: expected {expected.dtype} {list(expected.shape)}, got {got.dtype} {list(got.shape)}"
        )
    if expected.size == 0:
        return 0.0
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        distance = np.abs(expected.astype(np.float64) - got.astype(np.float64))
    same = (expected == got) | ((expected != expected) & (got != got))  # NaN is as good as NaN
    distance = np.where(same, 0.0, np.nan_to_num(distance, nan=np.inf, posinf=np.inf))
    worst = np.unravel_index(int(np.argmax(distance)), distance.shape)
    largest = float(distance[worst])
    if largest > tolerance:
        index = [int(i) for i in worst]
        raise BundleError(
            f"{where}{index}: expected {expected[worst]!s}, got {got[worst]!s}; "
            f"the difference {largest:.3g} is above the tolerance {tolerance:.3g}"
        )
    return largest


def open_graphs(manifest: Manifest, graphs: Mapping[str, bytes]) -> Run:
    """Opens checked graphs with onnxruntime, one thread each, and returns how to run one row through an entry."""
    run_rows = open_rows(manifest, graphs)

    def run(name: str, inputs: Arrays, state: Arrays) -> tuple[Arrays, Arrays]:
        entry = find_entry(manifest, name)
        if entry is None:
            raise BundleError(f"the bundle has no entry {name!r}")
        rows = {tensor.name: _one_row(tensor, inputs) for tensor in entry.inputs}
        kept = {t.name: _one_row(t, state) for t in whole_state(manifest)} if entry.reads_state else {}
        outputs, next_state = run_rows(name, rows, kept)
        check_next_state(manifest, name, next_state)
        return _only_row(outputs), _only_row(next_state)

    return run


def open_rows(manifest: Manifest, graphs: Mapping[str, bytes]) -> Run:
    """As `open_graphs`, for arrays that have rows along axis 0."""
    from tapehead.bundle.runtime import onnxruntime  # here alone: reading a manifest needs no runtime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is raised, and told once
    sessions: dict[str, Any] = {}
    for file, data in graphs.items():
        try:
            sessions[file] = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no base class of their own
            raise BundleError(f"{file}: onnxruntime refuses it: {error}") from error

    def run(name: str, inputs: Arrays, state: Arrays) -> tuple[Arrays, Arrays]:
        entry = find_entry(manifest, name)
        if entry is None:
            raise BundleError(f"the bundle has no entry {name!r}")
        session = sessions[entry.file]
        plan = Plan.of(manifest, entry, {value.name for value in session.get_inputs()})
        try:
            outputs, next_state = plan.run(session.run, inputs, state, tuple(plan.outputs))
        except Exception as error:  # as above
            raise BundleError(f"entry {name!r}: onnxruntime cannot run it: {error}") from error
        return outputs, next_state

    return run


def check_next_state(manifest: Manifest, entry: str, next_state: Mapping[str, np.ndarray]) -> None:
    """Raises BundleError where a next state, of one row along axis 0, is not what the manifest says of it."""
    for tensor in whole_state(manifest):
        if tensor.name not in next_state:
            continue
        array, dtype = next_state[tensor.name], dtype_of(tensor.dtype)
        expected = (1, *tensor.shape)
        fits = array.ndim == len(expected) and all(
            want in (-1, got) for want, got in zip(expected, array.shape, strict=True)
        )
        if array.dtype != dtype or not fits:
            raise BundleError(
                f"entry {entry!r} next state {tensor.name!r}: expected {dtype} {list(tensor.shape)} for one row, "
                f"got {array.dtype} {list(array.shape[1:])}"
            )


def _one_row(tensor: EntryTensor | StateTensor, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    try:
        array = arrays[tensor.name]
    except KeyError:
        raise BundleError(f"tensor {tensor.name!r} is missing; given are {sorted(arrays)}") from None
    if array.dtype != dtype_of(tensor.dtype):
        raise BundleError(f"tensor {tensor.name!r}: expected {dtype_of(tensor.dtype)}, got {array.dtype}")
    return array[np.newaxis]


def _only_row(arrays: Arrays) -> Arrays:
    for name, array in arrays.items():
        if array.ndim < 1 or len(array) != 1:
            raise BundleError(f"tensor {name!r}: expected one row along axis 0, got shape {list(array.shape)}")
    return {name: array[0] for name, array in arrays.items()}
