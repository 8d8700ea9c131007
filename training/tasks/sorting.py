"""Priority sort, as in the NTM paper (Graves et al. 2014, section 4.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ..errors import TrainingError
from .copying import random_bits
from .sequence_task import Batch, Longer, Size, TaskOptions

NOTES = """The priority sort task of Graves, Wayne and Danihelka (2014): {vectors} vectors of {bits} random bits,
one a step, each with a priority drawn uniformly from [-1, 1] on the channel after the bits; then a step with only
the delimiter (the last channel), then {kept} steps of zeros, at which `y` is to be read: the {kept} vectors of the
highest priority, the highest first."""


@dataclass(frozen=True)
class SortOptions(TaskOptions):
    """The [task] table of kind "priority-sort"."""

    kind: str = "priority-sort"
    bits: int = 8
    vectors: int = 20
    kept: int = 16


class PrioritySort:
    """Give vectors back by priority."""

    def __init__(self, options: SortOptions, where: str) -> None:
        if not 1 <= options.kept <= options.vectors:
            raise TrainingError(f"{where}: expected 1 <= kept <= vectors, got {options.kept} and {options.vectors}")
        self.options = options
        self.inputs: tuple[tuple[str, int], ...] = (("bits", options.bits), ("priority", 1), ("delimiter", 1))
        self.outputs: tuple[tuple[str, int], ...] = (("bits", options.bits),)
        self.description = f"Gives the {options.kept} most important of {options.vectors} vectors back in order"
        self.notes = NOTES.format(**vars(options))

    def sizes(self) -> Sequence[Size]:
        return [(self.options.vectors,)]

    def beyond(self) -> Mapping[str, Size]:
        return {}

    def longer(self) -> Longer | None:
        return None

    def batch(self, size: Size, count: int, generator: torch.Generator) -> Batch:
        (vectors,), kept, bits = size, self.options.kept, self.options.bits
        shown = random_bits(vectors, count, bits, generator)
        priorities = 2 * torch.rand(vectors, count, generator=generator) - 1
        order = priorities.argsort(dim=0, descending=True)[:kept]
        targets = shown.gather(0, order[..., None].expand(-1, -1, bits))
        inputs = torch.zeros(vectors + 1 + kept, count, bits + 2)
        inputs[:vectors, :, :bits] = shown
        inputs[:vectors, :, bits] = priorities
        inputs[vectors, :, bits + 1] = 1
        return Batch(inputs, targets)

    def title(self, size: Size) -> str:
        return f"{self.options.kept} of {size[0]} vectors"
