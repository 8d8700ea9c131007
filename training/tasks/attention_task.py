"""What a task for the encoder-decoder with attention offers: sources with the words to be written about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from tapehead.v1.manifest_pb2 import EntryTensor

from ..experiment import Array
from ..networks.attention import END, AttentionNetwork


@dataclass(frozen=True)
class Pairs:
    """Sources and targets of several lengths, padded at the end."""

    source: Tensor  # [B, L, ...] what the task's front takes
    lengths: Tensor  # [B] int64: how many positions are real
    targets: Tensor  # [B, T] int64 words, each row ended by END and padded with it

    def to(self, device: torch.device) -> Pairs:
        """The same pairs on a device: they are drawn on the processor, so that every device gets the same."""
        return Pairs(self.source.to(device), self.lengths.to(device), self.targets.to(device))

    def row(self, number: int) -> Pairs:
        """One pair as a batch."""
        one = slice(number, number + 1)
        return Pairs(self.source[one], self.lengths[one], self.targets[one])


class Task(Protocol):
    """A kind of pairs. All randomness comes from the generator that is handed in, or from a fixed seed."""

    words: tuple[str, ...]  # that can be written, in the order of their ids; END is the first
    limit: int  # words are written at most, so that a text that does not end is found out
    description: str  # "Names the events of a clip", goes on with ", with attention ..."
    notes: str  # Markdown for the card: the task, and what is measured beyond what was trained on
    position: str  # what one is called: "frame"

    def front(self, size: int) -> nn.Module:
        """A new module that turns sources into features [B, L, size]."""

    def draw(self, count: int, generator: torch.Generator, grown: float = 1.0) -> Pairs:
        """Draws pairs to train on: short ones at first, all kinds once `grown`, above 0, has become 1."""

    def validation(self) -> Pairs:
        """Fixed pairs that choose the weights."""

    def tests(self) -> Mapping[str, Pairs]:
        """Fixed pairs by the end of their results' names: "" (always there), the kind trained on; "_at_10" and such."""

    def labels(self, pairs: Pairs, number: int) -> list[str]:
        """A short name for each real position of a source."""

    def pictures(self, pairs: Pairs, number: int) -> Array | None:
        """The positions of a source as images [L, height, width], where they are images."""

    def source_as_text(self, pairs: Pairs, number: int) -> str:
        """A source as people read it."""

    def start(self, network: AttentionNetwork) -> nn.Module:
        """The module that is served as `start`: its inputs -> the state."""

    def start_inputs(self) -> Sequence[EntryTensor]:
        """What `start` takes."""

    def given(self, pairs: Pairs, number: int) -> dict[str, Array]:
        """One source in the form of `start_inputs`, without batch axis."""

    def anything(self, random: np.random.Generator) -> dict[str, Array]:
        """Random input for `start`, to compare the exported graph with."""


def numpy_generator(generator: torch.Generator) -> np.random.Generator:
    """A generator for numpy that follows from torch's."""
    return np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))


def padded_words(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of word ids, each without its end, as a tensor of targets."""
    targets = np.full((len(rows), max(map(len, rows)) + 1), END, np.int64)
    for number, row in enumerate(rows):
        targets[number, : len(row)] = row
    return torch.from_numpy(targets)


def until_end(words: Any) -> list[int]:
    """The words of one row before its end."""
    row = [int(word) for word in words]
    return row[: row.index(END)] if END in row else row
