"""Associative recall, as in the NTM paper (Graves et al. 2014, section 4.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ..errors import TrainingError
from .copying import random_bits
from .sequence_task import Batch, Longer, Size, TaskOptions

NOTES = """The associative recall task of Graves, Wayne and Danihelka (2014): {fewest} to {most} items, each a step
with only the item delimiter and then {vectors} vectors of {bits} random bits, one a step. Then one item but the
last is shown again as the query, between two steps with only the query delimiter (the last channel), and {vectors}
steps of zeros follow, at which `y` is to be read: the item that came after the queried one. Trained on {fewest} to
{most} items only; "at N" is measured over sequences of N items."""


@dataclass(frozen=True)
class RecallOptions(TaskOptions):
    """The [task] table of kind "associative-recall"."""

    kind: str = "associative-recall"
    bits: int = 6
    vectors: int = 3  # of an item
    fewest: int = 2
    most: int = 6
    test_items: tuple[int, ...] = (8, 10, 12, 15)  # more than any trained on


class AssociativeRecall:
    """Shown an item again, give the one that followed it."""

    def __init__(self, options: RecallOptions, where: str) -> None:
        if not 2 <= options.fewest <= options.most:
            raise TrainingError(f"{where}: expected 2 <= fewest <= most, got {options.fewest} and {options.most}")
        self.options = options
        self.inputs: tuple[tuple[str, int], ...] = (
            ("bits", options.bits),
            ("item delimiter", 1),
            ("query delimiter", 1),
        )
        self.outputs: tuple[tuple[str, int], ...] = (("bits", options.bits),)
        self.description = f"Recalls which item of {options.vectors} x {options.bits} bits followed another"
        self.notes = NOTES.format(**vars(options))

    def sizes(self) -> Sequence[Size]:
        return [(items,) for items in range(self.options.fewest, self.options.most + 1)]

    def beyond(self) -> Mapping[str, Size]:
        return {f"at_{items}": (items,) for items in self.options.test_items}

    def longer(self) -> Longer | None:
        return None

    def batch(self, size: Size, count: int, generator: torch.Generator) -> Batch:
        (items,), vectors, bits = size, self.options.vectors, self.options.bits
        shown = random_bits(items * vectors, count, bits, generator).reshape(items, vectors, count, bits)
        queried = torch.randint(0, items - 1, (count,), generator=generator)
        rows = torch.arange(count)
        # Indexing with two lists puts their axis first: [count, vectors, bits].
        query, targets = (shown[which, :, rows].transpose(0, 1) for which in (queried, queried + 1))
        query_at = items * (vectors + 1)
        inputs = torch.zeros(query_at + 2 * vectors + 2, count, bits + 2)
        for item in range(items):
            start = item * (vectors + 1)
            inputs[start, :, bits] = 1
            inputs[start + 1 : start + 1 + vectors, :, :bits] = shown[item]
        inputs[[query_at, query_at + vectors + 1], :, bits + 1] = 1
        inputs[query_at + 1 : query_at + 1 + vectors, :, :bits] = query
        return Batch(inputs, targets.contiguous())

    def title(self, size: Size) -> str:
        return f"{size[0]} items"
