"""onnxruntime behind `run(entry, inputs, state, outputs)`: the only place of the service that knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tapehead.bundle import BundleError, Plan, Port, check_graph, read_file
from tapehead.bundle.runtime import onnxruntime
from tapehead.v1.manifest_pb2 import Entry, Manifest

from .model import Arrays

PROVIDER = "CPUExecutionProvider"
OPTIMISATION = "ORT_ENABLE_ALL"


@dataclass(frozen=True, slots=True)
class _Entry:
    """How to run one entry."""

    session: Any  # onnxruntime.InferenceSession; one for each file, shared by its entries
    plan: Plan


class Runner:
    """Runs the entries of one bundle. May be called from several threads at once."""

    def __init__(self, entries: Mapping[str, _Entry], *, grows: bool) -> None:
        self._entries = entries
        self._grows = grows

    @classmethod
    def load(cls, folder: Path, manifest: Manifest) -> Runner:
        """Reads, checks and opens the bundle's graphs; raises BundleError. The manifest has been checked before."""
        sessions = {}
        for file in dict.fromkeys(entry.file for entry in manifest.entries):
            data = read_file(folder, manifest, file)
            check_graph(data, where=str(folder / file), manifest=manifest, file=file)
            sessions[file] = _open(data, str(folder / file), _has_open_axes(manifest, file))
        grows = any(tensor.maximum for tensor in manifest.state)
        return cls(
            {entry.name: _entry(manifest, entry, sessions[entry.file]) for entry in manifest.entries}, grows=grows
        )

    @property
    def batch_obstacle(self) -> str:
        """Why rows cannot be run together at all; empty if they can."""
        if self._grows:
            return "its state grows, so that rows differ in shape"
        for entry in self._entries.values():
            plan = entry.plan
            for port in (*plan.inputs, *plan.state, *plan.outputs.values(), *plan.next_state):
                if not port.is_constant and (port.batch_axis < 0 or _is_fixed(entry.session, port)):
                    return "the graph has no batch axis of any length"
        return ""

    def run(self, entry: str, inputs: Arrays, state: Arrays, outputs: tuple[str, ...]) -> tuple[Arrays, Arrays]:
        """See `Run.run`. What onnxruntime raises passes through."""
        known = self._entries[entry]
        return known.plan.run(known.session.run, inputs, state, outputs)


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
    if any(tensor.maximum for tensor in manifest.state):
        return True
    entries = (entry for entry in manifest.entries if entry.file == file)
    return any(-1 in tensor.shape or tensor.HasField("step_axis") for entry in entries for tensor in entry.inputs)


def _entry(manifest: Manifest, entry: Entry, session: Any) -> _Entry:
    return _Entry(session, Plan.of(manifest, entry, {value.name for value in session.get_inputs()}))


def _is_fixed(session: Any, port: Port) -> bool:
    """Whether a graph says that it takes batches of one size only. Outputs follow the inputs."""
    shapes = {value.name: value.shape for value in session.get_inputs()}
    return port.graph in shapes and isinstance(shapes[port.graph][port.batch_axis], int)
