"""Where the rows of `tapehead stream` come from, one a step."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

import numpy as np

from tapehead.tensors import Array


def from_source(source: str) -> Iterable[Array]:
    """The rows of an .npy file, or of comma-separated lines in any other file or, for "-", on the standard input."""
    if source.endswith(".npy"):
        return _from_npy(Path(source))
    if source == "-":
        return _rows(sys.stdin, "standard input")
    return _rows(open(source, newline="", encoding="utf-8"), source)  # closed with its last row


def _from_npy(path: Path) -> Array:
    array: Array = np.load(path, allow_pickle=False)
    if array.ndim == 0:
        raise ValueError(f"{path}: expected an array with one row a step, got a single number")
    return array


def _rows(file: TextIO, name: str) -> Iterator[Array]:
    """Yields each row as soon as its line is there."""
    with file:
        width = None
        for number, fields in enumerate(csv.reader(iter(file.readline, "")), start=1):
            if not fields or fields[0].lstrip().startswith("#"):
                continue
            row = _row(fields, f"{name}, line {number}")
            if width is not None and row.size != width:
                raise ValueError(f"{name}, line {number}: expected {width} numbers, as above, got {row.size}")
            width = row.size
            yield row


def _row(fields: list[str], where: str) -> Array:
    for position, field in enumerate(fields, start=1):
        try:
            float(field)
        except ValueError:
            raise ValueError(f"{where}, column {position}: expected a number, got '{field.strip()}'") from None
    return np.array([float(field) for field in fields])
