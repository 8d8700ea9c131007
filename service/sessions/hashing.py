"""The canonical form of a step's input, by which a repeat is told from another step under the same number.

The layout is part of the contract (docs/clients.md): the client computes the same hash, so neither side may change it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import numpy as np

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


def step_hash(step_count: int, inputs: Mapping[str, np.ndarray], outputs: Iterable[str]) -> bytes:
    """SHA-256 over names in order, element types, shapes and little-endian bytes, and the outputs asked for.

    `step_count` is 0 for a single step; then the arrays come without a time axis, as they were sent.
    """
    digest = hashlib.sha256(b"tapehead.step.v1\0" + _U32.pack(step_count))
    for name in sorted(inputs):
        array = inputs[name]
        raw = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        shape = struct.pack(f"<I{array.ndim}q", array.ndim, *array.shape)
        digest.update(_text(name) + _type(array.dtype) + shape + _U64.pack(len(raw)))
        digest.update(raw)
    wanted = sorted(set(outputs))
    digest.update(_U32.pack(len(wanted)) + b"".join(map(_text, wanted)))
    return digest.digest()


def tell_hash(sentences: Sequence[str]) -> bytes:
    """SHA-256 over the sentences as they were sent."""
    parts = [b"tapehead.tell.v1\0", _U32.pack(len(sentences)), *map(_text, sentences)]
    return hashlib.sha256(b"".join(parts)).digest()


def rewind_hash(to_step: int) -> bytes:
    """SHA-256 over the step to go back to."""
    return hashlib.sha256(b"tapehead.rewind.v1\0" + struct.pack("<q", to_step)).digest()


@cache
def _type(dtype: np.dtype[np.generic]) -> bytes:
    return _text(dtype.name)  # numpy puts the name together anew each time, which costs more than the digest


def _text(value: str) -> bytes:
    data = value.encode()
    return _U32.pack(len(data)) + data
