"""Sequence tasks for networks that are stepped: copy, as in the NTM paper (section 4.1).

A sequence shows vectors of random bits, then a delimiter on a channel of its own, then nothing while the network has to
give the vectors back in order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..config import Config, read_table
from ..errors import TrainingError
from ..experiment import Graphs
from ..networks.ntm import NTM, NetworkOptions
from .sequence_graphs import ntm_graphs
from .sequence_views import heads_png, tape_png, to_human_readable, trace

VALIDATION_SEED, TEST_SEED = 1_000_001, 2_000_003  # fixed: every run is measured on the same sequences

NOTES = """
## Task

The copy task of Graves, Wayne and Danihelka (2014): {shortest} to {longest} vectors of {bits} random bits, one a step,
then a step with only the delimiter (the last channel), then one step of zeros for each vector to give back; `y` is to
be read at those last steps. Trained on lengths {shortest} to {longest} only. The validation score, which chose the
weights, is the cost in bits over these lengths{longer}.

`heads.png`: input, output and both heads' weightings over one sequence. `tape.png`: the tape once all is taken in.

"bits" is the cross entropy in bits a sequence, "wrong bits" the number of wrong bits a sequence, "wrong sequences"
the share of sequences with any wrong bit: over lengths {shortest} to {longest}, or "at N" over sequences of length N.
"""
LONGER = """ plus that of {longer_sequences} sequences of length {longer_length}, scaled to the average
length trained on"""


@dataclass(frozen=True)
class TaskOptions:
    """The [task] table."""

    kind: str = "copy"
    bits: int = 8
    shortest: int = 1
    longest: int = 20
    validation_sequences: int = 1000  # spread evenly over the lengths
    longer_length: int = 0  # longer than any trained on; if not 0, the score that chooses the weights counts it as well
    longer_sequences: int = 100
    test_lengths: tuple[int, ...] = (40, 80, 120)  # longer than any trained on
    test_sequences: int = 500  # for each of them


@dataclass(frozen=True)
class RecipeOptions:
    """The [recipe] table."""

    batch: int = 4  # sequences of one length, so nothing is padded
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-5
    anneal_from: float = 0.5  # the part of the run after which the rate falls along a cosine
    clip_norm: float = 10.0  # of all gradients together


def copy_batch(length: int, count: int, bits: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """`count` sequences to copy: inputs [2 length + 1, count, bits + 1] and targets [length, count, bits]."""
    targets = torch.randint(0, 2, (length, count, bits), generator=generator).float()
    inputs = torch.zeros(2 * length + 1, count, bits + 1)
    inputs[:length, :, :bits] = targets
    inputs[length, :, bits] = 1
    return inputs, targets


def measure(network: NTM, batches: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Cost in bits, wrong bits (a sequence, on average) and the share of sequences with any wrong bit."""
    bits, wrong = [], []
    for inputs, targets in batches:
        logits = network.run(inputs)[0][-len(targets) :]
        cost = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none") / math.log(2)
        bits.append(cost.sum(dim=(0, 2)))
        wrong.append(((logits > 0) != (targets > 0.5)).sum(dim=(0, 2)))
    errors = torch.cat(wrong).float()
    return {
        "bits": torch.cat(bits).mean().item(),
        "wrong_bits": errors.mean().item(),
        "wrong_bits_median": errors.median().item(),
        "wrong_sequences": (errors > 0).float().mean().item(),
    }


