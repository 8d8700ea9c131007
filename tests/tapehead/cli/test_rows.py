"""Where rows come from."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from tapehead.cli.rows import fitting, from_source
from tapehead.errors import NotSupported
from tapehead.results import ModelInfo
from tapehead.v1.manifest_pb2 import Manifest
from tapehead.v1.model_service_pb2 import Model
from tapehead.v1.tensor_pb2 import DATA_TYPE_FLOAT32


def test_a_file_of_lines(tmp_path: Path):
    file = tmp_path / "rows.csv"
    file.write_text("# a comment\n1, 2.5\n\n-3,4e-1\n")

    np.testing.assert_array_equal(list(from_source(str(file))), [[1, 2.5], [-3, 0.4]])


def npy(array: object) -> bytes:
    file = BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def npz() -> bytes:
    file = BytesIO()
    np.savez(file, a=np.zeros(3), b=np.ones(3))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (npy(np.array([{"a": 1}], dtype=object)), "an array of Python objects"),
        (npy(np.array(["a", "b"])), "elements of the type <U1"),
        (npy(np.float32(1)), "a single number"),
        (npy(np.zeros((3, 2)))[:-5], "a damaged file"),
        (npy(np.zeros((3, 2)))[:40], "a damaged file"),
        (b"\x93NUMPY", "a damaged file"),
        (npz(), "an archive of arrays (.npz)"),
        (b"1,2\n", "something else"),
        (b"", "an empty file"),
    ],
)
def test_what_is_no_array_of_rows_is_named(tmp_path: Path, content: bytes, got: str):
    file = tmp_path / "rows.npy"
    file.write_bytes(content)

    with pytest.raises(ValueError, match=r"^.+$") as caught:
        from_source(str(file))
    assert str(caught.value) == f"{file}: expected an array of numbers with one row a step (.npy), got {got}"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"1,2\n\xff,2\n", "line 2: expected text in UTF-8, got the byte 0xff"),
        (b"1,2\n3,4\n5\n", "line 3: expected 2 numbers, as above, got 1"),
        (b"1," + b"2" * 200_000, "expected comma-separated numbers, got what cannot be split"),
    ],
)
def test_a_file_is_looked_at_whole_before_anything_is_streamed(tmp_path: Path, content: bytes, said: str):
    file = tmp_path / "rows.csv"
    file.write_bytes(content)

    with pytest.raises(ValueError, match=r"^.+$") as caught:
        from_source(str(file))
    assert str(caught.value).startswith(str(file))
    assert said in str(caught.value)


@pytest.mark.parametrize("shape", [[2], [-1]])
def test_rows_that_fit_the_model_are_all_there(shape: list[int]):
    rows = fitting(iter([np.array([1, 2]), np.array([3, 4])]), "rows.csv", model(shape))

    np.testing.assert_array_equal(list(rows), [[1, 2], [3, 4]])


@pytest.mark.parametrize("shape", [[3], [1, 2], [-1, -1], []])
def test_rows_that_do_not_fit_the_model_are_named(shape: list[int]):
    rows = iter([np.array([1, 2])])

    with pytest.raises(ValueError, match=r"^.+$") as caught:
        fitting(rows, "rows.csv", model(shape))
    assert str(caught.value) == f"rows.csv: expected rows of shape {shape} for the input 'x' of 'm', got [2]"


def test_a_model_without_steps_takes_no_rows():
    info = replace(model([2]), manifest=Manifest(model_id="qa"))

    with pytest.raises(NotSupported):
        fitting(iter([np.array([1, 2])]), "rows.csv", info)


def model(shape: list[int]) -> ModelInfo:
    manifest = Manifest(model_id="m", version=1)
    manifest.entries.add(name="step").inputs.add(name="x", dtype=DATA_TYPE_FLOAT32, shape=shape)
    return ModelInfo.from_message(Model(model_id="m", version=1), manifest)


def test_a_missing_file_is_noticed_before_anything_is_streamed():
    with pytest.raises(FileNotFoundError):
        from_source("/nowhere/rows.csv")
