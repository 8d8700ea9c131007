"""Tensors <-> bytes: how a session's state and its answers are written down.

Both records explain themselves: after a magic and a version comes a description of the tensors (JSON: name, dtype,
shape), then their elements, little-endian and row-major, each tensor at a multiple of 16 bytes. The last four bytes are
the crc32c of all before them. Whatever does not check out is `StateCorrupt`, never numbers.

    4s magic | H version | H zero | I bytes of description | I bytes of note | description | padding
    | elements, padding (of each tensor) | note | I crc32c
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from crc32c import crc32c

from ..errors import StateCorrupt

Array = np.ndarray[Any, np.dtype[Any]]
Field = tuple[str, np.dtype[Any], tuple[int, ...]]
"""Name, dtype and shape of a tensor."""

STATE_MAGIC = b"TpSt"
TENSORS_MAGIC = b"TpTn"
VERSION = 1

DTYPES = {
    name: np.dtype(name).newbyteorder("<")
    for name in (
        *("float32", "float64", "int32", "int64", "bool", "float16", "uint8", "int8"),
        *("int16", "uint16", "uint32"),
    )
}
_HEADER = struct.Struct("<4sHHII")
_CHECKSUM = struct.Struct("<I")
MAX_DESCRIPTION = 1 << 16  # bytes; 256 tensors with names of 128 letters and eight axes have less
_REMEMBERED = 1 << 12  # bytes of the longest description whose plan is kept: what others made up is not kept for long
_ALIGNMENT = 16  # bytes; what vector loads and onnxruntime like
_PADDINGS = [bytes(size) for size in range(_ALIGNMENT)]


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where each tensor lies in a record; computed once for each set of fields, since steps are many."""

    fields: tuple[Field, ...]
    description: bytes  # with its padding
    description_size: int  # without
    places: tuple[int, ...]  # where each tensor begins in the record
    paddings: tuple[bytes, ...]  # after each tensor
    end: int  # of the last tensor's padding

    @classmethod
    def of(cls, fields: tuple[Field, ...], description: bytes) -> _Plan:
        place = _HEADER.size + len(description)
        padding = _PADDINGS[-place % _ALIGNMENT]
        place += len(padding)
        places, paddings = [], []
        for _, dtype, shape in fields:
            size = _size(dtype, shape)
            places.append(place)
            paddings.append(_PADDINGS[-size % _ALIGNMENT])
            place += size + len(paddings[-1])
        return cls(fields, description + padding, len(description), tuple(places), tuple(paddings), place)

    def __str__(self) -> str:
        return "; ".join(_text(field) for field in self.fields) or "no tensors"


