"""How the tensors of a manifest go into a graph and come out of it: the only place that knows axes.

Outside a graph every tensor has its rows along axis 0 and, in the entry `chunk`, its steps along axis 1. Inside, the
manifest says where these axes lie, whether there are any, and what is put in front of an input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tapehead.v1.manifest_pb2 import Entry, EntryTensor, Manifest, StateTensor

Arrays = dict[str, np.ndarray]
# (names of outputs, arrays by graph input) -> their values, as onnxruntime runs a graph.
Call = Callable[[list[str], Arrays], Sequence[np.ndarray]]

CHUNK = "chunk"


@dataclass(frozen=True, slots=True)
class Port:
    """Where a tensor of the manifest goes into or comes out of a graph."""

    name: str  # in the manifest
    graph: str  # in the graph
    batch_axis: int = 0  # in the graph; -1: the graph knows no batch
    step_axis: int | None = None  # in the graph; None: the graph takes one step a call
    is_single: bool = False  # outside there is no axis of steps, inside it has the length 1
    is_constant: bool = False  # every row has the same value, and the graph takes it once

    def to_graph(self, array: np.ndarray) -> np.ndarray:
        """Turns [rows, ...] or [rows, steps, ...] into what the graph takes."""
        if self.step_axis is None and self.batch_axis == 0:
            return array
        if self.is_single:
            array = array[:, np.newaxis]
        if self.batch_axis < 0:
            if len(array) != 1 and not self.is_constant:
                raise ValueError(f"{self.name!r}: expected a batch of 1, since it has no batch axis, got {len(array)}")
            array = np.asarray(array[0])
        elif self.step_axis is None:
            array = np.moveaxis(array, 0, self.batch_axis)
        else:
            array = np.moveaxis(array, (0, 1), (self.batch_axis, self.step_axis))
        if self.batch_axis < 0 and self.step_axis is not None:
            array = np.moveaxis(array, 0, self.step_axis)
        return array if array.ndim == 0 else np.ascontiguousarray(array)

    def from_graph(self, value: np.ndarray) -> np.ndarray:
        """The inverse of `to_graph`."""
        if self.step_axis is None:
            if self.batch_axis == 0:
                return value
            return value[np.newaxis] if self.batch_axis < 0 else np.moveaxis(value, self.batch_axis, 0)
        if self.batch_axis < 0:
            value = np.moveaxis(value, self.step_axis, 0)[np.newaxis]
        else:
            value = np.moveaxis(value, (self.batch_axis, self.step_axis), (0, 1))
        if not self.is_single:
            return value
        if value.shape[1] != 1:
            raise ValueError(f"{self.name!r}: expected one step along axis {self.step_axis}, got {value.shape[1]}")
        row: np.ndarray = value[:, 0]
        return row


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of an input that is put in front of the next one: state that the graph does not know."""

    name: str  # of the state tensor that holds it
    input: str
    last: int  # elements
    axis: int  # with rows along axis 0

    def join(self, inputs: Arrays, state: Mapping[str, np.ndarray]) -> np.ndarray:
        """The input with what was carried in front of it."""
        return np.concatenate((state[self.name], inputs[self.input]), axis=self.axis)

    def rest(self, joined: np.ndarray) -> np.ndarray:
        """What is carried on: a copy, so that it does not keep the input alive."""
        first = joined.shape[self.axis] - self.last
        return joined.take(range(first, joined.shape[self.axis]), axis=self.axis)


