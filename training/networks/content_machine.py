"""A machine that finds its locations by content alone: no interpolation, no shift, no sharpening.

With memory rows m_i, a learned or drawn m_0 and a_0, a controller f with hidden state h, and the read vector r:

    r(t-1) = sum_i a_i(t-1) m_i(t-1)
    k, e, v, h(t) = f(x(t), r(t-1), h(t-1)),  0 < e < 1
    a_i(t) = softmax_i(b cos(m_i(t-1), k))
    m_i(t) = m_i(t-1) - a_i(t) e * m_i(t-1) + a_i(t) v

The same weights a(t) write and then read; the output is linear in h(t) and r(t). The key strength b is the NTM's
(Graves et al. 2014, equation 5). Without it, b = 1, the weights cannot focus: the largest that N locations allow is
e^2 / (e^2 + N - 1), 0.51 of 8 and 0.055 of 128. Shapes: B batch, N locations, M width of a location, C units, L layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import TrainingError
from .addressing import content_weights, read, write
from .machine import Machine, MachineOptions
from .stepped import Seen

LEARNED = "learned"
STRENGTH_BIAS = 5.0  # what a learned strength starts near, less one: enough to tell a few dozen locations apart


@dataclass(frozen=True)
class ContentOptions(MachineOptions):
    """The [network] table of a content machine."""

    kind: str = "content-machine"
    memory: str = LEARNED  # if all rows were alike, content could never tell them apart
    key_strength: float | str = LEARNED  # a number of at least 1 for all steps, or "learned": the controller says it


class ContentState(NamedTuple):
    """Everything that the next step of a machine with an LSTM needs."""

    memory: Tensor  # [B, M, N], transposed: a column is a location
    controller: Tensor  # [B, L * C + M]: what the layers put out, the last first, then the vector read
    cell: Tensor  # [B, L * C]


class PlainContentState(NamedTuple):
    """Everything that the next step of a machine with another controller needs."""

    memory: Tensor
    controller: Tensor  # of a feed-forward controller only the vector read, [B, M]


class ContentMachine(Machine):
    """The machine; one head writes and then reads what it wrote."""

    title = "a content-addressed memory machine"

    def __init__(self, options: ContentOptions, where: str = "network") -> None:
        if options.memory == "constant":
            raise TrainingError(
                f"{where}: memory: expected 'learned' or 'random': content cannot tell equal rows apart"
            )
        strength = options.key_strength
        if strength != LEARNED and not (isinstance(strength, float) and strength >= 1):
            raise TrainingError(f"{where}: key_strength: expected {LEARNED!r} or at least 1, got {strength!r}")
        width, locations = options.width, options.locations
        # Key, erase, add; then the strength, four times: a softplus of other than four numbers a row would make an
        # answer's last bits depend on the size of the batch (see ntm.py).
        self.sizes = [width, width, width] + [4] * (strength == LEARNED)
        super().__init__(options, where, sum(self.sizes), width, reads_first=True)
        self.options = options
        self._state = ContentState if self.kind.has_cell else PlainContentState
        self.state_meanings = {
            "memory": "the tape, transposed: width, locations",
            "controller": "the controller's outputs, the last layer first, then the vector read",
            "cell": "the cells of the controller's layers, the last first",
        }
        self.seen = (
            Seen("weights", (1, locations), "heads, locations: where was written and then read"),
            Seen("tape", (locations, width), "locations, width: after the step"),
        )
        self.initial_weights = nn.Parameter(torch.zeros(1, locations))
        with torch.no_grad():
            self.heads.bias[3 * width :] = STRENGTH_BIAS

    def initial_state(self, batch: int) -> ContentState | PlainContentState:
        """The state before the first step: m_0 and what a_0 reads of it."""
        memory = self._new_memory(batch)
        vector = read(memory, torch.softmax(self.initial_weights, dim=-1).expand(batch, -1, -1))
        hidden = self.initial_controller.expand(batch, -1)  # of a feed-forward controller nothing
        return self._state(memory, torch.cat([hidden, vector], dim=-1), *self._new_cells(batch))

    def observe(
        self, x: Tensor, state: ContentState | PlainContentState
    ) -> tuple[Tensor, ContentState | PlainContentState, tuple[Tensor, ...]]:
        """One step, with the weights and the tape as people read it: a row a location."""
        hidden, cells = self._control(x, state.controller, tuple(state[2:]))
        key, erase, add, *told = torch.split(self._told(hidden).unsqueeze(-1), self.sizes, dim=1)
        weights = content_weights(state.memory, torch.tanh(key).transpose(1, 2), self._strength(told, key))
        memory = write(state.memory, weights, torch.sigmoid(erase), torch.tanh(add))
        vector = read(memory, weights)
        features = torch.cat([hidden, vector], dim=-1)
        after = self._state(memory, self._remembered(hidden, vector, features), *cells)
        return self.output(features), after, (weights, memory.transpose(1, 2))

    def _strength(self, told: list[Tensor], key: Tensor) -> Tensor:
        """The key strength b, [B, 1, 1] or a constant, at least 1."""
        if told:
            return 1 + functional.softplus(told[0]).sum(dim=1, keepdim=True) / 4
        strength = self.options.key_strength
        assert isinstance(strength, float)
        return torch.full((1, 1, 1), strength, dtype=key.dtype, device=key.device)
