"""Where a head looks: the addressing of the Neural Turing Machine (Graves et al. 2014, section 3.3), all heads at once.

Shapes: B batch, H heads, M width of a location, N locations. The memory is [B, M, N]: broadcasts then have inner spans
of N, which is what makes the exported graph cheap. Every function is pure and finite for finite input.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Lower bounds, as clamps: an exporter may fold the addition of a tiny constant away, a clamp it keeps.
TINY_SQUARE = 1e-12  # of a squared norm: an all-zero location or key scores 0, with a finite gradient
TINY_WEIGHT = 1e-12  # of a weight before its logarithm


def content_weights(memory: Tensor, key: Tensor, strength: Tensor) -> Tensor:
    """Looks for the key: softmax over locations of strength times cosine similarity.

    memory [B, M, N], key [B, H, M], strength [B, H, 1] >= 0 -> [B, H, N].
    """
    ones = torch.ones(1, memory.shape[1], dtype=memory.dtype, device=memory.device)
    squares = torch.matmul(ones, memory * memory)  # [B, 1, N]; a product is faster than a reduction along M
    lengths = torch.sqrt(torch.clamp(squares, min=TINY_SQUARE))
    direction = key / torch.clamp(torch.linalg.vector_norm(key, dim=-1, keepdim=True), min=TINY_SQUARE**0.5)
    return torch.softmax(torch.matmul(strength * direction, memory) / lengths, dim=-1)


def interpolate(content: Tensor, previous: Tensor, gate: Tensor) -> Tensor:
    """Mixes what was found by content (gate 1) with where the head was before (gate 0); gate [B, H, 1]."""
    return previous + gate * (content - previous)


def shift(weights: Tensor, back: Tensor, forward: Tensor) -> Tensor:
    """Turns the weights around the ring of locations: by -1, 0 and +1, in the proportions back : 1 : forward.

    weights [B, H, N], back and forward [B, H, 1] > 0. The result is not normalised: `sharpen` does that anyway.
    """
    ring = torch.cat([weights[..., -1:], weights, weights[..., :1]], dim=-1)  # [B, H, N + 2]
    return weights + back * ring[..., 2:] + forward * ring[..., :-2]


def sharpen(weights: Tensor, sharpening: Tensor) -> Tensor:
    """Raises the weights to a power g >= 1, [B, H, 1], and normalises: w^g / sum w^g, as a softmax of g log w."""
    return torch.softmax(sharpening * torch.log(torch.clamp(weights, min=TINY_WEIGHT)), dim=-1)


def address(
    memory: Tensor,
    previous: Tensor,
    *,
    key: Tensor,
    strength: Tensor,
    gate: Tensor,
    back: Tensor,
    forward: Tensor,
    sharpening: Tensor,
) -> Tensor:
    """The four stages in order: content, interpolation, shift, sharpening. Returns weights [B, H, N] that sum to 1."""
    found = content_weights(memory, key, strength)
    return sharpen(shift(interpolate(found, previous, gate), back, forward), sharpening)


def read(memory: Tensor, weights: Tensor) -> Tensor:
    """What a head with weights [B, 1, N] sees: the weighted sum of the locations, [B, M]."""
    return torch.sum(memory * weights, dim=-1)


def write(memory: Tensor, weights: Tensor, erase: Tensor, add: Tensor) -> Tensor:
    """Erases, then adds, where the weights [B, 1, N] are: M (1 - w e) + w a; erase in [0, 1] and add are [B, M, 1]."""
    return memory + weights * (add - memory * erase)
