"""What a graph suggests about itself, what it leaves open, and what is written about that."""

from __future__ import annotations

from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from tapehead.bundle import BundleError
from tapehead.bundle.choices import Choices
from tapehead.bundle.guess import Guess, guess
from tests.bundles import INT_ELEMENT, value

X, Y = value("x", ["batch", 4]), value("y", ["batch", 4])


def model(inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto], op: str = "Add") -> onnx.ModelProto:
    """A graph whose nodes mean nothing: a guess looks at its inputs and outputs."""
    nodes = [helper.make_node(op, [inputs[0].name, inputs[-1].name], [outputs[0].name])]
    return helper.make_model(helper.make_graph(nodes, "graph", inputs, outputs))


def draft(inputs: list[Any], outputs: list[Any], **choices: Any) -> Guess:
    return guess(model(inputs, outputs), "m", 1, Choices(**choices))


def axes(guessed: Guess) -> dict[str, int]:
    [entry] = guessed.manifest.entries
    return {tensor.name: tensor.batch_axis for tensor in (*entry.inputs, *entry.outputs, *guessed.manifest.state)}


def options(guessed: Guess) -> list[str]:
    return [doubt.option for doubt in guessed.doubts]


def open_value(name: str, *shape: Any, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, list(shape))


class TestBatchAxis:
    def test_a_name_common_to_most_is_the_batch_wherever_it_is(self):
        guessed = draft([X, value("h0", [2, "batch", 6])], [Y, value("hn", [2, "batch", 6])])

        assert axes(guessed) == {"x": 0, "y": 0, "h0": 1}
        assert list(guessed.manifest.state[0].shape) == [2, 6]

    @pytest.mark.parametrize("name", ["batch_size", "N", "B", "s0", "unk__12"])
    def test_it_may_have_any_name(self, name: str):
        guessed = draft(
            [value("x", [name, 4]), value("h", [2, name, 6])], [value("y", [name, 4]), value("h_out", [2, name, 6])]
        )

        assert axes(guessed) == {"x": 0, "y": 0, "h": 1}

    def test_without_names_it_is_the_first_of_inputs_and_the_open_one_of_states(self):
        guessed = draft(
            [open_value("x", None, 4), open_value("state", 2, None, 128)],
            [open_value("y", None, 4), open_value("stateN", None, None, None)],
        )

        assert axes(guessed) == {"x": 0, "y": 0, "state": 1}
        assert not guessed.doubts

    def test_a_batch_of_one_alone_keeps_its_whole_shape(self):
        guessed = draft([value("x", [1, 4]), value("h", [1, 6])], [value("y", [1, 4]), value("new_h", [1, 6])])

        assert set(axes(guessed).values()) == {-1}
        assert list(guessed.manifest.entries[0].inputs[0].shape) == [1, 4]

    def test_what_was_told_is_believed(self):
        guessed = draft(
            [open_value("x", None, None, 4), value("h", [1, 6])],
            [Y, value("new_h", [1, 6])],
            batch_axes={"x": 1, "h": 0},
        )

        assert (axes(guessed)["x"], axes(guessed)["h"]) == (1, 0)
        assert list(guessed.manifest.entries[0].inputs[0].shape) == [-1, 4]

    def test_no_batch_where_there_seemed_to_be_one_is_a_batch_of_one(self):
        guessed = draft([X, value("h", ["batch", 6])], [Y, value("new_h", ["batch", 6])], batch_axes={"*": -1})

        assert list(guessed.manifest.entries[0].inputs[0].shape) == [1, 4]
        assert set(axes(guessed).values()) == {-1}


