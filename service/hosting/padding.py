"""Runs batches padded to a multiple of some number of rows, where that is what keeps a row's bits the same.

Element-wise kernels work on several elements at once and treat what is left over at the end by other arithmetic: a
row's last bits may then depend on where the batch ends. Padded, no batch has such an end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .model import Arrays, Run


@dataclass(frozen=True, slots=True)
class PaddedRunner:
    """Runs `inner` with its first row repeated at the end until `multiple` divides the batch."""

    inner: Run
    multiple: int

    def run(self, entry: str, inputs: Arrays, state: Arrays, outputs: tuple[str, ...]) -> tuple[Arrays, Arrays]:
        """See `Run.run`."""
        rows = len(next(iter(inputs.values())))
        if rows % self.multiple == 0:
            return self.inner.run(entry, inputs, state, outputs)
        more = -rows % self.multiple
        given, next_state = self.inner.run(entry, _longer(inputs, more), _longer(state, more), outputs)
        return {name: array[:rows] for name, array in given.items()}, {
            name: array[:rows] for name, array in next_state.items()
        }


def padded(runner: Run, multiple: int) -> Run:
    """Returns a runner that pads batches to a multiple of `multiple` rows; `runner` itself if that is 1."""
    return runner if multiple == 1 else PaddedRunner(runner, multiple)


def _longer(arrays: Arrays, more: int) -> Arrays:
    return {name: np.concatenate((array, *(array[:1],) * more)) for name, array in arrays.items()}
