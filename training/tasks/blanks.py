"""Fill the blank: a letter is shown, others follow, and later a blank asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import TrainingError
from .copying import random_bits
from .sequence_task import Batch, Longer, Size, TaskOptions

LETTERS = "abcdefghijklmnopqrstuvwxyz"
MOST_BITS = 4  # of a letter's number: 16 letters

NOTES = """Fill the blank: one of {letters} letters, as a number of {bits} bits, is shown with a mark on the channel
after the bits; random letters without a mark follow; then a step with only the blank (the last channel) asks for the
marked letter, and `y` is to be its bits. The distance is how many steps the blank comes after the letter: {shortest} to
{longest} in training, all equally often; "at N" is measured over sequences of distance N. Who has forgotten everything
gets {chance:.1%} of the sequences wrong and pays {bits} bits."""


@dataclass(frozen=True)
class BlankOptions(TaskOptions):
    """The [task] table of kind "fill-the-blank"."""

    kind: str = "fill-the-blank"
    bits: int = 3
    shortest: int = 2
    longest: int = 100
    test_distances: tuple[int, ...] = (2, 5, 10, 20, 40, 60, 80, 100, 200)  # each measured on its own


class FillTheBlank:
    """Say which letter was marked, however long ago."""

    def __init__(self, options: BlankOptions, where: str) -> None:
        if not 1 <= options.shortest <= options.longest:
            got = f"{options.shortest} and {options.longest}"
            raise TrainingError(f"{where}: expected 1 <= shortest <= longest, got {got}")
        if not 1 <= options.bits <= MOST_BITS:
            raise TrainingError(f"{where}: bits: expected 1 to {MOST_BITS}, got {options.bits}")
        if wrong := [distance for distance in options.test_distances if distance < 1]:
            raise TrainingError(f"{where}: test_distances: expected at least 1, got {wrong[0]}")
        self.options = options
        self.inputs: tuple[tuple[str, int], ...] = (("bits", options.bits), ("mark", 1), ("blank", 1))
        self.outputs: tuple[tuple[str, int], ...] = (("bits", options.bits),)
        self.description = f"Remembers a marked letter for {options.shortest} to {options.longest} steps"
        letters = 2**options.bits
        self.notes = NOTES.format(**vars(options), letters=letters, chance=1 - 1 / letters)

    def sizes(self) -> Sequence[Size]:
        return [(distance,) for distance in range(self.options.shortest, self.options.longest + 1)]

    def beyond(self) -> Mapping[str, Size]:
        return {f"at_{distance}": (distance,) for distance in self.options.test_distances}

    def longer(self) -> Longer | None:
        return None

    def batch(self, size: Size, count: int, generator: torch.Generator) -> Batch:
        (distance,), bits = size, self.options.bits
        inputs = torch.zeros(distance + 1, count, bits + 2)
        inputs[:distance, :, :bits] = random_bits(distance, count, bits, generator)
        inputs[0, :, bits] = 1
        inputs[distance, :, bits + 1] = 1
        return Batch(inputs, inputs[:1, :, :bits].clone())

    def title(self, size: Size) -> str:
        return f"distance {size[0]}"

    def to_text(self, batch: Batch, logits: Tensor) -> str:
        """The first sequence in letters, the marked one as a capital: `Cabhgdbca_ -> C, answered C`."""
        bits = self.options.bits
        marked, *others = (self._letter(x) for x in batch.inputs[:-1, 0, :bits])
        wanted, answered = (self._letter(value).upper() for value in (batch.targets[0, 0], logits[0, 0] > 0))
        verdict = "" if wanted == answered else " (wrong)"
        return f"{marked.upper()}{''.join(others)}_ -> {wanted}, answered {answered}{verdict}"

    def _letter(self, bits: Tensor) -> str:
        return LETTERS[sum(int(bit > 0.5) << place for place, bit in enumerate(bits.flip(0)))]
