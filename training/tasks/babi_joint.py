"""All twenty tasks with one network: the rewriting network with a small memory network as its residual."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..checkpoint import with_prefix, without_prefix
from ..config import Config, read_table
from ..experiment import Graphs
from ..networks.memory_network import MemoryNetwork
from ..networks.rewriting_network import JointNetwork, RewritingNetwork
from .babi_batches import Order
from .babi_card import NOTES
from .babi_data import BabiData, vectors
from .babi_experiment import BabiExperiment
from .babi_graphs import initial, manifest, modules
from .babi_probes import checks, probes
from .babi_words import SENTENCE_WORDS


@dataclass(frozen=True)
class JointOptions:
    """The table [network] of a joint network."""

    kind: str = "joint"
    size: int = 64
    heads: int = 4
    hops: int = 5
    dropout: float = 0.0  # of what the rewriting network's hops find and make of it
    residual_size: int = 50
    residual_hops: int = 3
    residual_memory: int = 20


@dataclass(frozen=True)
class JointRecipe:
    """The table [recipe] of a joint network."""

    first_task: int = 16  # the residual network learns it alone
    first_updates: int = 900
    linear_updates: int = 400  # of these, how many with attention without softmax
    slots: int = 1500  # a batch
    learning_rate: float = 1e-3
    residual_learning_rate: float = 3e-3
    warm_up: int = 500  # updates after the residual's own
    decay_from: float = 0.6  # of the updates; then half a cosine to zero
    focus_from: int = 0  # update from which solved tasks are seen seldom and hard ones often; 0: never
    seldom: tuple[int, ...] = ()
    seldom_share: float = 1.0  # how often an epoch has a question of these tasks
    often: tuple[int, ...] = ()
    often_share: float = 1.0
    weight_decay: float = 0.0  # decoupled, of the rewriting network
    clip: float = 1.0


class JointExperiment(BabiExperiment):
    """The joint network on all tasks at once."""

    def __init__(self, config: Config) -> None:
        recipe = read_table(JointRecipe, config.recipe, f"{config.where}: [recipe]")
        options = read_table(JointOptions, config.network, f"{config.where}: [network]")
        super().__init__(config, recipe.slots)
        self.recipe = recipe
        self.network = self.joint = build_joint(options, self.data).to(self.device)
        residual = [*self.joint.residual.parameters()]
        rest = [*self.joint.rewriting.parameters(), *self.joint.gate.parameters()]
        self.optimizer = torch.optim.AdamW(
            [{"params": rest, "weight_decay": recipe.weight_decay}, {"params": residual, "weight_decay": 0.0}],
            betas=(0.9, 0.98),
            fused=True,
        )
        train = self.data.train
        self.order.shares[np.isin(train.task, recipe.seldom)] = recipe.seldom_share
        self.order.shares[np.isin(train.task, recipe.often)] = recipe.often_share
        alone = train.task == recipe.first_task
        first = np.flatnonzero(alone | ~alone.any())  # without that task the residual learns them all
        self.first = Order(train.lengths(self.data.task.memory)[first], recipe.slots, self.generator)
        self.first_numbers = first

    def set_update(self, update: int) -> None:
        """Warm-up, then constant, then half a cosine; the residual alone before all that."""
        recipe = self.recipe
        self.joint.residual.linear = update <= recipe.linear_updates
        together = max(0, update - recipe.first_updates)
        warm = min(1.0, together / recipe.warm_up)
        self.order.focus(0 < recipe.focus_from < update)
        done = update / self.config.updates
        decay = 0.5 + 0.5 * math.cos(math.pi * max(0.0, done - recipe.decay_from) / (1 - recipe.decay_from))
        block, residual = self.optimizer.param_groups
        block["lr"] = recipe.learning_rate * warm * decay
        residual["lr"] = recipe.residual_learning_rate * decay

    def loss(self, update: int) -> Tensor:
        """The residual's cross entropy alone on its task; later the block's own plus that of both together."""
        if update <= self.recipe.first_updates:
            which = self.first_numbers[next(self.first)]
            batch = self.training_batch(which)
            residual, newest = self.joint.residual, self.joint.residual.memory
            memory = residual.encode(batch.sentences)[batch.memory][:, -newest:]
            question = residual.encode_question(batch.questions)[batch.question]
            b, _ = residual(memory, batch.present[:, -newest:], batch.times[:, -newest:], question)
            return nn.functional.cross_entropy(b, batch.answer)
        batch = self.next_batch()
        (large, small), question = vectors(self.joint, batch)
        first = max(0, batch.present.shape[1] - self.joint.residual.memory)
        y, added, *_ = self.joint.parts(
            (large, batch.present, batch.times),
            (small[:, first:], batch.present[:, first:], batch.times[:, first:]),
            question,
        )
        both = nn.functional.cross_entropy(y.detach() + added, batch.answer)
        return nn.functional.cross_entropy(y, batch.answer) + both

    def clip(self) -> None:
        """One norm for the block, one for the residual."""
        nn.utils.clip_grad_norm_(self.joint.rewriting.parameters(), self.recipe.clip)
        nn.utils.clip_grad_norm_([*self.joint.residual.parameters(), *self.joint.gate.parameters()], self.recipe.clip)

    def state(self) -> dict[str, Tensor]:
        """Where both orders of batches stand."""
        return {**super().state(), **with_prefix("first", self.first.state())}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continues from there."""
        super().load_state(state)
        self.first.load_state(without_prefix("first", state))

    def graphs(self) -> Graphs:
        """The entries `tell`, `ask` and `answer`; a real question of every task as probe, random words as checks."""
        return Graphs(
            manifest=manifest(self.joint, self.data.words),
            modules=modules(self.joint),
            initial=initial(self.joint),
            probes=probes(self.data, per_task=1),
            checks=checks(len(self.data.words.words)),
            figures=self.figures(),
            notes=NOTES,
        )

    def validate(self) -> dict[str, float]:
        """As ever; always with softmax."""
        self.joint.residual.linear = False
        return super().validate()


def build_joint(options: JointOptions, data: BabiData) -> JointNetwork:
    """The joint network over the vocabulary of all tasks."""
    words, answers = len(data.words.words), len(data.words.answers)
    rewriting = RewritingNetwork(
        words=words,
        answers=answers,
        sentence_words=SENTENCE_WORDS,
        size=options.size,
        heads=options.heads,
        hops=options.hops,
        memory=data.task.memory,
        dropout=options.dropout,
    )
    residual = MemoryNetwork(
        words=words,
        answers=answers,
        sentence_words=SENTENCE_WORDS,
        size=options.residual_size,
        hops=options.residual_hops,
        memory=options.residual_memory,
    )
    return JointNetwork(rewriting, residual)
