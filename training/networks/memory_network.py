"""The end-to-end memory network (Sukhbaatar, Szlam, Weston and Fergus 2015, arXiv 1503.08895).

A question looks at the sentences told, takes what it finds, and looks again with that: once per hop. Every sentence is
kept twice: as what it is found by (matrix A) and as what it gives (matrix C).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

INITIAL = 0.1  # standard deviation of every weight at the start


def position_encoding(words: int, size: int) -> Tensor:
    """Weights [words, size] that let a sum of words know their order.

    l(j, k) = 1 + 4 (k - (d+1)/2) (j - (J+1)/2) / (d J) for word j of J and dimension k of d, both counted from 1.
    """
    j = torch.arange(1, words + 1).unsqueeze(1) - (words + 1) / 2
    k = torch.arange(1, size + 1) - (size + 1) / 2
    return 1 + 4 * j * k / (words * size)


class MemoryNetwork(nn.Module):
    """Reads a story with `hops` looks at its sentences.

    tying: `adjacent`: what a hop takes is what the next one looks by (A of a hop = C of the one before; the question is
        embedded like the first A, answers are the last C's rows). `layerwise`: all hops share A and C, and a matrix H
        carries the question from hop to hop: u' = H u + o; the question (B) and the answers (W) have their own.
    encoding: how words make a sentence: `position` weighs them by their place, `bag` just adds them.
    linear: attention without softmax. Training may start this way and switch (the paper's linear start).
    """

    place: Tensor  # [sentence_words, size]: what each word of a sentence is weighed by

    def __init__(
        self,
        *,
        words: int,
        answers: int,
        sentence_words: int,
        size: int = 50,
        hops: int = 3,
        memory: int = 50,
        tying: Literal["adjacent", "layerwise"] = "adjacent",
        encoding: Literal["position", "bag"] = "position",
    ) -> None:
        super().__init__()
        self.words, self.size, self.hops, self.memory = words, size, hops, memory
        self.adjacent = tying == "adjacent"
        self.linear = False
        # Under adjacent tying answers are rows of the last C; they stand behind the rows of the words.
        rows = words + answers if self.adjacent else words
        kept = hops + 1 if self.adjacent else 2
        self.tables = nn.ParameterList(_matrix(rows, size) for _ in range(kept))
        self.ages = nn.ParameterList(_matrix(memory, size) for _ in range(kept))  # row 0: the newest sentence
        if not self.adjacent:
            self.question_table = _matrix(words, size)  # B
            self.carry = _matrix(size, size)  # H
            self.answer_table = _matrix(answers, size)  # W
        with torch.no_grad():
            for table in [*self.tables] if self.adjacent else [*self.tables, self.question_table]:
                table[:2] = 0  # the empty and the unknown word: neither means anything
        place = position_encoding(sentence_words, size) if encoding == "position" else torch.ones(sentence_words, size)
        self.register_buffer("place", place, persistent=False)

    def matrices(self) -> list[nn.Parameter]:
        """Every weight matrix; the recipe clips the gradient of each by itself."""
        return list(self.parameters())

    def encode(self, sentences: Tensor) -> Tensor:
        """What is kept of sentences [..., words] of word ids: [..., kept, size], one row per matrix."""
        return torch.stack([self._sum(table, sentences) for table in self.tables], dim=-2)

    def encode_question(self, question: Tensor) -> Tensor:
        """The first look u [..., size] of a question [..., words]."""
        return self._sum(self.tables[0] if self.adjacent else self.question_table, question)

    def _sum(self, table: Tensor, sentences: Tensor) -> Tensor:
        return (nn.functional.embedding(sentences, table, padding_idx=0) * self.place).sum(dim=-2)

    def forward(self, memory: Tensor, present: Tensor, times: Tensor, question: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of the answers [batch, answers] and where each hop looked [batch, hops, slots].

        memory: [batch, slots, kept, size], from `encode`; present: [batch, slots], false in empty slots;
        times: [batch, slots], how long ago, 1 = newest; question: [batch, size], from `encode_question`.
        """
        there = present.unsqueeze(-1).to(memory.dtype)
        age = (times - 1).clamp(0, self.memory - 1)
        looks = []
        kept = [
            (memory[:, :, number] + nn.functional.embedding(age, rows)) * there for number, rows in enumerate(self.ages)
        ]
        u = question
        for hop in range(self.hops):
            found_by, gives = (kept[hop], kept[hop + 1]) if self.adjacent else (kept[0], kept[1])
            weights = self._attend((found_by * u.unsqueeze(1)).sum(-1), present)
            o = (weights.unsqueeze(-1) * gives).sum(1)
            u = (u if self.adjacent else u @ self.carry) + o
            looks.append(weights)
        answers = self.tables[-1][self.words :] if self.adjacent else self.answer_table
        return u @ answers.T, torch.stack(looks, dim=1)

    def _attend(self, scores: Tensor, present: Tensor) -> Tensor:
        """Weights [batch, slots] out of scores; zero in empty slots, also where nothing was told at all."""
        there = present.to(scores.dtype)
        if self.linear:
            return scores * there
        return torch.softmax(scores.masked_fill(~present, -1e9), dim=-1) * there


def _matrix(rows: int, columns: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(rows, columns) * INITIAL)


def clip_each(matrices: Sequence[nn.Parameter], norm: float) -> None:
    """Clips the gradient of every matrix by itself to a norm; one common norm would be another recipe."""
    for matrix in matrices:
        if matrix.grad is not None:
            size = float(matrix.grad.norm())
            if size > norm:
                matrix.grad.mul_(norm / size)
            elif not math.isfinite(size):
                matrix.grad.zero_()
