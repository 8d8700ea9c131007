"""Recurrent networks without a tape, the NTM's baselines: RNN (Elman 1990), GRU (Cho et al. 2014), LSTM (Hochreiter
and Schmidhuber 1997, with forget gates), in one or more layers.

A layer takes the output of the layer below, and its own output of the step before:

    RNN    h' = tanh(W [x; h] + b)
    GRU    r, z = sigmoid(W [x; h] + b);  n = tanh(V x + c + r * (U h + d));  h' = (1 - z) * n + z * h
    LSTM   i, f, o = sigmoid(W [x; h] + b);  g = tanh(V [x; h] + c);  c' = f * c + i * g;  h' = o * tanh(c')

Shapes: B batch, L layers, C units of a layer. The states of all layers stand side by side, [B, L * C].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import TrainingError
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

    gates: tuple[Seen, ...] = ()  # what a layer shows, with shapes filled in for all layers
    fields: type[Hidden] | type[HiddenAndCell] = Hidden

    def __init__(self, options: RecurrentOptions, where: str = "network") -> None:
        if options.layers < 1 or options.units < 1:
            raise TrainingError(f"{where}: layers, units: expected at least 1, got {options.layers}, {options.units}")
        super().__init__()
        self.options = options
        self.inputs, self.outputs = options.inputs, options.outputs
        self.seen = tuple(Seen(gate.name, (options.layers, options.units), gate.meaning) for gate in self.gates)
        below = [options.inputs] + [options.units] * (options.layers - 1)
        self.layers = nn.ModuleList(self.layer(size, options.units) for size in below)
        self.output = nn.Linear(options.units, options.outputs)
        self.initial = nn.Parameter(torch.zeros(len(self.fields._fields), options.layers * options.units))
        for parameter in self.layers.parameters():
            nn.init.uniform_(parameter, -(options.units**-0.5), options.units**-0.5)

    def layer(self, inputs: int, units: int) -> nn.Module:
        """The weights of a layer."""
        return nn.Linear(inputs + units, units)

    def advance(
        self, layer: nn.Module, x: Tensor, before: Sequence[Tensor]
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """One step of one layer: (its state after, hidden first; what it shows), each a tuple of [B, C]."""
        raise NotImplementedError

    def initial_state(self, batch: int) -> Hidden | HiddenAndCell:
        return self.fields(*(value.expand(batch, -1) for value in self.initial))

    def observe(
        self, x: Tensor, state: Hidden | HiddenAndCell
    ) -> tuple[Tensor, Hidden | HiddenAndCell, tuple[Tensor, ...]]:
        """One step, with the gates of every layer, each [B, L, C]."""
        before = [torch.split(value, self.options.units, dim=-1) for value in state]
        states, shown = [], []
        for number, layer in enumerate(self.layers):
            after, gates = self.advance(layer, x, [value[number] for value in before])
            states.append(after)
            shown.append(gates)
            x = after[0]
        merged = (torch.cat(values, dim=-1) for values in zip(*states, strict=True))
        seen = tuple(torch.stack(values, dim=1) for values in zip(*shown, strict=True))
        return self.output(x), self.fields(*merged), seen


class RNN(Recurrent):
    """The plain recurrent network. It has no gates; its units are shown instead."""

    title = "a plain recurrent network"
    state_meanings: ClassVar[dict[str, str]] = {"hidden": "the outputs of all layers, side by side"}
    gates = (Seen("units", (), "layers, units: the output of each"),)

    def advance(
        self, layer: nn.Module, x: Tensor, before: Sequence[Tensor]
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        hidden = torch.tanh(layer(torch.cat([x, before[0]], dim=-1)))
        return (hidden,), (hidden,)


class GRU(Recurrent):
    """The gated recurrent unit, with the reset gate behind the product, as most libraries have it."""

    title = "a gated recurrent unit (GRU)"
    state_meanings: ClassVar[dict[str, str]] = {"hidden": "the outputs of all layers, side by side"}
    gates = (
        Seen("reset_gate", (), "layers, units: 0 where the candidate does not see the unit before"),
        Seen("update_gate", (), "layers, units: 1 where the unit is kept, 0 where it becomes the candidate"),
    )

    def layer(self, inputs: int, units: int) -> nn.Module:
        return nn.ModuleList([nn.Linear(inputs, 3 * units), nn.Linear(units, 3 * units)])

    def advance(
        self, layer: nn.Module, x: Tensor, before: Sequence[Tensor]
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        assert isinstance(layer, nn.ModuleList)
        units, hidden = self.options.units, before[0]
        shown, candidate = torch.split(layer[0](x), [2 * units, units], dim=-1)
        kept, memory = torch.split(layer[1](hidden), [2 * units, units], dim=-1)
        reset, update = torch.split(torch.sigmoid(shown + kept), units, dim=-1)
        fresh = torch.tanh(candidate + reset * memory)
        return (fresh + update * (hidden - fresh),), (reset, update)


class LSTM(Recurrent):
    """The long short-term memory."""

    title = "a long short-term memory (LSTM)"
    state_meanings: ClassVar[dict[str, str]] = {
        "hidden": "the outputs of all layers, side by side",
        "cell": "the cells of all layers, side by side",
    }
    gates = (
        Seen("input_gate", (), "layers, units: how much of the candidate is taken in"),
        Seen("forget_gate", (), "layers, units: how much of the cell is kept"),
        Seen("output_gate", (), "layers, units: how much of the cell is shown"),
    )
    fields = HiddenAndCell

    def layer(self, inputs: int, units: int) -> nn.Module:
        return nn.Linear(inputs + units, 4 * units)

    def advance(
        self, layer: nn.Module, x: Tensor, before: Sequence[Tensor]
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        hidden, cell = before
        units = self.options.units
        gates, candidate = torch.split(layer(torch.cat([x, hidden], dim=-1)), [3 * units, units], dim=-1)
        take, forget, show = torch.split(torch.sigmoid(gates), units, dim=-1)
        after = forget * cell + take * torch.tanh(candidate)
        return (show * torch.tanh(after), after), (take, forget, show)
