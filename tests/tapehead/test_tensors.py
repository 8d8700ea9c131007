"""Arrays to the wire and back."""

from __future__ import annotations

import numpy as np
import pytest

from tapehead.errors import ProtocolViolation, TensorMismatch
from tapehead.signature import Signature, length
from tapehead.tensors import cast, dtype_name, to_array, to_message
from tapehead.v1 import tensor_pb2
from tapehead.v1.manifest_pb2 import Manifest

NAMES = ["float32", "float64", "float16", "int64", "int32", "int8", "uint8", "bool", "int16", "uint16", "uint32"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 4)])
def test_forth_and_back(name: str, shape: tuple[int, ...]):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(name)

    back = to_array(to_message("x", array))

    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)
    assert back.flags.writeable


def test_byte_order_and_layout_of_the_sender_do_not_matter():
    array = np.arange(6, dtype=">f8").reshape(2, 3).T

    np.testing.assert_array_equal(to_array(to_message("x", array)), array)


def test_lists_are_read_too():
    floats = tensor_pb2.Tensor(dtype=tensor_pb2.DATA_TYPE_FLOAT32, shape=[2], floats={"values": [0.5, 1.5]})
    flags = tensor_pb2.Tensor(dtype=tensor_pb2.DATA_TYPE_BOOL, shape=[1, 2], integers={"values": [0, 1]})

    np.testing.assert_array_equal(to_array(floats), np.array([0.5, 1.5], np.float32))
    np.testing.assert_array_equal(to_array(flags), [[False, True]])


@pytest.mark.parametrize(
    "message",
    [
        tensor_pb2.Tensor(name="y", dtype=tensor_pb2.DATA_TYPE_FLOAT32, shape=[2], raw=b"1234"),
        tensor_pb2.Tensor(name="y", dtype=tensor_pb2.DATA_TYPE_FLOAT32, shape=[1], raw=b"123"),
        tensor_pb2.Tensor(name="y", dtype=0, shape=[1], raw=b"1234"),
    ],
)
def test_a_tensor_that_cannot_be_read_is_a_violation(message: tensor_pb2.Tensor):
    with pytest.raises(ProtocolViolation):
        to_array(message)


def test_every_type_of_the_contract_is_known():
    numbers = set(tensor_pb2.DataType.values()) - {tensor_pb2.DATA_TYPE_UNSPECIFIED}

    assert {dtype_name(number) for number in numbers} == set(NAMES)


def test_casts_keep_the_kind_of_number():
    assert cast("x", [1, 2], "float32").dtype == np.float32
    assert cast("x", 3, "int64").shape == ()
    with pytest.raises(TensorMismatch, match="input 'x': expected numbers that fit int64"):
        cast("x", [0.5], "int64")
    with pytest.raises(TensorMismatch):
        cast("x", [[1, 2], [3]], "float32")


def test_a_type_that_the_wire_does_not_know_is_refused():
    with pytest.raises(TensorMismatch, match="got complex128"):
        to_message("x", np.zeros(1, complex))


def signature(*names: str) -> Signature:
    manifest = Manifest(model_id="m")
    entry = manifest.entries.add(name="step")
    for name in names:
        entry.inputs.add(name=name, dtype=tensor_pb2.DATA_TYPE_FLOAT32)
    return Signature.from_manifest(manifest)


def test_several_inputs_come_by_name():
    assert set(signature("a", "b").arrays({"a": [1], "b": [2]})) == {"a", "b"}
    with pytest.raises(TensorMismatch, match="takes several inputs: expected a dict with a, b"):
        signature("a", "b").arrays([1])
    with pytest.raises(TensorMismatch, match="takes the inputs a, b; got a"):
        signature("a", "b").arrays({"a": [1]})


def test_the_length_of_a_chunk_is_one():
    assert length({"a": np.zeros((3, 2)), "b": np.zeros(3)}) == 3
    with pytest.raises(TensorMismatch, match="a: 3, b: 2"):
        length({"a": np.zeros(3), "b": np.zeros(2)})
