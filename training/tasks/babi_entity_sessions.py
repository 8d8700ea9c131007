"""Sessions that go on and on, so that a memory learns to stay in order however much it was told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..networks.entity_network import EntityNetwork, Memory
from .babi_entity_stories import WholeStories

PIECE = 100  # sentences that are told at once: the cost grows with the square


class LongSessions:
    """The memories of some sessions, each told a few hundred sentences more whenever its turn comes.

    A session now and then begins anew, so that they are of all ages; on average it lives for `turns` turns.
    """

    def __init__(self, network: EntityNetwork, stories: WholeStories, tasks: Sequence[int], turns: int) -> None:
        """`tasks` are those of whose stories the sentences are taken."""
        self.network, self.turns, self.count = network, turns, 64
        told = [told for told, task in zip(stories.told, stories.task, strict=True) if task in tasks]
        self.told = np.concatenate(told)
        self.memory: Memory = network.initial_memory(self.count)

    def draw(self, rows: int, length: int, random: torch.Generator) -> tuple[Tensor, Memory, NDArray[np.int64]]:
        """Some sessions, what is in their memories, and `length` sentences [rows, length] that come next in them."""
        chosen = torch.randperm(self.count, generator=random)[:rows]
        first = torch.randint(len(self.told), (len(chosen), 1), generator=random).numpy()
        prefix: NDArray[np.int64] = self.told[(first + np.arange(length)) % len(self.told)]
        deep, linear = self.memory
        return chosen, (deep[chosen], linear[chosen]), prefix

    def go_on(self, chosen: Tensor, sentences: Tensor, prefix: Tensor, random: torch.Generator) -> None:
        """Tells sessions what was drawn, or lets one begin anew; `prefix` names rows of `sentences`."""
        after = tell(self.network, sentences, prefix, (self.memory[0][chosen], self.memory[1][chosen]))
        stays = (torch.rand(len(chosen), generator=random) >= 1 / self.turns).to(sentences.device)
        for memory, told in zip(self.memory, after, strict=True):
            memory[chosen] = told * stays[:, None, None, None]

    def state(self) -> dict[str, Tensor]:
        """What all sessions remember."""
        return dict(zip(("deep", "linear"), self.memory, strict=True))

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continues from there."""
        for memory, kept in zip(self.memory, (state["deep"], state["linear"]), strict=True):
            memory.copy_(kept)


@torch.no_grad()
def tell(network: EntityNetwork, sentences: Tensor, story: Tensor, memory: Memory) -> Memory:
    """Both memories after stories [B, T] of any length."""
    for piece in story.split(PIECE, dim=1):  # type: ignore[no-untyped-call]
        memory = network.tell_all(sentences, piece, memory)
    return memory
