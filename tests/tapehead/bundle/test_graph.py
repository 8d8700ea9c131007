"""What may not be in an ONNX file is refused before any runtime sees it, with the name of the tensor or node."""

from collections.abc import Callable
from contextlib import suppress

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tapehead.bundle import BundleError, check_graph
from tapehead.v1.manifest_pb2 import EntryTensor, Manifest, StateTensor
from tapehead.v1.tensor_pb2 import DataType
from tests.bundles import accumulator_manifest, accumulator_parts, onnx_bytes, value


def good() -> onnx.ModelProto:
    return onnx.ModelProto.FromString(onnx_bytes(*accumulator_parts()))


def check(model: onnx.ModelProto, manifest: Manifest | None = None) -> None:
    data = model.SerializeToString()
    check_graph(data, where="model.onnx", manifest=manifest or accumulator_manifest(), file="model.onnx")


def elsewhere(name: str) -> TensorProto:
    """A tensor whose data lie in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def sparse(name: str) -> onnx.SparseTensorProto:
    indices = numpy_helper.from_array(np.array([0, 1, 2]), "indices")
    return onnx.SparseTensorProto(values=elsewhere(name), indices=indices, dims=[3])


def constant(name: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], **attributes)


def branching(branch: onnx.GraphProto) -> onnx.NodeProto:
    return helper.make_node("If", ["x"], ["chosen"], then_branch=branch)


def function(nodes: list[onnx.NodeProto]) -> onnx.FunctionProto:
    return helper.make_function("ours", "Weigh", ["a"], ["b"], nodes, [helper.make_opsetid("", 20)])


def test_a_plain_graph_passes():
    check(good())


EXTERNAL_PLACES: dict[str, Callable[[onnx.ModelProto], object]] = {
    "initializer": lambda m: m.graph.initializer.append(elsewhere("secret")),
    "sparse initializer": lambda m: m.graph.sparse_initializer.append(sparse("secret")),
    "attribute": lambda m: m.graph.node.append(constant("c", value=elsewhere("secret"))),
    "sparse attribute": lambda m: m.graph.node.append(constant("c", sparse_value=sparse("secret"))),
    "list attribute": lambda m: m.graph.node.append(constant("c", values=[elsewhere("secret")])),
    "subgraph": lambda m: m.graph.node.append(
        branching(helper.make_graph([], "branch", [], [], [elsewhere("secret")]))
    ),
    "subgraph of a subgraph": lambda m: m.graph.node.append(
        branching(
            helper.make_graph(
                [branching(helper.make_graph([], "inner", [], [], [elsewhere("secret")]))], "outer", [], []
            )
        )
    ),
    "function": lambda m: m.functions.append(function([constant("c", value=elsewhere("secret"))])),
    "function's default": lambda m: m.functions.append(
        onnx.FunctionProto(
            domain="ours", name="F", attribute_proto=[helper.make_attribute("weight", elsewhere("secret"))]
        )
    ),
    "training": lambda m: m.training_info.add().algorithm.initializer.append(elsewhere("secret")),
}


@pytest.mark.parametrize("plant", EXTERNAL_PLACES.values(), ids=EXTERNAL_PLACES)
def test_data_outside_the_file_are_refused_wherever_they_hide(plant: Callable[[onnx.ModelProto], object]):
    model = good()
    plant(model)

    with pytest.raises(BundleError, match=r"'secret'.*another file.*save_as_external_data"):
        check(model)


def test_a_place_without_the_external_flag_is_refused_too():
    """Readers differ in which of the two they believe."""
    model = good()
    model.graph.initializer[0].external_data.add(key="location", value="weights.bin")

    with pytest.raises(BundleError, match="last_axis"):
        check(model)


@pytest.mark.parametrize("domain", ["com.microsoft", "com.example", "ai.onnx.training"])
def test_unknown_operator_domains_are_refused(domain: str):
    model = good()
    model.graph.node.append(helper.make_node("Sampling", ["x", "x"], ["z"], domain=domain))

    with pytest.raises(BundleError, match=rf"'z' \(Sampling\): unknown operator domain '{domain}'"):
        check(model)


def test_a_function_of_the_model_itself_is_no_unknown_domain():
    model = good()
    model.functions.append(function([helper.make_node("Identity", ["a"], ["b"])]))
    model.graph.node.append(helper.make_node("Weigh", ["x"], ["weighed"], domain="ours"))

    check(model)


@pytest.mark.parametrize("operator", ["RandomNormal", "RandomUniformLike", "Bernoulli", "Multinomial"])
def test_random_operators_are_refused(operator: str):
    model = good()
    model.graph.node.append(helper.make_node(operator, ["x"], ["noise"]))

    with pytest.raises(BundleError, match=rf"'noise' \({operator}\): a random operator"):
        check(model)


def test_a_random_operator_inside_a_function_is_refused():
    model = good()
    model.functions.append(function([helper.make_node("RandomNormalLike", ["a"], ["b"])]))

    with pytest.raises(BundleError, match=r"functions 'Weigh'.*RandomNormalLike"):
        check(model)


def dropout(training: bool | None) -> onnx.ModelProto:
    model = good()
    model.graph.initializer.append(numpy_helper.from_array(np.array(training or False), "mode"))
    names = ["x", "", "mode"] if training is not None else ["x"]
    model.graph.node.append(helper.make_node("Dropout", names, ["kept"]))
    return model


@pytest.mark.parametrize("training", [None, False])
def test_dropout_that_drops_nothing_passes(training: bool | None):
    check(dropout(training))


def test_dropout_in_training_mode_is_refused():
    with pytest.raises(BundleError, match=r"'kept' \(Dropout\): drops at random"):
        check(dropout(True))


def test_dropout_whose_mode_is_computed_is_refused():
    model = dropout(False)
    model.graph.node[-1].input[2] = "x"

    with pytest.raises(BundleError, match="drops at random"):
        check(model)


def test_dropout_by_an_old_flag_is_refused():
    model = good()
    model.graph.node.append(helper.make_node("Dropout", ["x"], ["kept"], is_test=0))

    with pytest.raises(BundleError, match="drops at random"):
        check(model)


@pytest.mark.parametrize("data", [b"", b"not onnx", b"\x00" * 100, b'{"graph": 1}'])
def test_what_is_not_onnx_is_refused(data: bytes):
    with pytest.raises(BundleError, match=r"model\.onnx: not an ONNX file"):
        check_graph(data, where="model.onnx", manifest=accumulator_manifest(), file="model.onnx")


def test_a_tensor_that_claims_to_be_huge_is_refused():
    model = good()
    model.graph.initializer.append(TensorProto(name="vast", data_type=TensorProto.FLOAT, dims=[2**20, 2**20]))

    with pytest.raises(BundleError, match="'vast': at most"):
        check(model)


def test_graphs_within_graphs_have_a_bottom():
    inner = helper.make_graph([], "branch", [], [])
    for _ in range(25):
        inner = helper.make_graph([branching(inner)], "branch", [], [])
    model = good()
    model.graph.node.append(branching(inner))

    with pytest.raises(BundleError, match=r"deeper than 64 levels|not an ONNX file"):
        check(model)


MANIFEST_FAULTS: dict[str, tuple[Callable[[Manifest], object], str]] = {
    "missing input": (lambda m: setattr(m.entries[0].inputs[0], "name", "z"), r"no input 'z'; it has \['state.total'"),
    "missing output": (lambda m: setattr(m.entries[0].outputs[0], "graph_name", "q"), "no output 'q'"),
    "missing state": (lambda m: setattr(m.state[0], "graph_input", "h"), "no state input; expected one of"),
    "missing next state": (lambda m: setattr(m.state[0], "graph_output", "h"), "no output 'h'"),
    "extra output": (lambda m: m.entries[0].outputs.pop(), "output 'sum' is in no entry"),
    "dtype": (
        lambda m: setattr(m.entries[0].inputs[0], "dtype", DataType.DATA_TYPE_FLOAT64),
        "input 'x': expected DATA_TYPE_FLOAT64 in the graph, got FLOAT",
    ),
    "rank": (lambda m: m.entries[0].inputs[0].shape.append(2), r"'x': expected shape \[any, 3, 2\].*got \[any, 3\]"),
    "length": (lambda m: m.state[0].shape.__setitem__(0, 4), r"'total': expected shape \[any, 4\].*got \[any, 3\]"),
    "batch axis": (lambda m: setattr(m.entries[0].inputs[0], "batch_axis", -1), r"expected shape \[3\]"),
    "output twice": (
        lambda m: m.entries[0].outputs.append(
            EntryTensor(name="again", graph_name="y", dtype=DataType.DATA_TYPE_FLOAT32, shape=[3])
        ),
        "'y' of the graph is used twice",
    ),
}


@pytest.mark.parametrize(("spoil", "message"), MANIFEST_FAULTS.values(), ids=MANIFEST_FAULTS)
def test_a_graph_that_is_not_what_the_manifest_says_is_refused(spoil: Callable[[Manifest], object], message: str):
    manifest = accumulator_manifest()
    spoil(manifest)

    with pytest.raises(BundleError, match=message):
        check(good(), manifest)


def test_an_input_that_nobody_gives_is_refused():
    model = good()
    model.graph.input.append(value("mask", ["batch", 3]))

    with pytest.raises(BundleError, match="input 'mask' is in the manifest neither"):
        check(model)


def test_an_input_with_a_constant_for_default_needs_nobody():
    """Old exporters list their weights among the inputs."""
    model = good()
    model.graph.input.append(value("last_axis", [1], TensorProto.INT64))

    check(model)


def test_a_recurrence_without_state_input_says_why_it_is_refused():
    model = good()
    del model.graph.input[1]
    model.graph.node.append(helper.make_node("LSTM", ["x", "w", "r"], ["hidden"]))

    with pytest.raises(BundleError, match="LSTM but no state input, so every call starts anew"):
        check(model)


def test_an_output_that_is_no_plain_tensor_is_refused():
    model = good()
    element = helper.make_tensor_type_proto(TensorProto.FLOAT, [3])
    model.graph.output[0].CopyFrom(helper.make_value_info("y", helper.make_sequence_type_proto(element)))

    with pytest.raises(BundleError, match="'y' is not a plain tensor"):
        check(model)


def test_an_entry_that_only_reads_may_leave_a_state_tensor_unread():
    """An exporter drops an input that nothing uses."""
    manifest = accumulator_manifest()
    entry = manifest.entries[0]
    entry.writes_state = False
    entry.outputs.append(
        EntryTensor(name="next", graph_name="next_state.total", dtype=DataType.DATA_TYPE_FLOAT32, shape=[3])
    )
    manifest.state.append(StateTensor(name="unread", dtype=DataType.DATA_TYPE_FLOAT32, shape=[1]))

    check(good(), manifest)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_bytes_come_they_pass_or_are_refused(data: st.DataObject):
    """A damaged file never raises anything but BundleError: the loader goes on with the other bundles."""
    content = bytearray(good().SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))

    with suppress(BundleError):
        check_graph(bytes(content), where="model.onnx", manifest=accumulator_manifest(), file="model.onnx")
