"""How well attention points at the sentences that decide: what bAbI calls supporting facts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .babi_batches import Batch


def support(batches: Sequence[Batch], looks: Sequence[Tensor]) -> dict[str, float]:
    """Percent of questions, as a mean over the tasks; `looks` [batch, hops, slots] is where the hops looked.

    Of a question with n deciding sentences:

    - `support_found`: every one of the n is the best sentence of some hop. A network with fewer than n hops cannot.
    - `support_exact`: the n sentences with the largest weight, averaged over the hops, are exactly the n.
    - `support_first`: the sentence with the largest mean weight is one of the n.

    Sentences older than the memory count as not found. Questions for which no sentence is named do not count; nothing
    is given where there are no others.
    """
    rows = [_judge(batch, weights.detach().numpy()) for batch, weights in zip(batches, looks, strict=True)]
    judged = np.concatenate(rows)
    tasks = np.concatenate([batch.task.numpy() for batch in batches])
    counted = np.concatenate([batch.deciding.any(axis=1) for batch in batches])
    if not counted.any():
        return {}
    means = [judged[counted & (tasks == task)].mean(axis=0) for task in np.unique(tasks[counted])]
    names = ("support_found", "support_exact", "support_first")
    return {name: round(100 * float(mean), 2) for name, mean in zip(names, np.mean(means, axis=0), strict=True)}


def _judge(batch: Batch, looks: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Found, exact, first: [batch, 3]."""
    rows, hops, slots = looks.shape
    count = (batch.deciding > 0).sum(axis=1)
    slot = slots - batch.deciding  # the newest sentence is the last slot
    inside = (batch.deciding > 0) & (slot >= 0)
    deciding = np.zeros((rows, slots), bool)
    row, column = np.nonzero(inside)
    deciding[row, slot[row, column]] = True
    reached = inside.sum(axis=1) == count

    present = batch.present.numpy()
    shown = np.where(present[:, None], looks, -np.inf)
    best = np.zeros((rows, slots), bool)
    best[np.repeat(np.arange(rows), hops), shown.argmax(axis=2).ravel()] = True
    found = (best | ~deciding).all(axis=1)

    ranked = np.argsort(-shown.mean(axis=1), axis=1)
    rank = np.argsort(ranked, axis=1)  # of each slot
    exact = (deciding == (rank < count[:, None])).all(axis=1)
    first = deciding[np.arange(rows), ranked[:, 0]]
    return np.stack([found & reached, exact & reached, first], axis=1)
