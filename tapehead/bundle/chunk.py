"""Gives a bundle the entry `chunk`: any number of steps a call, by a Scan over the very graph of its step.

There is one cell and one set of weights; nothing about the network is said twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
import onnx
from onnx import compose, helper

from tapehead.bundle.errors import BundleError
from tapehead.bundle.files import describe_file, read_file
from tapehead.bundle.graph import check_graph, is_random
from tapehead.bundle.manifest import find_entry, initial_state, read_manifest, write_manifest
from tapehead.bundle.ports import CHUNK, graph_name, state_input, state_output
from tapehead.bundle.rules import check_manifest
from tapehead.bundle.tensors import to_array, to_tensor
from tapehead.bundle.verify import open_graphs, verify
from tapehead.v1.manifest_pb2 import Entry, EntryTensor, Manifest, Probe, ProbeCall

CHUNK_FILE = "chunk.onnx"
STEPS = "steps"  # what the graph calls the length of its axis of steps
_PREFIX = "cell/"  # of every name inside the loop: an inner name must not be an outer one


def takes_chunks(manifest: Manifest) -> bool:
    """Whether `add_chunk` can give the model chunks: it has single steps with inputs that it does not carry on."""
    step = find_entry(manifest, "step")
    if step is None or is_random(manifest) or find_entry(manifest, CHUNK) is not None:
        return False
    inputs = [tensor for tensor in step.inputs if not tensor.constant]
    grows = any(tensor.maximum for tensor in manifest.state)
    return bool(inputs) and not grows and not any(t.HasField("carry") or t.HasField("step_axis") for t in inputs)


def add_chunk(folder: Path) -> Manifest:
    """Writes the chunk's graph, its entry and a probe into a bundle, and verifies it; raises BundleError."""
    manifest = read_manifest(folder)
    step = find_entry(manifest, "step")
    if step is None or not takes_chunks(manifest):
        raise BundleError(
            f"{folder}: expected single steps with inputs that are not carried, a state that does not grow, and no "
            "chunk yet"
        )
    graph = scan_over(read_file(folder, manifest, step.file), manifest, step)
    manifest.entries.append(chunk_entry(step))
    manifest.files.append(describe_file(CHUNK_FILE, graph))
    check_graph(graph, where=CHUNK_FILE, manifest=manifest, file=CHUNK_FILE)
    manifest.probes.extend(_probes(folder, manifest, graph))
    check_manifest(manifest)
    (folder / CHUNK_FILE).write_bytes(graph)
    write_manifest(folder, manifest)
    verify(folder)
    return manifest


def chunk_entry(step: Entry) -> Entry:
    """Returns the entry of the graph that `scan_over` makes: its tensors have the steps along axis 0.

    Outputs for inspection are left to single steps: a loop computes all that it gives, wanted or not.
    """
    entry = Entry()
    entry.CopyFrom(step)
    del entry.outputs[:]
    entry.outputs.extend(tensor for tensor in step.outputs if not tensor.inspection)
    entry.name, entry.file = CHUNK, CHUNK_FILE
    for tensor in (*entry.inputs, *entry.outputs):
        if not tensor.constant:
            tensor.graph_name = graph_name(tensor)
            tensor.step_axis = 0
            tensor.batch_axis += tensor.batch_axis >= 0
    return entry


