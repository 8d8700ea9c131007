"""What the exporter needs of a network that is stepped: its graph, its manifest, and input to check both with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from tapehead.v1.manifest_pb2 import MODEL_KIND_SEQUENCE, Entry, EntryTensor, Manifest, StateTensor
from tapehead.v1.tensor_pb2 import DATA_TYPE_FLOAT32

from ..experiment import Array, Call, Graphs
from ..networks.ntm import NTM, NTMState

RANDOM_SEED = 3_000_017
RANDOM_STEPS, RANDOM_RUNS = 40, 5

STATE_MEANINGS = {
    "memory": "the tape, transposed: width, locations",
    "weights": "where the read head and the write head are: heads, locations",
    "controller": "the LSTM's output, then the vector read",
    "cell": "the LSTM's cell",
}


class Step(nn.Module):
    """One step as it is served: probabilities, what can be looked at, and the next state."""

    def __init__(self, network: NTM) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, x: Tensor, memory: Tensor, weights: Tensor, controller: Tensor, cell: Tensor
    ) -> tuple[Tensor, ...]:
        logits, state = self.network.step(x, NTMState(memory, weights, controller, cell))
        read_weights, write_weights = torch.split(state.weights, 1, dim=1)
        return torch.sigmoid(logits), read_weights, write_weights, state.memory.transpose(1, 2), *state


def ntm_graphs(
    network: NTM, real: Sequence[Tensor], *, description: str, notes: str, figures: dict[str, bytes]
) -> Graphs:
    """The graphs of an NTM; `real` are input sequences [T, inputs], recorded as probes."""
    generator = torch.Generator().manual_seed(RANDOM_SEED)
    random = torch.randn(RANDOM_RUNS, RANDOM_STEPS, network.options.inputs, generator=generator)
    return Graphs(
        manifest=_manifest(network, description),
        modules={"step": Step(network)},
        initial={name: value[0].numpy() for name, value in network.initial_state(1)._asdict().items()},
        probes=[_steps(sequence) for sequence in real],
        checks=[_steps(scale * sequence) for sequence, scale in zip(random, (0.1, 1, 1, 1, 10), strict=True)],
        notes=notes,
        figures=figures,
    )


def _steps(sequence: Tensor) -> list[Call]:
    return [("step", {"x": np.ascontiguousarray(x)}) for x in sequence.numpy()]


def _manifest(network: NTM, description: str) -> Manifest:
    options = network.options
    step = Entry(name="step", file="model.onnx", reads_state=True, writes_state=True)
    step.inputs.append(_tensor("x", [options.inputs], "the bits, then the delimiter"))
    step.outputs.extend(
        [
            _tensor("y", [options.outputs], "the probability that each bit is 1"),
            _tensor("read_weights", [1, options.locations], "heads, locations: where was read", inspection=True),
            _tensor("write_weights", [1, options.locations], "heads, locations: where was written", inspection=True),
            _tensor("tape", [options.locations, options.width], "locations, width: after the step", inspection=True),
        ]
    )
    shapes: dict[str, Array] = {name: value[0] for name, value in network.initial_state(1)._asdict().items()}
    state = [
        StateTensor(name=name, dtype=DATA_TYPE_FLOAT32, shape=value.shape, description=STATE_MEANINGS[name])
        for name, value in shapes.items()
    ]
    return Manifest(kind=MODEL_KIND_SEQUENCE, description=description, entries=[step], state=state)


def _tensor(name: str, shape: list[int], description: str, *, inspection: bool = False) -> EntryTensor:
    return EntryTensor(name=name, dtype=DATA_TYPE_FLOAT32, shape=shape, description=description, inspection=inspection)
