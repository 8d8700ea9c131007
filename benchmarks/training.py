"""How fast training is beside the plain way to write it, both measured alternately in one run on the same cores.

    python -m benchmarks.training [ntm memory] [--seconds 3] [--rounds 3] [--compile] [--set recipe.batch=16]

Both train in one thread, and seconds are those of the processor. `ntm`: sequences a second of
`training/configs/ntm-copy.toml`, beside a Neural Turing Machine of the same sizes written the way a textbook says it: a
layer for each quantity of each head, one head after the other, memory [B, N, M], shifts by rolling, sharpening by
powers. Same task, batches, loss, optimiser and clipping; all sequences are of the longest size, so that every update is
alike. `memory`: questions a second of
`training/configs/babi-memory.toml`, beside the same network and recipe that takes the examples of a batch one by one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.config import Config, load_config
from training.networks.memory_network import clip_each
from training.tasks.babi_data import answer as answer_question
from training.tasks.babi_memory import MemoryExperiment
from training.tasks.sequences import SequenceExperiment

PARTS = ("ntm", "memory")
CONFIGS = Path("training/configs")
Update = Callable[[int], object]


# --- the plain machine ------------------------------------------------------------------------------------------------


class Carried(NamedTuple):
    """What the plain machine takes from step to step."""

    hidden: Tensor  # [B, C]
    cell: Tensor  # [B, C]
    memory: Tensor  # [B, N, M]
    read_weights: Tensor  # [B, N]
    write_weights: Tensor  # [B, N]
    vector: Tensor  # [B, M]


class Head(nn.Module):
    """Where one head looks: the five quantities of the paper, each from a layer of its own."""

    def __init__(self, units: int, width: int) -> None:
        super().__init__()
        self.key, self.strength = nn.Linear(units, width), nn.Linear(units, 1)
        self.gate, self.shift, self.sharpening = nn.Linear(units, 1), nn.Linear(units, 3), nn.Linear(units, 1)

    def forward(self, hidden: Tensor, memory: Tensor, before: Tensor) -> Tensor:
        key = torch.tanh(self.key(hidden)).unsqueeze(1)
        strength = functional.softplus(self.strength(hidden))
        content = torch.softmax(strength * functional.cosine_similarity(memory, key, dim=-1), dim=-1)
        gate = torch.sigmoid(self.gate(hidden))
        mixed = gate * content + (1 - gate) * before
        shift = torch.softmax(self.shift(hidden), dim=-1)
        turned = sum(shift[:, n : n + 1] * torch.roll(mixed, n - 1, dims=1) for n in range(3))
        sharp = (turned + 1e-12) ** (1 + functional.softplus(self.sharpening(hidden)))
        weights: Tensor = sharp / sharp.sum(dim=1, keepdim=True)
        return weights


class PlainMachine(nn.Module):
    """A Neural Turing Machine with one read head and one write head, as one writes it down first."""

    def __init__(self, inputs: int, outputs: int, units: int, locations: int, width: int) -> None:
        super().__init__()
        self.controller = nn.LSTMCell(inputs + width, units)
        self.reader, self.writer = Head(units, width), Head(units, width)
        self.erase, self.add = nn.Linear(units, width), nn.Linear(units, width)
        self.output = nn.Linear(units + width, outputs)
        self.first_hidden, self.first_cell = nn.Parameter(torch.zeros(units)), nn.Parameter(torch.zeros(units))
        self.first_vector = nn.Parameter(torch.zeros(width))
        self.first_weights = nn.Parameter(torch.zeros(2, locations))
        self.locations, self.width = locations, width

    def first(self, batch: int) -> Carried:
        reads, writes = torch.softmax(self.first_weights, dim=-1)
        hidden, cell, vector, reads, writes = (
            value.expand(batch, -1) for value in (self.first_hidden, self.first_cell, self.first_vector, reads, writes)
        )
        return Carried(hidden, cell, torch.full((batch, self.locations, self.width), 1e-6), reads, writes, vector)

    def step(self, x: Tensor, last: Carried) -> tuple[Tensor, Carried]:
        hidden, cell = self.controller(torch.cat([x, last.vector], dim=1), (last.hidden, last.cell))
        reads = self.reader(hidden, last.memory, last.read_weights)
        writes = self.writer(hidden, last.memory, last.write_weights)
        vector = torch.bmm(reads.unsqueeze(1), last.memory).squeeze(1)
        erase, add = torch.sigmoid(self.erase(hidden)), torch.tanh(self.add(hidden))
        kept = last.memory * (1 - writes.unsqueeze(2) * erase.unsqueeze(1))
        memory = kept + writes.unsqueeze(2) * add.unsqueeze(1)
        y = self.output(torch.cat([hidden, vector], dim=1))
        return y, Carried(hidden, cell, memory, reads, writes, vector)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [T, B, outputs] of inputs [T, B, inputs]."""
        last, logits = self.first(inputs.shape[1]), []
        for x in inputs:
            y, last = self.step(x, last)
            logits.append(y)
        return torch.stack(logits)


