"""Dynamic N-grams, as in the NTM paper (Graves et al. 2014, section 4.4), with the optimal estimator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import TrainingError
from .copying import random_bits
from .sequence_task import Batch, Longer, Size, TaskOptions

NOTES = """The dynamic N-grams task of Graves, Wayne and Danihelka (2014): every sequence has a table of its own
that gives, for each of the {contexts} possible {context} last bits, the probability that the next bit is 1, drawn
from Beta(1/2, 1/2). The first {context} bits are fair coins, the rest, up to {length} bits, are drawn from the
table. One bit a step; `y` at a step is the probability that the next bit is 1, and the last {asked} bits count (the
first {context} can only be guessed). The optimum is the cost of the Bayesian estimator, which counts what followed
each context and predicts (ones + 1/2) / (all + 1), on the very same sequences; "bits above optimum" is the mean of
the difference a sequence. That no network gets all bits right is the nature of the task."""


@dataclass(frozen=True)
class NGramOptions(TaskOptions):
    """The [task] table of kind "ngrams"."""

    kind: str = "ngrams"
    order: int = 6  # a bit depends on the order - 1 bits before it
    length: int = 200
    test_lengths: tuple[int, ...] = ()


class NGrams:
    """Predict the next bit of a sequence whose statistics are its own."""

    def __init__(self, options: NGramOptions, where: str) -> None:
        if not 1 < options.order < options.length:
            raise TrainingError(f"{where}: expected 1 < order < length, got {options.order} and {options.length}")
        if wrong := [length for length in options.test_lengths if length <= options.order]:
            raise TrainingError(f"{where}: test_lengths: expected more than order {options.order}, got {wrong[0]}")
        self.options = options
        self.context = options.order - 1
        self.inputs: tuple[tuple[str, int], ...] = (("bit", 1),)
        self.outputs: tuple[tuple[str, int], ...] = (("next bit", 1),)
        self.description = f"Predicts the next bit of sequences with {options.order}-gram statistics of their own"
        self.notes = NOTES.format(
            contexts=2**self.context,
            context=self.context,
            length=options.length,
            asked=options.length - self.context,
        )

    def sizes(self) -> Sequence[Size]:
        return [(self.options.length,)]

    def beyond(self) -> Mapping[str, Size]:
        return {f"at_{length}": (length,) for length in self.options.test_lengths}

    def longer(self) -> Longer | None:
        return None

    def batch(self, size: Size, count: int, generator: torch.Generator) -> Batch:
        (length,) = size
        table = beta_half(count, 2**self.context, generator)
        bits = torch.empty(length, count)
        bits[: self.context] = random_bits(self.context, count, 1, generator)[..., 0]
        drawn = torch.rand(length, count, generator=generator)
        rows, state = torch.arange(count), _number(bits[: self.context])
        for step in range(self.context, length):
            bits[step] = (drawn[step] < table[rows, state]).float()
            state = (2 * state + bits[step].long()) % 2**self.context
        targets = bits[self.context :]
        chances = best_chances(bits, self.context)
        optimum = torch.where(targets > 0.5, chances, 1 - chances).log2().sum(dim=0).neg()
        return Batch(bits[:-1, :, None].contiguous(), targets[..., None].contiguous(), optimum, chances[..., None])

    def title(self, size: Size) -> str:
        return f"{size[0]} bits"


def beta_half(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Draws from Beta(1/2, 1/2), the arcsine law: sin^2 of a uniform angle."""
    return torch.sin(torch.rand(rows, columns, generator=generator) * (torch.pi / 2)) ** 2


def best_chances(bits: Tensor, context: int) -> Tensor:
    """The chance that a bit is 1 as the Bayesian estimator gives it from all bits before: [T - context, B] of [T, B].

    It is (ones + 1/2) / (all + 1) of what followed the same context so far.
    """
    rows, state = torch.arange(bits.shape[1]), _number(bits[:context])
    counts = torch.full((bits.shape[1], 2**context, 2), 0.5)  # the prior, as half an observation of each
    chances = torch.empty(len(bits) - context, bits.shape[1])
    for step, bit in enumerate(bits[context:].long()):
        seen = counts[rows, state]
        chances[step] = seen[:, 1] / seen.sum(-1)
        counts[rows, state, bit] += 1
        state = (2 * state + bit) % 2**context
    return chances


def _number(bits: Tensor) -> Tensor:
    """Bits [n, B], the oldest first, as whole numbers [B]."""
    return sum((bit.long() << place for place, bit in enumerate(bits.flip(0))), torch.zeros(bits.shape[1]).long())
