"""The canonical form of a step's input, by which a repeat is told from another step under the same number.

The layout is part of the contract (docs/clients.md): the client computes the same hash, so neither side may change it.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np

_U32 = struct.Struct("<I")


def step_hash(step_count: int, inputs: Mapping[str, np.ndarray], outputs: Iterable[str]) -> bytes:
    """SHA-256 over names in order, element types, shapes and little-endian bytes, and the outputs asked for.

    `step_count` is 0 for a single step; then the arrays come without a time axis, as they were sent.
    """
    parts = [b"tapehead.step.v1\0", _U32.pack(step_count)]
    for name in sorted(inputs):
        array = inputs[name]
        if array.dtype.byteorder == ">":
            array = array.astype(array.dtype.newbyteorder("<"))
        parts += _head(name, array.dtype, array.shape), array.tobytes()
    parts.append(_asked(tuple(outputs)))
    return hashlib.sha256(b"".join(parts)).digest()


def tell_hash(sentences: Sequence[str]) -> bytes:
    """SHA-256 over the sentences as they were sent."""
    parts = [b"tapehead.tell.v1\0", _U32.pack(len(sentences)), *map(_text, sentences)]
    return hashlib.sha256(b"".join(parts)).digest()


def rewind_hash(to_step: int) -> bytes:
    """SHA-256 over the step to go back to."""
    return hashlib.sha256(b"tapehead.rewind.v1\0" + struct.pack("<q", to_step)).digest()


# The same few heads come with every step; to put one together costs more than the digest.


@lru_cache(maxsize=1024)
def _head(name: str, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> bytes:
    size = math.prod(shape) * dtype.itemsize
    return _text(name) + _text(dtype.name) + struct.pack(f"<I{len(shape)}qQ", len(shape), *shape, size)


@lru_cache(maxsize=1024)
def _asked(outputs: tuple[str, ...]) -> bytes:
    wanted = sorted(set(outputs))
    return _U32.pack(len(wanted)) + b"".join(map(_text, wanted))


def _text(value: str) -> bytes:
    data = value.encode()
    return _U32.pack(len(data)) + data