@dataclass(frozen=True, slots=True)
class Plan:
    """How one entry is run."""

    inputs: tuple[Port, ...]
    state: tuple[Port, ...]  # those that the graph reads
    outputs: Mapping[str, Port]
    next_state: tuple[Port, ...]
    tails: tuple[Tail, ...]

    @classmethod
    def of(cls, manifest: Manifest, entry: Entry, taken: set[str]) -> Plan:
        """`taken` are the names of the graph's inputs: an entry may leave out state that it has no use for."""
        state = [_state_port(t, state_input(t)) for t in manifest.state if entry.reads_state]
        return cls(
            inputs=tuple(_port(tensor, entry.name) for tensor in entry.inputs),
            state=tuple(port for port in state if port.graph in taken),
            outputs={tensor.name: _port(tensor, entry.name) for tensor in entry.outputs},
            next_state=tuple(_state_port(t, state_output(t)) for t in manifest.state if entry.writes_state),
            tails=tuple(_tails(entry)) if entry.reads_state else (),
        )

    def run(
        self, call: Call, inputs: Arrays, state: Mapping[str, np.ndarray], outputs: tuple[str, ...]
    ) -> tuple[Arrays, Arrays]:
        """Runs the entry on rows; returns the outputs named and the next state."""
        joined = {tail.input: tail.join(inputs, state) for tail in self.tails}
        feed = {port.graph: port.to_graph(joined.get(port.name, inputs[port.name])) for port in self.inputs}
        for port in self.state:
            feed[port.graph] = port.to_graph(state[port.name])
        wanted = [self.outputs[name] for name in outputs]
        wanted += self.next_state
        # An empty list would be taken for "all".
        values = call([port.graph for port in wanted], feed) if wanted else ()
        rows = [port.from_graph(value) for port, value in zip(wanted, values, strict=True)]
        next_state = {port.name: row for port, row in zip(self.next_state, rows[len(outputs) :], strict=True)}
        for tail in self.tails:
            next_state[tail.name] = tail.rest(joined[tail.input])
        return dict(zip(outputs, rows, strict=False)), next_state


def graph_name(tensor: EntryTensor) -> str:
    """Returns what the graph calls an input or output."""
    return tensor.graph_name or tensor.name


def state_input(tensor: StateTensor) -> str:
    """Returns the graph input that takes a state tensor."""
    return tensor.graph_input or f"state.{tensor.name}"


def state_output(tensor: StateTensor) -> str:
    """Returns the graph output that gives a state tensor's next value."""
    return tensor.graph_output or f"next_state.{tensor.name}"


def whole_state(manifest: Manifest) -> list[StateTensor]:
    """Returns every tensor of a session's state: those of the graphs, then the carried ends of inputs."""
    carried = []
    for entry in manifest.entries:
        for tensor in entry.inputs:
            if tensor.HasField("carry"):
                shape = list(tensor.shape)
                shape[tensor.carry.axis] = tensor.carry.last
                about = f"The last {tensor.carry.last} elements of {tensor.name} along axis {tensor.carry.axis}."
                carried.append(
                    StateTensor(name=carried_name(tensor), dtype=tensor.dtype, shape=shape, description=about)
                )
    return [*manifest.state, *carried]


def carried_name(tensor: EntryTensor) -> str:
    """Returns the name of the state tensor that holds the end of an input."""
    return f"carried.{tensor.name}"


def shape_in_graph(tensor: EntryTensor | StateTensor) -> tuple[int | None, ...]:
    """Returns the shape of a tensor as the graph has it; None is any length."""
    shape: list[int | None] = [None if length == -1 else length for length in tensor.shape]
    axes = [] if tensor.batch_axis < 0 else [tensor.batch_axis]
    if isinstance(tensor, EntryTensor):
        axes = [] if tensor.constant and not tensor.constant_batched else axes
        if tensor.HasField("carry") and (length := shape[tensor.carry.axis]) is not None:
            shape[tensor.carry.axis] = length + tensor.carry.last
        if tensor.HasField("step_axis"):
            axes.append(tensor.step_axis)
    for axis in sorted(axes):
        shape.insert(axis, None)
    return tuple(shape)


def _port(tensor: EntryTensor, entry: str) -> Port:
    is_constant = tensor.constant and not tensor.constant_batched
    return Port(
        tensor.name,
        graph_name(tensor),
        -1 if is_constant else tensor.batch_axis,
        tensor.step_axis if tensor.HasField("step_axis") else None,
        is_single=tensor.HasField("step_axis") and entry != CHUNK,
        is_constant=is_constant,
    )


def _state_port(tensor: StateTensor, graph: str) -> Port:
    return Port(tensor.name, graph, tensor.batch_axis)


def _tails(entry: Entry) -> list[Tail]:
    return [
        Tail(carried_name(tensor), tensor.name, tensor.carry.last, tensor.carry.axis + 1)
        for tensor in entry.inputs
        if tensor.HasField("carry")
    ]
