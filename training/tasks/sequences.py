"""Sequence tasks for networks that are stepped: which tasks and networks there are, and the recipe that trains them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..config import Config, read_table
from ..device import find_device
from ..errors import TrainingError
from ..experiment import Graphs
from ..networks.content_machine import ContentMachine, ContentOptions
from ..networks.ntm import NTM, NetworkOptions
from ..networks.recurrent import GRU, LSTM, RNN, RecurrentOptions
from ..networks.stepped import SteppedNetwork
from .blanks import BlankOptions, FillTheBlank
from .copying import Copy, CopyOptions, RepeatCopy, RepeatCopyOptions
from .echo import DelayedEcho, EchoOptions
from .ngrams import NGramOptions, NGrams
from .recall import AssociativeRecall, RecallOptions
from .sequence_graphs import step_graphs
from .sequence_task import Batch, HasText, Size, Task, answer, measure
from .sequence_views import draw, sequence_to_text
from .sorting import PrioritySort, SortOptions

VALIDATION_SEED, TEST_SEED = 1_000_001, 2_000_003  # fixed: every run is measured on the same sequences
LONGEST_PROBE = 41  # steps: the server replays probes when it starts

# By the `kind` in the [task] and [network] tables: the table's options, and what is made of them.
TASKS: dict[str, tuple[type, Any]] = {
    "copy": (CopyOptions, Copy),
    "repeat-copy": (RepeatCopyOptions, RepeatCopy),
    "associative-recall": (RecallOptions, AssociativeRecall),
    "ngrams": (NGramOptions, NGrams),
    "priority-sort": (SortOptions, PrioritySort),
    "delayed-echo": (EchoOptions, DelayedEcho),
    "fill-the-blank": (BlankOptions, FillTheBlank),
}
NETWORKS: dict[str, tuple[type, Any]] = {
    "ntm": (NetworkOptions, NTM),
    "content-machine": (ContentOptions, ContentMachine),
    "rnn": (RecurrentOptions, RNN),
    "gru": (RecurrentOptions, GRU),
    "lstm": (RecurrentOptions, LSTM),
}

NOTES = """
## Task

{task}

{figures}

