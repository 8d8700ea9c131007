"""Small real bundles for tests: true ONNX files with hand-made weights, written in milliseconds.

    models = tmp_path / "models"
    write_accumulator(models)           # sequence model `accumulator` version 1
    write_two_states(models)            # sequence model `two-states` version 1: awkward axes, an initial state
    write_tiny_qa(models)               # question-answering model `tiny-qa` version 1, from qa_bundles.py

Each writes `models/<model_id>/<version>/` and returns that folder; `models` is what the server takes as its folder of
models. All of them pass every check of the loader unless an argument plants a fault.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tapehead.bundle import write_bundle
from tapehead.v1.manifest_pb2 import (
    BundleFile,
    Entry,
    EntryTensor,
    Manifest,
    ModelKind,
    NonFinite,
    StateTensor,
)
from tapehead.v1.tensor_pb2 import DataType

FLOAT, INT64 = DataType.DATA_TYPE_FLOAT32, DataType.DATA_TYPE_INT64
INT_ELEMENT = TensorProto.INT64  # the same type, as graphs name it


def onnx_bytes(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: dict[str, np.ndarray] | None = None,
) -> bytes:
    """Returns an ONNX file of the given parts."""
    initializers = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return model.SerializeToString()


def value(name: str, shape: list[str | int], dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def accumulator_parts(
    size: int = 3, *, mixes_batch: bool = False
) -> tuple[list[onnx.NodeProto], list[onnx.ValueInfoProto], list[onnx.ValueInfoProto], dict[str, np.ndarray]]:
    """The accumulator's nodes, inputs, outputs and constants, for tests that spoil one of them."""
    nodes = [
        helper.make_node("Add", ["state.total", "x"], ["y"]),
        helper.make_node("Identity", ["y"], ["next_state.total"]),
        helper.make_node("ReduceSum", ["y", "last_axis"], ["sum"], keepdims=1),
    ]
    if mixes_batch:  # rows see each other through the mean over the batch
        nodes = [
            helper.make_node("ReduceMean", ["x", "batch_axis"], ["mean"], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["centred"]),
            helper.make_node("Add", ["state.total", "centred"], ["y"]),
            *nodes[1:],
        ]
    inputs = [value("x", ["batch", size]), value("state.total", ["batch", size])]
    outputs = [value("y", ["batch", size]), value("sum", ["batch", 1]), value("next_state.total", ["batch", size])]
    constants = {"last_axis": np.array([1]), "batch_axis": np.array([0])}
    return nodes, inputs, outputs, constants if mixes_batch else {"last_axis": constants["last_axis"]}


def accumulator_manifest(
    model_id: str = "accumulator", version: int = 1, size: int = 3, *, allow_non_finite: bool = False
) -> Manifest:
    """The accumulator's manifest without files and probes."""
    rule = NonFinite.NON_FINITE_ALLOW if allow_non_finite else NonFinite.NON_FINITE_REJECT
    return Manifest(
        format=1,
        model_id=model_id,
        version=version,
        kind=ModelKind.MODEL_KIND_SEQUENCE,
        description="Adds every input to a running total.",
        entries=[
            Entry(
                name="step",
                file="model.onnx",
                inputs=[EntryTensor(name="x", dtype=FLOAT, shape=[size], non_finite=rule)],
                outputs=[
                    EntryTensor(name="y", dtype=FLOAT, shape=[size], non_finite=rule),
                    EntryTensor(name="sum", dtype=FLOAT, shape=[1], inspection=True, non_finite=rule),
                ],
                reads_state=True,
                writes_state=True,
            )
        ],
        state=[StateTensor(name="total", dtype=FLOAT, shape=[size], non_finite=rule)],
    )


def write_accumulator(
    models: Path,
    *,
    model_id: str = "accumulator",
    version: int = 1,
    size: int = 3,
    mixes_batch: bool = False,
    allow_non_finite: bool = False,
) -> Path:
    """Writes a sequence model: input `x` float32 [3]; output `y` = total + x [3]; inspection output `sum` [1] (of y).

    Its state is `total` float32 [3], zeros at the start, so y is the running sum of everything sent: a step lost, done
    twice or mixed with another session's shows in the numbers at once. Small whole numbers add without rounding.
    `mixes_batch` plants a fault: every row also depends on its neighbours in the batch.
    """
    folder = models / model_id / str(version)
    calls = [("step", {"x": np.arange(size, dtype=np.float32) + row}) for row in range(3)]
    graph = onnx_bytes(*accumulator_parts(size, mixes_batch=mixes_batch))
    manifest = accumulator_manifest(model_id, version, size, allow_non_finite=allow_non_finite)
    write_bundle(folder, manifest, {"model.onnx": graph}, [calls], tolerance=1e-6)
    return folder


def write_two_states(models: Path, *, model_id: str = "two-states", version: int = 1) -> Path:
    """Writes a sequence model with awkward axes: input `x` float32 [4], output `y` [4].

    Its state is `hidden` float32 [2, 4], which the graph keeps as [2, batch, 4] under the names `h` and `h_next` and
    which starts at 0.25 (from a file): hidden' = hidden / 2 + x, y = hidden'[0] + hidden'[1]; and `count` int64 [1],
    the number of steps.
    """
    nodes = [
        helper.make_node("Mul", ["h", "half"], ["decayed"]),
        helper.make_node("Add", ["decayed", "frame"], ["h_next"]),
        helper.make_node("ReduceSum", ["h_next", "layers"], ["y"], keepdims=0),
        helper.make_node("Add", ["state.count", "one"], ["next_state.count"]),
    ]
    inputs = [
        value("frame", ["batch", 4]),
        value("h", [2, "batch", 4]),
        value("state.count", ["batch", 1], TensorProto.INT64),
    ]
    outputs = [
        value("y", ["batch", 4]),
        value("h_next", [2, "batch", 4]),
        value("next_state.count", ["batch", 1], TensorProto.INT64),
    ]
    constants = {"half": np.array(0.5, np.float32), "layers": np.array([0]), "one": np.array([1])}
    step = Entry(
        name="step",
        file="step.onnx",
        inputs=[EntryTensor(name="x", graph_name="frame", dtype=FLOAT, shape=[4])],
        outputs=[EntryTensor(name="y", dtype=FLOAT, shape=[4])],
        reads_state=True,
        writes_state=True,
    )
    hidden = StateTensor(
        name="hidden",
        graph_input="h",
        graph_output="h_next",
        dtype=FLOAT,
        shape=[2, 4],
        batch_axis=1,
        initial_file="initial/hidden.bin",
    )
    manifest = Manifest(
        format=1,
        model_id=model_id,
        version=version,
        kind=ModelKind.MODEL_KIND_SEQUENCE,
        entries=[step],
        state=[hidden, StateTensor(name="count", dtype=INT64, shape=[1])],
    )
    files = {
        "step.onnx": onnx_bytes(nodes, inputs, outputs, constants),
        "initial/hidden.bin": np.full((2, 4), 0.25, np.float32).tobytes(),
    }
    calls = [("step", {"x": np.array([1, 2, 3, 4], np.float32)}), ("step", {"x": np.zeros(4, np.float32)})]
    folder = models / model_id / str(version)
    write_bundle(folder, manifest, files, [calls], tolerance=1e-6)
    return folder


def list_file(manifest: Manifest, path: str) -> BundleFile:
    """The manifest's line about a file, for tests that spoil it."""
    return next(file for file in manifest.files if file.path == path)