def scan_over(data: bytes, manifest: Manifest, step: Entry) -> bytes:
    """Returns an ONNX file that runs the graph `data` of the entry `step` once for each step, handing on the state."""
    model = onnx.load_model_from_string(data)
    inputs = {value.name: value for value in model.graph.input}
    outputs = {value.name: value for value in model.graph.output}
    state = [(state_input(tensor), state_output(tensor)) for tensor in manifest.state]
    scanned = [graph_name(tensor) for tensor in step.inputs if not tensor.constant]
    given = [graph_name(tensor) for tensor in step.outputs if not tensor.inspection]
    for before, after in state:
        if before not in inputs:  # a state that the step does not read: any value of the right type will do
            inputs[before] = _renamed(outputs[after], before)

    # onnx looks for the weights of a graph after its branches, which may use them, unless it is told of them.
    body = compose.add_prefix_graph(model.graph, _PREFIX, name_map={n: _PREFIX + n for n in _weights(model.graph)})
    body.name = "step"
    del body.input[:], body.output[:], body.value_info[:]
    body.input.extend(_renamed(inputs[name], _PREFIX + name) for name in (*(one for one, _ in state), *scanned))
    body.output.extend(_renamed(outputs[name], _PREFIX + name) for name in (*(after for _, after in state), *given))
    for tensor in step.inputs:
        if tensor.constant:  # the loop sees what lies around it
            name = graph_name(tensor)
            body.node.insert(0, helper.make_node("Identity", [name], [_PREFIX + name]))
    scan = helper.make_node(
        "Scan",
        [*(before for before, _ in state), *scanned],
        [*(after for _, after in state), *given],
        name="steps",
        body=body,
        num_scan_inputs=len(scanned),
    )
    constants = [inputs[graph_name(tensor)] for tensor in step.inputs if tensor.constant]
    graph = helper.make_graph(
        [scan],
        "chunk",
        [*(_with_steps(inputs[name]) for name in scanned), *constants, *(inputs[before] for before, _ in state)],
        [*(_with_steps(outputs[name]) for name in given), *(outputs[after] for _, after in state)],
    )
    whole = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    whole.functions.extend(model.functions)
    onnx.checker.check_model(whole)
    return bytes(whole.SerializeToString())


def _weights(graph: onnx.GraphProto) -> Iterator[str]:
    """The names of all weights of a graph and of the graphs inside it."""
    yield from (tensor.name for tensor in graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _weights(inner)


def _renamed(value: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    copy = onnx.ValueInfoProto()
    copy.CopyFrom(value)
    copy.name = name
    return copy


def _with_steps(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    """The same tensor with an axis of steps in front."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return helper.make_tensor_value_info(value.name, tensor.elem_type, None)
    dims = [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in tensor.shape.dim]
    return helper.make_tensor_value_info(value.name, tensor.elem_type, [STEPS, *dims])


def _probes(folder: Path, manifest: Manifest, graph: bytes) -> list[Probe]:
    """The first probe's steps once more, as one chunk."""
    run, probes = open_graphs(manifest, {**_graphs(folder, manifest), CHUNK_FILE: graph}), []
    entry = manifest.entries[-1]
    for probe in manifest.probes[:1]:
        steps, state = [call for call in probe.calls if call.entry == "step"], initial_state(folder, manifest)
        _, alike = next(groupby(steps, _shapes))  # the steps of a chunk have one shape
        calls = list(alike)
        recorded = Probe(tolerance=probe.tolerance)
        for call in probe.calls:
            if call.entry == "start":
                state |= run("start", {tensor.name: to_array(tensor) for tensor in call.inputs}, state)[1]
                recorded.calls.append(call)
        inputs = {tensor.name: _over_steps(tensor, calls) for tensor in entry.inputs}
        outputs, _ = run(CHUNK, inputs, state)
        recorded.calls.append(
            ProbeCall(
                entry=CHUNK,
                inputs=[to_tensor(name, array) for name, array in inputs.items()],
                outputs=[to_tensor(name, array) for name, array in outputs.items()],
            )
        )
        probes.append(recorded)
    return probes


def _shapes(call: ProbeCall) -> list[list[int]]:
    return [list(tensor.shape) for tensor in call.inputs]


def _graphs(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    files = {entry.file for entry in manifest.entries} - {CHUNK_FILE}
    return {file: read_file(folder, manifest, file) for file in files}


def _over_steps(tensor: EntryTensor, calls: list[ProbeCall]) -> np.ndarray:
    arrays = [to_array(given) for call in calls for given in call.inputs if given.name == tensor.name]
    return arrays[0] if tensor.constant else np.stack(arrays)