class TestDoubts:
    def test_a_state_by_shape_alone(self):
        inputs, outputs = [X, value("memory", ["batch", 6])], [Y, value("result", ["batch", 6])]

        assert options(draft(inputs, outputs)) == ["--state memory=result"]
        assert not draft(inputs, outputs, states={"memory": "result"}).doubts

    def test_states_by_shape_alone_are_asked_about_in_the_usual_order(self):
        """Whoever follows the commands as printed pairs each with another output: results first, then states."""
        names = ["memory", "cell"]
        inputs = [value("x", ["batch", 6]), *(value(name, ["batch", 6]) for name in names)]
        outputs = [value(name, ["batch", 6]) for name in ("result", "result_1", "result_2")]

        assert options(draft(inputs, outputs)) == ["--state memory=result_1", "--state cell=result_2"]

    def test_an_input_that_is_named_as_one_raises_none(self):
        """The output of a network that mends its input has the input's shape, and is no state."""
        guessed = draft([X, value("h", ["batch", 6])], [Y, value("new_h", ["batch", 6])])

        assert not guessed.doubts
        assert [tensor.name for tensor in guessed.manifest.state] == ["h"]

    def test_a_scalar(self):
        inputs = [X, value("gain", []), value("h", ["batch", 6])]
        outputs = [Y, value("new_h", ["batch", 6])]

        assert options(draft(inputs, outputs)) == ["--constant gain=VALUE"]
        assert not draft(inputs, outputs, batch_axes={"gain": -1}).doubts
        assert draft(inputs, outputs, constants=frozenset({"gain"})).manifest.entries[0].inputs[1].constant

    @pytest.mark.parametrize("name", ["sr", "rate", "sample_rate", "sampling_rate"])
    def test_a_sample_rate_is_a_constant_without_doubt(self, name: str):
        guessed = draft([X, value(name, [], INT_ELEMENT), value("h", ["batch", 6])], [Y, value("new_h", ["batch", 6])])

        assert guessed.manifest.entries[0].inputs[1].constant
        assert not guessed.doubts

    @pytest.mark.parametrize("name", ["time", "seq", "T", "frames", "length"])
    def test_an_axis_of_time_that_comes_out_again(self, name: str):
        inputs = [value("x", ["batch", name, 4]), value("h", ["batch", 6])]
        outputs = [value("y", ["batch", name, 3]), value("new_h", ["batch", 6])]

        assert options(draft(inputs, outputs)) == ["--step-axis x=1"]
        as_steps = draft(inputs, outputs, step_axes={"x": 1})
        as_one = draft(inputs, outputs, step_axes={"x": None})

        [chunk], [step] = as_steps.manifest.entries, as_one.manifest.entries
        assert not as_steps.doubts
        assert not as_one.doubts
        assert (chunk.name, list(chunk.inputs[0].shape), chunk.outputs[0].step_axis) == ("chunk", [4], 1)
        assert (step.name, list(step.inputs[0].shape)) == ("step", [-1, 4])

    @pytest.mark.parametrize("other", ["rows", "Reshape_dim_0"])
    def test_an_open_axis_where_no_state_has_a_batch(self, other: str):
        """Such an axis is no batch, whatever it is called; exporters name that of an output anew."""
        inputs = [value("x", ["rows", 4]), value("h", [1, 1, 6])]
        outputs = [value("y", [other, 3]), value("hn", [1, 1, 6])]

        assert options(draft(inputs, outputs)) == ["--step-axis x=0"]
        [chunk] = draft(inputs, outputs, step_axes={"x": 0}).manifest.entries
        assert (chunk.name, chunk.inputs[0].batch_axis, chunk.outputs[0].step_axis) == ("chunk", -1, 0)

    @pytest.mark.parametrize("told", [{"x": 1}, {"z": None}, {"*": None}])
    def test_one_question_is_asked_of_all_axes_of_a_name(self, told: dict[str, int | None]):
        inputs = [value("x", [1, "S", 4]), value("z", [1, "S", 2]), value("h", [1, 6])]
        outputs = [value("y", ["S", "S", 3]), value("new_h", [1, 6])]

        assert options(draft(inputs, outputs)) == ["--step-axis x=1"]
        guessed = draft(inputs, outputs, step_axes=told)
        assert not guessed.doubts
        [entry] = guessed.manifest.entries
        if told == {"x": 1}:
            assert [t.step_axis for t in (*entry.inputs, *entry.outputs)] == [1, 1, 1], "of two of a name, the same one"

    def test_an_input_without_steps_beside_one_with_steps(self):
        inputs = [value("x", ["batch", "time", 4]), value("voice", ["batch", 2]), value("h", ["batch", 6])]
        outputs = [value("y", ["batch", "time", 3]), value("new_h", ["batch", 6])]

        assert options(draft(inputs, outputs, step_axes={"x": 1})) == ["--constant voice=VALUE"]
        told = draft(inputs, outputs, step_axes={"x": 1}, constants=frozenset({"voice"}))
        assert not told.doubts
        voice = told.manifest.entries[0].inputs[1]
        assert (voice.constant_batched, voice.batch_axis, list(voice.shape)) == (True, 0, [2])

    def test_a_state_that_grows(self):
        inputs = [X, value("past_k", ["batch", "past", 6])]
        outputs = [Y, value("present_k", ["batch", "past + 1", 6])]

        assert options(draft(inputs, outputs)) == ["--maximum past_k=LENGTH"]
        bounded = draft(inputs, outputs, maxima={"past*": 64})
        assert not bounded.doubts
        assert list(bounded.manifest.state[0].maximum) == [64, 6]


