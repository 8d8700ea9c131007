"""Between numpy arrays and the tensors of the wire."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tapehead.errors import ProtocolViolation, TensorMismatch
from tapehead.v1 import tensor_pb2

Array: TypeAlias = NDArray[Any]

_WIRE = {
    "float32": tensor_pb2.DATA_TYPE_FLOAT32,
    "float64": tensor_pb2.DATA_TYPE_FLOAT64,
    "float16": tensor_pb2.DATA_TYPE_FLOAT16,
    "int64": tensor_pb2.DATA_TYPE_INT64,
    "int32": tensor_pb2.DATA_TYPE_INT32,
    "int16": tensor_pb2.DATA_TYPE_INT16,
    "int8": tensor_pb2.DATA_TYPE_INT8,
    "uint32": tensor_pb2.DATA_TYPE_UINT32,
    "uint16": tensor_pb2.DATA_TYPE_UINT16,
    "uint8": tensor_pb2.DATA_TYPE_UINT8,
    "bool": tensor_pb2.DATA_TYPE_BOOL,
}
_NAMES = {number: name for name, number in _WIRE.items()}


def dtype_name(dtype: tensor_pb2.DataType) -> str:
    """numpy's name of an element type of the wire."""
    try:
        return _NAMES[dtype]
    except KeyError:
        raise ProtocolViolation(f"the server names an element type that this client does not know: {dtype}") from None


def cast(name: str, value: object, dtype: str) -> Array:
    """An array of the type that the model takes; raises TensorMismatch where that would lose a kind of number."""
    try:
        array = np.asarray(value)
        return np.ascontiguousarray(array.astype(dtype, casting="same_kind", copy=False)).reshape(array.shape)
    except (TypeError, ValueError) as error:
        raise TensorMismatch(f"input '{name}': expected numbers that fit {dtype}; {error}") from None


def to_message(name: str, array: Array) -> tensor_pb2.Tensor:
    """The tensor that carries an array, as little-endian bytes."""
    number, little_endian = _wire_type(array.dtype)
    if number is None:
        raise TensorMismatch(f"input '{name}': expected one of {', '.join(_WIRE)}, got {array.dtype.name}")
    raw = array.astype(little_endian, copy=False).tobytes()
    return tensor_pb2.Tensor(name=name, dtype=number, shape=array.shape, raw=raw)


def to_array(message: tensor_pb2.Tensor) -> Array:
    """The array that a tensor carries, in this machine's byte order, the caller's to change."""
    dtype = _memory_type(message.dtype)
    kind = message.WhichOneof("content")
    try:
        if kind == "floats":
            flat = np.array(message.floats.values, dtype)
        elif kind == "integers":
            flat = np.array(message.integers.values, dtype)
        else:
            # A copy, because arrays over bytes are read-only.
            flat = np.frombuffer(message.raw, dtype.newbyteorder("<")).astype(dtype)
        return flat.reshape(tuple(message.shape))
    except ValueError as error:
        raise ProtocolViolation(f"the server sent a tensor '{message.name}' that cannot be read: {error}") from None


def to_arrays(messages: Iterable[tensor_pb2.Tensor]) -> dict[str, Array]:
    """The arrays of several tensors by name, in their order."""
    return {message.name: to_array(message) for message in messages}


@cache
def _wire_type(dtype: np.dtype[Any]) -> tuple[tensor_pb2.DataType | None, np.dtype[Any]]:
    return _WIRE.get(dtype.name), dtype.newbyteorder("<")


@cache
def _memory_type(number: tensor_pb2.DataType) -> np.dtype[Any]:
    return np.dtype(dtype_name(number))
