"""What is tried before a bundle is written, and how what fails is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from tapehead.bundle import BundleError, initial_state, to_array, verify
from tapehead.bundle.adopt import adopt
from tapehead.bundle.choices import Choices
from tapehead.bundle.trial import STEPS
from tests.bundles import INT_ELEMENT, onnx_bytes, value
from tests.foreign import VOICE, quantised, vad


def sums(place: Path, *, backwards: bool = False) -> Path:
    """`y` is the running sum of `x` [batch, time, 2], which the state [batch, 2] goes on from."""
    nodes = [
        helper.make_node("CumSum", ["x", "axis"], ["sums"], reverse=int(backwards)),
        helper.make_node("Unsqueeze", ["total", "one"], ["before"]),
        helper.make_node("Add", ["sums", "before"], ["y"]),
        helper.make_node("ReduceSum", ["x", "one"], ["all"], keepdims=0),
        helper.make_node("Add", ["total", "all"], ["new_total"]),
    ]
    constants = {"axis": np.array(1), "one": np.array([1])}
    inputs = [value("x", ["batch", "time", 2]), value("total", ["batch", 2])]
    outputs = [value("y", ["batch", "time", 2]), value("new_total", ["batch", 2])]
    place.write_bytes(onnx_bytes(nodes, inputs, outputs, constants))
    return place


def test_a_graph_of_any_number_of_steps_is_a_chunk(tmp_path: Path):
    written = adopt(sums(tmp_path / "sums.onnx"), tmp_path / "sums/1", Choices(step_axes={"x": 1}), {})

    [entry] = written.manifest.entries
    assert (entry.name, entry.inputs[0].step_axis, list(entry.inputs[0].shape)) == ("chunk", 1, [2])


def test_steps_that_see_those_behind_them_are_none(tmp_path: Path):
    with pytest.raises(BundleError, match="output 'y' of 3 steps in one call differs from that of single calls"):
        adopt(sums(tmp_path / "s.onnx", backwards=True), tmp_path / "s/1", Choices(step_axes={"x": 1}), {})

    assert not (tmp_path / "s" / "1").exists()


def test_which_lengths_ran_is_said(tmp_path: Path):
    written = adopt(vad(tmp_path / "vad.onnx"), tmp_path / "vad/1", Choices(), {})

    assert any("run with the length 64 and 80" in note for note in written.notes)
    shapes = [list(tensor.shape) for call in written.manifest.probes[0].calls for tensor in call.inputs]
    assert [64] in shapes
    assert [80] in shapes


def test_steps_of_several_lengths_are_no_obstacle_to_a_chunk(tmp_path: Path):
    """The steps of a chunk have one length, and so has each chunk of its probe."""
    written = adopt(sums(tmp_path / "s.onnx"), tmp_path / "s/1", Choices(step_axes={"x": None}), {})

    assert [entry.name for entry in written.manifest.entries] == ["step", "chunk"]
    shapes = [list(call.inputs[0].shape) for call in written.manifest.probes[1].calls]
    assert shapes == [[STEPS, 1, 2]]


def test_a_graph_with_branches_that_use_its_weights_gets_a_chunk(tmp_path: Path):
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node("Add", ["x", weight], [name])], name, [], [value(name, [])]
        )
        for name, weight in (("then", "much"), ("else", "little"))
    }
    for branch in branches.values():
        branch.output[0].type.tensor_type.ClearField("shape")
    nodes = [
        helper.make_node("Equal", ["sr", "usual"], ["is_usual"]),
        helper.make_node("If", ["is_usual"], ["more"], **branches),
        helper.make_node("Add", ["h", "more"], ["new_h"]),
        helper.make_node("Identity", ["new_h"], ["y"]),
    ]
    constants = {"usual": np.array(16_000), "much": np.full(3, 5, np.float32), "little": np.ones(3, np.float32)}
    inputs = [value("x", ["batch", 3]), value("h", ["batch", 3]), value("sr", [], INT_ELEMENT)]
    place = tmp_path / "branches.onnx"
    place.write_bytes(onnx_bytes(nodes, inputs, [value("y", ["batch", 3]), value("new_h", ["batch", 3])], constants))

    written = adopt(place, tmp_path / "branches/1", Choices(), {})

    assert [entry.name for entry in written.manifest.entries] == ["step", "chunk"]
    assert verify(tmp_path / "branches/1") == 0.0


def test_a_length_that_was_told_is_the_only_one(tmp_path: Path):
    choices = Choices(lengths={"input": 512}, carries={"input": 64})

    [entry] = adopt(vad(tmp_path / "vad.onnx"), tmp_path / "vad/1", choices, {"sr": 8000}).manifest.entries[:1]

    assert list(entry.inputs[0].shape) == [448]
    assert entry.inputs[0].carry.last == 64


def test_numbers_that_are_not_finite_are_refused_before_a_server_does(tmp_path: Path):
    nodes = [helper.make_node("Add", ["h", "x"], ["new_h"]), helper.make_node("Log", ["new_h"], ["y"])]
    shape: list[str | int] = ["batch", 8]
    place = tmp_path / "log.onnx"
    ports = [value("x", shape), value("h", shape)], [value("y", shape), value("new_h", shape)]
    place.write_bytes(onnx_bytes(nodes, *ports))

    with pytest.raises(BundleError, match="'y' is not finite for random inputs"):
        adopt(place, tmp_path / "log/1", Choices(), {})


def test_what_shares_the_scale_of_its_quantisation_is_told_and_is_no_mistake(tmp_path: Path):
    choices = Choices(step_axes={"mel": 1}, constants=frozenset({"voice"}))

    written = adopt(quantised(tmp_path / "q.onnx"), tmp_path / "q/1", choices, {"voice": 0.5})

    assert any("one session at a time" in note for note in written.notes)
    assert any("runs them one after the other" in note for note in written.notes)
    assert verify(tmp_path / "q" / "1") == 0.0
    [probe] = written.manifest.probes
    given = [to_array(t) for call in probe.calls for t in call.inputs if t.name == "voice"]
    assert given[0].tolist() == [0.5] * VOICE, "a single number stands for all elements"


def test_a_state_begins_with_what_a_file_holds(tmp_path: Path):
    np.save(tmp_path / "total.npy", np.array([[5, 7]], np.float32))
    choices = Choices(step_axes={"x": 1}, initials={"total": str(tmp_path / "total.npy")})

    written = adopt(sums(tmp_path / "s.onnx"), tmp_path / "s/1", choices, {})

    assert initial_state(tmp_path / "s/1", written.manifest)["total"].tolist() == [5, 7]
    assert verify(tmp_path / "s/1") == 0.0
    first = written.manifest.probes[0].calls[0]
    x, y = to_array(first.inputs[0]), to_array(first.outputs[0])
    np.testing.assert_allclose(y[0], x[0] + [5, 7], rtol=1e-6)


@pytest.mark.parametrize(
    ("array", "said"),
    [(np.zeros(3, np.float32), r"expected float32 \[2\], got float32 \[3\]"), (np.zeros(2), "got float64"), (None, "")],
    ids=["shape", "type", "no array"],
)
def test_a_file_that_holds_no_such_state_is_refused(tmp_path: Path, array: np.ndarray | None, said: str):
    place = tmp_path / "total.npy"
    place.write_bytes(b"no array")
    if array is not None:
        np.save(place, array)

    with pytest.raises(BundleError, match=f"initial total=.*{said or 'not an array'}"):
        adopt(
            sums(tmp_path / "s.onnx"),
            tmp_path / "s/1",
            Choices(step_axes={"x": 1}, initials={"total": str(place)}),
            {},
        )


def test_what_no_graph_may_have_is_said_before_anything_runs(tmp_path: Path):
    graph = onnx.load(vad(tmp_path / "vad.onnx"))
    graph.graph.node[0].domain = "com.example"
    onnx.save(graph, tmp_path / "vad.onnx")

    with pytest.raises(BundleError, match=r"unknown operator domain .com\.example."):
        adopt(tmp_path / "vad.onnx", tmp_path / "vad/1", Choices(), {})


@pytest.mark.parametrize(
    ("told", "said"), [({"sr": 0.5}, "expected int64"), ({"sr": [1, 2]}, "expected shape")], ids=str
)
def test_a_constant_that_cannot_be_is_refused(tmp_path: Path, told: dict[str, object], said: str):
    with pytest.raises(BundleError, match=said):
        adopt(vad(tmp_path / "vad.onnx"), tmp_path / "vad/1", Choices(), told)