# --- updates ----------------------------------------------------------------------------------------------------------


def own_update(experiment: SequenceExperiment | MemoryExperiment) -> Update:
    """One update as training makes it."""

    def update(number: int) -> None:
        experiment.optimizer.zero_grad(set_to_none=True)
        experiment.loss(number).backward()  # type: ignore[no-untyped-call]
        experiment.clip()
        experiment.optimizer.step()

    return update


def plain_ntm_update(config: Config) -> Update:
    """The same update of the plain machine."""
    experiment = SequenceExperiment(config)
    options = {name: int(config.network[name]) for name in ("inputs", "outputs", "locations", "width")}
    machine = PlainMachine(units=int(config.network["controller"]), **options)
    optimizer = torch.optim.Adam(machine.parameters(), lr=experiment.recipe.learning_rate)
    sizes, recipe, generator = experiment.task.sizes(), experiment.recipe, experiment.generator

    def update(number: int) -> None:
        size = sizes[int(torch.randint(0, len(sizes), (), generator=generator))]
        batch = experiment.task.batch(size, recipe.batch, generator)
        optimizer.zero_grad(set_to_none=True)
        logits = machine(batch.inputs)[-len(batch.targets) :]
        loss = functional.binary_cross_entropy_with_logits(logits, batch.targets, reduction="sum") / recipe.batch
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(machine.parameters(), recipe.clip_norm)
        optimizer.step()

    return update


def one_by_one_update(experiment: MemoryExperiment) -> Update:
    """The same update, whose examples are taken one by one."""

    def update(number: int) -> None:
        experiment.optimizer.zero_grad(set_to_none=True)
        which = torch.randint(len(experiment.data.train), (experiment.recipe.batch,), generator=experiment.generator)
        for one in which.split(1):  # type: ignore[no-untyped-call]
            batch = experiment.training_batch(one.numpy())
            scores = answer_question(experiment.network, batch)[0]
            nn.functional.cross_entropy(scores, batch.answer, reduction="sum").backward()  # type: ignore[no-untyped-call]
        clip_each(experiment.memory_network.matrices(), experiment.recipe.clip)
        experiment.optimizer.step()

    return update


# --- measuring --------------------------------------------------------------------------------------------------------


def rates(updates: dict[str, Update], batch: int, seconds: float, rounds: int) -> dict[str, float]:
    """Examples a second of the processor of each, alternately; the median of the rounds."""
    for update in updates.values():
        update(1)  # whatever the first one costs alone
    found: dict[str, list[float]] = {name: [] for name in updates}
    for _ in range(rounds):
        for name, update in updates.items():
            count, begin = 0, time.process_time()
            while (elapsed := time.process_time() - begin) < seconds:
                update(1)
                count += 1
            found[name].append(count * batch / elapsed)
    return {name: median(values) for name, values in found.items()}


def table(what: str, batch: int, found: dict[str, float]) -> None:
    floor = found["plain"]
    print(f"| {what}, batch {batch} | {what} a second | of plain |\n|---|---|---|")
    for name, rate in found.items():
        print(f"| {name} | {rate:,.0f} | {rate / floor:.1f} |")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median is reported")
    parser.add_argument("--compile", action="store_true", help="also with `recipe.compile`: half a minute to begin")
    parser.add_argument("--set", action="append", default=[], help="an option of the configuration, as in training")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"expected parts among {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)  # as training does
    parts = arguments.parts or PARTS
    if "ntm" in parts:
        alike = [f"task.shortest={load_config(CONFIGS / 'ntm-copy.toml').task['longest']}", *arguments.set]
        config = load_config(CONFIGS / "ntm-copy.toml", alike)
        experiment = SequenceExperiment(config)
        updates = {"plain": plain_ntm_update(config), "own": own_update(experiment)}
        if arguments.compile:
            compiled = load_config(CONFIGS / "ntm-copy.toml", [*alike, "recipe.compile=true"])
            updates["own, compiled"] = own_update(SequenceExperiment(compiled))
        batch = experiment.recipe.batch
        table("sequences", batch, rates(updates, batch, arguments.seconds, arguments.rounds))
    if "memory" in parts:
        config = load_config(CONFIGS / "babi-memory.toml", arguments.set)
        memory = MemoryExperiment(config)
        memory.set_update(config.updates)  # attention with softmax, as most updates have it
        updates = {"plain": one_by_one_update(MemoryExperiment(config)), "own": own_update(memory)}
        batch = memory.recipe.batch
        table("questions", batch, rates(updates, batch, arguments.seconds, arguments.rounds))


if __name__ == "__main__":
    main()