class CopyExperiment:
    """The copy task with an NTM; an `Experiment`."""

    def __init__(self, config: Config) -> None:
        self.task = read_table(TaskOptions, config.task, f"{config.where}: [task]")
        self.recipe = read_table(RecipeOptions, config.recipe, f"{config.where}: [recipe]")
        options = read_table(NetworkOptions, config.network, f"{config.where}: [network]")
        _check(self.task, options, config.where)
        self.updates = config.updates
        self.network = NTM(options)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.recipe.learning_rate)
        self.generator = torch.Generator().manual_seed(config.seed)
        lengths = range(self.task.shortest, self.task.longest + 1)
        self._validation = self._batches(VALIDATION_SEED, lengths, self.task.validation_sequences // len(lengths))
        longer = range(self.task.longer_length, self.task.longer_length + 1) if self.task.longer_length else range(0)
        self._longer = self._batches(VALIDATION_SEED, longer, self.task.longer_sequences)

    def _batches(self, seed: int, lengths: range, count: int) -> list[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        return [copy_batch(length, max(1, count), self.task.bits, generator) for length in lengths]

    def set_update(self, update: int) -> None:
        recipe, flat = self.recipe, self.recipe.anneal_from * self.updates
        part = max(0.0, (update - flat) / max(1.0, self.updates - flat))
        low, high = recipe.final_learning_rate, recipe.learning_rate
        rate = low + (high - low) * 0.5 * (1 + math.cos(math.pi * min(1.0, part)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def loss(self, update: int) -> Tensor:
        """Cross entropy summed over bits and steps: long sequences weigh more, and the clipping acts on them."""
        length = int(torch.randint(self.task.shortest, self.task.longest + 1, (), generator=self.generator))
        inputs, targets = copy_batch(length, self.recipe.batch, self.task.bits, self.generator)
        logits = self.network.run(inputs)[0][-length:]
        total = functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        return total / self.recipe.batch

    def clip(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)

    def validate(self) -> dict[str, float]:
        """The score is the cost in bits; where longer sequences count, theirs is added, per sequence trained on."""
        measured = measure(self.network, self._validation)
        if not self._longer:
            return {"score": measured["bits"], **measured}
        length = self.task.longer_length
        longer = measure(self.network, self._longer)
        share = (self.task.shortest + self.task.longest) / 2 / length
        measured |= {f"{name}_at_{length}": value for name, value in longer.items()}
        return {"score": measured["bits"] + share * longer["bits"], **measured}

    def test(self) -> dict[str, float]:
        lengths = range(self.task.shortest, self.task.longest + 1)
        count = self.task.validation_sequences // len(lengths)
        results = {"": measure(self.network, self._batches(TEST_SEED, lengths, count))}
        for length in self.task.test_lengths:
            batches = self._batches(TEST_SEED + length, range(length, length + 1), self.task.test_sequences)
            results[f"_at_{length}"] = measure(self.network, batches)
        return {name + suffix: value for suffix, result in results.items() for name, value in result.items()}

    def state(self) -> dict[str, Tensor]:
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        pass

    def samples(self) -> str:
        """One sequence of the longest length trained on, one twice as long."""
        generator = torch.Generator().manual_seed(TEST_SEED)
        texts = []
        for length in (self.task.longest, 2 * self.task.longest):
            inputs, targets = copy_batch(length, 1, self.task.bits, generator)
            answer = self.network.run(inputs)[0][-length:]
            texts.append(f"length {length}\n" + to_human_readable(targets[:, 0], answer[:, 0]))
        return "\n\n".join(texts)

    def figures(self) -> dict[str, bytes]:
        """The heads over a sequence of the longest length trained on, and the tape when it has been taken in."""
        inputs = self._shown(self.task.longest)
        seen = trace(self.network, inputs)
        return {"heads.png": heads_png(inputs, seen), "tape.png": tape_png(seen, self.task.longest)}

    def graphs(self) -> Graphs:
        task = self.task
        return ntm_graphs(
            self.network,
            [self._shown(length) for length in (min(task.longest, 12), task.longest)],
            description=f"Copies sequences of {task.bits}-bit vectors with a Neural Turing Machine.",
            notes=NOTES.format(**vars(task), longer=LONGER.format(**vars(task)) if task.longer_length else ""),
            figures=self.figures(),
        )

    def _shown(self, length: int) -> Tensor:
        generator = torch.Generator().manual_seed(TEST_SEED + length)
        return copy_batch(length, 1, self.task.bits, generator)[0][:, 0]


def _check(task: TaskOptions, network: NetworkOptions, where: str) -> None:
    if task.kind != "copy":
        raise TrainingError(f"{where}: [task]: kind: expected copy, got {task.kind!r}")
    if not 1 <= task.shortest <= task.longest:
        got = f"{task.shortest} and {task.longest}"
        raise TrainingError(f"{where}: [task]: expected 1 <= shortest <= longest, got {got}")
    if (network.inputs, network.outputs) != (task.bits + 1, task.bits):
        wanted, found = (task.bits + 1, task.bits), (network.inputs, network.outputs)
        raise TrainingError(f"{where}: [network]: inputs and outputs: expected {wanted} for the task, got {found}")


def build(config: Config) -> CopyExperiment:
    """Builds the experiment of a configuration of this family."""
    return CopyExperiment(config)
