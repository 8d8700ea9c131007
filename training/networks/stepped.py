"""What every network that is stepped has in common, so that tasks, export and pictures need not know which it is."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn


class Seen(NamedTuple):
    """A tensor that a step shows to who wants to look inside; an inspection output of the served step."""

    name: str
    shape: tuple[int, ...]  # without the batch axis
    meaning: str


class SteppedNetwork(nn.Module):
    """One step is `step(x, state) -> (logits, state)`, a pure function; the state, a named tuple, holds everything.

    x is [B, inputs], the logits are [B, outputs], and every tensor of the state has the batch as its first axis.
    """

    inputs: int
    outputs: int
    title: str  # "a Neural Turing Machine"
    state_meanings: dict[str, str]  # of every field of the state (and maybe of others)
    seen: tuple[Seen, ...]  # what `observe` returns, in its order

    def initial_state(self, batch: int) -> Any:
        """The state before the first step."""
        raise NotImplementedError

    def observe(self, x: Tensor, state: Any) -> tuple[Tensor, Any, tuple[Tensor, ...]]:
        """One step with what can be looked at: (logits, state, the tensors that `seen` describes)."""
        raise NotImplementedError

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Takes one input [B, inputs] and gives the logits [B, outputs] and the next state."""
        logits, after, _ = self.observe(x, state)
        return logits, after

    def compiled(self) -> Self:
        """The same network, sharing every parameter, with a compiled step: trains about twice as fast.

        It is compiled once for each size of batch, by a C++ compiler, which takes half a minute.
        """
        twin = copy.copy(self)
        twin.__dict__["step"] = torch.compile(self.step, dynamic=False)
        return twin

    def run(self, inputs: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Steps through inputs [T, B, inputs]; gives logits [T, B, outputs] and the last state."""
        state = self.initial_state(inputs.shape[1]) if state is None else state
        logits = []
        for x in inputs:
            y, state = self.step(x, state)
            logits.append(y)
        return torch.stack(logits), state
