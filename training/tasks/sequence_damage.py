"""How much a network with a tape depends on it: the tape is damaged after the input and before the answer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..networks.stepped import SteppedNetwork
from ..plots import lines_png
from .sequence_task import Batch

SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)  # of all locations, each of which is hit or not by chance
KINDS = ("overwritten with random numbers", "noise of standard deviation 0.5 added")
SEED = 3_000_017  # fixed: every network loses the same locations


def has_recall(network: SteppedNetwork, batch: Batch) -> bool:
    """Whether there is a tape, and a moment at which all is taken in and nothing is answered yet."""
    has_tape = "memory" in getattr(network.initial_state(1), "_fields", ())
    return has_tape and not batch.inputs[-len(batch.targets) :].any()


def damage(memory: Tensor, share: float, kind: str, generator: torch.Generator) -> Tensor:
    """A copy of tapes [B, M, N] in which each location is hit with probability `share`."""
    hit = torch.rand(memory.shape[0], 1, memory.shape[2], generator=generator).to(memory.device) < share
    if kind == KINDS[0]:
        other = 2 * torch.rand(memory.shape, generator=generator).to(memory.device) - 1
    else:
        other = memory + 0.5 * torch.randn(memory.shape, generator=generator).to(memory.device)
    return torch.where(hit, other, memory)


def wrong_bits(network: SteppedNetwork, batch: Batch, share: float, kind: str) -> float:
    """Wrong bits a sequence where that share of the tape is damaged between input and answer."""
    asked = len(batch.targets)
    _, state = network.run(batch.inputs[:-asked])
    generator = torch.Generator().manual_seed(SEED)
    state = _replaced(state, damage(state.memory, share, kind, generator))
    logits, _ = network.run(batch.inputs[-asked:], state)
    return ((logits > 0) != (batch.targets > 0.5)).sum(dim=(0, 2)).float().mean().item()


def _replaced(state: Any, memory: Tensor) -> Any:
    return state._replace(memory=memory)


def damage_png(network: SteppedNetwork, batch: Batch) -> bytes:
    """Draws wrong bits over the share of the tape that is damaged, a line for each kind of damage."""
    percent = [100 * share for share in SHARES]
    lines = {kind: (percent, [wrong_bits(network, batch, share, kind) for share in SHARES]) for kind in KINDS}
    total = batch.targets.shape[0] * batch.targets.shape[2]
    return lines_png(lines, "damaged locations, % of the tape", f"wrong bits of {total}")
