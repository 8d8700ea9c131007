"""What the machines with a memory have in common: a controller, the memory that a session starts with, an output.

The controller is a feed-forward network, an RNN, a GRU or an LSTM of one or more layers; it sees the input and what was
read in the step before. Heads and output see all its layers. Shapes: B batch, N locations, M width of a location,
C units of a layer, L layers, R read heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import TrainingError
from .cells import CELLS
from .stepped import SteppedNetwork

HEAD_LIMIT = 20.0  # head outputs are clamped to this, so that no exponential overflows
EMPTY = 1e-6  # what every cell of a constant new memory holds
MEMORIES = ("constant", "learned", "random")


@dataclass(frozen=True)
class MachineOptions:
    """What the [network] tables of all machines have in common."""

    kind: str = "ntm"
    inputs: int = 9
    outputs: int = 8
    controller: int = 100  # units of each layer
    controller_kind: str = "lstm"  # "feed-forward", "rnn", "gru" or "lstm"
    layers: int = 1
    # Units of a layer between what the controller puts out, what was read, and the output; 0: the output is linear.
    # With it an answer may be any function of what stands on the tape: the logarithm of a ratio of counts, say.
    output_units: int = 0
    locations: int = 128
    width: int = 20
    # What a new memory holds: the same number everywhere ("constant"), learned numbers, or random numbers that are
    # drawn once, from the run's seed, and kept with the weights, so that all sessions start alike.
    memory: str = "constant"
    # In training only: the standard deviation of what is added to all that the heads are told. Heads then learn to be
    # told clearly; else a head that should wait is moved now and then by a rare input, which long sequences bring out.
    head_noise: float = 0.0


def one_of(value: str, known: tuple[str, ...], where: str) -> None:
    """Raises TrainingError, naming the option, unless the value is a known one."""
    if value not in known:
        raise TrainingError(f"{where}: expected one of {', '.join(known)}, got {value!r}")


def at_least_one(options: object, names: tuple[str, ...], where: str) -> None:
    """Raises TrainingError, naming the option, where a number is below 1."""
    for name in names:
        if getattr(options, name) < 1:
            raise TrainingError(f"{where}: {name}: expected at least 1, got {getattr(options, name)}")


class Machine(SteppedNetwork):
    """A controller beside a memory. A subclass adds the heads and says what the state is."""

    def __init__(self, options: MachineOptions, where: str, heads: int, reads: int, *, reads_first: bool) -> None:
        """`heads` is how many numbers the heads are told, `reads` how many are read, both in a step.

        `reads_first` says that before the first step the memory is read already; else what was read is learned.
        """
        one_of(options.controller_kind, tuple(CELLS), f"{where}: controller_kind")
        one_of(options.memory, MEMORIES, f"{where}: memory")
        at_least_one(options, ("controller", "layers", "locations", "width"), where)
        if options.output_units < 0:
            raise TrainingError(f"{where}: output_units: expected at least 0, got {options.output_units}")
        super().__init__()
        self.inputs, self.outputs = options.inputs, options.outputs
        self.kind = CELLS[options.controller_kind]
        if options.head_noise < 0:
            raise TrainingError(f"{where}: head_noise: expected at least 0, got {options.head_noise}")
        self._noise = options.head_noise
        self._units, self._depth, self._reads = options.controller, options.layers, reads
        units, hidden = options.controller, options.controller * options.layers
        # A layer is named by its kind, and the first one bears no number: lstm, lstm_2, ...
        name = options.controller_kind.replace("-", "_")
        self._layers = [name, *(f"{name}_{number}" for number in range(2, options.layers + 1))]
        own = units if self.kind.is_recurrent else 0
        bound = units**-0.5
        for number, layer in enumerate(self._layers):
            inputs, joined = (options.inputs, own + reads) if number == 0 else (units, own)
            self.add_module(layer, self.kind.layer(inputs, joined, units))
        self.heads = nn.Linear(hidden, heads)
        self.output = _output(hidden + reads, options.output_units, options.outputs)
        self.initial_controller = nn.Parameter(torch.zeros(own * options.layers + (0 if reads_first else reads)))
        if self.kind.has_cell:
            self.initial_cell = nn.Parameter(torch.zeros(hidden))
        for name in self._layers:
            for parameter in getattr(self, name).parameters():
                nn.init.uniform_(parameter, -bound, bound)
        nn.init.xavier_uniform_(self.heads.weight, gain=1.4)
        nn.init.normal_(self.heads.bias, std=0.01)
        for part in self.output.modules():
            if isinstance(part, nn.Linear):
                nn.init.xavier_uniform_(part.weight)
                nn.init.zeros_(part.bias)
        nn.init.uniform_(self.initial_controller, -bound, bound)
        if self.kind.has_cell:
            nn.init.uniform_(self.initial_cell, -bound, bound)
        self._memory_shape = (options.width, options.locations)
        if options.memory != "constant":
            drawn = torch.empty(self._memory_shape).uniform_(-1, 1)  # as large as what is written
            if options.memory == "learned":
                self.initial_memory = nn.Parameter(drawn)
            else:
                self.register_buffer("initial_memory", drawn)

    def _new_memory(self, batch: int) -> Tensor:
        """The memory before the first step, [B, M, N]."""
        memory = getattr(self, "initial_memory", None)
        if memory is None:
            return self.heads.weight.new_full((batch, *self._memory_shape), EMPTY)
        assert isinstance(memory, Tensor)
        return memory.expand(batch, -1, -1)

    def _new_cells(self, batch: int) -> tuple[Tensor, ...]:
        """The cells before the first step: one tensor [B, L * C] for an LSTM, none for other controllers."""
        return (self.initial_cell.expand(batch, -1),) if self.kind.has_cell else ()

    def _control(self, x: Tensor, before: Tensor, cells: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One step of the controller: (what all layers put out [B, L * C], the cells), the last layer first.

        `before` is the layers' outputs of the step before (of a recurrent controller), the last layer first, then what
        was read: so the first layer's [h; m] is one piece of it.
        """
        units, depth = self._units, self._depth
        joined: Sequence[Tensor | None] = [before, *[None] * (depth - 1)]
        if self.kind.is_recurrent and depth > 1:
            joined = torch.split(before, [units] * (depth - 1) + [units + self._reads], dim=-1)[::-1]
        kept: Sequence[Tensor | None] = [None] * depth
        if cells:
            kept = torch.split(cells[0], units, dim=-1)[::-1] if depth > 1 else cells
        hidden, after = [], []
        for number, layer in enumerate(self._layers):
            advanced = self.kind.step(getattr(self, layer), x, joined[number], kept[number])
            x = advanced.hidden
            hidden.append(x)
            if advanced.cell is not None:
                after.append(advanced.cell)
        return _last_first(hidden), (_last_first(after),) if after else ()

    def _told(self, hidden: Tensor) -> Tensor:
        """All that the heads are told, [B, heads]: one product for everything."""
        outputs = self.heads(hidden)
        if self.training and self._noise:
            outputs = outputs + self._noise * torch.randn_like(outputs)
        return torch.clamp(outputs, -HEAD_LIMIT, HEAD_LIMIT)

    def _remembered(self, hidden: Tensor, vectors: Tensor, features: Tensor) -> Tensor:
        """What the controller needs of this step in the next one; `features` is both together."""
        return features if self.kind.is_recurrent else vectors


def _output(features: int, units: int, outputs: int) -> nn.Module:
    if not units:
        return nn.Linear(features, outputs)
    return nn.Sequential(nn.Linear(features, units), nn.Tanh(), nn.Linear(units, outputs))


def _last_first(layers: list[Tensor]) -> Tensor:
    return torch.cat(layers[::-1], dim=-1) if len(layers) > 1 else layers[0]
