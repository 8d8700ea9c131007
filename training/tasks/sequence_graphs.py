"""What the exporter needs of a network that is stepped: its graph, its manifest, and input to check both with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from tapehead.v1.manifest_pb2 import MODEL_KIND_SEQUENCE, Entry, EntryTensor, Manifest, StateTensor
from tapehead.v1.tensor_pb2 import DATA_TYPE_FLOAT32

from ..experiment import Array, Call, Graphs
from ..networks.stepped import SteppedNetwork
from .sequence_task import Task

RANDOM_SEED = 3_000_017
RANDOM_STEPS, RANDOM_RUNS = 40, 5


class Step(nn.Module):
    """One step as it is served: probabilities, what can be looked at, and the next state."""

    def __init__(self, network: SteppedNetwork) -> None:
        super().__init__()
        self.network = network
        self._state = type(network.initial_state(1))

    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        logits, after, seen = self.network.observe(x, self._state(*state))
        return torch.sigmoid(logits), *seen, *after


def step_graphs(
    network: SteppedNetwork, task: Task, real: Sequence[Tensor], *, notes: str, figures: dict[str, bytes]
) -> Graphs:
    """The graphs of a network on a task; `real` are input sequences [T, inputs], recorded as probes."""
    generator = torch.Generator().manual_seed(RANDOM_SEED)
    random = torch.randn(RANDOM_RUNS, RANDOM_STEPS, network.inputs, generator=generator)
    return Graphs(
        manifest=_manifest(network, task),
        modules={"step": Step(network)},
        initial={name: value[0].numpy() for name, value in network.initial_state(1)._asdict().items()},
        probes=[_steps(sequence) for sequence in real],
        checks=[_steps(scale * sequence) for sequence, scale in zip(random, (0.1, 1, 1, 1, 10), strict=True)],
        notes=notes,
        figures=figures,
    )


def _steps(sequence: Tensor) -> list[Call]:
    return [("step", {"x": np.ascontiguousarray(x)}) for x in sequence.numpy()]


def _manifest(network: SteppedNetwork, task: Task) -> Manifest:
    step = Entry(name="step", file="model.onnx", reads_state=True, writes_state=True)
    step.inputs.append(_tensor("x", [network.inputs], _channels(task.inputs)))
    meaning = "the probability that each bit is 1" + (f": {_channels(task.outputs)}" if len(task.outputs) > 1 else "")
    step.outputs.append(_tensor("y", [network.outputs], meaning))
    step.outputs.extend(_tensor(one.name, list(one.shape), one.meaning, inspection=True) for one in network.seen)
    shapes: dict[str, Array] = {name: value[0] for name, value in network.initial_state(1)._asdict().items()}
    state = [
        StateTensor(name=name, dtype=DATA_TYPE_FLOAT32, shape=value.shape, description=network.state_meanings[name])
        for name, value in shapes.items()
    ]
    description = f"{task.description} with {network.title}."
    return Manifest(kind=MODEL_KIND_SEQUENCE, description=description, entries=[step], state=state)


def _channels(groups: tuple[tuple[str, int], ...]) -> str:
    """`the bits, then the delimiter`."""
    return ", then ".join(f"the {name}" for name, _ in groups)


def _tensor(name: str, shape: list[int], description: str, *, inspection: bool = False) -> EntryTensor:
    return EntryTensor(name=name, dtype=DATA_TYPE_FLOAT32, shape=shape, description=description, inspection=inspection)
