"""Tensors between the wire and numpy: names, types, shapes, sizes and finiteness are checked here and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from tapehead.bundle import datatype_of
from tapehead.v1.tensor_pb2 import DataType, Tensor

from ..errors import DtypeMismatch, InvalidField, MalformedMessage, NonFiniteInput, ShapeMismatch
from ..hosting.model import EntrySpec, Model, TensorSpec
from ..sessions.constants import Constants, Given

Arrays = dict[str, np.ndarray]

# The wire is little-endian, and so is every machine that onnxruntime runs on: no byte is ever swapped.
_datatype_of = cache(datatype_of)

FEW = 1024  # elements


def decode_given(model: Model, constants: Sequence[Tensor], start_inputs: Sequence[Tensor]) -> Given:
    """Returns what a new session of `model` is given. Raises one of the InvalidInput errors, which names the tensor."""
    fixed = EntrySpec("constants", model.constants, (), reads_state=False, writes_state=False)
    nothing = EntrySpec("start", (), (), reads_state=False, writes_state=True)
    return Given(
        Constants.of(decode_inputs(fixed, constants, 0, "constants")),
        decode_inputs(model.entries.get("start", nothing), start_inputs, 0, "start_inputs"),
    )


def decode_some(specs: Sequence[TensorSpec], tensors: Sequence[Tensor], field: str) -> Arrays:
    """Returns those of the tensors that are there, by name. Raises one of the InvalidInput errors, which names one."""
    names = {tensor.name for tensor in tensors}
    there = tuple(spec for spec in specs if spec.name in names)
    return decode_inputs(EntrySpec(field, there, (), reads_state=False, writes_state=False), tensors, 0, field)


def decode_inputs(entry: EntrySpec, tensors: Sequence[Tensor], step_count: int, field: str = "inputs") -> Arrays:
    """Returns the inputs of `entry` by name, each of its own shape, behind an axis of `step_count` if that is not 0.

    Arrays of raw tensors are read-only views of the message's bytes. Raises one of the InvalidInput errors, which names
    the tensor.
    """
    if step_count < 0:
        raise InvalidField("step_count", "0, or the length of the leading axis", step_count)
    arrays: Arrays = {}
    for tensor in tensors:
        spec = _spec_of(tensor.name, entry, field)
        if tensor.name in arrays:
            raise InvalidField(field, "each tensor once", f"'{tensor.name}' twice")
        arrays[tensor.name] = _decode(tensor, spec, step_count)
    if len(arrays) != len(entry.inputs):
        missing = next(spec.name for spec in entry.inputs if spec.name not in arrays)
        raise InvalidField(field, f"a tensor named '{missing}'", _names(tensors) or "none")
    return arrays


def wanted_outputs(entry: EntrySpec, names: Sequence[str], default: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the names asked for, each once; `default` if there are none. Raises InvalidField for an unknown one."""
    if not names:
        return default
    known = {spec.name for spec in entry.outputs}
    for name in names:
        if name not in known:
            raise InvalidField("outputs", f"some of {', '.join(sorted(known))}", name)
    return tuple(dict.fromkeys(names))


def chosen(tensors: Arrays, names: Sequence[str]) -> Arrays:
    """Returns the tensors named, all if none is. Raises InvalidField for an unknown one."""
    for name in names:
        if name not in tensors:
            raise InvalidField("tensors", f"some of {', '.join(sorted(tensors))}", name)
    return {name: tensors[name] for name in names or tensors}


def wants_lists(tensors: Sequence[Tensor]) -> bool:
    """Tells whether the answer is wanted as lists of numbers: in the kind of the first tensor asked with."""
    return bool(tensors) and tensors[0].WhichOneof("content") in ("floats", "integers")


def encode_outputs(arrays: Mapping[str, np.ndarray], as_lists: bool, into: Sequence[Tensor]) -> None:
    """Appends the arrays to the repeated field `into`, as raw bytes or as lists of numbers."""
    for name, array in arrays.items():
        tensor: Tensor = into.add()  # type: ignore[attr-defined]  # a repeated field, which has no public class
        tensor.name = name
        tensor.dtype = _datatype_of(array.dtype)
        tensor.shape.extend(array.shape)
        if not as_lists:
            tensor.raw = array.tobytes()
        elif array.dtype.kind == "f":
            tensor.floats.SetInParent()  # the kind is told even where there is nothing to list
            tensor.floats.values.extend(array.ravel().tolist())
        else:
            tensor.integers.SetInParent()
            tensor.integers.values.extend(array.astype(np.int64).ravel().tolist())


def _spec_of(name: str, entry: EntrySpec, field: str) -> TensorSpec:
    for spec in entry.inputs:
        if spec.name == name:
            return spec
    known = ", ".join(spec.name for spec in entry.inputs)
    raise InvalidField(field, f"only {known}" if known else "none for this model", f"a tensor named '{name}'")


