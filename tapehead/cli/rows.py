"""Where the rows of `tapehead stream` come from, one a step."""

from __future__ import annotations

import csv
from collections.abc import Generator, Iterable, Iterator, Mapping
from itertools import chain, zip_longest
from pathlib import Path
from typing import BinaryIO, TextIO

import numpy as np

from tapehead.cli.files import checked_lines, open_source
from tapehead.results import ModelInfo
from tapehead.signature import Signature
from tapehead.tensors import Array
from tapehead.v1.manifest_pb2 import Manifest

NPY_BEGINS, ZIP_BEGINS = b"\x93NUMPY", b"PK"


def from_source(source: str) -> Iterable[Array]:
    """The rows of an .npy file, or of comma-separated lines in any other file or, for "-", on the standard input.

    Raises ValueError, or OSError, for a file that cannot be used; of one that is not a regular file, and of the
    standard input, each row is looked at when its line comes.
    """
    if source.endswith(".npy"):
        return _from_npy(Path(source))
    if source == "-" or not Path(source).is_file():
        return _rows(*open_source(source))
    for _ in _rows(*open_source(source)):  # once more than is streamed, so that nothing begins that cannot end
        pass
    return _later(source)


def _later(source: str) -> Iterator[Array]:
    """Opens the file with its first row."""
    yield from _rows(*open_source(source))


def fitting(rows: Iterable[Array], name: str, model: ModelInfo) -> Iterable[Array]:
    """The same rows, the first of which has come and fits what a step of the model takes.

    Raises ValueError for one that does not, NotSupported for a model without steps.
    """
    manifest = model.manifest
    if manifest is None:
        return rows
    signature = Signature.from_manifest(manifest)
    remaining = iter(rows)
    first = next(remaining, None)
    if first is None:
        return rows
    try:
        _require_fit(signature.arrays(first), name, manifest)
    except BaseException:
        if isinstance(remaining, Generator):
            remaining.close()
        raise
    return rows if isinstance(rows, np.ndarray) else chain([first], remaining)


def _require_fit(arrays: Mapping[str, Array], name: str, manifest: Manifest) -> None:
    [step] = [entry for entry in manifest.entries if entry.name == "step"]
    for tensor in step.inputs:
        got = arrays[tensor.name].shape
        want = [has if length == -1 else length for length, has in zip_longest(tensor.shape, got)]
        if want != list(got):
            expected = f"rows of shape {list(tensor.shape)} for the input '{tensor.name}' of '{manifest.model_id}'"
            raise ValueError(f"{name}: expected {expected}, got {list(got)}")


def _from_npy(path: Path) -> Array:
    with path.open("rb") as file:
        begin = file.read(len(NPY_BEGINS))
        file.seek(0)
        if begin == NPY_BEGINS:
            array, got = _array(file)
        else:
            array, got = None, _other_kind(begin)
    if array is not None:
        if array.dtype.kind in "biuf" and array.ndim:
            return array
        got = "a single number" if array.dtype.kind in "biuf" else f"elements of the type {array.dtype}"
    raise ValueError(f"{path}: expected an array of numbers with one row a step (.npy), got {got}")


def _other_kind(begin: bytes) -> str:
    if begin.startswith(ZIP_BEGINS):
        return "an archive of arrays (.npz)"
    return "something else" if begin else "an empty file"


def _array(file: BinaryIO) -> tuple[Array | None, str]:
    """The array, or what is there instead."""
    try:
        return np.lib.format.read_array(file, allow_pickle=False), ""
    except (ValueError, EOFError, MemoryError) as error:
        return None, "an array of Python objects" if "Object arrays" in str(error) else "a damaged file"


def _rows(file: TextIO, name: str) -> Iterator[Array]:
    """Yields each row as soon as its line is there."""
    width = None
    with file:
        lines = csv.reader(checked_lines(file, name))
        while (fields := _next(lines, name)) is not None:
            if not fields or fields[0].lstrip().startswith("#"):
                continue
            where = f"{name}, line {lines.line_num}"
            row = _row(fields, where)
            if width is not None and row.size != width:
                raise ValueError(f"{where}: expected {width} numbers, as above, got {row.size}")
            width = row.size
            yield row


def _next(lines: Iterator[list[str]], name: str) -> list[str] | None:
    try:
        return next(lines, None)
    except csv.Error as error:
        raise ValueError(f"{name}: expected comma-separated numbers, got what cannot be split: {error}") from None


def _row(fields: list[str], where: str) -> Array:
    for position, field in enumerate(fields, start=1):
        try:
            float(field)
        except ValueError:
            raise ValueError(f"{where}, column {position}: expected a number, got '{field.strip()}'") from None
    return np.array([float(field) for field in fields])
