"""Matrices as memories, written by the delta rule: the value at an address is replaced as far as a gate is open.

    S' = S + g k (v - S^T k)^T     with an address k of length 1, a value v and a gate g between 0 and 1

Sources: the delta rule as the write of a memory: Schlag, Irie and Schmidhuber 2021 (arXiv 2102.11174); all writes of a
story at once, by solving one triangular system: Yang et al. 2024 (arXiv 2406.06484).

Shapes: B batch, T sentences, Q questions, M matrices, K width of an address, V of a value.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Find = Callable[[Tensor], Tensor]  # where to look [B, M, Q, K] -> what is there [B, M, Q, V]


def write(memory: Tensor, address: Tensor, value: Tensor, gate: Tensor) -> Tensor:
    """The memory [B, M, K, V] after one write: address [B, M, 1, K], value [B, M, 1, V], gate [B, M, 1, 1]."""
    return memory + address.transpose(-1, -2) @ (gate * (value - address @ memory))


def changes(address: Tensor, value: Tensor, gate: Tensor, before: Tensor) -> Tensor:
    """What T writes after each other add at their addresses [B, M, T, V] of the memory `before` [B, M, K, V].

    The memory after t writes is that before, plus the outer products of the first t addresses and changes. With the
    change of a write u = g (v - S^T k - the sum over the earlier ones of (k . k') u') they are one triangular system.
    """
    overlap = gate * (address @ address.transpose(-1, -2))
    solved: Tensor = torch.linalg.solve_triangular(
        overlap.tril(-1), gate * (value - address @ before), upper=False, unitriangular=True
    )
    return solved


def finder(before: Tensor, address: Tensor, changed: Tensor, told: Tensor) -> Find:
    """Finds in the memory `before`, and in what was written by those sentences that `told` [..., Q, T] says count."""
    towards = address.transpose(-1, -2)
    return lambda look: look @ before + (look @ towards).masked_fill(~told, 0) @ changed
