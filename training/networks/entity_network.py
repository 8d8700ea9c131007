"""A memory network whose memory has a fixed size: it is written sentence by sentence, and a question reads it.

The memory is a stack of layers of several matrices each. A matrix S holds what was told about things ("entities") as
pairs of an address k and a value v, superposed:

    r  = S^T q                     what the sentence finds, before it writes
    S' = S + g k (v - S^T k)^T     what it writes: the value at k is replaced by v as far as the gate g is open

Address, value, gate and q are computed from the sentence and from what it found in the layers below. So a sentence can
write what it means by what was told before ("he dropped it there"). A question then goes round: in every hop it looks
at all matrices of all layers and takes up what it found.

Sources: entities with gated writes are of Henaff et al. 2017 (arXiv 1612.03969); memories as sums of outer products,
written along a story and read in several hops, of Schlag and Schmidhuber 2018 (TPR-RNN, arXiv 1811.12143); the delta
rule as the write of Schlag, Irie and Schmidhuber 2021 (arXiv 2102.11174); all steps of a story at once, by solving one
triangular system, of Yang et al. 2024 (arXiv 2406.06484).

Shapes: B batch, T sentences, Q questions, M matrices (layers times heads), K width of an address, V of a value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

Find = Callable[[Tensor], Tensor]  # where to look [B, M, Q, K] -> what is there [B, M, Q, V]


@dataclass(frozen=True)
class EntityOptions:
    """The table [network] of an entity network."""

    kind: str = "entity"
    size: int = 64  # of the vector of a sentence
    layers: int = 3
    heads: int = 4  # matrices of a layer
    address: int = 32  # rows of a matrix
    value: int = 32  # columns of a matrix
    hops: int = 4


def to_addresses(x: Tensor, heads: int) -> Tensor:
    """Addresses [B, heads, T, K] of length 1 out of [B, T, heads * K]."""
    return functional.normalize(functional.silu(_split(x, heads)), dim=-1)


def _split(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _join(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


class Write(nn.Module):
    """Where and what a sentence writes into the matrices of one layer."""

    def __init__(self, options: EntityOptions) -> None:
        super().__init__()
        size, heads = options.size, options.heads
        self.heads = heads
        self.norm = nn.LayerNorm(size)
        self.address = nn.Linear(size, heads * options.address)
        self.value = nn.Linear(size, heads * options.value)
        self.gate = nn.Linear(size, heads)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sentences [B, T, size] -> addresses [B, heads, T, K], values [B, heads, T, V] and gates [B, heads, T, 1]."""
        seen = self.norm(x)
        gates = torch.sigmoid(self.gate(seen)).transpose(1, 2).unsqueeze(-1)
        return to_addresses(self.address(seen), self.heads), _split(self.value(seen), self.heads), gates


class Read(nn.Module):
    """Looks into matrices, and makes of a vector and what it found the next vector."""

    def __init__(self, options: EntityOptions, matrices: int) -> None:
        super().__init__()
        size = options.size
        self.matrices = matrices
        self.norm, self.before_mixing = nn.LayerNorm(size), nn.LayerNorm(size)
        self.look = nn.Linear(size, matrices * options.address)
        self.take = nn.Linear(matrices * options.value, size)
        self.mix = nn.Sequential(nn.Linear(size, 2 * size), nn.ReLU(), nn.Linear(2 * size, size))

    def forward(self, x: Tensor, find: Find) -> Tensor:
        """Vectors [B, T, size] -> the next ones [B, T, size]."""
        x = x + self.take(_join(find(to_addresses(self.look(self.norm(x)), self.matrices))))
        mixed: Tensor = x + self.mix(self.before_mixing(x))
        return mixed


