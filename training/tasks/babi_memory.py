"""Memory networks, on one task or several, by the recipe of the end-to-end memory network's authors.

Stochastic gradient descent on the loss summed over batches of 32; every matrix's gradient clipped by itself to a norm
of 40; attention without softmax at first (linear start); times jittered (random noise); the rate halved now and then.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from ..config import Config, read_table
from ..errors import TrainingError
from ..experiment import Graphs
from ..networks.memory_network import MemoryNetwork, clip_each
from .babi_data import BabiData, answer
from .babi_experiment import BabiExperiment
from .babi_memory_graphs import initial, manifest, modules
from .babi_probes import checks, probes
from .babi_words import SENTENCE_WORDS


@dataclass(frozen=True)
class MemoryOptions:
    """The table [network] of a memory network; what the words mean stands in `networks/memory_modules.py`."""

    kind: str = "memory"
    size: int = 20
    hops: int = 3
    tying: str = "adjacent"  # or layerwise, single
    encoding: str = "position"  # or bag
    temporal: bool = True  # a sentence's age is part of it
    match: str = "dot"  # or cosine, bilinear, network
    empty: bool = True  # hops can also look at slots that nothing was told to, as in the authors' code
    gated: bool = False  # a gate decides how much of what was read goes on
    write: str = "none"  # or add, gated: what a hop writes into the memory that later hops read
    head: str = "sum"  # or concat, network: what the answer is read from


@dataclass(frozen=True)
class MemoryRecipe:
    """The table [recipe] of a memory network."""

    batch: int = 32
    learning_rate: float = 0.005
    halve_every: int = 4000  # updates, counted from the end of the linear start
    linear_updates: int = 3000  # with attention without softmax; 0: none
    clip: float = 40.0  # the largest norm of the gradient of one matrix


class MemoryExperiment(BabiExperiment):
    """A memory network on the tasks that the configuration names."""

    def __init__(self, config: Config) -> None:
        recipe = read_table(MemoryRecipe, config.recipe, f"{config.where}: [recipe]")
        options = read_table(MemoryOptions, config.network, f"{config.where}: [network]")
        super().__init__(config, slots=1500)
        self.recipe = recipe
        self.network = self.memory_network = build_memory(options, self.data, f"{config.where}: [network]")
        self.network.to(self.device)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=recipe.learning_rate)

    def set_update(self, update: int) -> None:
        """Linear attention first; the rate halved every so often after that."""
        self.memory_network.linear = update <= self.recipe.linear_updates
        halved = max(0, update - self.recipe.linear_updates) // self.recipe.halve_every
        self.optimizer.param_groups[0]["lr"] = self.recipe.learning_rate / 2**halved

    def loss(self, update: int) -> Tensor:
        """Cross entropy summed over a batch that is drawn with replacement."""
        which = torch.randint(len(self.data.train), (self.recipe.batch,), generator=self.generator).numpy()
        batch = self.training_batch(which)
        return nn.functional.cross_entropy(answer(self.network, batch)[0], batch.answer, reduction="sum")

    def clip(self) -> None:
        """Every matrix by itself."""
        clip_each(self.memory_network.matrices(), self.recipe.clip)

    def validate(self) -> dict[str, float]:
        """As ever; always with softmax."""
        self.memory_network.linear = False
        return super().validate()

    def graphs(self) -> Graphs:
        """The entries `tell`, `ask` and `answer`; real questions as probes, random words as checks."""
        return Graphs(
            manifest=manifest(self.memory_network, self.data.words),
            modules=modules(self.memory_network),
            initial=initial(self.memory_network),
            probes=probes(self.data, per_task=1 if len(self.data.task.tasks) > 1 else 4),
            checks=checks(len(self.data.words.words)),
            figures=self.figures(),
            notes=NOTES,
        )


def build_memory(options: MemoryOptions, data: BabiData, where: str) -> MemoryNetwork:
    """The network that a table describes; raises TrainingError for options that do not exist."""
    chosen = {name: value for name, value in asdict(options).items() if name != "kind"}
    try:
        return MemoryNetwork(
            words=len(data.words.words),
            answers=len(data.words.answers),
            sentence_words=SENTENCE_WORDS,
            memory=data.task.memory,
            answer_words=[data.words.id_of.get(answer, 0) for answer in data.words.answers],
            **chosen,
        )
    except ValueError as reason:
        raise TrainingError(f"{where}: {reason}") from None


NOTES = """
## Network

A memory network (`training/networks/memory_network.py`; `config.toml` has its options). `ask` works on a copy: what a
session was told stays as it was, also where hops write. Attention: where each hop looked; what the weights of a hop
lack to 1 went to empty slots. Words that the network does not know mean nothing to it.

`support_found`: the questions, in percent, whose every deciding sentence is the best one of some hop; `support_exact`:
for which the n sentences with the largest mean weight are exactly the n that decide; `support_first`: for which the
first is one of them.
"""
