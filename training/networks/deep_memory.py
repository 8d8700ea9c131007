"""A memory of fixed size in layers: a sentence reads what is there before it writes, and a question reads all of it.

Every layer is a few matrices, written by the delta rule. Address, value and gate are computed from the sentence and
from what it found in the layers below, so that a sentence can write what it means by what was told before ("he dropped
it there"). A question goes round: in every hop it looks at all matrices of all layers and takes up what it found.

Sources: gated writes about entities along a story: Henaff et al. 2017 (arXiv 1612.03969); memories that are sums of
outer products, read in several hops: Schlag and Schmidhuber 2018 (TPR-RNN, arXiv 1811.12143).

Shapes: B batch, T sentences, Q questions, M matrices (layers times heads), K width of an address, V of a value.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .delta_rule import Find, changes, finder, write

TINY = 1e-6  # what is divided by where nothing was found


@dataclass(frozen=True)
class DeepOptions:
    """How large a deep memory is."""

    size: int = 64  # of the vector of a sentence
    layers: int = 3
    heads: int = 4  # matrices of a layer
    address: int = 32  # rows of a matrix
    value: int = 32  # columns of a matrix
    hops: int = 4


def to_addresses(x: Tensor, heads: int) -> Tensor:
    """Addresses [B, heads, T, K] of length 1 out of [B, T, heads * K]."""
    return functional.normalize(functional.silu(_split(x, heads)), dim=-1)


def shares(found: Tensor) -> Tensor:
    """How much of what was found came from each matrix: lengths of [..., M, V], as parts of their sum, [..., M].

    All are zero where nothing was found: in a memory to which nothing was told.
    """
    lengths = torch.sqrt((found * found).sum(dim=-1))
    return lengths / torch.clamp(lengths.sum(dim=-1, keepdim=True), min=TINY)


def _split(x: Tensor, heads: int) -> Tensor:
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads).transpose(1, 2)


def _join(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


class Write(nn.Module):
    """Where and what a sentence writes into the matrices of one layer."""

    def __init__(self, options: DeepOptions) -> None:
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

    def __init__(self, options: DeepOptions, matrices: int) -> None:
        super().__init__()
        size = options.size
        self.matrices = matrices
        self.norm, self.before_mixing = nn.LayerNorm(size), nn.LayerNorm(size)
        self.look = nn.Linear(size, matrices * options.address)
        self.take = nn.Linear(matrices * options.value, size)
        self.mix = nn.Sequential(nn.Linear(size, 2 * size), nn.ReLU(), nn.Linear(2 * size, size))

    def forward(self, x: Tensor, find: Find) -> Tensor:
        """Vectors [B, T, size] -> the next ones [B, T, size]."""
        return self.observe(x, find)[0]

    def observe(self, x: Tensor, find: Find) -> tuple[Tensor, Tensor]:
        """The next vectors, and what was found for them, [B, M, T, V]."""
        found = find(to_addresses(self.look(self.norm(x)), self.matrices))
        x = x + self.take(_join(found))
        return x + self.mix(self.before_mixing(x)), found


class DeepMemory(nn.Module):
    """Takes a story in sentence by sentence and answers questions from a memory [M, K, V]."""

    def __init__(self, *, words: int, answers: int, sentence_words: int, options: DeepOptions) -> None:
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
        for number in range(len(self.writes)):
            before = self._of_layer(memory, number)
            address, value, gate = self.writes[number](x)
            after.append(write(before, address, value, gate))
            if number < len(self.reads):
                x = self.reads[number](x, before.__rmatmul__)
        return torch.cat(after, dim=1)

    def tell_all(self, story: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """What all sentences [B, T, size] of a story write: addresses [B, M, T, K] and changes [B, M, T, V].

        The same as telling them one by one; see `delta_rule.changes`.
        """
        earlier = torch.ones(story.shape[1], story.shape[1], dtype=torch.bool, device=story.device).tril(-1)
        x, addresses, changed = story, [], []
        for number, layer in enumerate(self.writes):
            before = self._of_layer(memory, number)
            address, value, gate = layer(x)
            addresses.append(address)
            changed.append(changes(address, value, gate, before))
            if number < len(self.reads):
                x = self.reads[number](x, finder(before, address, changed[-1], earlier))
        return torch.cat(addresses, dim=1), torch.cat(changed, dim=1)

    def _of_layer(self, memory: Tensor, number: int) -> Tensor:
        return memory[:, number * self.options.heads : (number + 1) * self.options.heads]

    def ask(self, questions: Tensor, find: Find) -> Tensor:
        """Scores [B, Q, answers] of questions given as vectors [B, Q, size]."""
        return self.observe(questions, find)[0]

    def observe(self, questions: Tensor, find: Find) -> tuple[Tensor, list[Tensor]]:
        """Scores [B, Q, answers], and what every hop found in every matrix, each [B, M, Q, V]."""
        x, finds = questions, []
        for step in self.steps:
            x, found = self.hop.observe(x + step, find)
            finds.append(found)
        scores: Tensor = self.answer(self.before_answer(x))
        return scores, finds
