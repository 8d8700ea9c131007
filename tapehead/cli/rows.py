"""Where the rows of `tapehead stream` come from, one a step."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from tapehead.tensors import Array

COPY_BITS = 8


def copy_sequence(length: int, seed: int) -> Array:
    """The copy task as the shipped model was trained on it: float32 [2 length + 1, 9].

    `length` rows of random bits in channels 0 to 7, one row with the delimiter alone in channel 8, and `length` rows of
    zeros, during which the model has to give the bits back in order.
    """
    bits = np.random.default_rng(seed).integers(0, 2, (length, COPY_BITS))
    rows = np.zeros((2 * length + 1, COPY_BITS + 1), np.float32)
    rows[:length, :COPY_BITS] = bits
    rows[length, COPY_BITS] = 1
    return rows


def from_source(source: str) -> Iterable[Array]:
    """The rows of an .npy file, or of comma-separated lines in any other file or, for "-", on the standard input."""
    if source.endswith(".npy"):
        return _from_npy(Path(source))
    return _from_lines(source)


def _from_npy(path: Path) -> Array:
    array: Array = np.load(path, allow_pickle=False)
    if array.ndim == 0:
        raise ValueError(f"{path}: expected an array with one row a step, got a single number")
    return array


def _from_lines(source: str) -> Iterator[Array]:
    """Yields each row as soon as its line is there."""
    name = "standard input" if source == "-" else source
    with sys.stdin if source == "-" else open(source, newline="", encoding="utf-8") as file:
        width = None
        for number, fields in enumerate(csv.reader(iter(file.readline, "")), start=1):
            if not fields or fields[0].lstrip().startswith("#"):
                continue
            row = _row(fields, f"{name}, line {number}")
            if width is not None and row.size != width:
                raise ValueError(
                    f"{name}, line {number}: expected {width} numbers as in the lines above, got {row.size}"
                )
            width = row.size
            yield row


def _row(fields: list[str], where: str) -> Array:
    for position, field in enumerate(fields, start=1):
        try:
            float(field)
        except ValueError:
            raise ValueError(f"{where}, column {position}: expected a number, got '{field.strip()}'") from None
    return np.array([float(field) for field in fields])
