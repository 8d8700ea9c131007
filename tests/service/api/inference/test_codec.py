"""Tensors and parameters of the Open Inference Protocol, in every form that a client may choose."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from service.api.inference.codec import Input, add_output, read_inputs, texts, to_tensor
from service.api.inference.messages import pb
from service.api.inference.parameters import Parameters, read_parameters
from service.errors import DtypeMismatch, InvalidField, InvalidInput, MalformedMessage, NotSupported, ShapeMismatch
from service.hosting.model import TensorSpec
from tapehead.bundle import to_array

X = TensorSpec("x", np.dtype(np.float32), (2,))
SCALAR = TensorSpec("word", np.dtype(np.int64), ())
CASES = [
    ("FP32", np.float32, "fp32_contents"),
    ("FP64", np.float64, "fp64_contents"),
    ("INT64", np.int64, "int64_contents"),
    ("INT32", np.int32, "int_contents"),
    ("INT16", np.int16, "int_contents"),
    ("INT8", np.int8, "int_contents"),
    ("UINT32", np.uint32, "uint_contents"),
    ("UINT16", np.uint16, "uint_contents"),
    ("UINT8", np.uint8, "uint_contents"),
    ("BOOL", np.bool_, "bool_contents"),
]


def request(datatype: str, shape: list[int], raw: bytes | None = None, **contents: object) -> pb.ModelInferRequest:
    made = pb.ModelInferRequest()
    given = made.inputs.add(name="x", datatype=datatype, shape=shape)
    if contents:
        given.contents.CopyFrom(pb.InferTensorContents(**contents))
    if raw is not None:
        made.raw_input_contents.append(raw)
    return made


def only(made: pb.ModelInferRequest) -> Input:
    [given] = read_inputs(made)
    return given


@pytest.mark.parametrize(("datatype", "dtype", "field"), CASES)
def test_raw_and_typed_elements_are_the_same(datatype: str, dtype: type, field: str) -> None:
    array, spec = np.array([1, 0], dtype), TensorSpec("x", np.dtype(dtype), (2,))
    raw = only(request(datatype, [2], array.tobytes()))
    typed = only(request(datatype, [2], **{field: array.tolist()}))

    for given in (raw, typed):
        tensor, _ = to_tensor(given, spec)
        assert to_array(tensor).tolist() == array.tolist()
        assert to_array(tensor).dtype == dtype


def test_halves_come_raw_alone() -> None:
    spec = TensorSpec("x", np.dtype(np.float16), (2,))

    tensor, _ = to_tensor(only(request("FP16", [2], np.ones(2, np.float16).tobytes())), spec)

    assert to_array(tensor).tolist() == [1, 1]
    with pytest.raises(MalformedMessage, match="expected raw contents, got fp32_contents"):
        to_tensor(only(request("FP16", [2], fp32_contents=[1, 1])), spec)


@pytest.mark.parametrize(
    ("spec", "shape", "inner", "batched"),
    [
        (X, [2], [2], False),
        (X, [1, 2], [2], True),
        (X, [3], [3], False),  # wrong, and found where tensors are decoded
        (SCALAR, [], [], False),
        (SCALAR, [1], [], True),
        (SCALAR, [1, 1], [], True),
    ],
)
def test_a_batch_axis_of_one_is_taken_off(spec: TensorSpec, shape: list[int], inner: list[int], batched: bool) -> None:
    tensor, found = to_tensor(only(request("FP32", shape, b"")), spec)

    assert (list(tensor.shape), found) == (inner, batched)


def test_a_batch_of_several_rows_is_refused() -> None:
    with pytest.raises(InvalidField, match="a batch axis of length 1"):
        to_tensor(only(request("FP32", [2, 2], bytes(16))), X)


@pytest.mark.parametrize("datatype", ["UINT64", "BF16", "BYTES", "FLOAT", ""])
def test_a_type_that_no_model_has_is_a_mismatch_that_names_the_models(datatype: str) -> None:
    with pytest.raises(DtypeMismatch, match="expected dtype FP32"):
        to_tensor(only(request(datatype, [2])), X)


def test_raw_and_typed_elements_are_never_mixed() -> None:
    mixed = request("FP32", [2], bytes(8), fp32_contents=[1, 2])
    few = request("FP32", [2], bytes(8))
    few.inputs.add(name="y")

    with pytest.raises(MalformedMessage, match="got both"):
        read_inputs(mixed)
    with pytest.raises(MalformedMessage, match="one for each of 2, got 1"):
        read_inputs(few)
    with pytest.raises(MalformedMessage, match="expected fp32_contents, got int_contents"):
        to_tensor(only(request("FP32", [2], int_contents=[1, 2])), X)


def test_shared_memory_is_refused() -> None:
    made = request("FP32", [2])
    made.inputs[0].parameters["shared_memory_region"].string_param = "region"

    with pytest.raises(NotSupported):
        read_inputs(made)


def test_texts_come_raw_or_typed() -> None:
    raw = b"".join(struct.pack("<I", len(text)) + text for text in (b"one", b"", "zwölf".encode()))

    assert texts(only(request("BYTES", [3], raw))) == ["one", "", "zwölf"]
    assert texts(only(request("BYTES", [1, 2], bytes_contents=[b"one", b"two"]))) == ["one", "two"]


@pytest.mark.parametrize(
    ("made", "error"),
    [
        (request("FP32", [1], bytes(4)), DtypeMismatch),
        (request("BYTES", [2], struct.pack("<I", 1) + b"a"), ShapeMismatch),
        (request("BYTES", [-1], b""), ShapeMismatch),
        (request("BYTES", [1], struct.pack("<I", 9) + b"a"), MalformedMessage),
        (request("BYTES", [1], b"abc"), MalformedMessage),
        (request("BYTES", [1], struct.pack("<I", 1) + b"\xff"), MalformedMessage),
        (request("BYTES", [1 << 62, 1 << 62], b""), ShapeMismatch),
    ],
)
def test_texts_that_are_cut_or_are_none_are_refused(made: pb.ModelInferRequest, error: type[InvalidInput]) -> None:
    with pytest.raises(error):
        texts(only(made))


def test_answers_are_always_raw() -> None:
    response = pb.ModelInferResponse()
    add_output(response, "y", np.array([1, 2], np.float32), batched=True)
    add_output(response, "answer", "kitchen", batched=False)

    assert [(output.datatype, list(output.shape)) for output in response.outputs] == [("FP32", [1, 2]), ("BYTES", [1])]
    assert list(response.raw_output_contents) == [struct.pack("<2f", 1, 2), struct.pack("<I", 7) + b"kitchen"]
    assert not any(output.HasField("contents") for output in response.outputs)


def parameters(**values: object) -> dict[str, pb.InferParameter]:
    kinds = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}
    return {
        name: value if isinstance(value, pb.InferParameter) else pb.InferParameter(**{kinds[type(value)]: value})
        for name, value in values.items()
    }


def test_parameters_say_where_in_a_sequence_a_request_stands() -> None:
    named = read_parameters(parameters(sequence_id="a", sequence_start=True, sequence_end=False, timeout=1500, other=1))

    assert named == Parameters("a", start=True, timeout=0.0015)
    assert read_parameters(parameters(sequence_id=-5, expected_step=3)) == Parameters("-5", expected_step=3)
    assert read_parameters(parameters(sequence_id=0)) == read_parameters(parameters(sequence_id="")) == Parameters()
    assert read_parameters(parameters(triton_enable_empty_final_response=True)) == Parameters()


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"sequence_id": pb.InferParameter(uint64_param=1)}, InvalidField),
        ({"sequence_id": "x" * 129}, InvalidField),
        ({"sequence_start": 1}, InvalidField),
        ({"sequence_end": pb.InferParameter()}, InvalidField),
        ({"expected_step": 0}, InvalidField),
        ({"expected_step": "2"}, InvalidField),
        ({"timeout": -1}, InvalidField),
        ({"triton_something": True}, NotSupported),
    ],
)
def test_parameters_of_another_kind_are_refused(values: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        read_parameters(parameters(**values))
