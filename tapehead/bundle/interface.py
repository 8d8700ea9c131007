"""Whether a graph's inputs and outputs are those that the manifest's entries say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import onnx

from tapehead.bundle.errors import BundleError
from tapehead.bundle.ports import graph_name, shape_in_graph, state_input, state_output
from tapehead.bundle.tensors import datatype_of
from tapehead.v1.manifest_pb2 import Entry, EntryTensor, Manifest, StateTensor
from tapehead.v1.tensor_pb2 import DataType

_RECURRENT = frozenset({"LSTM", "GRU", "RNN", "Scan", "Loop"})


@dataclass(frozen=True, slots=True)
class _Port:
    """An input or output of a graph as the manifest wants it."""

    where: str
    name: str
    dtype: DataType
    shape: tuple[int | None, ...]  # with the batch axis; None is any length


def check_interface(graph: onnx.GraphProto, *, where: str, manifest: Manifest, file: str) -> None:
    """Raises BundleError where a graph and the manifest's entries of that file differ, naming the tensor.

    Every entry gives all of the graph's inputs (a runtime wants them all); every output belongs to an entry. An entry
    that writes the state gives every state tensor; one that reads it may leave out those that it has no use for.
    """
    constants = {tensor.name for tensor in graph.initializer}
    inputs = {value.name: value for value in graph.input if value.name not in constants}
    outputs = {value.name: value for value in graph.output}
    claimed: set[str] = set()
    for entry in manifest.entries:
        if entry.file == file:
            claimed |= _check_entry(entry, manifest, graph, inputs, outputs, f"{where}: entry {entry.name!r}")
    for name in outputs.keys() - claimed:
        raise BundleError(f"{where}: the graph's output {name!r} is in no entry of the manifest")


def _check_entry(
    entry: Entry,
    manifest: Manifest,
    graph: onnx.GraphProto,
    inputs: dict[str, onnx.ValueInfoProto],
    outputs: dict[str, onnx.ValueInfoProto],
    where: str,
) -> set[str]:
    wanted = [_port(tensor, graph_name(tensor), f"{where} input") for tensor in entry.inputs]
    state = [_port(t, state_input(t), f"{where} state") for t in manifest.state if entry.reads_state]
    given = [_port(tensor, graph_name(tensor), f"{where} output") for tensor in entry.outputs]
    if entry.writes_state:
        given += [_port(t, state_output(t), f"{where} next state") for t in manifest.state]
    read = [port for port in state if port.name in inputs]
    carries = any(tensor.HasField("carry") for tensor in entry.inputs)
    if entry.reads_state and not read and not carries:
        raise BundleError(f"{where}: {statelessness(graph)}; expected one of {[port.name for port in state]}")
    for port in [*wanted, *read]:
        _check_port(port, inputs, "input")
    for port in given:
        _check_port(port, outputs, "output")
    names = [port.name for port in [*wanted, *read]]
    _check_once(names, where)
    _check_once([port.name for port in given], where)
    for name in inputs.keys() - set(names):
        raise BundleError(f"{where}: the graph's input {name!r} is in the manifest neither as input nor as state")
    return {port.name for port in given}


def _port(tensor: EntryTensor | StateTensor, name: str, role: str) -> _Port:
    return _Port(f"{role} {tensor.name!r}", name, tensor.dtype, shape_in_graph(tensor))


def _check_port(port: _Port, values: dict[str, onnx.ValueInfoProto], role: str) -> None:
    value = values.get(port.name)
    if value is None:
        raise BundleError(f"{port.where}: the graph has no {role} {port.name!r}; it has {sorted(values)}")
    if value.type.WhichOneof("value") != "tensor_type":
        raise BundleError(f"{port.where}: the graph's {role} {port.name!r} is not a plain tensor")
    tensor = value.type.tensor_type
    dtype = _datatype(tensor.elem_type)
    if dtype != port.dtype:
        names = {number: name for name, number in onnx.TensorProto.DataType.items()}
        found = names.get(tensor.elem_type, tensor.elem_type)
        raise BundleError(f"{port.where}: expected {DataType.Name(port.dtype)} in the graph, got {found}")
    if not tensor.HasField("shape"):
        return  # the graph leaves it open, as some exporters do for outputs; the probes show it
    shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
    if len(shape) != len(port.shape) or any(
        expected is not None and got is not None and expected != got
        for expected, got in zip(port.shape, shape, strict=True)
    ):
        raise BundleError(f"{port.where}: expected shape {_text(port.shape)} in the graph, got {_text(shape)}")


def _datatype(elem_type: int) -> DataType | None:
    try:
        return datatype_of(onnx.helper.tensor_dtype_to_np_dtype(elem_type))
    except (KeyError, BundleError):
        return None


def statelessness(graph: onnx.GraphProto) -> str:
    """Says why a graph without a state input is no model that remembers."""
    recurrent = sorted({node.op_type for node in graph.node if node.op_type in _RECURRENT})
    if recurrent:
        return f"the graph has {', '.join(recurrent)} but no state input, so every call starts anew"
    return "the graph has no state input"


def _check_once(names: Iterable[str], where: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise BundleError(f"{where}: {name!r} of the graph is used twice")
        seen.add(name)


def _text(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("any" if length is None else str(length) for length in shape) + "]"
