"""Finds the rows of a batch that hold NaN or infinities where the model's manifest does not allow them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..hosting.model import TensorSpec


def non_finite_rows(tensors: Iterable[TensorSpec], batch: Mapping[str, np.ndarray[Any, Any]]) -> dict[int, str]:
    """Maps each bad row to the first tensor that is bad in it."""
    bad: dict[int, str] = {}
    # One sum settles the usual case; a sum that overflows by itself only costs the closer look.
    with np.errstate(over="ignore", invalid="ignore"):
        for tensor in tensors:
            array = batch.get(tensor.name)
            if array is None or not tensor.reject_non_finite or array.dtype.kind != "f":
                continue
            if math.isfinite(np.add.reduce(array, axis=None)):
                continue
            rows = np.isfinite(array.reshape(len(array), -1)).all(axis=1)
            for row in np.flatnonzero(~rows).tolist():
                bad.setdefault(row, tensor.name)
    return bad
