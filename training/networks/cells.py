"""What one layer of a recurrent network computes in a step; recurrent networks and the machines' controllers share it.

    feed-forward  h' = tanh(W [x; m] + b)
    RNN           h' = tanh(W [x; h; m] + b)
    GRU           r, z = sigmoid(W [x; m; h] + b);  n = tanh(V [x; m] + c + r * (U h + d))
                  h' = (1 - z) * n + z * h
    LSTM          i, f, o = sigmoid(W [x; h; m] + b);  g = tanh(V [x; h; m] + c)
                  c' = f * c + i * g;  h' = o * tanh(c')

Elman 1990; Cho et al. 2014, with the reset gate behind the product, as most libraries have it; Hochreiter and
Schmidhuber 1997, with forget gates. Shapes: B batch, C units; x is the layer's input; m is what else comes in, for a
controller what its machine read, and may be absent. h and m come as one tensor, [h; m], because they are one in the
state of a machine.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn


class Advanced(NamedTuple):
    """A layer after a step."""

    hidden: Tensor  # [B, C], h'
    cell: Tensor | None  # [B, C], c', of an LSTM
    gates: tuple[Tensor, ...]  # each [B, C]: what there is to look at


class Cell:
    """A kind of layer. It holds no weights; `layer` makes them and `step` takes them."""

    name: ClassVar[str]  # as sentences have it: "LSTM"
    is_recurrent: ClassVar[bool] = True  # whether it takes its own output of the step before
    has_cell: ClassVar[bool] = False

    @staticmethod
    def layer(inputs: int, joined: int, units: int) -> nn.Module:
        """The weights for x [B, inputs] and [h; m] [B, joined]."""
        return nn.Linear(inputs + joined, units)

    @staticmethod
    def step(weights: nn.Module, x: Tensor, joined: Tensor | None, cell: Tensor | None) -> Advanced:
        """One step of one layer; `joined` is [h; m], of a feed-forward layer m, or None where there is neither."""
        raise NotImplementedError


class FeedForward(Cell):
    """Remembers nothing: all memory is the machine's."""

    name = "feed-forward network"
    is_recurrent = False

    @staticmethod
    def step(weights: nn.Module, x: Tensor, joined: Tensor | None, cell: Tensor | None) -> Advanced:
        hidden = torch.tanh(weights(x if joined is None else torch.cat([x, joined], dim=-1)))
        return Advanced(hidden, None, (hidden,))


class RNNCell(Cell):
    """The plain recurrent layer. It has no gates; its units are shown instead."""

    name = "RNN"

    @staticmethod
    def step(weights: nn.Module, x: Tensor, joined: Tensor | None, cell: Tensor | None) -> Advanced:
        assert joined is not None
        hidden = torch.tanh(weights(torch.cat([x, joined], dim=-1)))
        return Advanced(hidden, None, (hidden,))


class GRUCell(Cell):
    """The gated recurrent unit; shows reset and update gate."""

    name = "GRU"

    @staticmethod
    def layer(inputs: int, joined: int, units: int) -> nn.Module:
        return nn.ModuleList([nn.Linear(inputs + joined - units, 3 * units), nn.Linear(units, 3 * units)])

    @staticmethod
    def step(weights: nn.Module, x: Tensor, joined: Tensor | None, cell: Tensor | None) -> Advanced:
        assert isinstance(weights, nn.ModuleList)
        outside, inside = weights
        assert isinstance(inside, nn.Linear)
        assert joined is not None
        units = inside.in_features
        hidden = joined
        if joined.shape[-1] > units:
            hidden, more = torch.split(joined, [units, joined.shape[-1] - units], dim=-1)
            x = torch.cat([x, more], dim=-1)
        shown, candidate = torch.split(outside(x), [2 * units, units], dim=-1)
        kept, memory = torch.split(inside(hidden), [2 * units, units], dim=-1)
        reset, update = torch.split(torch.sigmoid(shown + kept), units, dim=-1)
        fresh = torch.tanh(candidate + reset * memory)
        return Advanced(fresh + update * (hidden - fresh), None, (reset, update))


class LSTMCell(Cell):
    """The long short-term memory; shows input, forget and output gate."""

    name = "LSTM"
    has_cell = True

    @staticmethod
    def layer(inputs: int, joined: int, units: int) -> nn.Module:
        return nn.Linear(inputs + joined, 4 * units)

    @staticmethod
    def step(weights: nn.Module, x: Tensor, joined: Tensor | None, cell: Tensor | None) -> Advanced:
        assert joined is not None
        assert cell is not None
        units = cell.shape[-1]
        gates, candidate = torch.split(weights(torch.cat([x, joined], dim=-1)), [3 * units, units], dim=-1)
        take, forget, show = torch.split(torch.sigmoid(gates), units, dim=-1)
        after = forget * cell + take * torch.tanh(candidate)
        return Advanced(show * torch.tanh(after), after, (take, forget, show))


CELLS: dict[str, type[Cell]] = {"feed-forward": FeedForward, "rnn": RNNCell, "gru": GRUCell, "lstm": LSTMCell}
