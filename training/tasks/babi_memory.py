"""One task (or a few) with the plain end-to-end memory network, by the recipe of its authors' code.

Stochastic gradient descent on the loss summed over batches of 32; every matrix's gradient clipped by itself to a norm
of 40; attention without softmax at first (linear start); times jittered (random noise); the rate halved now and then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from ..config import Config, read_table
from ..errors import TrainingError
from ..networks.memory_network import MemoryNetwork, clip_each
from .babi_data import answer
from .babi_experiment import BabiExperiment
from .babi_words import SENTENCE_WORDS


@dataclass(frozen=True)
class MemoryOptions:
    """The table [network] of a memory network."""

    kind: str = "memory"
    size: int = 20
    hops: int = 3
    tying: str = "adjacent"  # or layerwise
    encoding: str = "position"  # or bag


@dataclass(frozen=True)
class MemoryRecipe:
    """The table [recipe] of a memory network."""

    batch: int = 32
    learning_rate: float = 0.005
    halve_every: int = 4000  # updates, counted from the end of the linear start
    linear_updates: int = 3000  # with attention without softmax; 0: none
    clip: float = 40.0  # the largest norm of the gradient of one matrix


class MemoryExperiment(BabiExperiment):
    """A plain memory network on the tasks that the configuration names."""

    def __init__(self, config: Config) -> None:
        recipe = read_table(MemoryRecipe, config.recipe, f"{config.where}: [recipe]")
        options = read_table(MemoryOptions, config.network, f"{config.where}: [network]")
        _check(options, f"{config.where}: [network]")
        super().__init__(config, slots=1500)
        self.recipe = recipe
        self.network = self.memory_network = MemoryNetwork(
            words=len(self.data.words.words),
            answers=len(self.data.words.answers),
            sentence_words=SENTENCE_WORDS,
            size=options.size,
            hops=options.hops,
            memory=self.data.task.memory,
            tying=cast(Literal["adjacent", "layerwise"], options.tying),
            encoding=cast(Literal["position", "bag"], options.encoding),
        )
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=recipe.learning_rate)

    def set_update(self, update: int) -> None:
        """Linear attention first; the rate halved every so often after that."""
        self.memory_network.linear = update <= self.recipe.linear_updates
        halved = max(0, update - self.recipe.linear_updates) // self.recipe.halve_every
        self.optimizer.param_groups[0]["lr"] = self.recipe.learning_rate / 2**halved

    def loss(self, update: int) -> Tensor:
        """Cross entropy summed over a batch that is drawn with replacement."""
        task = self.data.task
        which = torch.randint(len(self.data.train), (self.recipe.batch,), generator=self.generator).numpy()
        batch = self.data.train.batch(which, task.memory, task.jitter, self.generator)
        return nn.functional.cross_entropy(answer(self.network, batch)[0], batch.answer, reduction="sum")

    def clip(self) -> None:
        """Every matrix by itself."""
        clip_each(self.memory_network.matrices(), self.recipe.clip)

    def validate(self) -> dict[str, float]:
        """As ever; always with softmax."""
        self.memory_network.linear = False
        return super().validate()


def _check(options: MemoryOptions, where: str) -> None:
    for name, expected in (("tying", ("adjacent", "layerwise")), ("encoding", ("position", "bag"))):
        if (got := getattr(options, name)) not in expected:
            raise TrainingError(f"{where}: {name}: expected one of {', '.join(expected)}, got {got!r}")
