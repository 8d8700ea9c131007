"""The coverage regulariser of attention: every position of the source is to be looked at about `tau` times.

    penalty = sum_i (tau - sum_t alpha_t^i)^2

alpha_t^i is the weight of position i at output step t. Source: Xu et al. (2015), "Show, attend and tell", equation 14
("doubly stochastic attention", tau = 1). Padded positions and steps after the end count on neither side.

The weights of a step sum to 1, so those of a sample sum to T, its number of steps. The penalty of L positions is
therefore at least L (tau - T / L)^2, however the network looks, and only tau = T / L lets it reach 0. Hence three ways:

    a number    the same for all samples, as in the paper. Where T differs from L, the floor is a constant that the
                optimiser cannot lower; its gradient still pulls towards even coverage.
    "learned"   one number for all samples, found with the weights. It settles at the mean coverage, so that what is
                punished is the spread around it: across positions, and across samples of different T / L.
    "even"      T / L of each sample. The penalty is 0 exactly where all positions are covered alike.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import TrainingError

TAUS = ("learned", "even")


class Coverage(nn.Module):
    """The penalty for one choice of tau; `tau` is a parameter if it is learned, and nothing else ever is."""

    def __init__(self, tau: float | str, where: str = "tau") -> None:
        if tau not in TAUS and (isinstance(tau, str) or tau <= 0):
            raise TrainingError(f"{where}: tau: expected a number above 0, or one of {', '.join(TAUS)}; got {tau!r}")
        super().__init__()
        self.fixed = tau
        self.learned = nn.Parameter(torch.ones(())) if tau == "learned" else None

    def forward(self, weights: Tensor, positions: Tensor, steps: Tensor) -> Tensor:
        """The penalty of each sample, [B].

        weights [B, T, L] of every step over every position; positions [B, L] and steps [B, T] say which are real.
        """
        tau = self._tau(positions, steps)
        short = torch.where(positions, tau - covered(weights, steps), 0.0)
        return short.square().sum(1)

    def _tau(self, positions: Tensor, steps: Tensor) -> Tensor | float:
        """What each position is to be covered with: [B, 1], or a single number."""
        if self.learned is not None:
            return self.learned
        if self.fixed == "even":
            return even(positions, steps)
        return float(self.fixed)


def covered(weights: Tensor, steps: Tensor) -> Tensor:
    """How much each position was looked at in all: weights [B, T, L] over the real ones of steps [B, T] -> [B, L]."""
    return torch.where(steps.unsqueeze(2), weights, 0.0).sum(1)


def even(positions: Tensor, steps: Tensor) -> Tensor:
    """What each position gets if all get the same: T / L of each sample, [B, 1]."""
    return steps.sum(1, keepdim=True) / positions.sum(1, keepdim=True).clamp(min=1)
