"""Pools: where the states of live sessions lie, one contiguous array for each state tensor of a model.

A session owns a slot, which is a row of every array. A step reads its session's slot and writes a second one; which of
the two is the session's is decided after the commit. So a state is overwritten only when its successor is durable, and
a step that fails leaves no trace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

FIRST_CAPACITY = 16  # slots; doubles when it is reached


class TensorLike(Protocol):
    """The facts of a state tensor that a pool needs."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


class Pool:
    """The slots of one model's sessions."""

    def __init__(self, tensors: Sequence[TensorLike]) -> None:
        self._names = [tensor.name for tensor in tensors]
        self._arrays = [np.zeros((FIRST_CAPACITY, *tensor.shape), tensor.dtype) for tensor in tensors]
        self._capacity = FIRST_CAPACITY
        self._free = list(range(FIRST_CAPACITY))

    def __len__(self) -> int:
        """How many slots are taken."""
        return self._capacity - len(self._free)

    def take(self) -> int:
        """Reserves a slot, whose content is whatever was there before."""
        if not self._free:
            self._grow()
        return self._free.pop()

    def free(self, slot: int) -> None:
        """Gives a slot back."""
        self._free.append(slot)

    def write(self, slot: int, arrays: Sequence[Array]) -> None:
        """Fills a slot, in the order of the tensors."""
        for pool, array in zip(self._arrays, arrays, strict=True):
            pool[slot] = array

    def row(self, slot: int) -> list[Array]:
        """Views of a slot, in the order of the tensors."""
        return [pool[slot] for pool in self._arrays]

    def value(self, slot: int, name: str) -> Array:
        """A copy of one tensor of a slot."""
        return np.array(self._arrays[self._names.index(name)][slot])

    def stack(self, slots: Sequence[int]) -> dict[str, Array]:
        """Copies slots into a batch: tensors of shape [len(slots), ...]. The inverse of `unstack`."""
        return {name: pool.take(slots, axis=0) for name, pool in zip(self._names, self._arrays, strict=True)}

    def unstack(self, slots: Sequence[int], batch: Mapping[str, Array]) -> None:
        """Copies the rows of a batch into slots."""
        for name, pool in zip(self._names, self._arrays, strict=True):
            rows = batch[name]
            if rows.shape[1:] != pool.shape[1:]:  # else numpy would stretch what can be stretched
                raise ValueError(f"state {name!r}: expected {list(pool.shape[1:])}, got {list(rows.shape[1:])}")
            pool[slots] = rows

    def _grow(self) -> None:
        self._free.extend(range(self._capacity, 2 * self._capacity))
        self._arrays = [_doubled(pool) for pool in self._arrays]
        self._capacity *= 2


def _doubled(pool: Array) -> Array:
    """Twice as many slots; the new ones take memory when they are written, which most may never be."""
    larger = np.zeros((2 * len(pool), *pool.shape[1:]), pool.dtype)
    larger[: len(pool)] = pool
    return larger


class GrowingPool:
    """As `Pool`, for a model whose state gets longer: a slot holds arrays of its own, and a batch is one row."""

    def __init__(self, tensors: Sequence[TensorLike]) -> None:
        self._names = [tensor.name for tensor in tensors]
        self._rows: list[list[Array]] = []
        self._free: list[int] = []

    def __len__(self) -> int:
        """How many slots are taken."""
        return len(self._rows) - len(self._free)

    def take(self) -> int:
        """Reserves a slot, which must be filled before it is read."""
        if not self._free:
            self._rows.append([])
            return len(self._rows) - 1
        return self._free.pop()

    def free(self, slot: int) -> None:
        """Gives a slot back, and its memory."""
        self._rows[slot] = []
        self._free.append(slot)

    def write(self, slot: int, arrays: Sequence[Array]) -> None:
        """Fills a slot, in the order of the tensors."""
        self._rows[slot] = list(arrays)

    def row(self, slot: int) -> list[Array]:
        """The content of a slot, in the order of the tensors."""
        return self._rows[slot]

    def value(self, slot: int, name: str) -> Array:
        """A copy of one tensor of a slot."""
        return np.array(self._rows[slot][self._names.index(name)])

    def stack(self, slots: Sequence[int]) -> dict[str, Array]:
        """One slot as a batch of one."""
        [slot] = slots
        return {name: array[np.newaxis] for name, array in zip(self._names, self._rows[slot], strict=True)}

    def unstack(self, slots: Sequence[int], batch: Mapping[str, Array]) -> None:
        """Takes a batch of one into a slot."""
        [slot] = slots
        self._rows[slot] = [batch[name][0] for name in self._names]