class EntityNetwork(nn.Module):
    """Takes a story in sentence by sentence and answers questions from a memory [M, K, V]."""

    def __init__(self, *, words: int, answers: int, sentence_words: int, options: EntityOptions) -> None:
        super().__init__()
        self.options = options
        self.matrices = options.layers * options.heads
        self.table = nn.Parameter(torch.randn(words, options.size))
        with torch.no_grad():
            self.table[:2] = 0  # the empty and the unknown word: neither means anything
        self.join = nn.Linear(sentence_words * options.size, options.size, bias=False)
        self.writes = nn.ModuleList(Write(options) for _ in range(options.layers))
        self.reads = nn.ModuleList(Read(options, options.heads) for _ in range(options.layers - 1))
        self.steps = nn.Parameter(torch.randn(options.hops, options.size) * 0.02)
        self.hop = Read(options, self.matrices)
        self.before_answer = nn.LayerNorm(options.size)
        self.answer = nn.Linear(options.size, answers)

    def initial_memory(self, batch: int) -> Tensor:
        """The memory [B, M, K, V] before anything was told."""
        return self.steps.new_zeros(batch, self.matrices, self.options.address, self.options.value)

    def encode(self, sentences: Tensor) -> Tensor:
        """Vectors [..., size] of sentences [..., words] of word ids; questions are sentences like any other."""
        encoded: Tensor = self.join(functional.embedding(sentences, self.table, padding_idx=0).flatten(-2))
        return encoded

    def tell(self, sentence: Tensor, memory: Tensor) -> Tensor:
        """The memory [B, M, K, V] after one more sentence, given as its vector [B, size]."""
        x = sentence.unsqueeze(1)
        after = []
        for number, before in enumerate(memory.split(self.options.heads, dim=1)):
            address, value, gate = self.writes[number](x)
            after.append(before + address.transpose(-1, -2) @ (gate * (value - address @ before)))
            if number < len(self.reads):
                x = self.reads[number](x, before.__rmatmul__)
        return torch.cat(after, dim=1)

    def tell_all(self, story: Tensor) -> tuple[Tensor, Tensor]:
        """What all sentences [B, T, size] of a story write, at once: addresses [B, M, T, K], changes [B, M, T, V].

        The memory after t sentences is the sum of the outer products of the first t addresses and changes; telling
        them one by one gives the same. The change u of a sentence is g (v - the sum over the earlier ones of
        (k . k') u'): together, one triangular system.
        """
        earlier = torch.ones(story.shape[1], story.shape[1], dtype=torch.bool, device=story.device).tril(-1)
        x, addresses, changes = story, [], []
        for number, write in enumerate(self.writes):
            address, value, gate = write(x)
            towards = address.transpose(-1, -2)
            overlap = (gate * (address @ towards)).masked_fill(~earlier, 0)
            change = torch.linalg.solve_triangular(overlap, gate * value, upper=False, unitriangular=True)
            addresses.append(address)
            changes.append(change)
            if number < len(self.reads):
                x = self.reads[number](x, _among(towards, earlier, change))
        return torch.cat(addresses, dim=1), torch.cat(changes, dim=1)

    def ask(self, questions: Tensor, find: Find) -> Tensor:
        """Scores [B, Q, answers] of questions given as vectors [B, Q, size]."""
        x = questions
        for step in self.steps:
            x = self.hop(x + step, find)
        scores: Tensor = self.answer(self.before_answer(x))
        return scores

    def forward(self, story: Tensor, questions: Tensor, after: Tensor) -> Tensor:
        """Scores [B, Q, answers] of questions [B, Q, size], each asked after the first `after` [B, Q] sentences."""
        addresses, changes = self.tell_all(story)
        told = torch.arange(story.shape[1], device=story.device) < after.unsqueeze(-1)
        return self.ask(questions, _among(addresses.transpose(-1, -2), told.unsqueeze(1), changes))


def _among(towards: Tensor, told: Tensor, changes: Tensor) -> Find:
    """Finds in what was written by the sentences of which `told` [..., Q, T] says that they count."""
    return lambda look: (look @ towards).masked_fill(~told, 0) @ changes
