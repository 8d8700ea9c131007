"""Replays a bundle's probes, which proves weights, names, axes and words on the machine at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tapehead.bundle.errors import BundleError
from tapehead.bundle.files import read_file
from tapehead.bundle.graph import check_graph
from tapehead.bundle.manifest import (
    find_entry,
    graph_name,
    initial_state,
    read_manifest,
    state_input,
    state_output,
)
from tapehead.bundle.tensors import dtype_of, to_array
from tapehead.v1.manifest_pb2 import EntryTensor, Manifest, Probe, StateTensor

Arrays = dict[str, np.ndarray]
# (entry, inputs, state) -> (outputs, next state); no array has a batch axis.
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
    """
    return max((_replay(probe, number, run, initial) for number, probe in enumerate(manifest.probes, 1)), default=0.0)


def _replay(probe: Probe, number: int, run: Run, initial: Mapping[str, np.ndarray]) -> float:
    state, largest = dict(initial), 0.0
    for index, call in enumerate(probe.calls, start=1):
        where = f"probe {number} call {index} (entry {call.entry!r})"
        outputs, next_state = run(call.entry, {tensor.name: to_array(tensor) for tensor in call.inputs}, state)
        state = next_state or state
        for tensor in call.outputs:
            if tensor.name not in outputs:
                raise BundleError(f"{where}: the model gives no output {tensor.name!r}")
            place = f"{where} output {tensor.name!r}"
            largest = max(largest, _difference(place, to_array(tensor), outputs[tensor.name], probe.tolerance))
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
    from tapehead.bundle.runtime import onnxruntime  # here alone: reading a manifest needs no runtime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # what is wrong is raised; warnings are not for whoever reads our output
    sessions: dict[str, Any] = {}
    for file, data in graphs.items():
        try:
            sessions[file] = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no base class of their own
            raise BundleError(f"{file}: onnxruntime refuses it: {error}") from error

    def run(name: str, inputs: Arrays, state: Arrays) -> tuple[Arrays, Arrays]:
        return _run_one(sessions, manifest, name, inputs, state)

    return run


def _run_one(
    sessions: Mapping[str, Any], manifest: Manifest, name: str, inputs: Arrays, state: Arrays
) -> tuple[Arrays, Arrays]:
    entry = find_entry(manifest, name)
    if entry is None:
        raise BundleError(f"the bundle has no entry {name!r}")
    session = sessions[entry.file]
    taken = {value.name for value in session.get_inputs()}
    feed = {graph_name(tensor): _batched(tensor, inputs) for tensor in entry.inputs}
    if entry.reads_state:
        feed |= {state_input(t): _batched(t, state) for t in manifest.state if state_input(t) in taken}
    wanted: list[tuple[str, EntryTensor | StateTensor]] = [(graph_name(tensor), tensor) for tensor in entry.outputs]
    if entry.writes_state:
        wanted += [(state_output(tensor), tensor) for tensor in manifest.state]
    try:
        values = session.run([graph for graph, _ in wanted], feed)
    except Exception as error:  # as above
        raise BundleError(f"entry {name!r}: onnxruntime cannot run it: {error}") from error
    rows = [_row(tensor, value) for (_, tensor), value in zip(wanted, values, strict=True)]
    outputs = {tensor.name: row for tensor, row in zip(entry.outputs, rows, strict=False)}
    next_state = {tensor.name: row for tensor, row in zip(manifest.state, rows[len(entry.outputs) :], strict=False)}
    return outputs, next_state


def _batched(tensor: EntryTensor | StateTensor, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    try:
        array = arrays[tensor.name]
    except KeyError:
        raise BundleError(f"tensor {tensor.name!r} is missing; given are {sorted(arrays)}") from None
    if array.dtype != dtype_of(tensor.dtype):
        raise BundleError(f"tensor {tensor.name!r}: expected {dtype_of(tensor.dtype)}, got {array.dtype}")
    return np.expand_dims(array, tensor.batch_axis) if tensor.batch_axis >= 0 else array


def _row(tensor: EntryTensor | StateTensor, value: np.ndarray) -> np.ndarray:
    if tensor.batch_axis < 0:
        return value
    if value.ndim <= tensor.batch_axis or value.shape[tensor.batch_axis] != 1:
        raise BundleError(
            f"tensor {tensor.name!r}: expected one row along axis {tensor.batch_axis}, got shape {list(value.shape)}"
        )
    row: np.ndarray = value.take(0, axis=tensor.batch_axis)
    return row
