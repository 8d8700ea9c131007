"""The hash by which a client tells its own step from another's.

The form is canonical: whatever order tensors and output names come in, the same step has the same hash. The service
computes the same from what it receives, and a test compares both with recorded values.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray


def step_hash(step_count: int, inputs: Mapping[str, NDArray[np.generic]], outputs: Iterable[str]) -> bytes:
    """SHA-256 (32 bytes) of a step or chunk; `step_count` is 0 for a single step without the leading axis."""
    digest = hashlib.sha256(b"tapehead.step.v1\0" + _u32(step_count))
    for name in sorted(inputs):
        array = inputs[name]
        dtype_name, little_endian = _dtype(array.dtype)
        raw = array.astype(little_endian, copy=False).tobytes()
        shape = struct.pack(f"<I{array.ndim}q", array.ndim, *array.shape)
        digest.update(_text(name) + dtype_name + shape + struct.pack("<Q", len(raw)) + raw)
    wanted = sorted(set(outputs))
    digest.update(_u32(len(wanted)) + b"".join(map(_text, wanted)))
    return digest.digest()


def tell_hash(sentences: Iterable[str]) -> bytes:
    """SHA-256 (32 bytes) of sentences, as they are sent."""
    encoded = [_text(sentence) for sentence in sentences]
    return hashlib.sha256(b"tapehead.tell.v1\0" + _u32(len(encoded)) + b"".join(encoded)).digest()


@cache  # numpy takes longer to name a type than the hash of a small step takes
def _dtype(dtype: np.dtype[np.generic]) -> tuple[bytes, np.dtype[np.generic]]:
    return _text(dtype.name), dtype.newbyteorder("<")


def _u32(number: int) -> bytes:
    return struct.pack("<I", number)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return _u32(len(encoded)) + encoded
