"""Writes a bundle as a model of a Triton repository, with its state kept by Triton's own sequence batcher.

The form is that of `model_config.proto` in text. Triton pairs a state's input and output by the order of their names
and keeps the batch along axis 0; states without axes of their own, and initial states that are not zero, want care too.
What Triton has nothing for is refused with the reason: constants of a session, inputs whose end is carried on, states
that grow and models that begin with `start`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tapehead.bundle.errors import BundleError
from tapehead.bundle.files import read_file
from tapehead.bundle.manifest import find_entry, initial_state, read_manifest
from tapehead.bundle.ports import CHUNK, graph_name, state_input, state_output
from tapehead.v1.manifest_pb2 import Entry, EntryTensor, Manifest, StateTensor
from tapehead.v1.tensor_pb2 import DataType

MODEL_FILE = "model.onnx"
MAX_BATCH = 128
IDLE_MICROSECONDS = 24 * 3600 * 1_000_000  # Triton's own limit is one second, after which a state is lost
_AXES_AS_INPUTS = 13  # the operator set from which Squeeze takes its axes as an input

_TYPES = {
    DataType.DATA_TYPE_FLOAT16: "TYPE_FP16",
    DataType.DATA_TYPE_FLOAT32: "TYPE_FP32",
    DataType.DATA_TYPE_FLOAT64: "TYPE_FP64",
    DataType.DATA_TYPE_INT8: "TYPE_INT8",
    DataType.DATA_TYPE_INT16: "TYPE_INT16",
    DataType.DATA_TYPE_INT32: "TYPE_INT32",
    DataType.DATA_TYPE_INT64: "TYPE_INT64",
    DataType.DATA_TYPE_UINT8: "TYPE_UINT8",
    DataType.DATA_TYPE_UINT16: "TYPE_UINT16",
    DataType.DATA_TYPE_UINT32: "TYPE_UINT32",
    DataType.DATA_TYPE_BOOL: "TYPE_BOOL",
}


@dataclass(frozen=True, slots=True)
class _State:
    """A state as Triton has it."""

    tensor: StateTensor
    input: str
    output: str
    dims: list[int]


def export_triton(folder: Path, repository: Path) -> Path:
    """Writes the bundle `folder` as `repository/MODEL_ID/`, which must not be there; returns that. Raises BundleError.

    What is written: `config.pbtxt`, `VERSION/model.onnx` and, for states that do not begin with zeros, a file each
    below `initial_state/`.
    """
    manifest = read_manifest(folder)
    entry = _exportable(manifest)
    target = repository / manifest.model_id
    if target.exists():
        raise BundleError(f"{target}: is there already")
    model = onnx.load_model_from_string(read_file(folder, manifest, entry.file))
    batched = _is_batched(manifest, entry, model)
    states = _fit_states(model, manifest, batched)
    files: dict[str, bytes] = {f"{manifest.version}/{MODEL_FILE}": model.SerializeToString(deterministic=True)}
    first = initial_state(folder, manifest)
    for state in states:
        if first[state.tensor.name].any():
            files[f"initial_state/{_file_of(state)}"] = np.ascontiguousarray(first[state.tensor.name]).tobytes()
    files["config.pbtxt"] = _config(manifest, entry, states, files, batched).encode()
    draft = repository / f".{manifest.model_id}"
    shutil.rmtree(draft, ignore_errors=True)
    for path, data in files.items():
        place = draft / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return draft.rename(target)


def _exportable(manifest: Manifest) -> Entry:
    """The entry that Triton can run, or why it can run none."""
    entry = find_entry(manifest, "step") or find_entry(manifest, CHUNK)
    if entry is None:
        raise BundleError("only sequence models can be exported: Triton's sequences are steps")
    if find_entry(manifest, "start") is not None:
        raise BundleError("entry 'start': a Triton sequence begins with a state that is the same for all")
    for tensor in entry.inputs:
        if tensor.constant:
            raise BundleError(
                f"input {tensor.name!r}: it is given once a session, and Triton has nothing of the kind; export the "
                "model with it built in, one for each value"
            )
        if tensor.HasField("carry"):
            raise BundleError(
                f"input {tensor.name!r}: the end of one is put in front of the next, which the graph itself would have "
                "to do for Triton, with a state of its own"
            )
    for state in manifest.state:
        if -1 in state.shape:
            raise BundleError(f"state {state.name!r}: it grows, and Triton's states have one shape for ever")
    return entry


def _is_batched(manifest: Manifest, entry: Entry, model: onnx.ModelProto) -> bool:
    """Whether every tensor has an open batch axis in front; else Triton runs one session at a time, shapes whole."""
    axes = [tensor.batch_axis for tensor in (*entry.inputs, *entry.outputs)]
    axes += [tensor.batch_axis for tensor in manifest.state]
    if any(axes) or any(tensor.HasField("step_axis") and tensor.step_axis == 0 for tensor in entry.inputs):
        return False
    return not any(
        value.type.tensor_type.shape.dim[0].HasField("dim_value")
        for value in model.graph.input
        if value.type.tensor_type.shape.dim
    )


# --- the graph --------------------------------------------------------------------------------------------------------


def _fit_states(model: onnx.ModelProto, manifest: Manifest, batched: bool) -> list[_State]:
    """Gives states names whose order pairs them, and an axis to those that have none; changes `model`."""
    taken = {value.name for value in model.graph.input}
    tensors = [tensor for tensor in manifest.state if state_input(tensor) in taken]
    unread = [tensor.name for tensor in manifest.state if state_input(tensor) not in taken]
    if unread:
        raise BundleError(f"state {unread[0]!r}: the graph does not take it, and Triton wants an input for each state")
    before, after = [state_input(tensor) for tensor in tensors], [state_output(tensor) for tensor in tensors]
    is_paired = [before.index(name) for name in sorted(before)] == [after.index(name) for name in sorted(after)]
    states = []
    for index, tensor in enumerate(tensors):
        dims = _dims(tensor, batched)
        source, target = before[index], after[index]
        if not dims or not is_paired:
            source, target = f"state_in_{index:03d}", f"state_out_{index:03d}"
            _rename(model, before[index], after[index], source, target, axis=None if dims else int(batched))
        states.append(_State(tensor, source, target, dims or [1]))
    return states


def _rename(model: onnx.ModelProto, before: str, after: str, source: str, target: str, axis: int | None) -> None:
    """Puts a node around a state's input and output, which carry another name then, and one more axis of length 1."""
    graph = model.graph
    given = next(value for value in graph.input if value.name == before)
    result = next(value for value in graph.output if value.name == after)
    if axis is None:
        enter = helper.make_node("Identity", [source], [before])
        leave = helper.make_node("Identity", [after], [target])
    else:
        opset = max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=0)
        if opset < _AXES_AS_INPUTS:
            raise BundleError(f"state {before!r}: it is one number, for which operator set 13 is needed, got {opset}")
        axes = f"{source}.axis"
        graph.initializer.append(numpy_helper.from_array(np.array([axis]), axes))
        enter = helper.make_node("Squeeze", [source, axes], [before])
        leave = helper.make_node("Unsqueeze", [after, axes], [target])
    graph.node.insert(0, enter)
    graph.node.append(leave)
    for value, name in ((given, source), (result, target)):
        value.name = name
        if axis is not None and value.type.tensor_type.HasField("shape"):
            value.type.tensor_type.shape.dim.add().dim_value = 1


