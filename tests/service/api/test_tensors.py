"""The door: what may come in as a tensor, and in what form it goes out."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service.api.tensors import decode_given, decode_inputs, encode_outputs, wanted_outputs, wants_lists
from service.errors import (
    DtypeMismatch,
    InvalidField,
    InvalidInput,
    MalformedMessage,
    NonFiniteInput,
    ShapeMismatch,
)
from service.hosting.model import EntrySpec, TensorSpec
from service.hosting.repository import load_model
from tapehead.bundle import datatype_of
from tapehead.v1.session_service_pb2 import StepResult
from tapehead.v1.tensor_pb2 import DATA_TYPE_BOOL, DATA_TYPE_FLOAT32, FloatList, IntegerList, Tensor
from tests.quirks import write_counting

DTYPES = ["float32", "float64", "float16", "int32", "int64", "int8", "uint8", "bool", "int16", "uint16", "uint32"]


def entry(dtype: str = "float32", shape: tuple[int, ...] = (2,), *, reject: bool = True) -> EntrySpec:
    spec = TensorSpec("x", np.dtype(dtype), shape, reject_non_finite=reject)
    return EntrySpec("step", (spec,), (TensorSpec("y", np.dtype(dtype), shape),), True, True)


def raw(array: np.ndarray, name: str = "x", **changes: object) -> Tensor:
    tensor = Tensor(name=name, dtype=datatype_of(array.dtype), shape=array.shape, raw=array.tobytes())
    tensor.MergeFrom(Tensor(**changes))  # type: ignore[arg-type]
    return tensor


def decode(tensor: Tensor, spec: EntrySpec | None = None, step_count: int = 0) -> np.ndarray:
    return decode_inputs(spec or entry(), [tensor], step_count)["x"]


def arrays() -> st.SearchStrategy[np.ndarray]:
    shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    return st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(np.dtype(dtype), shapes))


@given(arrays(), st.booleans())
def test_what_goes_out_comes_in_bit_for_bit(array: np.ndarray, as_lists: bool) -> None:
    """Raw or as lists, for every type, every shape and every number."""
    result = StepResult()
    encode_outputs({"x": array}, as_lists, result.outputs)
    back = decode(result.outputs[0], entry(array.dtype.name, array.shape, reject=False))

    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back, array)
    assert wants_lists(result.outputs) == as_lists


def test_raw_bytes_are_not_copied_again() -> None:
    array = decode(raw(np.ones(2, np.float32)))

    assert array.base is not None
    assert not array.flags.writeable


def test_a_chunk_has_an_axis_of_its_steps() -> None:
    assert decode(raw(np.ones((3, 2), np.float32)), step_count=3).shape == (3, 2)


def test_an_axis_of_any_length_may_have_any() -> None:
    assert decode(raw(np.ones((5, 2), np.float32)), entry(shape=(-1, 2))).shape == (5, 2)


@pytest.mark.parametrize(
    ("tensor", "error"),
    [
        (raw(np.ones(3, np.float32)), ShapeMismatch),
        (raw(np.ones((1, 2), np.float32)), ShapeMismatch),
        (raw(np.ones((), np.float32)), ShapeMismatch),
        (raw(np.ones(2, np.float32), shape=[1]), ShapeMismatch),
        (Tensor(name="x", dtype=DATA_TYPE_FLOAT32, shape=[2], raw=b"1234567"), ShapeMismatch),
        (Tensor(name="x", dtype=DATA_TYPE_FLOAT32, shape=[2], floats=FloatList(values=[1.0])), ShapeMismatch),
        (Tensor(name="x", dtype=DATA_TYPE_FLOAT32, shape=[-1]), ShapeMismatch),
        (Tensor(name="x", dtype=DATA_TYPE_FLOAT32, shape=[2**62, 2**62], raw=b""), ShapeMismatch),
        (raw(np.ones(2, np.float64)), DtypeMismatch),
        (Tensor(name="x", shape=[2], raw=bytes(8)), DtypeMismatch),
        (Tensor(name="x", dtype=77, shape=[2], raw=bytes(8)), DtypeMismatch),  # type: ignore[arg-type]
        (Tensor(name="x", dtype=DATA_TYPE_FLOAT32, shape=[2]), MalformedMessage),
        (Tensor(name="x", dtype=DATA_TYPE_FLOAT32, shape=[2], integers=IntegerList(values=[1, 2])), MalformedMessage),
        (raw(np.array([1, np.nan], np.float32)), NonFiniteInput),
        (raw(np.array([np.inf, 1], np.float32)), NonFiniteInput),
        (Tensor(name="x", dtype=DATA_TYPE_FLOAT32, shape=[2], floats=FloatList(values=[1e300, 0])), NonFiniteInput),
        (raw(np.ones(2, np.float32), name="z"), InvalidField),
    ],
)
def test_what_does_not_fit_is_refused(tensor: Tensor, error: type[InvalidInput]) -> None:
    with pytest.raises(error):
        decode(tensor)


def test_an_error_names_tensor_place_and_value() -> None:
    with pytest.raises(NonFiniteInput) as caught:
        decode(raw(np.array([[0, 1], [2, -np.inf]], np.float32)), step_count=2)

    assert caught.value.facts == {"tensor": "x", "index": "[1, 1]", "got": "-inf"}


def test_an_expected_shape_is_told_with_its_chunk_axis() -> None:
    with pytest.raises(ShapeMismatch) as caught:
        decode(raw(np.ones((3, 3), np.float32)), entry(shape=(-1,)), step_count=2)

    assert caught.value.facts == {"tensor": "x", "expected": "[2, any]", "got": "[3, 3]"}


def test_a_model_may_allow_what_is_not_finite() -> None:
    assert math.isnan(decode(raw(np.array([1, np.nan], np.float32)), entry(reject=False))[1])


@pytest.mark.parametrize("content", [{"raw": b"\0\2"}, {"integers": IntegerList(values=[0, 2])}])
def test_a_boolean_is_zero_or_one(content: dict[str, object]) -> None:
    with pytest.raises(InvalidField):
        decode(Tensor(name="x", dtype=DATA_TYPE_BOOL, shape=[2], **content), entry("bool"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("int8", 128), ("uint8", -1), ("int16", 2**15), ("uint16", -1), ("int32", 2**31), ("uint32", 2**32)],
)
def test_an_integer_that_its_type_cannot_hold_is_refused(dtype: str, value: int) -> None:
    tensor = Tensor(name="x", dtype=datatype_of(np.dtype(dtype)), shape=[1], integers=IntegerList(values=[value]))
    with pytest.raises(InvalidField):
        decode(tensor, entry(dtype, (1,)))


@pytest.mark.parametrize("dtype", ["int64", "int32", "int16", "int8", "uint8"])
def test_only_ids_of_words_come_in_where_words_are_taken(dtype: str) -> None:
    """A graph may take -1 for the last word, and answer as if nothing were wrong."""
    spec = EntrySpec("step", (TensorSpec("x", np.dtype(dtype), (-1,), words=51),), (), True, True)
    for good in ([0, 50, 7], []):
        np.testing.assert_array_equal(decode(raw(np.array(good, dtype)), spec), good)

    for bad in (51, 127) if dtype == "uint8" else (-1, -51, -128, 51, 127):
        for tensor in (
            raw(np.array([3, bad, 4], dtype)),
            Tensor(name="x", dtype=datatype_of(np.dtype(dtype)), shape=[3], integers=IntegerList(values=[3, bad, 4])),
        ):
            with pytest.raises(InvalidField, match=rf"'x' at index \[1\]: expected .* 0 to 50, got {bad}$"):
                decode(tensor, spec)
    with pytest.raises(InvalidField, match=r"index \[1, 0\]"):
        decode(raw(np.array([[1], [60], [70]], dtype)), spec, step_count=3)


def test_the_words_of_a_bundle_bound_what_a_session_begins_with(tmp_path: Path) -> None:
    model = load_model(write_counting(tmp_path))

    assert decode_given(model, [], [raw(np.array(3), name="first")]).start_inputs["first"] == 3
    for bad in (-1, 4):
        with pytest.raises(InvalidField, match=f"'first'.*0 to 3, got {bad}$"):
            decode_given(model, [], [raw(np.array(bad), name="first")])


@pytest.mark.parametrize("tensors", [[], [raw(np.ones(2, np.float32))] * 2], ids=["missing", "twice"])
def test_every_input_comes_once(tensors: list[Tensor]) -> None:
    with pytest.raises(InvalidField):
        decode_inputs(entry(), tensors, 0)


def test_outputs_are_wanted_by_name_each_once() -> None:
    spec = entry()

    assert wanted_outputs(spec, [], ("y",)) == ("y",)
    assert wanted_outputs(spec, ["y", "y"], ()) == ("y",)
    with pytest.raises(InvalidField):
        wanted_outputs(spec, ["nonsense"], ("y",))
