"""A memory of fixed size for plain hops: one matrix a hop, and nothing between the hops but an addition.

This is the end-to-end memory network (Sukhbaatar et al. 2015, arXiv 1503.08895; adjacent tying, position encoding)
without its softmax: what a hop finds is then linear in what was told, so that a matrix can stand for all sentences.
The delta rule writes it: a newer sentence about the same thing takes the place of an older one.

Shapes: B batch, T sentences, Q questions, H hops, S size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .delta_rule import Find, changes, write
from .memory_modules import position_encoding

INITIAL = 0.2  # standard deviation of the tables at the start; from half of that some runs never learn induction


class LinearMemory(nn.Module):
    """A sentence has a vector for each of `hops` + 1 tables: that of a hop says where, the next one says what."""

    place: Tensor  # [sentence_words, S]: what each word of a sentence is weighed by

    def __init__(self, *, words: int, answers: int, sentence_words: int, size: int, hops: int) -> None:
        super().__init__()
        self.size, self.hops = size, hops
        self.tables = nn.Parameter(INITIAL * torch.randn(words, (hops + 1) * size))  # side by side
        with torch.no_grad():
            self.tables[:2] = 0  # the empty and the unknown word: neither means anything
        self.gate = nn.Parameter(torch.zeros(hops, size, 1))
        self.gate_bias = nn.Parameter(torch.zeros(hops, 1, 1))
        self.answer = nn.Parameter(INITIAL * torch.randn(answers, size))
        self.register_buffer("place", position_encoding(sentence_words, size), persistent=False)

    def initial_memory(self, batch: int) -> Tensor:
        """The memory [B, H, S, S] before anything was told."""
        return self.tables.new_zeros(batch, self.hops, self.size, self.size)

    def encode(self, sentences: Tensor) -> Tensor:
        """Vectors [..., H + 1, S] of sentences [..., words] of word ids."""
        embedded = functional.embedding(sentences, self.tables, padding_idx=0)
        together = (embedded * self.place.repeat(1, self.hops + 1)).sum(dim=-2)  # [..., (H + 1) S]
        return together.reshape(*sentences.shape[:-1], self.hops + 1, self.size)

    def _parts(self, story: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        vectors = story.transpose(1, 2)  # [B, H + 1, T, S]
        address = functional.normalize(vectors[:, :-1], dim=-1)
        return address, vectors[:, 1:], torch.sigmoid(address @ self.gate + self.gate_bias)

    def tell(self, sentence: Tensor, memory: Tensor) -> Tensor:
        """The memory after one more sentence, given as its vectors [B, H + 1, S]."""
        return write(memory, *self._parts(sentence.unsqueeze(1)))

    def tell_all(self, story: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """What all sentences [B, T, H + 1, S] of a story write: addresses and changes [B, H, T, S]."""
        address, value, gate = self._parts(story)
        return address, changes(address, value, gate, memory)

    def ask(self, questions: Tensor, finds: list[Find]) -> Tensor:
        """Scores [B, Q, answers] of questions [B, Q, H + 1, S]; each hop looks into its own matrix."""
        u = questions[:, :, 0].unsqueeze(1)
        for find in finds:
            u = u + find(u)
        scores: Tensor = functional.linear(u.squeeze(1), self.answer)
        return scores
