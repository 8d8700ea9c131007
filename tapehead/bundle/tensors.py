"""Tensors of the manifest as numpy arrays, and back."""

from __future__ import annotations

import math

import numpy as np

from tapehead.bundle.errors import BundleError
from tapehead.v1.tensor_pb2 import DataType, Tensor

_DTYPES: dict[DataType, np.dtype[np.generic]] = {
    DataType.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    DataType.DATA_TYPE_FLOAT64: np.dtype("<f8"),
    DataType.DATA_TYPE_INT32: np.dtype("<i4"),
    DataType.DATA_TYPE_INT64: np.dtype("<i8"),
    DataType.DATA_TYPE_BOOL: np.dtype(np.bool_),
    DataType.DATA_TYPE_FLOAT16: np.dtype("<f2"),
    DataType.DATA_TYPE_UINT8: np.dtype(np.uint8),
    DataType.DATA_TYPE_INT8: np.dtype(np.int8),
    DataType.DATA_TYPE_INT16: np.dtype("<i2"),
    DataType.DATA_TYPE_UINT16: np.dtype("<u2"),
    DataType.DATA_TYPE_UINT32: np.dtype("<u4"),
}
_DATATYPES = {dtype: datatype for datatype, dtype in _DTYPES.items()}


def dtype_of(datatype: DataType) -> np.dtype[np.generic]:
    """Returns the numpy type of a manifest's type."""
    try:
        return _DTYPES[datatype]
    except KeyError:
        raise BundleError(f"data type {datatype}: expected one of {_names()}") from None


def datatype_of(dtype: np.dtype[np.generic]) -> DataType:
    """Returns the manifest's type of a numpy type."""
    try:
        return _DATATYPES[np.dtype(dtype).newbyteorder("<")]
    except KeyError:
        raise BundleError(f"numpy type {dtype}: expected one of {_names()}") from None


def to_tensor(name: str, array: np.ndarray) -> Tensor:
    """Returns the message that holds `array` as raw bytes."""
    datatype = datatype_of(array.dtype)
    little = np.ascontiguousarray(array, dtype=dtype_of(datatype))
    return Tensor(name=name, dtype=datatype, shape=array.shape, raw=little.tobytes())


def to_array(tensor: Tensor) -> np.ndarray:
    """Returns the message's elements, whichever of the three kinds holds them; raises BundleError."""
    dtype, shape = dtype_of(tensor.dtype), tuple(tensor.shape)
    count = math.prod(shape)
    if any(length < 0 for length in shape):
        raise BundleError(f"tensor {tensor.name!r}: expected lengths of 0 or more, got shape {list(shape)}")
    match tensor.WhichOneof("content"):
        case "floats":
            flat = np.array(tensor.floats.values, dtype=dtype)
        case "integers":
            flat = _from_integers(tensor, dtype)
        case _:  # raw, or nothing: an empty tensor
            if len(tensor.raw) != count * dtype.itemsize:
                raise BundleError(
                    f"tensor {tensor.name!r}: expected {count * dtype.itemsize} bytes for shape {list(shape)}, "
                    f"got {len(tensor.raw)}"
                )
            flat = np.frombuffer(tensor.raw, dtype=dtype)
    if flat.size != count:
        raise BundleError(f"tensor {tensor.name!r}: expected {count} elements for shape {list(shape)}, got {flat.size}")
    return flat.reshape(shape)


def _from_integers(tensor: Tensor, dtype: np.dtype[np.generic]) -> np.ndarray:
    wide = np.array(tensor.integers.values, dtype=np.int64)
    narrow = wide.astype(dtype)
    if not np.array_equal(narrow.astype(np.int64), wide):
        raise BundleError(f"tensor {tensor.name!r}: an element does not fit into {dtype}")
    return narrow


def _names() -> str:
    return ", ".join(str(dtype) for dtype in _DTYPES.values())
