"""Recurrent networks without a tape, the NTM's baselines: RNN, GRU and LSTM, in one or more layers.

`cells.py` has the formulas. A layer takes the output of the layer below, and its own output of the step before.
Shapes: B batch, L layers, C units of a layer. The states of all layers stand side by side, [B, L * C].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .cells import Cell, GRUCell, LSTMCell, RNNCell
from .machine import at_least_one
from .stepped import Seen, SteppedNetwork


@dataclass(frozen=True)
class RecurrentOptions:
    """The [network] table of an RNN, GRU or LSTM."""

    inputs: int = 9
    outputs: int = 8
    kind: str = "lstm"
    units: int = 128  # of each layer
    layers: int = 1


class Hidden(NamedTuple):
    """The state of an RNN or GRU."""

    hidden: Tensor  # [B, L * C]


class HiddenAndCell(NamedTuple):
    """The state of an LSTM."""

    hidden: Tensor  # [B, L * C]
    cell: Tensor  # [B, L * C]


class Recurrent(SteppedNetwork):
    """What the three have in common: layers, a learned initial state, a linear output."""

    cell: type[Cell]
    gates: tuple[Seen, ...] = ()  # what a layer shows, with shapes filled in for all layers

    def __init__(self, options: RecurrentOptions, where: str = "network") -> None:
        at_least_one(options, ("layers", "units"), where)
        super().__init__()
        self.options = options
        self.inputs, self.outputs = options.inputs, options.outputs
        self.fields = HiddenAndCell if self.cell.has_cell else Hidden
        self.state_meanings = {
            "hidden": "the outputs of all layers, side by side",
            "cell": "the cells of all layers, side by side",
        }
        self.seen = tuple(Seen(gate.name, (options.layers, options.units), gate.meaning) for gate in self.gates)
        below = [options.inputs] + [options.units] * (options.layers - 1)
        self.layers = nn.ModuleList(self.cell.layer(size, options.units, options.units) for size in below)
        self.output = nn.Linear(options.units, options.outputs)
        self.initial = nn.Parameter(torch.zeros(len(self.fields._fields), options.layers * options.units))
        for parameter in self.layers.parameters():
            nn.init.uniform_(parameter, -(options.units**-0.5), options.units**-0.5)

    def initial_state(self, batch: int) -> Hidden | HiddenAndCell:
        return self.fields(*(value.expand(batch, -1) for value in self.initial))

    def observe(
        self, x: Tensor, state: Hidden | HiddenAndCell
    ) -> tuple[Tensor, Hidden | HiddenAndCell, tuple[Tensor, ...]]:
        """One step, with the gates of every layer, each [B, L, C]."""
        hidden, *cell = (torch.split(value, self.options.units, dim=-1) for value in state)
        advanced = []
        for number, layer in enumerate(self.layers):
            advanced.append(self.cell.step(layer, x, hidden[number], cell[0][number] if cell else None))
            x = advanced[-1].hidden
        merged = [torch.cat([one.hidden for one in advanced], dim=-1)]
        if cell:
            merged.append(torch.cat([one.cell for one in advanced if one.cell is not None], dim=-1))
        seen = tuple(torch.stack(values, dim=1) for values in zip(*(one.gates for one in advanced), strict=True))
        return self.output(x), self.fields(*merged), seen


class RNN(Recurrent):
    """The plain recurrent network. It has no gates; its units are shown instead."""

    title = "a plain recurrent network"
    cell = RNNCell
    gates = (Seen("units", (), "layers, units: the output of each"),)


class GRU(Recurrent):
    """The gated recurrent unit."""

    title = "a gated recurrent unit (GRU)"
    cell = GRUCell
    gates = (
        Seen("reset_gate", (), "layers, units: 0 where the candidate does not see the unit before"),
        Seen("update_gate", (), "layers, units: 1 where the unit is kept, 0 where it becomes the candidate"),
    )


class LSTM(Recurrent):
    """The long short-term memory."""

    title = "a long short-term memory (LSTM)"
    cell = LSTMCell
    gates = (
        Seen("input_gate", (), "layers, units: how much of the candidate is taken in"),
        Seen("forget_gate", (), "layers, units: how much of the cell is kept"),
        Seen("output_gate", (), "layers, units: how much of the cell is shown"),
    )
