"""What the bAbI experiments share."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ..checkpoint import with_prefix, without_prefix
from ..config import Config, read_table
from ..device import find_device, move
from ..errors import TrainingError
from ..experiment import Array, Graphs
from .babi_batches import Batch, Order
from .babi_data import BabiData, Task
from .babi_figures import as_text, draw
from .babi_renaming import Renaming

SHOWN = (1, 2, 5, 15, 19)  # tasks whose attention is drawn


class BabiExperiment:
    """What all recipes share: data, the order of batches, measuring and rendering."""

    network: nn.Module
    optimizer: torch.optim.Optimizer

    def __init__(self, config: Config, slots: int) -> None:
        self.config = config
        self.device = find_device(config.device)
        self.data = BabiData(read_table(Task, config.task, f"{config.where}: [task]"))
        self.generator = torch.Generator().manual_seed(config.seed)
        lengths = self.data.train.lengths(self.data.task.memory)
        self.order = Order(lengths, slots, self.generator)
        self.renaming = Renaming(self.data.words) if self.data.task.rename else None

    def next_batch(self) -> Batch:
        """The next training batch."""
        return self.training_batch(next(self.order))

    def training_batch(self, which: Array) -> Batch:
        """The training questions numbered `which`, with all that varies them: jittered times, other names."""
        task = self.data.task
        batch = self.data.train.batch(which, task.memory, task.jitter, self.generator)
        return move(self.renaming.rename(batch, self.generator) if self.renaming else batch, self.device)

    def validate(self) -> dict[str, float]:
        """Errors on the held-out stories that choose the weights, and how well attention points at what decides."""
        return self.data.errors(self.network, self.data.batches(self.data.choosing))

    def test(self) -> dict[str, float]:
        """Errors on the held-out stories that choose nothing."""
        return self.data.errors(self.network, self.data.batches(self.data.measuring))

    def samples(self) -> str:
        """Of every task one question, with its story and where each hop looked (in percent; * marks support)."""
        numbers = [int(np.flatnonzero(self.data.measuring.task == task)[0]) for task in self.data.task.tasks]
        return "\n\n".join(as_text(self.data.case(self.network, number)) for number in numbers)

    def figures(self) -> dict[str, bytes]:
        """Where the hops looked, over a few stories of at most 12 sentences."""
        cases = []
        for task in self.data.task.tasks:
            of_task = np.flatnonzero(self.data.measuring.task == task)
            lengths = self.data.measuring.lengths(self.data.task.memory)[of_task]
            fitting = of_task[(lengths >= 4) & (lengths <= 12)]
            if task in SHOWN and len(fitting):
                cases.append(self.data.case(self.network, int(fitting[-1])))
        return {"attention.png": draw(cases)} if cases else {}

    def graphs(self) -> Graphs:
        """What the exporter needs; only the joint network is made to be served."""
        raise TrainingError(f"{self.config.where}: expected a joint network to export, got a plain memory network")

    def state(self) -> dict[str, Tensor]:
        """Where the order of batches stands."""
        return with_prefix("order", self.order.state())

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continues from there."""
        self.order.load_state(without_prefix("order", state))