def _decode(tensor: Tensor, spec: TensorSpec, step_count: int) -> np.ndarray:
    if tensor.dtype != _datatype_of(spec.dtype):
        raise DtypeMismatch(spec.name, _datatype_name(_datatype_of(spec.dtype)), _datatype_name(tensor.dtype))
    shape = tuple(tensor.shape)
    expected = (step_count, *spec.shape) if step_count else spec.shape
    if shape != expected and not _fits(shape, expected):
        raise ShapeMismatch(spec.name, _text(expected), list(shape))
    elements = _elements(tensor, spec, math.prod(shape))
    array = elements if len(shape) == 1 else elements.reshape(shape)
    if spec.reject_non_finite and array.dtype.kind == "f" and not _are_finite(elements):
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise NonFiniteInput(spec.name, index, float(array[index]))
    if spec.words and (place := spec.strange_word(array)) is not None:
        field = f"tensor '{spec.name}' at index {list(place)}"
        raise InvalidField(field, f"the id of a word, 0 to {spec.words - 1}", int(array[place]))
    return array


def _are_finite(elements: np.ndarray) -> bool:
    """Tells whether all of a one-dimensional array is; of few, their length as a vector tells it faster, usually."""
    if elements.size <= FEW and math.isfinite(elements.dot(elements)):
        return True
    return bool(np.isfinite(elements).all())


def _datatype_name(datatype: DataType) -> str:
    """Returns the name of an element type; of one that this version of the contract does not know, its number."""
    try:
        return DataType.Name(datatype).removeprefix("DATA_TYPE_").lower()
    except ValueError:
        return f"number {datatype}"


def _fits(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Tells whether `shape` is `expected`, where -1 is any length."""
    return len(shape) == len(expected) and all(
        got == want or (want == -1 and got >= 0) for got, want in zip(shape, expected, strict=True)
    )


def _elements(tensor: Tensor, spec: TensorSpec, count: int) -> np.ndarray:
    """Returns the elements in one dimension, whichever of the three kinds holds them."""
    if raw := tensor.raw:  # the usual kind
        return _from_bytes(raw, spec, count)
    match tensor.WhichOneof("content"):
        case "raw":
            return _from_bytes(tensor.raw, spec, count)
        case "floats" if spec.dtype.kind == "f":
            return _from_floats(tensor.floats.values, spec, count)
        case "integers" if spec.dtype.kind != "f":
            return _from_integers(tensor.integers.values, spec, count)
        case None if count == 0:
            return np.empty(0, spec.dtype)
        case kind:
            expected = "raw or floats" if spec.dtype.kind == "f" else "raw or integers"
            raise MalformedMessage(
                f"tensor '{spec.name}': expected content of kind {expected} for {spec.dtype.name}, got {kind or 'none'}"
            )


def _from_bytes(raw: bytes, spec: TensorSpec, count: int) -> np.ndarray:
    size = count * spec.dtype.itemsize
    if len(raw) != size:
        raise ShapeMismatch(spec.name, f"of {count} {spec.dtype.name}, {size} bytes", f"{len(raw)} bytes")
    if spec.dtype.kind == "b" and raw.strip(b"\0\1"):
        raise InvalidField(f"inputs['{spec.name}']", "bytes of 0 or 1", "another byte")
    return np.frombuffer(raw, spec.dtype)


def _from_floats(values: Sequence[float], spec: TensorSpec, count: int) -> np.ndarray:
    _check_count(len(values), spec, count)
    with np.errstate(over="ignore"):  # a number too large for the type becomes an infinity, which is judged as one
        return np.array(values, np.float64).astype(spec.dtype)


def _from_integers(values: Sequence[int], spec: TensorSpec, count: int) -> np.ndarray:
    _check_count(len(values), spec, count)
    array = np.array(values, np.int64)
    low, high = _range_of(spec.dtype)
    if array.size and (array.min() < low or array.max() > high):
        raise InvalidField(f"inputs['{spec.name}']", f"integers from {low} to {high}", "one outside")
    return array.astype(spec.dtype)


def _range_of(dtype: np.dtype[np.generic]) -> tuple[int, int]:
    if dtype.kind == "b":
        return 0, 1
    limits = np.iinfo(dtype.name)
    return limits.min, limits.max


def _check_count(got: int, spec: TensorSpec, count: int) -> None:
    if got != count:
        raise ShapeMismatch(spec.name, f"of {count} elements", f"{got} elements")


def _text(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join("any" if length == -1 else str(length) for length in shape) + "]"


def _names(tensors: Sequence[Tensor]) -> str:
    return ", ".join(f"'{tensor.name}'" for tensor in tensors)
