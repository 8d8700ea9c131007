"""What a sequence model's manifest may say of chunks, constants, carried inputs and growing state, and what not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from tapehead.bundle import BundleError, check_manifest, read_manifest, to_array, verify, write_bundle
from tapehead.v1.manifest_pb2 import Carry, EntryTensor, Manifest, StateTensor
from tests.bundles import FLOAT, accumulator_manifest, accumulator_parts, onnx_bytes
from tests.qa_bundles import write_tiny_qa
from tests.quirks import (
    write_counting,
    write_growing,
    write_rated,
    write_summing,
    write_unbatched,
    write_windowed,
)

WRITERS = [write_windowed, write_rated, write_summing, write_growing, write_counting, write_unbatched]

FAULTS: dict[str, tuple[Callable[[Path], Path], Callable[[Manifest], object], str]] = {
    "nothing carried": (write_windowed, lambda m: x_of(m).carry.ClearField("last"), "expected to carry 1 element"),
    "carried axis": (write_windowed, lambda m: setattr(x_of(m).carry, "axis", 1), r"along an axis of \[3\], got 1"),
    "carried in chunk": (write_summing, lambda m: x_of(m).carry.CopyFrom(Carry(last=1)), "only an input of 'step'"),
    "taken name": (
        write_windowed,
        lambda m: m.state.append(StateTensor(name="carried.x", dtype=FLOAT, shape=[2])),
        "'carried.x' is there twice",
    ),
    "open constant": (write_rated, lambda m: m.entries[0].inputs[1].shape.append(-1), "fixed shape of a constant"),
    "large constant": (write_rated, lambda m: m.entries[0].inputs[1].shape.append(513), "at most 4096 bytes"),
    "constant with steps": (
        write_rated,
        lambda m: setattr(m.entries[0].inputs[1], "step_axis", 0),
        "neither step_axis nor carry",
    ),
    "constant without batch": (
        write_rated,
        lambda m: setattr(x_of(m), "constant_batched", True),
        "constant_batched is for a constant",
    ),
    "constant output": (write_rated, lambda m: setattr(m.entries[0].outputs[0], "constant", True), "are for inputs"),
    "chunk without axis": (write_summing, lambda m: x_of(m).ClearField("step_axis"), "an input with a step_axis"),
    "output without axis": (
        write_summing,
        lambda m: m.entries[0].outputs[0].ClearField("step_axis"),
        "'y': expected a step_axis",
    ),
    "axes that collide": (write_summing, lambda m: setattr(x_of(m), "step_axis", 1), "other than the batch axis"),
    "no maximum": (write_growing, lambda m: m.state[0].ClearField("maximum"), "a maximum for each axis"),
    "other maximum": (write_growing, lambda m: m.state[0].maximum.__setitem__(1, 3), r"expected a maximum that is"),
    "maximum of nothing": (write_rated, lambda m: m.state[0].maximum.append(2), "for axes of length -1"),
    "growing and huge": (write_growing, lambda m: m.state[0].maximum.__setitem__(0, 2**24), "bytes a session"),
    "words of numbers": (write_rated, lambda m: x_of(m).words.append("one"), "expected an integer type"),
    "words of questions": (write_tiny_qa, lambda m: setattr(x_of(m), "constant", True), "are for models of"),
}


def x_of(manifest: Manifest) -> EntryTensor:
    return manifest.entries[0].inputs[0]


@pytest.mark.parametrize(("writer", "spoil", "message"), FAULTS.values(), ids=FAULTS)
def test_a_manifest_that_contradicts_itself_is_refused(
    tmp_path: Path, writer: Callable[[Path], Path], spoil: Callable[[Manifest], object], message: str
):
    manifest = read_manifest(writer(tmp_path))
    spoil(manifest)

    with pytest.raises(BundleError, match=message):
        check_manifest(manifest)


@pytest.mark.parametrize("writer", WRITERS)
def test_its_probes_replay_exactly(tmp_path: Path, writer: Callable[[Path], Path]):
    assert verify(writer(tmp_path)) == 0.0


def test_the_end_of_an_input_is_put_in_front_of_the_next(tmp_path: Path):
    probe = read_manifest(write_windowed(tmp_path)).probes[0]

    seen = [to_array(call.outputs[0]).tolist() for call in probe.calls]

    assert seen == [[0, 0, 0, 1, 2], [1, 2, 3, 4, 5], [4, 5, 6, 7, 8]]


def test_a_chunk_must_look_like_the_steps(tmp_path: Path):
    manifest = read_manifest(write_summing(tmp_path))
    step = manifest.entries.add()
    step.CopyFrom(manifest.entries[0])
    step.name = "step"
    step.outputs[0].inspection = True

    with pytest.raises(BundleError, match="expected the outputs of 'step'"):
        check_manifest(manifest)


def test_a_next_state_of_another_shape_is_refused(tmp_path: Path):
    nodes, inputs, outputs, constants = accumulator_parts()
    nodes[1] = helper.make_node("Concat", ["y", "y"], ["next_state.total"], axis=1)
    outputs[2].type.tensor_type.shape.dim[1].dim_param = "unknown"
    graph = onnx_bytes(nodes, inputs, outputs, constants)
    calls = [("step", {"x": np.zeros(3, np.float32)})]

    with pytest.raises(BundleError, match=r"next state 'total': expected float32 \[3\] for one row, got float32 \[6\]"):
        write_bundle(tmp_path, accumulator_manifest(), {"model.onnx": graph}, [calls], 0.0)


def random_graph() -> bytes:
    nodes, inputs, outputs, constants = accumulator_parts()
    nodes[0] = helper.make_node("Add", ["state.total", "noise"], ["y"])
    nodes.insert(0, helper.make_node("RandomNormalLike", ["x"], ["noise"]))
    return onnx_bytes(nodes, inputs, outputs, constants)


def test_a_random_operator_is_refused_unless_the_manifest_owns_up_to_it(tmp_path: Path):
    calls = [("step", {"x": np.zeros(3, np.float32)})]
    manifest = accumulator_manifest()

    with pytest.raises(BundleError, match='"deterministic": false'):
        write_bundle(tmp_path, manifest, {"model.onnx": random_graph()}, [calls], 0.0)
    manifest.deterministic = True
    with pytest.raises(BundleError, match='"deterministic": false'):
        write_bundle(tmp_path, manifest, {"model.onnx": random_graph()}, [calls], 0.0)
    manifest.deterministic = False
    write_bundle(tmp_path, manifest, {"model.onnx": random_graph()}, [calls], 0.0)
