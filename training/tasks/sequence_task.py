"""What a task for stepped networks offers, and how an answer to it is measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional

from ..networks.stepped import SteppedNetwork

Size = tuple[int, ...]  # what a task lets vary: (length,), (length, repeats), (items,)


class Longer(NamedTuple):
    """Sequences longer than those trained on that have a say in which weights are kept."""

    name: str  # what their results get: "at_120"
    size: Size
    sequences: int
    weight: float  # of their cost in the score, where the cost of the sizes trained on has 1


@dataclass(frozen=True)
class TaskOptions:
    """What the [task] tables of all kinds have in common."""

    kind: str = "copy"
    validation_sequences: int = 1000  # spread evenly over the sizes that are trained on
    test_sequences: int = 500  # for each size beyond those


@dataclass(frozen=True)
class Batch:
    """Sequences of one size, so that nothing is padded; the answer is asked for at the last steps."""

    inputs: Tensor  # [T, B, inputs]
    targets: Tensor  # [A, B, outputs], bits: of the last A steps
    optimum: Tensor | None = None  # [B]: cost in bits of the best possible predictions of these very sequences
    chances: Tensor | None = None  # [A, B, outputs]: of a 1, given all inputs so far, where chance decides the targets

    def to(self, device: torch.device) -> Batch:
        """The same sequences on a device: they are drawn on the processor, so that every device gets the same."""
        optimum = None if self.optimum is None else self.optimum.to(device)
        chances = None if self.chances is None else self.chances.to(device)
        return Batch(self.inputs.to(device), self.targets.to(device), optimum, chances)


class Task(Protocol):
    """A kind of sequences. All randomness comes from the generator that is handed in."""

    @property
    def options(self) -> TaskOptions:
        """The [task] table."""

    inputs: tuple[tuple[str, int], ...]  # what the channels carry: ("bits", 8), ("delimiter", 1)
    outputs: tuple[tuple[str, int], ...]
    description: str  # "Copies sequences of 8-bit vectors", goes on with "... with a ..."
    notes: str  # Markdown for the card: the task, and what is measured beyond the sizes trained on

    def sizes(self) -> Sequence[Size]:
        """Every size trained on, small ones first; validation and the first part of the test have all of them."""

    def beyond(self) -> Mapping[str, Size]:
        """Sizes that are tested one by one, most of them not trained on, by the name their results get: `at_40`."""

    def longer(self) -> Longer | None:
        """A size not trained on that counts in the score that chooses the weights."""

    def batch(self, size: Size, count: int, generator: torch.Generator) -> Batch:
        """Draws `count` sequences of one size."""

    def title(self, size: Size) -> str:
        """A size in words."""


@runtime_checkable
class HasText(Protocol):
    """What a task offers besides if its sequences are better read in its own way than as rows of bits."""

    def to_text(self, batch: Batch, logits: Tensor) -> str:
        """The first sequence of a batch and the network's answer to it, for people."""


def answer(network: SteppedNetwork, batch: Batch) -> Tensor:
    """The network's logits [A, B, outputs] where it is asked."""
    return network.run(batch.inputs)[0][-len(batch.targets) :]


def measure(network: SteppedNetwork, batches: Sequence[Batch]) -> dict[str, float]:
    """Cost in bits, wrong bits (a sequence, on average) and the share of sequences with any wrong bit.

    Where a batch knows its optimum, also that, and how far above it the network is on the same sequences.
    """
    bits, wrong, optima = [], [], []
    for batch in batches:
        logits = answer(network, batch)
        cost = functional.binary_cross_entropy_with_logits(logits, batch.targets, reduction="none") / math.log(2)
        bits.append(cost.sum(dim=(0, 2)))
        wrong.append(((logits > 0) != (batch.targets > 0.5)).sum(dim=(0, 2)))
        if batch.optimum is not None:
            optima.append(batch.optimum)
    costs, errors = torch.cat(bits), torch.cat(wrong).float()
    measured = {
        "bits": costs.mean().item(),
        "wrong_bits": errors.mean().item(),
        "wrong_bits_median": errors.median().item(),
        "wrong_sequences": (errors > 0).float().mean().item(),
    }
    if optima:
        above = costs - torch.cat(optima)
        measured |= {
            "bits_of_optimum": torch.cat(optima).mean().item(),
            "bits_above_optimum": above.mean().item(),
            "bits_above_optimum_standard_error": above.std().item() / len(above) ** 0.5,
        }
    return measured
