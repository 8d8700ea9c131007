"""Where a head looks: the addressing of the Neural Turing Machine (Graves et al. 2014, section 3.3), all heads at once.

Shapes: B batch, H heads (R of them read, W write), M width of a location, N locations. The memory is [B, M, N]:
broadcasts then have inner spans of N, which is what makes the exported graph cheap. Every function is pure and finite
for finite input.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Lower bounds, as clamps: an exporter may fold the addition of a tiny constant away, a clamp it keeps.
TINY_LENGTH = 1e-6  # an all-zero location or key scores 0, with a finite gradient
TINY_WEIGHT = 1e-12  # of a weight before its logarithm


def content_weights(memory: Tensor, key: Tensor, strength: Tensor) -> Tensor:
    """Looks for the key: softmax over locations of strength times cosine similarity.

    memory [B, M, N], key [B, H, M], strength [B, H, 1] >= 0 -> [B, H, N].
    """
    lengths = torch.clamp(torch.linalg.vector_norm(memory, dim=1, keepdim=True), min=TINY_LENGTH)  # [B, 1, N]
    direction = key / torch.clamp(torch.linalg.vector_norm(key, dim=-1, keepdim=True), min=TINY_LENGTH)
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
    """What heads with weights [B, R, N] see: weighted sums of the locations, one head after the other, [B, R * M]."""
    if weights.shape[1] == 1:
        return torch.sum(memory * weights, dim=-1)
    return torch.matmul(weights, memory.transpose(1, 2)).flatten(1)


def write(memory: Tensor, weights: Tensor, erase: Tensor, add: Tensor) -> Tensor:
    """Erases, then adds, where the weights [B, W, N] are: M (1 - w e) + w a; erase in [0, 1] and add are [B, W * M, 1].

    Of several heads all erase before any adds, so that their order does not matter, as the paper says.
    """
    heads, width = weights.shape[1], memory.shape[1]
    if heads == 1:
        return memory + weights * (add - memory * erase)
    for weight, erased in zip(torch.split(weights, 1, dim=1), torch.split(erase, width, dim=1), strict=True):
        memory = memory - memory * (weight * erased)
    return memory + torch.matmul(add.reshape(-1, heads, width).transpose(1, 2), weights)