class TestRefusals:
    def test_a_graph_without_state_says_what_was_considered(self):
        with pytest.raises(BundleError, match=r"no state input.*input 'x' float32 \[batch, 4\] with output 'y'"):
            draft([X], [Y])

    def test_a_recurrence_without_state_says_why(self):
        with pytest.raises(BundleError, match="has GRU but no state input, so every call starts anew"):
            guess(model([X], [Y], "GRU"), "m", 1, Choices())

    def test_an_input_that_is_no_tensor_is_named(self):
        sequence = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)

        with pytest.raises(BundleError, match="input 's': expected a plain tensor"):
            draft([X, sequence], [Y])

    @pytest.mark.parametrize(
        "choices",
        [
            {"not_states": frozenset({"hh"})},
            {"constants": frozenset({"hh"})},
            {"batch_axes": {"hh": 0}},
            {"maxima": {"hh": 4}},
            {"carries": {"hh": 4}},
            {"step_axes": {"hh": 4}},
            {"lengths": {"hh": 4}},
        ],
        ids=str,
    )
    def test_a_choice_about_nothing_is_a_mistake(self, choices: dict[str, Any]):
        with pytest.raises(BundleError, match="hh: expected one of x, h"):
            draft([X, value("h", ["batch", 6])], [Y, value("new_h", ["batch", 6])], **choices)

    def test_a_length_is_one_or_more(self):
        with pytest.raises(BundleError, match="--carry x: expected 1 or more, got 0"):
            draft([X, value("h", ["batch", 6])], [Y, value("new_h", ["batch", 6])], carries={"x": 0})


def test_what_is_carried_is_part_of_what_the_graph_takes():
    guessed = draft([value("x", ["batch", 10])], [value("y", ["batch", 10])], carries={"x": 2})

    [x] = guessed.manifest.entries[0].inputs
    assert (x.carry.last, x.carry.axis, list(x.shape)) == (2, 0, [8])


def test_what_is_carried_between_steps_makes_a_call_one_step():
    """No graph of many steps puts the end of one in front of the next."""
    inputs, outputs = (
        [value("x", ["rows", 10]), value("h", [1, 1, 6])],
        [value("y", ["rows"]), value("hn", [1, 1, 6])],
    )

    [step] = draft(inputs, outputs, step_axes={"x": 0}, carries={"x": 2}).manifest.entries

    [x] = step.inputs
    assert (step.name, x.step_axis, x.carry.last, x.carry.axis, list(x.shape)) == ("step", 0, 2, 0, [8])


def test_that_a_program_may_carry_is_always_noted():
    guessed = draft([X, value("h", ["batch", 6])], [Y, value("new_h", ["batch", 6])])

    assert any("--carry INPUT=LENGTH" in note for note in guessed.notes)


def test_names_that_a_manifest_cannot_have_stay_in_the_graph():
    guessed = draft([value("x y", ["batch", 4]), value("h", ["batch", 6])], [Y, value("new_h", ["batch", 6])])

    [x] = guessed.manifest.entries[0].inputs
    assert (x.name, x.graph_name) == ("x_y", "x y")
