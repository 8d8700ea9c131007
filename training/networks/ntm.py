"""The Neural Turing Machine (Graves, Wayne, Danihelka 2014): an LSTM controller with one read and one write head.

Both heads address the memory of the step before and the read head reads it; then the write head writes. The cell is
written in few, wide operations (one product for the LSTM, one for all head outputs, both heads addressed together), so
that the exported graph has few nodes. Shapes: B batch, N locations, M width of a location, C controller units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .addressing import address, read, write
from .stepped import Seen, SteppedNetwork

HEAD_LIMIT = 20.0  # head outputs are clamped to this, so that no exponential overflows
EMPTY = 1e-6  # what every cell of a new memory holds
PEAK = 10.0  # how far the initial weights (before their softmax) prefer location 0


@dataclass(frozen=True)
class NetworkOptions:
    """The [network] table of an NTM."""

    kind: str = "ntm"
    inputs: int = 9
    outputs: int = 8
    controller: int = 100  # LSTM units
    locations: int = 128
    width: int = 20


class NTMState(NamedTuple):
    """Everything that the next step needs."""

    memory: Tensor  # [B, M, N], transposed: a column is a location
    weights: Tensor  # [B, 2, N]: of the read head, of the write head
    controller: Tensor  # [B, C + M]: the LSTM's output, then the vector read
    cell: Tensor  # [B, C]: the LSTM's cell


MEANINGS = {
    "memory": "the tape, transposed: width, locations",
    "weights": "where the read head and the write head are: heads, locations",
    "controller": "the LSTM's output, then the vector read",
    "cell": "the LSTM's cell",
}


class NTM(SteppedNetwork):
    """The machine; its initial controller state, vector read and head weights are learned."""

    title = "a Neural Turing Machine"
    state_meanings = MEANINGS

    def __init__(self, options: NetworkOptions, where: str = "network") -> None:
        super().__init__()
        self.options = options
        self.inputs, self.outputs = options.inputs, options.outputs
        units, width, locations = options.controller, options.width, options.locations
        self.seen = (
            Seen("read_weights", (1, locations), "heads, locations: where was read"),
            Seen("write_weights", (1, locations), "heads, locations: where was written"),
            Seen("tape", (locations, width), "locations, width: after the step"),
        )
        # Keys, strengths and sharpenings, gates, shifts back and forward, each for both heads; then erase and add.
        self.sizes = [2 * width, 4, 2, 2, 2, width, width]
        self.lstm = nn.Linear(options.inputs + units + width, 4 * units)
        self.heads = nn.Linear(units, sum(self.sizes))
        self.output = nn.Linear(units + width, options.outputs)
        self.initial_controller = nn.Parameter(torch.zeros(units + width))
        self.initial_cell = nn.Parameter(torch.zeros(units))
        self.initial_weights = nn.Parameter(torch.zeros(2, locations))
        bound = units**-0.5
        nn.init.uniform_(self.lstm.weight, -bound, bound)
        nn.init.uniform_(self.lstm.bias, -bound, bound)
        nn.init.xavier_uniform_(self.heads.weight, gain=1.4)
        nn.init.normal_(self.heads.bias, std=0.01)
        nn.init.xavier_uniform_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        nn.init.uniform_(self.initial_controller, -bound, bound)
        nn.init.uniform_(self.initial_cell, -bound, bound)
        with torch.no_grad():
            self.initial_weights[:, 0] = PEAK

    def initial_state(self, batch: int) -> NTMState:
        """The state before the first step: an empty memory; everything else is learned."""
        return NTMState(
            memory=self.lstm.weight.new_full((batch, self.options.width, self.options.locations), EMPTY),
            weights=torch.softmax(self.initial_weights, dim=-1).expand(batch, -1, -1),
            controller=self.initial_controller.expand(batch, -1),
            cell=self.initial_cell.expand(batch, -1),
        )

    def observe(self, x: Tensor, state: NTMState) -> tuple[Tensor, NTMState, tuple[Tensor, ...]]:
        """One step, with both heads' weightings and the tape as people read it: a row a location."""
        after = self.advance(x, state)
        read_weights, write_weights = torch.split(after.weights, 1, dim=1)
        return self.output(after.controller), after, (read_weights, write_weights, after.memory.transpose(1, 2))

    def advance(self, x: Tensor, state: NTMState) -> NTMState:
        """The next state; the output is a function of its `controller` alone."""
        hidden, cell = self._control(x, state)
        keys, powers, gate, back, forward, erase, add = self._head_outputs(hidden)
        # One softplus of four numbers a row, not two of two: onnxruntime computes four at a time, with other last bits
        # for a rest of less than four, and then the bits of an answer would depend on the size of the batch.
        strength, sharpening = torch.split(functional.softplus(powers), 2, dim=1)
        weights = address(
            state.memory,
            state.weights,
            key=torch.tanh(keys).reshape(-1, 2, self.options.width),
            strength=strength,
            gate=torch.sigmoid(gate),
            back=torch.exp(back),
            forward=torch.exp(forward),
            sharpening=1 + sharpening,
        )
        read_weights, write_weights = torch.split(weights, 1, dim=1)
        vector = read(state.memory, read_weights)
        memory = write(state.memory, write_weights, torch.sigmoid(erase), torch.tanh(add))
        return NTMState(memory, weights, torch.cat([hidden, vector], dim=-1), cell)

    def _control(self, x: Tensor, state: NTMState) -> tuple[Tensor, Tensor]:
        """One LSTM step on the input and what was read: (hidden, cell), each [B, C]."""
        units = self.options.controller
        gates, candidate = torch.split(self.lstm(torch.cat([x, state.controller], dim=-1)), [3 * units, units], dim=-1)
        take, forget, show = torch.split(torch.sigmoid(gates), units, dim=-1)
        cell = forget * state.cell + take * torch.tanh(candidate)
        return show * torch.tanh(cell), cell

    def _head_outputs(self, hidden: Tensor) -> tuple[Tensor, ...]:
        """All that the heads are told, each [B, size, 1]: one product, one reshape and one split for everything."""
        outputs = torch.clamp(self.heads(hidden), -HEAD_LIMIT, HEAD_LIMIT)
        return torch.split(outputs.unsqueeze(-1), self.sizes, dim=1)
