"""Runs batches padded to a multiple of some number of rows, where that is what keeps a row's bits the same.

Element-wise kernels work on several elements at once and treat what is left over at the end by other arithmetic: a
row's last bits may then depend on where the batch ends. Padded, no batch has such an end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .model import Arrays, Run


@dataclass(frozen=True, slots=True)
class PaddedRunner:
    """Runs `inner` with the first row repeated at the end until the entry's multiple divides the batch."""

    inner: Run
    multiples: Mapping[str, int]  # by entry; 1 where nothing is said

    def run(self, entry: str, inputs: Arrays, state: Arrays, outputs: tuple[str, ...]) -> tuple[Arrays, Arrays]:
        """See `Run.run`."""
        rows = len(next(iter((inputs or state).values())))
        more = -rows % self.multiples.get(entry, 1)
        if more == 0:
            return self.inner.run(entry, inputs, state, outputs)
        given, next_state = self.inner.run(entry, _longer(inputs, more), _longer(state, more), outputs)
        return {name: array[:rows] for name, array in given.items()}, {
            name: array[:rows] for name, array in next_state.items()
        }


def padded(runner: Run, multiples: Mapping[str, int]) -> Run:
    """Returns a runner that pads the entries of `multiples`; `runner` itself if there are none."""
    return PaddedRunner(runner, multiples) if multiples else runner


def _longer(arrays: Arrays, more: int) -> Arrays:
    return {name: np.concatenate((array, *(array[:1],) * more)) for name, array in arrays.items()}
