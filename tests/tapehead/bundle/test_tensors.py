"""Tensors of a manifest become arrays, and back."""

import numpy as np
import pytest

from tapehead.bundle import BundleError, datatype_of, dtype_of, to_array, to_tensor
from tapehead.v1.tensor_pb2 import DataType, FloatList, IntegerList, Tensor

DTYPES = ["float32", "float64", "int32", "int64", "bool", "float16", "uint8", "int8", "int16", "uint16", "uint32"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_array_round_trips_bit_for_bit(dtype: str):
    array = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype)

    again = to_array(to_tensor("x", array))

    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again, array)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_has_one_name(dtype: str):
    assert dtype_of(datatype_of(np.dtype(dtype))) == np.dtype(dtype)


def test_big_endian_and_strided_arrays_are_written_little_endian_and_row_major():
    array = np.arange(6, dtype=">f4").reshape(2, 3).T

    np.testing.assert_array_equal(to_array(to_tensor("x", array)), array)


def test_lists_are_read_too():
    """People write probes by hand."""
    floats = Tensor(name="x", dtype=DataType.DATA_TYPE_FLOAT32, shape=[2], floats=FloatList(values=[0.5, 1]))
    integers = Tensor(name="n", dtype=DataType.DATA_TYPE_INT64, shape=[], integers=IntegerList(values=[7]))

    assert to_array(floats).tolist() == [0.5, 1]
    assert to_array(integers).tolist() == 7


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor(name="x", dtype=DataType.DATA_TYPE_FLOAT32, shape=[2], raw=b"1234"),
        Tensor(name="x", dtype=DataType.DATA_TYPE_FLOAT32, shape=[-1], raw=b"1234"),
        Tensor(name="x", dtype=DataType.DATA_TYPE_FLOAT32, shape=[3], floats=FloatList(values=[1])),
        Tensor(name="x", dtype=DataType.DATA_TYPE_INT8, shape=[1], integers=IntegerList(values=[300])),
        Tensor(name="x", dtype=DataType.DATA_TYPE_FLOAT32, shape=[1]),
    ],
    ids=["bytes", "length", "list", "range", "nothing"],
)
def test_content_that_does_not_fit_is_refused_by_name(tensor: Tensor):
    with pytest.raises(BundleError, match="tensor 'x'"):
        to_array(tensor)


def test_types_without_a_name_are_refused():
    with pytest.raises(BundleError, match="complex128"):
        datatype_of(np.dtype(complex))
    with pytest.raises(BundleError, match="expected one of"):
        dtype_of(DataType.DATA_TYPE_UNSPECIFIED)
