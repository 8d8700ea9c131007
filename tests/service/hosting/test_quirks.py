"""Models with the habits of models in the wild, loaded and run as the service does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from service.hosting import load_model
from service.hosting.model import Arrays, Model
from tapehead.bundle import BundleError
from tapehead.bundle.adopt import adopt
from tapehead.bundle.choices import Choices
from tests.bundles import FLOAT, onnx_bytes, value
from tests.quirks import (
    summing_manifest,
    write,
    write_counting,
    write_growing,
    write_rated,
    write_summing,
    write_unbatched,
    write_windowed,
)


def rows(*values: object, dtype: type = np.float32) -> np.ndarray:
    return np.array(values, dtype)


def first_state(model: Model, count: int) -> Arrays:
    return {name: np.stack([array] * count) for name, array in model.initial_state.items()}


@pytest.mark.parametrize("writer", [write_windowed, write_rated, write_summing, write_counting])
def test_its_rows_run_together(tmp_path: Path, writer: Callable[[Path], Path]):
    model = load_model(writer(tmp_path), max_batch=8)

    assert (model.max_batch, model.batch_reason) == (8, "")


@pytest.mark.parametrize(
    ("writer", "reason"),
    [(write_growing, "its state grows"), (write_unbatched, "no batch axis")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_its_rows_run_alone_for_a_reason(tmp_path: Path, writer: Callable[[Path], Path], reason: str):
    model = load_model(writer(tmp_path), max_batch=8)

    assert model.max_batch == 1
    assert reason in model.batch_reason


def test_what_is_carried_is_part_of_the_state(tmp_path: Path):
    model = load_model(write_windowed(tmp_path), max_batch=4)

    _, state = model.runner.run("step", {"x": rows([1, 2, 3], [4, 5, 6])}, first_state(model, 2), ("y",))
    outputs, _ = model.runner.run("step", {"x": rows([7, 8, 9], [0, 0, 0])}, state, ("y",))

    assert [tensor.name for tensor in model.state] == ["carried.x"]
    assert outputs["y"].tolist() == [[2, 3, 7, 8, 9], [5, 6, 0, 0, 0]]


def test_a_graph_of_many_steps_takes_one_too(tmp_path: Path):
    model = load_model(write_summing(tmp_path), max_batch=4)
    x = rows([[1, 1], [2, 2], [3, 3]], [[5, 0], [0, 5], [5, 5]], dtype=np.int64)

    outputs, total = model.runner.run("chunk", {"x": x}, first_state(model, 2), ("y",))
    single, _ = model.runner.run("step", {"x": x[:, 0]}, first_state(model, 2), ("y",))

    assert outputs["y"].tolist() == [[[1, 1], [3, 3], [6, 6]], [[5, 0], [5, 5], [10, 10]]]
    assert total["total"].tolist() == [[[6, 6]], [[10, 10]]]
    assert single["y"].tolist() == [[1, 1], [5, 0]]
    assert {entry.name for entry in model.manifest.entries} == {"step", "chunk"}


def test_chunks_that_equal_their_steps_are_used(tmp_path: Path):
    model = load_model(write_summing(tmp_path), max_batch=4)

    assert model.chunk_sizes == (32, 8, 2)
    assert [model.chunk_size(steps) for steps in (1, 2, 7, 31, 33)] == [1, 2, 2, 8, 32]


def test_chunks_that_differ_from_their_steps_are_not(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    model = load_model(write_summing(tmp_path, forgets_length=True), max_batch=4)

    assert model.chunk_sizes == ()
    assert "runs chunks step by step: 2 steps at once" in caplog.text
    assert model.max_batch == 4


def test_a_growing_state_grows(tmp_path: Path):
    model = load_model(write_growing(tmp_path), max_batch=4)

    state = first_state(model, 1)
    for _ in range(3):
        outputs, state = model.runner.run("step", {"x": rows([1, 2])}, state, ("y",))

    assert outputs["y"].tolist() == [[3, 6]]
    assert state["past"].shape == (1, 3, 2)
    assert model.state[0].too_long((5, 2)) == (4, 5)


def test_a_recurrence_without_state_inputs_is_refused(tmp_path: Path):
    """The graph sums over its own steps, and nothing comes in from the steps before."""
    graph = onnx_bytes(
        [
            helper.make_node("Transpose", ["x"], ["by_step"], perm=[0, 1, 2]),
            helper.make_node("GRU", ["by_step", "w", "r"], ["y_all", "total_next"], hidden_size=2),
            helper.make_node("Squeeze", ["y_all", "directions"], ["y"]),
        ],
        [value("x", ["steps", "batch", 2])],
        [value("y", ["steps", "batch", 2]), value("total_next", [1, "batch", 2])],
        {
            "w": np.zeros((1, 6, 2), np.float32),
            "r": np.zeros((1, 6, 2), np.float32),
            "directions": np.array([1]),
        },
    )
    manifest = summing_manifest()
    manifest.entries[0].inputs[0].dtype = manifest.entries[0].outputs[0].dtype = manifest.state[0].dtype = FLOAT
    manifest.state[0].graph_input, manifest.state[0].graph_output = "total", "total_next"

    with pytest.raises(BundleError, match="the graph has GRU but no state input, so every call starts anew"):
        write(tmp_path, manifest, {"model.onnx": graph}, [("chunk", {"x": np.zeros((2, 2), np.float32)})])


def test_integers_of_two_bytes_go_in_and_are_kept(tmp_path: Path):
    """Sound as it comes from a microphone, the latest of which is a state of its own."""
    place = tmp_path / "pcm.onnx"
    nodes = [
        helper.make_node("Cast", ["pcm"], ["sound"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["sound", "h"], ["h_out"]),
        helper.make_node("Identity", ["h_out"], ["y"]),
        helper.make_node("Concat", ["last", "pcm"], ["both"], axis=1),
        helper.make_node("Slice", ["both", "two", "four", "one"], ["last_out"]),
    ]
    sound = TensorProto.INT16
    inputs = [value("pcm", ["batch", 2], sound), value("h", ["batch", 2]), value("last", ["batch", 2], sound)]
    outputs = [value("y", ["batch", 2]), value("h_out", ["batch", 2]), value("last_out", ["batch", 2], sound)]
    constants = {name: np.array([number]) for name, number in (("one", 1), ("two", 2), ("four", 4))}
    place.write_bytes(onnx_bytes(nodes, inputs, outputs, constants))
    adopt(place, tmp_path / "pcm" / "1", Choices(), {})
    model = load_model(tmp_path / "pcm" / "1", max_batch=4)

    given = {"pcm": rows([-32768, 32767], [1, 2], dtype=np.int16)}
    result, state = model.runner.run("step", given, first_state(model, 2), ("y",))

    assert result["y"].tolist() == [[-32768, 32767], [1, 2]]
    assert state["last"].tolist() == given["pcm"].tolist()
    assert (state["last"].dtype, model.max_batch) == (np.int16, 4)