def _size(dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    return math.prod(shape) * dtype.itemsize


def _text(field: Field) -> str:
    name, dtype, shape = field
    return f"{name}: {dtype.name}{list(shape)}"


@lru_cache(maxsize=1024)
def _plan_to_write(fields: tuple[Field, ...]) -> _Plan:
    little_endian = []
    for name, dtype, shape in fields:
        if dtype.name not in DTYPES:
            raise ValueError(f"tensor '{name}': expected one of {', '.join(DTYPES)}, got {dtype.name}")
        little_endian.append((name, DTYPES[dtype.name], tuple(int(length) for length in shape)))
    rows = [[name, dtype.name, list(shape)] for name, dtype, shape in little_endian]
    return _Plan.of(tuple(little_endian), json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode())


def _plan_to_read(description: bytes) -> _Plan:
    """Its checksum was right, so that failing here means a foreign writer."""
    try:
        rows = json.loads(description)
        fields = tuple((str(name), DTYPES[dtype], tuple(map(int, shape))) for name, dtype, shape in rows)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise StateCorrupt("the description of its tensors cannot be read") from error
    if any(length < 0 for _, _, shape in fields for length in shape):
        raise StateCorrupt("the description of its tensors has a negative length")
    return _Plan.of(fields, description)


_known_plan = lru_cache(maxsize=256)(_plan_to_read)


def _write(magic: bytes, plan: _Plan, arrays: Sequence[Array], note: bytes) -> bytes:
    parts = [_HEADER.pack(magic, VERSION, 0, plan.description_size, len(note)), plan.description]
    for array, padding in zip(arrays, plan.paddings, strict=True):
        parts += array.tobytes(), padding  # row-major, whatever its strides
    parts.append(note)
    record = b"".join(parts)
    return record + _CHECKSUM.pack(crc32c(record))


def _read(magic: bytes, data: bytes) -> tuple[_Plan, list[Array], bytes]:
    # Is it one of ours, of this version, whole: in this order, so that the message names the first cause.
    if len(data) < _HEADER.size + _CHECKSUM.size or data[:4] != magic:
        raise StateCorrupt(f"expected a record that begins with {magic!r}, got {len(data)} bytes of something else")
    _, version, _, description_size, note_size = _HEADER.unpack_from(data)
    if version != VERSION:
        raise StateCorrupt(f"expected format version {VERSION}, got {version}")
    end = len(data) - _CHECKSUM.size
    if crc32c(memoryview(data)[:end]) != _CHECKSUM.unpack_from(data, end)[0]:
        raise StateCorrupt("its checksum is wrong")
    if description_size > MAX_DESCRIPTION:
        raise StateCorrupt(f"expected at most {MAX_DESCRIPTION} bytes of description, got {description_size}")
    description = data[_HEADER.size : _HEADER.size + description_size]
    plan = _known_plan(description) if description_size <= _REMEMBERED else _plan_to_read(description)
    if plan.end + note_size != end:
        raise StateCorrupt("its length does not fit its description")
    fields = zip(plan.fields, plan.places, strict=True)
    try:
        arrays = [np.ndarray(shape, dtype, data, place) for (_, dtype, shape), place in fields]
    except (ValueError, OverflowError) as error:  # an axis of length 0 hides others that no tensor has
        raise StateCorrupt("the description of its tensors has lengths that cannot be") from error
    return plan, arrays, data[plan.end : end]


class StateLayout:
    """The tensors that make up the state of one model version, in a fixed order."""

    def __init__(self, tensors: Sequence[tuple[str, np.dtype[Any], tuple[int, ...]]]) -> None:
        """Each tensor is (name, dtype, shape of one session's state, without a batch axis)."""
        self._plan = _plan_to_write(tuple((name, np.dtype(dtype), tuple(shape)) for name, dtype, shape in tensors))

    @property
    def size(self) -> int:
        """Bytes of all elements, without the record around them."""
        return sum(_size(dtype, shape) for _, dtype, shape in self._plan.fields)

    def encode(self, arrays: Sequence[Array]) -> bytes:
        """Writes a state, given in the order of the layout. Raises ValueError if an array does not fit its place."""
        if len(arrays) != len(self._plan.fields):
            raise ValueError(f"state: expected {len(self._plan.fields)} tensors, got {len(arrays)}")
        for field, array in zip(self._plan.fields, arrays, strict=True):
            if array.shape != field[2] or array.dtype != field[1]:
                raise ValueError(f"state: expected {_text(field)}, got {array.dtype.name}{list(array.shape)}")
        return _write(STATE_MAGIC, self._plan, arrays, b"")

    def encode_rows(self, rows: int, arrays: Sequence[Array]) -> list[bytes]:
        """Writes the states of so many sessions, which are the rows of the arrays, in one pass; each as `encode` would.

        Raises ValueError if an array does not fit its place.
        """
        if rows == 1:  # with less ado
            return [self.encode([array[0] for array in arrays])]
        plan = self._plan
        records = np.empty((rows, plan.end), np.uint8)
        head = _HEADER.pack(STATE_MAGIC, VERSION, 0, plan.description_size, 0) + plan.description
        records[:, : len(head)] = np.frombuffer(head, np.uint8)
        for (name, dtype, shape), place, padding, array in zip(
            plan.fields, plan.places, plan.paddings, arrays, strict=True
        ):
            if array.shape != (rows, *shape) or array.dtype != dtype:
                expected = _text((name, dtype, (rows, *shape)))
                raise ValueError(f"states: expected {expected}, got {array.dtype.name}{list(array.shape)}")
            end = place + _size(dtype, shape)
            records[:, place:end] = np.ascontiguousarray(array).view(np.uint8).reshape(rows, end - place)
            records[:, end : end + len(padding)] = 0
        whole, size = records.reshape(-1).data, plan.end
        views = [whole[first : first + size] for first in range(0, rows * size, size)]
        return [b"".join((view, _CHECKSUM.pack(crc32c(view)))) for view in views]

    def decode(self, data: bytes) -> list[Array]:
        """Reads a state as views that cannot be written to. Raises StateCorrupt on damage and on another layout."""
        plan, arrays, _ = _read(STATE_MAGIC, data)
        if plan.description != self._plan.description:
            raise StateCorrupt(f"expected a state of ({self._plan}), got one of ({plan})")
        return arrays


class OpenStateLayout:
    """As `StateLayout`, of tensors some of whose axes have any length: -1 in their shapes."""

    def __init__(self, tensors: Sequence[Field]) -> None:
        self._fields = [(name, np.dtype(dtype), tuple(shape)) for name, dtype, shape in tensors]

    def encode(self, arrays: Sequence[Array]) -> bytes:
        """Writes a state, given in the order of the layout. Raises ValueError if an array does not fit its place."""
        if len(arrays) != len(self._fields):
            raise ValueError(f"state: expected {len(self._fields)} tensors, got {len(arrays)}")
        fields = tuple((field[0], array.dtype, array.shape) for field, array in zip(self._fields, arrays, strict=True))
        if not self._takes(fields):
            raise ValueError(f"state: expected {self}, got {'; '.join(map(_text, fields))}")
        return _write(STATE_MAGIC, _plan_to_write(fields), arrays, b"")

    def encode_rows(self, rows: int, arrays: Sequence[Array]) -> list[bytes]:
        """As of `StateLayout`."""
        return [self.encode([array[row] for array in arrays]) for row in range(rows)]

    def decode(self, data: bytes) -> list[Array]:
        """Reads a state as views that cannot be written to. Raises StateCorrupt on damage and on another layout."""
        plan, arrays, _ = _read(STATE_MAGIC, data)
        if not self._takes(plan.fields):
            raise StateCorrupt(f"expected a state of ({self}), got one of ({plan})")
        return arrays

    def _takes(self, fields: tuple[Field, ...]) -> bool:
        return len(fields) == len(self._fields) and all(
            (name, dtype, len(shape)) == (got_name, got_dtype, len(got_shape))
            and all(want in (-1, got) for want, got in zip(shape, got_shape, strict=True))
            for (name, dtype, shape), (got_name, got_dtype, got_shape) in zip(self._fields, fields, strict=True)
        )

    def __str__(self) -> str:
        return "; ".join(map(_text, self._fields))


def encode_tensors(arrays: Mapping[str, Array], note: bytes = b"") -> bytes:
    """Writes named tensors, in the mapping's order, and a note that is the caller's own business."""
    plan = _plan_to_write(tuple([(name, array.dtype, array.shape) for name, array in arrays.items()]))
    ordered = [array if array.dtype.isnative else array.astype(DTYPES[array.dtype.name]) for array in arrays.values()]
    return _write(TENSORS_MAGIC, plan, ordered, note)


def decode_tensors(data: bytes) -> tuple[dict[str, Array], bytes]:
    """Reads what `encode_tensors` wrote, as views that cannot be written to. Raises StateCorrupt on any damage."""
    plan, arrays, note = _read(TENSORS_MAGIC, data)
    return {field[0]: array for field, array in zip(plan.fields, arrays, strict=True)}, note