def _dims(tensor: EntryTensor | StateTensor, batched: bool) -> list[int]:
    """A shape as Triton wants it: without batch where the batch is Triton's, else whole with a batch of one."""
    shape = list(tensor.shape)
    axes = {} if batched or tensor.batch_axis < 0 else {tensor.batch_axis: 1}
    if isinstance(tensor, EntryTensor) and tensor.HasField("step_axis"):
        axes[tensor.step_axis - batched] = -1
    for axis in sorted(axes):
        shape.insert(axis, axes[axis])
    return shape


# --- the text ---------------------------------------------------------------------------------------------------------


def _config(manifest: Manifest, entry: Entry, states: Sequence[_State], files: dict[str, bytes], batched: bool) -> str:
    return "\n".join(
        [
            f"name: {json.dumps(manifest.model_id)}",
            'backend: "onnxruntime"',
            f"default_model_filename: {json.dumps(MODEL_FILE)}",
            f"max_batch_size: {MAX_BATCH if batched else 0}",
            *(line for tensor in entry.inputs for line in _port("input", tensor, batched)),
            *(line for tensor in entry.outputs for line in _port("output", tensor, batched)),
            "sequence_batching {",
            f"  max_sequence_idle_microseconds: {IDLE_MICROSECONDS}",
            *(f"  oldest {{ max_candidate_sequences: {MAX_BATCH} }}" for _ in range(batched)),
            *(line for state in states for line in _state(state, files)),
            "}",
            "",
        ]
    )


def _port(role: str, tensor: EntryTensor, batched: bool) -> Iterator[str]:
    dims = _dims(tensor, batched)
    yield f"{role} {{"
    yield f"  name: {json.dumps(graph_name(tensor))}"
    yield f"  data_type: {_TYPES[tensor.dtype]}"
    yield f"  dims: {dims or [1]}"
    if not dims:
        yield "  reshape { shape: [] }"
    yield "}"


def _state(state: _State, files: dict[str, bytes]) -> Iterator[str]:
    dtype, name = _TYPES[state.tensor.dtype], _file_of(state)
    is_kept = f"initial_state/{name}" in files
    yield "  state {"
    yield f"    input_name: {json.dumps(state.input)}"
    yield f"    output_name: {json.dumps(state.output)}"
    yield f"    data_type: {dtype}"
    yield f"    dims: {state.dims}"
    yield "    initial_state {"
    yield f"      name: {json.dumps('initial ' + state.tensor.name)}"
    yield f"      data_type: {dtype}"
    yield f"      dims: {state.dims}"
    yield f"      data_file: {json.dumps(name)}" if is_kept else "      zero_data: true"
    yield "    }"
    yield "  }"


def _file_of(state: _State) -> str:
    return f"{state.input.replace('/', '_').replace(':', '_')}.bin"