"bits" is the cross entropy in bits a sequence, "wrong bits" the number of wrong bits a sequence, "wrong sequences"
the share of sequences with any wrong bit; without "at", over the sizes that were trained on. The validation score,
which chose the weights, is the cost in bits over these sizes{longer}.
"""
LONGER = (
    ", plus {weight:g} times that of {count} sequences of {title}, scaled to the average number of bits in training"
)


@dataclass(frozen=True)
class RecipeOptions:
    """The [recipe] table."""

    batch: int = 4  # sequences of one size, so nothing is padded
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-5
    anneal_from: float = 0.5  # the part of the run after which the rate falls along a cosine
    clip_norm: float = 10.0  # of all gradients together
    compile: bool = False  # the training step: twice as fast, but needs a C++ compiler and half a minute to start
    grow_until: float = 0.0  # the part of the run in which sizes grow from the smallest to all; 0: all at once
    # Learn the chances of the bits, where the task knows them, and not the bits that were drawn by these chances: the
    # gradient is the same on average, and its noise is less by that of the draws (36 bits a sequence, of N-grams).
    chances: bool = False


class SequenceExperiment:
    """A stepped network on a task of sequences; an `Experiment`."""

    def __init__(self, config: Config) -> None:
        self.task: Task = _make(TASKS, "copy", config.task, f"{config.where}: [task]")
        self.recipe = read_table(RecipeOptions, config.recipe, f"{config.where}: [recipe]")
        self.network: SteppedNetwork = _make(NETWORKS, "ntm", config.network, f"{config.where}: [network]")
        _check(self.task, self.network, config.where)
        self.device = find_device(config.device)
        self.network.to(self.device)
        self._trained = self.network.compiled() if self.recipe.compile else self.network
        self.updates = config.updates
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.recipe.learning_rate)
        self.generator = torch.Generator().manual_seed(config.seed)
        self._validation = self._trained_sizes(VALIDATION_SEED)
        if self.recipe.chances and self._validation[0].chances is None:
            kind = self.task.options.kind
            raise TrainingError(f"{config.where}: [recipe]: chances: expected false, for task {kind!r} has no chances")
        self._longer: list[Batch] = []
        if longer := self.task.longer():
            self._longer = [self._batch(VALIDATION_SEED, longer.size, longer.sequences)]

    def _trained_sizes(self, seed: int) -> list[Batch]:
        """The same number of sequences of every size trained on."""
        generator, sizes = torch.Generator().manual_seed(seed), self.task.sizes()
        count = max(1, self.task.options.validation_sequences // len(sizes))
        return [self.task.batch(size, count, generator).to(self.device) for size in sizes]

    def _batch(self, seed: int, size: Size, count: int) -> Batch:
        return self.task.batch(size, count, torch.Generator().manual_seed(seed)).to(self.device)

    def set_update(self, update: int) -> None:
        recipe, flat = self.recipe, self.recipe.anneal_from * self.updates
        part = max(0.0, (update - flat) / max(1.0, self.updates - flat))
        low, high = recipe.final_learning_rate, recipe.learning_rate
        rate = low + (high - low) * 0.5 * (1 + math.cos(math.pi * min(1.0, part)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def loss(self, update: int) -> Tensor:
        """Cross entropy summed over bits and steps: long sequences weigh more, and the clipping acts on them."""
        sizes = self._sizes(update)
        size = sizes[int(torch.randint(0, len(sizes), (), generator=self.generator))]
        batch = self.task.batch(size, self.recipe.batch, self.generator).to(self.device)
        wanted = batch.chances if self.recipe.chances else batch.targets
        assert wanted is not None  # it was checked in the beginning
        total = functional.binary_cross_entropy_with_logits(answer(self._trained, batch), wanted, reduction="sum")
        return total / self.recipe.batch

    def _sizes(self, update: int) -> Sequence[Size]:
        """The sizes that this update draws from."""
        sizes, growing = self.task.sizes(), self.recipe.grow_until * self.updates
        return sizes if update >= growing else sizes[: 1 + int(len(sizes) * update / growing)]

    def clip(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)

    def validate(self) -> dict[str, float]:
        """The score is the cost in bits; where longer sequences count, theirs is added, per sequence trained on."""
        measured = measure(self.network, self._validation)
        longer = self.task.longer()
        if longer is None:
            return {"score": measured["bits"], **measured}
        beyond = measure(self.network, self._longer)
        asked = sum(len(batch.targets) for batch in self._validation) / len(self._validation)
        share = asked / len(self._longer[0].targets)
        measured |= {f"{name}_{longer.name}": value for name, value in beyond.items()}
        return {"score": measured["bits"] + longer.weight * share * beyond["bits"], **measured}

    def test(self) -> dict[str, float]:
        measured = measure(self.network, self._trained_sizes(TEST_SEED))
        for name, size in self.task.beyond().items():
            batch = self._batch(TEST_SEED + sum(size), size, self.task.options.test_sequences)
            measured |= {f"{key}_{name}": value for key, value in measure(self.network, [batch]).items()}
        return measured

    def state(self) -> dict[str, Tensor]:
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        pass

    def samples(self) -> str:
        """One sequence of the largest size trained on, and one of the first size beyond."""
        sizes = [self.task.sizes()[-1], *list(self.task.beyond().values())[:1]]
        return "\n\n".join(self._sample(size) for size in sizes)

    def _sample(self, size: Size) -> str:
        batch = self._batch(TEST_SEED, size, 1)
        logits = answer(self.network, batch)
        # A task may have a better way to show itself than rows of bits.
        shown = self.task.to_text(batch, logits) if isinstance(self.task, HasText) else None
        return f"{self.task.title(size)}\n{shown or sequence_to_text(self.task, batch, logits)}"

    def figures(self) -> dict[str, bytes]:
        """What goes on inside over one sequence."""
        return draw(self.network, self._shown()[-1], self._many())[0]

    def graphs(self) -> Graphs:
        shown = self._shown()
        figures, captions = draw(self.network, shown[-1], self._many())
        longer = ""
        if beyond := self.task.longer():
            title = self.task.title(beyond.size)
            longer = LONGER.format(count=beyond.sequences, title=title, weight=beyond.weight)
        notes = NOTES.format(task=self.task.notes, figures=captions, longer=longer)
        real = [batch.inputs[:, 0] for batch in shown]
        return step_graphs(self.network, self.task, real, notes=notes, figures=figures)

    def _many(self) -> Batch:
        """Sequences of the largest size trained on, to see what damage does."""
        return self._batch(TEST_SEED, self.task.sizes()[-1], min(100, self.task.options.test_sequences))

    def _shown(self) -> list[Batch]:
        """Two sequences to look at and to record: the largest that is not too long, and one of about half its size."""
        batches = [self._batch(TEST_SEED + sum(size), size, 1) for size in self.task.sizes()]
        short = [batch for batch in batches if len(batch.inputs) <= LONGEST_PROBE] or batches[:1]
        short.sort(key=lambda batch: len(batch.inputs))
        return [short[len(short) // 2], short[-1]] if len(short) > 1 else short


def _make(kinds: Mapping[str, tuple[type, Any]], default: str, table: Mapping[str, Any], where: str) -> Any:
    """What a table describes, made by its kind."""
    kind = table.get("kind", default)
    if kind not in kinds:
        raise TrainingError(f"{where}: kind: expected one of {', '.join(kinds)}, got {kind!r}")
    options, made = kinds[kind]
    return made(read_table(options, table, where), where)


def _check(task: Task, network: SteppedNetwork, where: str) -> None:
    wanted = tuple(sum(width for _, width in groups) for groups in (task.inputs, task.outputs))
    if (network.inputs, network.outputs) != wanted:
        found = (network.inputs, network.outputs)
        raise TrainingError(f"{where}: [network]: inputs and outputs: expected {wanted} for the task, got {found}")


def build(config: Config) -> SequenceExperiment:
    """Builds the experiment of a configuration of this family."""
    return SequenceExperiment(config)
