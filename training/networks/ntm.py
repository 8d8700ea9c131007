"""The Neural Turing Machine (Graves, Wayne, Danihelka 2014), with any controller and any number of heads.

All heads address the memory of the step before and the read heads read it; then the write heads write. The cell is
written in few, wide operations (one product for an LSTM, one for all head outputs, all heads addressed together), so
that the exported graph has few nodes. Shapes: B batch, N locations, M width of a location, L layers of C units, R read
heads, W write heads, H = R + W.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .addressing import address, read, write
from .machine import Machine, MachineOptions, at_least_one
from .stepped import Seen

PEAK = 10.0  # how far the initial weights (before their softmax) prefer location 0


@dataclass(frozen=True)
class NetworkOptions(MachineOptions):
    """The [network] table of an NTM."""

    read_heads: int = 1
    write_heads: int = 1
    # How strongly heads that have learned nothing yet prefer to stay where they are, taken from the biases of gates and
    # shifts. At 0 they spread out in a few steps and can only gather again by content; a head that is to wait for its
    # turn then learns to look for the beginning, which fails among more locations than it was trained with.
    stay: float = 0.0


class NTMState(NamedTuple):
    """Everything that the next step of a machine with an LSTM needs."""

    memory: Tensor  # [B, M, N], transposed: a column is a location
    weights: Tensor  # [B, H, N]: of the read heads, then of the write heads
    controller: Tensor  # [B, L * C + R * M]: what the layers put out, the last first, then the vectors read
    cell: Tensor  # [B, L * C]: the layers' cells, the last first


class PlainNTMState(NamedTuple):
    """Everything that the next step of a machine with another controller needs."""

    memory: Tensor
    weights: Tensor
    controller: Tensor  # of a feed-forward controller only the vectors read, [B, R * M]


class NTM(Machine):
    """The machine; its initial controller state, vectors read and head weights are learned."""

    title = "a Neural Turing Machine"

    def __init__(self, options: NetworkOptions, where: str = "network") -> None:
        at_least_one(options, ("read_heads", "write_heads"), where)
        width, locations = options.width, options.locations
        readers, writers = options.read_heads, options.write_heads
        heads = readers + writers
        # Keys, strengths and sharpenings, gates, shifts back and forward, each for all heads; then erase and add.
        self.sizes = [heads * width, 2 * heads, heads, heads, heads, writers * width, writers * width]
        super().__init__(options, where, sum(self.sizes), readers * width, reads_first=False)
        self.options = options
        self._state = NTMState if self.kind.has_cell else PlainNTMState
        self.state_meanings = _meanings(self.kind.name, self.kind.is_recurrent, readers, writers, options.layers)
        self.seen = (
            Seen("read_weights", (readers, locations), "heads, locations: where was read"),
            Seen("write_weights", (writers, locations), "heads, locations: where was written"),
            Seen("tape", (locations, width), "locations, width: after the step"),
        )
        self.initial_weights = nn.Parameter(torch.zeros(heads, locations))
        with torch.no_grad():
            self.initial_weights[:, 0] = PEAK
            self.heads.bias[heads * (width + 2) : heads * (width + 5)] -= options.stay  # gates, back, forward

    def initial_state(self, batch: int) -> NTMState | PlainNTMState:
        """The state before the first step."""
        weights = torch.softmax(self.initial_weights, dim=-1).expand(batch, -1, -1)
        controller = self.initial_controller.expand(batch, -1)
        return self._state(self._new_memory(batch), weights, controller, *self._new_cells(batch))

    def observe(
        self, x: Tensor, state: NTMState | PlainNTMState
    ) -> tuple[Tensor, NTMState | PlainNTMState, tuple[Tensor, ...]]:
        """One step, with all heads' weightings and the tape as people read it: a row a location."""
        options = self.options
        hidden, cells = self._control(x, state.controller, tuple(state[3:]))
        keys, powers, gate, back, forward, erase, add = self._head_outputs(hidden)
        strength, sharpening = self._powers(powers)
        weights = address(
            state.memory,
            state.weights,
            key=torch.tanh(keys).reshape(-1, options.read_heads + options.write_heads, options.width),
            strength=strength,
            gate=torch.sigmoid(gate),
            back=torch.exp(back),
            forward=torch.exp(forward),
            sharpening=1 + sharpening,
        )
        read_weights, write_weights = torch.split(weights, [options.read_heads, options.write_heads], dim=1)
        vectors = read(state.memory, read_weights)
        memory = write(state.memory, write_weights, torch.sigmoid(erase), torch.tanh(add))
        features = torch.cat([hidden, vectors], dim=-1)
        after = self._state(memory, weights, self._remembered(hidden, vectors, features), *cells)
        return self.output(features), after, (read_weights, write_weights, memory.transpose(1, 2))

    def _head_outputs(self, hidden: Tensor) -> tuple[Tensor, ...]:
        """All that the heads are told, each [B, size, 1]: one reshape and one split for everything."""
        return torch.split(self._told(hidden).unsqueeze(-1), self.sizes, dim=1)

    def _powers(self, powers: Tensor) -> tuple[Tensor, Tensor]:
        """Key strengths and sharpenings less one, each [B, H, 1] and above 0.

        One softplus of a multiple of four numbers a row, not one of each: onnxruntime computes four at a time, with
        other last bits for a rest of less than four, and then an answer would depend on the size of the batch. (For the
        same reason choose a multiple of 16 locations: the logarithm in `sharpen` is of heads times locations numbers.)
        """
        heads, rest = powers.shape[1] // 2, -powers.shape[1] % 4
        if rest:
            positive = functional.softplus(functional.pad(powers, (0, 0, 0, rest)))
            strength, sharpening, _ = torch.split(positive, [heads, heads, rest], dim=1)
        else:
            strength, sharpening = torch.split(functional.softplus(powers), heads, dim=1)
        return strength, sharpening


def _meanings(cell: str, recurrent: bool, readers: int, writers: int, layers: int) -> dict[str, str]:
    vectors = "the vector read" if readers == 1 else "the vectors read"
    outputs = f"the {cell}'s output" if layers == 1 else f"the outputs of the {cell}'s layers, the last first"
    heads = ("the read head and the write head are", "all read heads, then all write heads, are")
    return {
        "memory": "the tape, transposed: width, locations",
        "weights": f"where {heads[readers + writers > 2]}: heads, locations",
        "controller": f"{outputs}, then {vectors}" if recurrent else vectors,
        "cell": f"the {cell}'s cell" if layers == 1 else f"the cells of the {cell}'s layers, the last first",
    }
