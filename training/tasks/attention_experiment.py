"""The recipe that trains an encoder-decoder with attention, with or without the regulariser, and how it is measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..config import Config, read_table
from ..device import find_device
from ..errors import TrainingError
from ..experiment import Graphs
from ..networks.attention import AttentionNetwork, AttentionOptions, real_positions, real_steps
from ..networks.coverage import covered, even
from .attention_graphs import attention_graphs
from .attention_task import Pairs, Task, until_end
from .attention_views import as_text, attention_png
from .word_errors import word_errors

VALIDATION_SEED, TEST_SEED = 1_000_001, 2_000_003  # fixed: every run is measured on the same pairs
SHOWN = 3  # pairs to look at
PROBED = 4  # pairs whose texts are recorded in the bundle

NOTES = """
## Task

{task}

`attention.png`: where each written word looked, darker for more weight.

Words are written greedily. "word error" is the number of words to change, add or drop, by the number of expected words;
missing, extra and wrong words are counted for a text, "repeated" are extra words like a neighbour. "wrong texts" is the
share with any error. "uneven coverage" is how far what a {position} was looked at in all is from an even share, on
average; an even share is (words + 1) / {position}s, because the end is written too. "skipped" is the share of
{position}s with less than half of an even share. "bits" is the cross entropy a word where the words before are given;
that of the validation pairs is the score that chose the weights.

{loss}
"""
PLAIN = "The loss is the cross entropy of a text."
REGULARISED = """
The loss is the cross entropy of a text, plus {weight:g} times the coverage penalty of Xu et al. (2015), equation 14,
with tau {tau} (`training/networks/coverage.py`).
"""


@dataclass(frozen=True)
class RecipeOptions:
    """The [recipe] table."""

    batch: int = 32
    learning_rate: float = 2e-3
    final_learning_rate: float = 2e-5
    anneal_from: float = 0.4  # the part of the run after which the rate falls along a cosine
    clip_norm: float = 5.0  # of all gradients together
    grow_until: float = 0.0  # the part of the run in which pairs grow from the shortest to all; 0: all at once
    coverage: float = 0.0  # lambda, the weight of the coverage penalty
    tau: float | str = "even"  # what each position is to be covered with: a number, "learned" or "even"


class AttentionExperiment:
    """A task of pairs with the network and its recipe; an `Experiment`."""

    def __init__(self, config: Config, task: Task) -> None:
        self.task = task
        self.recipe = read_table(RecipeOptions, config.recipe, f"{config.where}: [recipe]")
        if self.recipe.coverage < 0:
            raise TrainingError(f"{config.where}: [recipe]: coverage: expected 0 or more, got {self.recipe.coverage}")
        options = read_table(AttentionOptions, config.network, f"{config.where}: [network]")
        tau, where = self.recipe.tau, f"{config.where}: [recipe]"
        self.network = AttentionNetwork(task.front(options.size), len(task.words), options, tau, where)
        self.device = find_device(config.device)
        self.network.to(self.device)
        self.updates = config.updates
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.recipe.learning_rate)
        self.generator = torch.Generator().manual_seed(config.seed)
        self._validation = task.validation().to(self.device)

    def set_update(self, update: int) -> None:
        recipe, flat = self.recipe, self.recipe.anneal_from * self.updates
        part = max(0.0, (update - flat) / max(1.0, self.updates - flat))
        low, high = recipe.final_learning_rate, recipe.learning_rate
        for group in self.optimizer.param_groups:
            group["lr"] = low + (high - low) * 0.5 * (1 + math.cos(math.pi * min(1.0, part)))

    def loss(self, update: int) -> Tensor:
        """Cross entropy and penalty, each summed over a text and averaged over the batch."""
        growing = self.recipe.grow_until * self.updates
        grown = update / growing if update < growing else 1.0
        pairs = self.task.draw(self.recipe.batch, self.generator, grown).to(self.device)
        entropy, weights, steps = self._read(pairs)
        penalty = 0.0
        if self.recipe.coverage:
            positions = real_positions(pairs.lengths.unsqueeze(1), weights.shape[2])
            penalty = self.recipe.coverage * self.network.coverage(weights, positions, steps).mean()
        return entropy.sum(1).mean() + penalty

    def _read(self, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
        """Cross entropy [B, T] in nats with the words before given, weights [B, T, L], which steps are real [B, T]."""
        scores, weights = self.network(pairs.source, pairs.lengths, pairs.targets)
        steps = real_steps(pairs.targets)
        entropy = functional.cross_entropy(scores.transpose(1, 2), pairs.targets, reduction="none")
        return torch.where(steps, entropy, 0.0), weights, steps

    def clip(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)

    def validate(self) -> dict[str, float]:
        """The score is the cross entropy a word, which still tells networks apart that make no errors."""
        measured = self._measure(self._validation)
        return {"score": measured["bits"], **measured}

    def test(self) -> dict[str, float]:
        measured: dict[str, float] = {}
        for end, pairs in self._tests().items():
            measured |= {name + end: value for name, value in self._measure(pairs).items()}
        if self.network.coverage.learned is not None:
            measured["tau"] = self.network.coverage.learned.item()
        return measured

    def _tests(self) -> dict[str, Pairs]:
        return {name: pairs.to(self.device) for name, pairs in self.task.tests().items()}

    def _measure(self, pairs: Pairs) -> dict[str, float]:
        entropy, _, read = self._read(pairs)
        words, weights = self.network.write(pairs.source, pairs.lengths, self.task.limit)
        expected = [until_end(row) for row in pairs.targets]
        errors = [word_errors(wanted, until_end(row)) for wanted, row in zip(expected, words, strict=True)]
        positions, steps = real_positions(pairs.lengths.unsqueeze(1), weights.shape[2]), real_steps(words)
        share = covered(weights, steps) / even(positions, steps)
        uneven = (share - 1).abs() * even(positions, steps)
        count = len(errors)
        return {
            "word_error": sum(one.all for one in errors) / sum(map(len, expected)),
            "wrong_texts": sum(one.all > 0 for one in errors) / count,
            "wrong_words": sum(one.wrong for one in errors) / count,
            "missing_words": sum(one.missing for one in errors) / count,
            "extra_words": sum(one.extra for one in errors) / count,
            "repeated_words": sum(one.repeated for one in errors) / count,
            "uneven_coverage": uneven[positions].mean().item(),
            f"skipped_{self.task.position.replace(' ', '_')}s": (share[positions] < 0.5).float().mean().item(),
            "bits": entropy.sum().item() / int(read.sum()) / math.log(2),
        }

    def state(self) -> dict[str, Tensor]:
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        pass

    def samples(self) -> str:
        """The first pairs of every test."""
        shown = []
        for pairs in self._tests().values():
            shown += [as_text(self.task, self.network, pairs.row(number), 0) for number in range(SHOWN)]
        return "\n\n".join(shown)

    def figures(self) -> dict[str, bytes]:
        """Where the words of a few test pairs looked."""
        pairs = self._tests()[""]
        return {"attention.png": attention_png(self.task, self.network, [pairs.row(row) for row in range(SHOWN)])}

    def graphs(self) -> Graphs:
        tested = self._tests()[""]
        loss = PLAIN
        if self.recipe.coverage:
            loss = REGULARISED.format(weight=self.recipe.coverage, tau=self.recipe.tau).strip()
        notes = NOTES.format(task=self.task.notes.strip(), position=self.task.position, loss=loss)
        real = [tested.row(row) for row in range(PROBED)]
        return attention_graphs(self.network, self.task, real, notes=notes, figures=self.figures())
