"""Small real bundles of models with the habits of models in the wild, one habit each.

    write_windowed(models)     # carries the end of its input; its graph has no state at all
    write_rated(models)        # a sample rate, given once a session
    write_summing(models)      # its one graph takes any number of steps, in another order of axes
    write_growing(models)      # a state that is one longer after every step
    write_counting(models)     # begins with what the entry `start` gives; its steps have no inputs
    write_unbatched(models)    # a batch of one alone, scalars, integer and boolean states

Each returns the bundle's folder. Small whole numbers are exact, so tests compare for equality.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from tapehead.bundle import write_bundle
from tapehead.v1.manifest_pb2 import Carry, Entry, EntryTensor, Manifest, ModelKind, StateTensor
from tapehead.v1.tensor_pb2 import DataType
from tests.bundles import FLOAT, INT64, INT_ELEMENT, onnx_bytes, value

BOOL = DataType.DATA_TYPE_BOOL
WORDS = ("zero", "one", "two", "three")


def step_entry(
    inputs: Sequence[EntryTensor], outputs: Sequence[EntryTensor], name: str = "step", file: str = "model.onnx"
) -> Entry:
    return Entry(name=name, file=file, inputs=inputs, outputs=outputs, reads_state=True, writes_state=True)


def sequence_manifest(model_id: str, entries: Sequence[Entry], state: Sequence[StateTensor] = ()) -> Manifest:
    """A manifest without files and probes."""
    return Manifest(
        format=1, model_id=model_id, version=1, kind=ModelKind.MODEL_KIND_SEQUENCE, entries=entries, state=state
    )


def write(
    models: Path, manifest: Manifest, files: dict[str, bytes], calls: list[tuple[str, dict[str, np.ndarray]]]
) -> Path:
    folder = models / manifest.model_id / str(manifest.version)
    write_bundle(folder, manifest, files, [calls], tolerance=1e-6)
    return folder


def windowed_manifest() -> Manifest:
    x = EntryTensor(name="x", dtype=FLOAT, shape=[3], carry=Carry(last=2, axis=0))
    return sequence_manifest("windowed", [step_entry([x], [EntryTensor(name="y", dtype=FLOAT, shape=[5])])])


def write_windowed(models: Path) -> Path:
    """`y` [5] is what the graph was given: the last 2 of the `x` [3] before, and this one."""
    graph = onnx_bytes(
        [helper.make_node("Identity", ["x"], ["y"])], [value("x", ["batch", 5])], [value("y", ["batch", 5])]
    )
    calls = [("step", {"x": np.arange(3, dtype=np.float32) + 3 * n}) for n in range(3)]
    return write(models, windowed_manifest(), {"model.onnx": graph}, calls)


def rated_manifest() -> Manifest:
    inputs = [
        EntryTensor(name="x", dtype=FLOAT, shape=[2]),
        EntryTensor(name="rate", graph_name="sr", dtype=INT64, constant=True),
    ]
    outputs = [EntryTensor(name="y", dtype=FLOAT, shape=[2])]
    return sequence_manifest(
        "rated", [step_entry(inputs, outputs)], [StateTensor(name="total", dtype=FLOAT, shape=[2])]
    )


def write_rated(models: Path) -> Path:
    """`y` [2] = total + `x` * `rate`, which becomes the total; `rate` is an int64 scalar of the session."""
    nodes = [
        helper.make_node("Cast", ["sr"], ["rate"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "rate"], ["scaled"]),
        helper.make_node("Add", ["state.total", "scaled"], ["y"]),
        helper.make_node("Identity", ["y"], ["next_state.total"]),
    ]
    inputs = [value("x", ["batch", 2]), value("sr", [], INT_ELEMENT), value("state.total", ["batch", 2])]
    outputs = [value("y", ["batch", 2]), value("next_state.total", ["batch", 2])]
    calls = [("step", {"x": np.ones(2, np.float32), "rate": np.array(8)})] * 2
    return write(models, rated_manifest(), {"model.onnx": onnx_bytes(nodes, inputs, outputs)}, calls)


def summing_manifest(name: str = "chunk") -> Manifest:
    entry = step_entry(
        [EntryTensor(name="x", dtype=INT64, shape=[2], batch_axis=1, step_axis=0)],
        [EntryTensor(name="y", dtype=INT64, shape=[2], batch_axis=1, step_axis=0)],
        name,
    )
    return sequence_manifest("summing", [entry], [StateTensor(name="total", dtype=INT64, shape=[1, 2], batch_axis=1)])


def write_summing(models: Path, *, forgets_length: bool = False) -> Path:
    """`y` is the running sum of `x`; the graph takes [steps, batch, 2] and keeps [1, batch, 2]; whole numbers,
    since a sum of fractions depends on its order.

    `forgets_length` plants a fault: a call of many steps adds its first one twice.
    """
    nodes = [
        helper.make_node("CumSum", ["x", "steps"], ["sums"]),
        helper.make_node("Add", ["sums", "total"], ["y"]),
        helper.make_node("Gather", ["y", "last"], ["total_next"], axis=0),
    ]
    constants = {"steps": np.array(0), "last": np.array([-1])}
    if forgets_length:
        nodes = [
            helper.make_node("Shape", ["x"], ["length"], start=0, end=1),
            helper.make_node("Sub", ["length", "one"], ["more"]),
            helper.make_node("CumSum", ["x", "steps"], ["plain_sums"]),
            helper.make_node("Add", ["plain_sums", "more"], ["sums"]),
            *nodes[1:],
        ]
        constants["one"] = np.array([1])
    inputs = [value("x", ["steps", "batch", 2], INT_ELEMENT), value("total", [1, "batch", 2], INT_ELEMENT)]
    outputs = [value("y", ["steps", "batch", 2], INT_ELEMENT), value("total_next", [1, "batch", 2], INT_ELEMENT)]
    manifest = summing_manifest()
    manifest.state[0].graph_input, manifest.state[0].graph_output = "total", "total_next"
    calls = [("chunk", {"x": np.arange(2 * n, dtype=np.int64).reshape(n, 2)}) for n in (1, 3)]
    return write(models, manifest, {"model.onnx": onnx_bytes(nodes, inputs, outputs, constants)}, calls)


def growing_manifest(maximum: int = 4) -> Manifest:
    entry = step_entry([EntryTensor(name="x", dtype=FLOAT, shape=[2])], [EntryTensor(name="y", dtype=FLOAT, shape=[2])])
    past = StateTensor(name="past", dtype=FLOAT, shape=[-1, 2], maximum=[maximum, 2])
    return sequence_manifest("growing", [entry], [past])


def write_growing(models: Path, maximum: int = 4) -> Path:
    """`y` [2] is the sum of every `x` so far, all of which the state holds; it has room for `maximum`.

    The graph does not say what shape its next state has.
    """
    nodes = [
        helper.make_node("Unsqueeze", ["x", "one"], ["row"]),
        helper.make_node("Concat", ["state.past", "row"], ["next_state.past"], axis=1),
        helper.make_node("ReduceSum", ["next_state.past", "one"], ["y"], keepdims=0),
    ]
    inputs = [value("x", ["batch", 2]), value("state.past", ["batch", "past", 2])]
    outputs = [value("y", ["batch", 2]), helper.make_tensor_value_info("next_state.past", TensorProto.FLOAT, None)]
    calls = [("step", {"x": np.full(2, n, np.float32)}) for n in (1, 2)]
    graph = onnx_bytes(nodes, inputs, outputs, {"one": np.array([1])})
    return write(models, growing_manifest(maximum), {"model.onnx": graph}, calls)


def counting_manifest() -> Manifest:
    first = EntryTensor(name="first", dtype=INT64, words=WORDS)
    start = Entry(name="start", file="start.onnx", inputs=[first], writes_state=True)
    step = step_entry([], [EntryTensor(name="word", dtype=INT64, words=WORDS)])
    return sequence_manifest("counting", [start, step], [StateTensor(name="last", dtype=INT64)])


def write_counting(models: Path) -> Path:
    """Counts on from the word `first`: each `word` is the one after, modulo 4. A `first` above 3 cannot begin."""
    start = onnx_bytes(
        [
            helper.make_node("Gather", ["words", "first"], ["next_state.last"]),
        ],
        [value("first", ["batch"], INT_ELEMENT)],
        [value("next_state.last", ["batch"], INT_ELEMENT)],
        {"words": np.arange(4)},
    )
    nodes = [
        helper.make_node("Add", ["state.last", "one"], ["more"]),
        helper.make_node("Mod", ["more", "four"], ["word"]),
        helper.make_node("Identity", ["word"], ["next_state.last"]),
    ]
    step = onnx_bytes(
        nodes,
        [value("state.last", ["batch"], INT_ELEMENT)],
        [value("word", ["batch"], INT_ELEMENT), value("next_state.last", ["batch"], INT_ELEMENT)],
        {"one": np.array(1), "four": np.array(4)},
    )
    calls: list[tuple[str, dict[str, np.ndarray]]] = [("start", {"first": np.array(2)}), ("step", {}), ("step", {})]
    return write(models, counting_manifest(), {"start.onnx": start, "model.onnx": step}, calls)


def unbatched_manifest() -> Manifest:
    entry = step_entry(
        [EntryTensor(name="x", dtype=FLOAT, batch_axis=-1)],
        [
            EntryTensor(name="y", dtype=FLOAT, batch_axis=-1),
            EntryTensor(name="odd", dtype=BOOL, shape=[1], batch_axis=-1),
        ],
    )
    state = [
        StateTensor(name="total", dtype=FLOAT, shape=[1, 1], batch_axis=-1),
        StateTensor(name="count", dtype=INT64, batch_axis=-1),
        StateTensor(name="odd", dtype=BOOL, shape=[1], batch_axis=-1),
    ]
    return sequence_manifest("unbatched", [entry], state)


def write_unbatched(models: Path) -> Path:
    """`y` (a scalar) = total + `x` (a scalar) + count; `odd` [1] says whether the number of the step is odd."""
    nodes = [
        helper.make_node("Add", ["state.total", "x"], ["next_state.total"]),
        helper.make_node("Cast", ["state.count"], ["count"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["next_state.total", "scalar"], ["total"]),
        helper.make_node("Add", ["total", "count"], ["y"]),
        helper.make_node("Add", ["state.count", "one"], ["next_state.count"]),
        helper.make_node("Not", ["state.odd"], ["odd"]),
        helper.make_node("Identity", ["odd"], ["next_state.odd"]),
    ]
    flag = TensorProto.BOOL
    state: list[tuple[str, list[str | int], int]] = [
        ("total", [1, 1], TensorProto.FLOAT),
        ("count", [], INT_ELEMENT),
        ("odd", [1], flag),
    ]
    inputs = [value("x", []), *(value(f"state.{name}", shape, dtype) for name, shape, dtype in state)]
    outputs = [
        value("y", []),
        value("odd", [1], flag),
        *(value(f"next_state.{name}", shape, dtype) for name, shape, dtype in state),
    ]
    constants = {"one": np.array(1), "scalar": np.zeros(0, np.int64)}
    calls = [("step", {"x": np.array(n, np.float32)}) for n in (1, 2)]
    return write(models, unbatched_manifest(), {"model.onnx": onnx_bytes(nodes, inputs, outputs, constants)}, calls)
