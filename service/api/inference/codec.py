"""Tensors of the Open Inference Protocol, into those of our own contract and out of arrays.

Types, shapes, sizes and finiteness are judged where our own are. Here is decided where the elements of a tensor lie,
and whether its shape has a batch axis in front, which is always of length 1: a request is one step of one sequence.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tapehead.v1.tensor_pb2 import DataType, FloatList, IntegerList, Tensor

from ...errors import DtypeMismatch, InvalidField, MalformedMessage, NotSupported, ShapeMismatch
from ...hosting.model import TensorSpec
from .messages import pb

DATATYPES = {
    "FP32": DataType.DATA_TYPE_FLOAT32,
    "FP64": DataType.DATA_TYPE_FLOAT64,
    "FP16": DataType.DATA_TYPE_FLOAT16,
    "INT64": DataType.DATA_TYPE_INT64,
    "INT32": DataType.DATA_TYPE_INT32,
    "INT16": DataType.DATA_TYPE_INT16,
    "INT8": DataType.DATA_TYPE_INT8,
    "UINT32": DataType.DATA_TYPE_UINT32,
    "UINT16": DataType.DATA_TYPE_UINT16,
    "UINT8": DataType.DATA_TYPE_UINT8,
    "BOOL": DataType.DATA_TYPE_BOOL,
}
_NAMES = {
    "float32": "FP32",
    "float64": "FP64",
    "float16": "FP16",
    "int64": "INT64",
    "int32": "INT32",
    "int16": "INT16",
    "int8": "INT8",
    "uint32": "UINT32",
    "uint16": "UINT16",
    "uint8": "UINT8",
    "bool": "BOOL",
}
_TYPED = {  # where typed elements lie; FP16 comes raw alone
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "INT64": "int64_contents",
    "INT32": "int_contents",
    "INT16": "int_contents",
    "INT8": "int_contents",
    "UINT32": "uint_contents",
    "UINT16": "uint_contents",
    "UINT8": "uint_contents",
    "BOOL": "bool_contents",
}
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Input:
    """An input as it came: its elements raw, or typed in `contents`."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: bytes | None
    contents: pb.InferTensorContents


def datatype_name(dtype: np.dtype[np.generic]) -> str:
    """What the protocol calls a type of elements."""
    return _NAMES[dtype.name]


def read_inputs(request: pb.ModelInferRequest) -> list[Input]:
    """Returns the inputs with their elements. Raises MalformedMessage where raw and typed are mixed."""
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise MalformedMessage(f"raw_input_contents: expected one for each of {len(request.inputs)}, got {len(raw)}")
    found = []
    for index, tensor in enumerate(request.inputs):
        if "shared_memory_region" in tensor.parameters:
            raise NotSupported("tensors in shared memory are not supported: send them in the request")
        if raw and tensor.HasField("contents"):
            raise MalformedMessage(f"tensor '{tensor.name}': expected raw_input_contents or contents, got both")
        place = raw[index] if raw else None
        found.append(Input(tensor.name, tensor.datatype, tuple(tensor.shape), place, tensor.contents))
    return found


def asked_outputs(request: pb.ModelInferRequest) -> list[str]:
    """The names of the outputs asked for; none is for those that are given unasked."""
    for output in request.outputs:
        for name in ("shared_memory_region", "classification"):
            if name in output.parameters:
                raise NotSupported(f"output '{output.name}': the parameter '{name}' is not supported")
    return [output.name for output in request.outputs]


def to_tensor(given: Input, spec: TensorSpec | None) -> tuple[Tensor, bool]:
    """Returns an input as a tensor of our own contract, and whether it came with a batch axis.

    What is wrong with the tensor itself is found where it is decoded; `spec` is None for one that the model lacks.
    """
    if given.datatype not in DATATYPES:
        expected = datatype_name(spec.dtype) if spec else ", ".join(DATATYPES)
        raise DtypeMismatch(given.name, expected, given.datatype or "none")
    shape, batched = given.shape, False
    if spec is not None:
        shape, batched = _without_batch(given, spec)
    tensor = Tensor(name=given.name, dtype=DATATYPES[given.datatype], shape=shape)
    if given.raw is not None:
        tensor.raw = given.raw
        return tensor, batched
    values = _typed(given)
    if given.datatype.startswith("FP"):
        tensor.floats.CopyFrom(FloatList(values=values))
    else:
        tensor.integers.CopyFrom(IntegerList(values=[int(value) for value in values]))
    return tensor, batched


def texts(given: Input) -> list[str]:
    """Returns the elements of a BYTES tensor as text. Raises DtypeMismatch, MalformedMessage, ShapeMismatch."""
    if given.datatype != "BYTES":
        raise DtypeMismatch(given.name, "BYTES", given.datatype or "none")
    elements = list(given.contents.bytes_contents) if given.raw is None else list(_strings(given.name, given.raw))
    count = int(np.prod(given.shape, dtype=object))
    if count != len(elements):
        raise ShapeMismatch(given.name, f"of {count} elements", f"{len(elements)} elements")
    try:
        return [element.decode() for element in elements]
    except UnicodeDecodeError:
        raise MalformedMessage(f"tensor '{given.name}': expected text in UTF-8, got other bytes") from None


def add_output(response: pb.ModelInferResponse, name: str, array: np.ndarray | str, *, batched: bool) -> None:
    """Appends an output, always raw; a text becomes BYTES of one element."""
    if isinstance(array, str):
        data = array.encode()
        datatype, shape, raw = "BYTES", (1,), _LENGTH.pack(len(data)) + data
    else:
        datatype, shape, raw = datatype_name(array.dtype), array.shape, array.tobytes()
    response.outputs.add(name=name, datatype=datatype, shape=(1, *shape) if batched else shape)
    response.raw_output_contents.append(raw)


def _without_batch(given: Input, spec: TensorSpec) -> tuple[tuple[int, ...], bool]:
    """A shape of one axis more than the model's has a batch axis; of a single number, any shape of ones will do."""
    shape, axes = given.shape, len(spec.shape)
    if axes == 0 and shape and set(shape) == {1}:
        return (), True
    if len(shape) != axes + 1:
        return shape, False
    if shape[0] != 1:
        raise InvalidField(
            f"inputs['{given.name}']", "a batch axis of length 1: a request is one step of one sequence", list(shape)
        )
    return shape[1:], True


def _typed(given: Input) -> Sequence[float]:
    """The elements of a tensor that is not raw, from the field of its type."""
    used = [field.name for field, _ in given.contents.ListFields()]
    expected = _TYPED.get(given.datatype)
    if used and used != [expected]:
        raise MalformedMessage(f"tensor '{given.name}': expected {expected or 'raw contents'}, got {', '.join(used)}")
    return getattr(given.contents, expected) if expected else []


def _strings(name: str, raw: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(raw):
        end = at + _LENGTH.size
        size = _LENGTH.unpack_from(raw, at)[0] if end <= len(raw) else len(raw)
        if end + size > len(raw):
            raise MalformedMessage(f"tensor '{name}': expected a length of 4 bytes before each text, got a cut one")
        yield raw[end : end + size]
        at = end + size
