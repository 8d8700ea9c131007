"""The runner gives every row its own answer, whatever the graph's axes and names are."""

from pathlib import Path

import numpy as np
import pytest

from service.hosting import Repository, Runner
from tapehead.bundle import BundleError, check_graph, read_manifest
from tapehead.bundle.files import describe_file
from tests.bundles import accumulator_manifest, accumulator_parts, onnx_bytes, write_accumulator, write_two_states
from tests.qa_bundles import QA_MEMORY_SENTENCES, qa_ids, write_tiny_qa


def load(folder: Path) -> Runner:
    return Runner.load(folder, read_manifest(folder))


def test_rows_of_a_batch_are_kept_apart(tmp_path: Path):
    """Row i of every output and of the next state belongs to row i of the inputs and the state."""
    runner = load(write_accumulator(tmp_path))
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    total = 100 * np.arange(4, dtype=np.float32)[:, np.newaxis] * np.ones(3, np.float32)

    outputs, state = runner.run("step", {"x": x}, {"total": total}, ("y", "sum"))

    np.testing.assert_array_equal(outputs["y"], x + total)
    np.testing.assert_array_equal(outputs["sum"], (x + total).sum(1, keepdims=True))
    np.testing.assert_array_equal(state["total"], x + total)


def test_only_the_outputs_named_are_given(tmp_path: Path):
    """In the order named; the next state comes in any case."""
    runner = load(write_accumulator(tmp_path))
    x = np.ones((1, 3), np.float32)

    for names in [("y",), ("sum", "y"), ()]:
        outputs, state = runner.run("step", {"x": x}, {"total": x}, names)

        assert tuple(outputs) == names
        assert list(state) == ["total"]


def test_the_inputs_are_left_as_they_were(tmp_path: Path):
    """A step that fails later must find the state before it untouched."""
    runner = load(write_accumulator(tmp_path))
    x, total = np.ones((2, 3), np.float32), np.ones((2, 3), np.float32)

    outputs, state = runner.run("step", {"x": x}, {"total": total}, ("y",))
    state["total"][:] = 7
    outputs["y"][:] = 7

    assert (x == 1).all()
    assert (total == 1).all()


def test_a_batch_axis_elsewhere_is_moved(tmp_path: Path):
    """Outside the runner the batch is always axis 0, and names are the manifest's."""
    runner = load(write_two_states(tmp_path))
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    hidden = np.arange(24, dtype=np.float32).reshape(3, 2, 4)

    outputs, state = runner.run("step", {"x": x}, {"hidden": hidden, "count": np.array([[0], [5], [9]])}, ("y",))

    expected = hidden / 2 + x[:, np.newaxis]
    np.testing.assert_array_equal(state["hidden"], expected)
    np.testing.assert_array_equal(outputs["y"], expected.sum(1))
    assert state["count"].tolist() == [[1], [6], [10]]


def test_a_session_stepped_in_batches_equals_the_session_alone(tmp_path: Path):
    """Twenty steps beside others, in changing places, give the bits of twenty steps alone."""
    model = Repository.load(write_two_states(tmp_path).parents[1]).get("two-states")
    random = np.random.default_rng(7)
    inputs = random.standard_normal((20, 5, 4)).astype(np.float32)
    alone = {name: array[np.newaxis] for name, array in model.initial_state.items()}
    together = {name: np.stack([array] * 5) for name, array in model.initial_state.items()}

    for step in range(20):
        _, alone = model.runner.run("step", {"x": inputs[step, 2:3]}, alone, ())
        order = random.permutation(5)
        shuffled = {name: array[order] for name, array in together.items()}
        _, after = model.runner.run("step", {"x": inputs[step, order]}, shuffled, ())
        together = {name: array[np.argsort(order)] for name, array in after.items()}

    assert alone["hidden"][0].tobytes() == together["hidden"][2].tobytes()


def test_questions_read_the_told_story(tmp_path: Path):
    """tell gives no output, ask no next state; answer needs no state."""
    model = Repository.load(write_tiny_qa(tmp_path).parents[1]).get("tiny-qa")
    state = {name: array[np.newaxis] for name, array in model.initial_state.items()}
    story = ["mary went to the kitchen", "john went to the garden", "mary went to the office"]
    for sentence in story:
        outputs, state = model.runner.run("tell", {"sentence": qa_ids(sentence)[np.newaxis]}, state, ())
        assert outputs == {}
    question = qa_ids("where is john")[np.newaxis]

    asked, unchanged = model.runner.run("ask", {"question": question}, state, ("probabilities", "attention"))
    whole = {"story": np.stack([qa_ids(sentence) for sentence in story])[np.newaxis], "question": question}
    answered, _ = model.runner.run("answer", whole, {}, ("probabilities", "attention"))

    assert unchanged == {}
    assert asked["probabilities"].argmax() == answered["probabilities"].argmax() == 1  # garden
    assert asked["attention"].shape == (1, 1, QA_MEMORY_SENTENCES)
    assert asked["attention"][0, 0, -3:].argmax() == answered["attention"][0, 0].argmax() == 1
    assert (asked["attention"][0, 0, :-3] == 0).all()


def test_a_graph_of_any_number_of_rows_is_batchable(tmp_path: Path):
    for writer in (write_accumulator, write_two_states, write_tiny_qa):
        assert not load(writer(tmp_path)).batch_obstacle


def test_a_hostile_graph_is_refused_although_its_hash_is_right(tmp_path: Path):
    """The manifest's author is not trusted either."""
    folder = write_accumulator(tmp_path)
    manifest = read_manifest(folder)
    manifest.entries[0].inputs[0].graph_name = "z"

    with pytest.raises(BundleError, match=r"model\.onnx: entry 'step' input 'x'"):
        Runner.load(folder, manifest)


def test_a_graph_of_one_row_only_is_not_batchable(tmp_path: Path):
    """An exporter may have fixed the batch dimension to 1."""
    folder = write_accumulator(tmp_path)
    nodes, inputs, outputs, constants = accumulator_parts()
    for value in (*inputs, *outputs):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    data = onnx_bytes(nodes, inputs, outputs, constants)
    manifest = accumulator_manifest()
    check_graph(data, where="fixed", manifest=manifest, file="model.onnx")
    (folder / "model.onnx").write_bytes(data)
    manifest.files.append(describe_file("model.onnx", data))

    runner = Runner.load(folder, manifest)

    assert runner.batch_obstacle == "the graph has no batch axis of any length"
