"""onnxruntime behind `run(entry, inputs, state, outputs)`: the only place of the service that knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tapehead.bundle import BundleError, check_graph, graph_name, read_file, state_input, state_output
from tapehead.bundle.runtime import onnxruntime
from tapehead.v1.manifest_pb2 import Entry, EntryTensor, Manifest, StateTensor

from .model import Arrays

PROVIDER = "CPUExecutionProvider"
OPTIMISATION = "ORT_ENABLE_ALL"


@dataclass(frozen=True, slots=True)
class _Port:
    """Where a tensor of the manifest goes into or comes out of a graph."""

    name: str  # in the manifest
    graph: str  # in the graph
    batch_axis: int  # in the graph; -1: the graph knows no batch


@dataclass(frozen=True, slots=True)
class _Plan:
    """How to run one entry."""

    session: Any  # onnxruntime.InferenceSession; one for each file, shared by its entries
    inputs: tuple[_Port, ...]
    state: tuple[_Port, ...]  # those that the graph reads
    outputs: Mapping[str, _Port]
    next_state: tuple[_Port, ...]


class Runner:
    """Runs the entries of one bundle. May be called from several threads at once."""

    def __init__(self, plans: Mapping[str, _Plan]) -> None:
        self._plans = plans

    @classmethod
    def load(cls, folder: Path, manifest: Manifest) -> Runner:
        """Reads, checks and opens the bundle's graphs; raises BundleError. The manifest has been checked before."""
        sessions = {}
        for file in dict.fromkeys(entry.file for entry in manifest.entries):
            data = read_file(folder, manifest, file)
            check_graph(data, where=str(folder / file), manifest=manifest, file=file)
            sessions[file] = _open(data, str(folder / file), _has_open_axes(manifest, file))
        return cls({entry.name: _plan(manifest, entry, sessions[entry.file]) for entry in manifest.entries})

    @property
    def is_batchable(self) -> bool:
        """Whether every tensor of every entry has a batch axis of any length."""
        return all(
            port.batch_axis >= 0 and not _is_fixed(plan.session, port)
            for plan in self._plans.values()
            for port in (*plan.inputs, *plan.state, *plan.outputs.values(), *plan.next_state)
        )

    def run(self, entry: str, inputs: Arrays, state: Arrays, outputs: tuple[str, ...]) -> tuple[Arrays, Arrays]:
        """See `Run.run`. What onnxruntime raises passes through."""
        plan = self._plans[entry]
        feed = {port.graph: _to_graph(inputs[port.name], port.batch_axis) for port in plan.inputs}
        for port in plan.state:
            feed[port.graph] = _to_graph(state[port.name], port.batch_axis)
        wanted = [plan.outputs[name] for name in outputs]
        wanted += plan.next_state
        if not wanted:
            return {}, {}  # onnxruntime would take an empty list for "all"
        values = plan.session.run([port.graph for port in wanted], feed)
        rows = [_from_graph(value, port.batch_axis) for port, value in zip(wanted, values, strict=True)]
        next_state = {port.name: row for port, row in zip(plan.next_state, rows[len(outputs) :], strict=True)}
        return dict(zip(outputs, rows, strict=False)), next_state


def _open(data: bytes, where: str, has_open_axes: bool) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # with more, sums are split by the batch, and the transport wants the other cores
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, OPTIMISATION)
    options.use_deterministic_compute = True
    options.enable_mem_pattern = not has_open_axes  # a pattern is kept for every shape ever seen
    options.log_severity_level = 3  # what is wrong is raised; its warnings are not for our log
    try:
        return onnxruntime.InferenceSession(data, options, providers=[PROVIDER])
    except Exception as error:  # its errors share no base class of their own
        raise BundleError(f"{where}: onnxruntime refuses it: {error}") from error


def _has_open_axes(manifest: Manifest, file: str) -> bool:
    return any(-1 in tensor.shape for entry in manifest.entries if entry.file == file for tensor in entry.inputs)


def _plan(manifest: Manifest, entry: Entry, session: Any) -> _Plan:
    taken = {value.name for value in session.get_inputs()}
    state = [_port(tensor, state_input(tensor)) for tensor in manifest.state if entry.reads_state]
    next_state = [_port(tensor, state_output(tensor)) for tensor in manifest.state if entry.writes_state]
    return _Plan(
        session=session,
        inputs=tuple(_port(tensor, graph_name(tensor)) for tensor in entry.inputs),
        state=tuple(port for port in state if port.graph in taken),
        outputs={tensor.name: _port(tensor, graph_name(tensor)) for tensor in entry.outputs},
        next_state=tuple(next_state),
    )


def _port(tensor: EntryTensor | StateTensor, graph: str) -> _Port:
    return _Port(tensor.name, graph, tensor.batch_axis)


def _is_fixed(session: Any, port: _Port) -> bool:
    """Whether a graph says that it takes batches of one size only. Outputs follow the inputs."""
    shapes = {value.name: value.shape for value in session.get_inputs()}
    return port.graph in shapes and isinstance(shapes[port.graph][port.batch_axis], int)


def _to_graph(array: np.ndarray, batch_axis: int) -> np.ndarray:
    if batch_axis == 0:
        return array
    if batch_axis < 0:
        if len(array) != 1:
            raise ValueError(f"expected a batch of 1 for a tensor without batch axis, got {len(array)}")
        row: np.ndarray = array[0]
        return row
    return np.ascontiguousarray(np.moveaxis(array, 0, batch_axis))


def _from_graph(value: np.ndarray, batch_axis: int) -> np.ndarray:
    if batch_axis == 0:
        return value
    return value[np.newaxis] if batch_axis < 0 else np.moveaxis(value, batch_axis, 0)
