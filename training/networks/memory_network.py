"""Memory networks: one family, whose options compose.

The starting point is the end-to-end memory network (Sukhbaatar, Szlam, Weston and Fergus 2015, arXiv 1503.08895): a
question looks at the sentences told, takes what it finds, and looks again with that, once per hop. Every sentence is
kept as what it is found by (matrix A) and as what it gives (matrix C). Hops may also write: see `ControlModule`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .memory_modules import CHOICES, ControlModule, InputModule, MemoryModule, OutputModule


class MemoryNetwork(nn.Module):
    """Reads a story with `hops` looks at its sentences.

    tying: `adjacent`: what a hop takes is what the next one looks by (A of a hop = C of the one before; the question is
        embedded like the first A, answers are the last C's rows). `layerwise`: all hops share A and C, and a matrix H
        carries the question from hop to hop: u' = H u + o; the question (B) and the answers (W) have their own.
        `single`: A = C = B at every hop, so that a slot is one vector.
    encoding: how words make a sentence: `position` weighs them by their place, `bag` just adds them.
    answer_words: the word of each answer, 0 where it is none: with adjacent tying the two share a row. Without it all
        answers have rows of their own.
    temporal, match, empty, gated, write, head: as in the four modules.

    What hops write goes to a copy that ends with the question: a story is the same before and after it.
    """

    def __init__(
        self,
        *,
        words: int,
        answers: int,
        sentence_words: int,
        size: int = 50,
        hops: int = 3,
        memory: int = 50,
        tying: str = "adjacent",
        encoding: str = "position",
        temporal: bool = True,
        match: str = "dot",
        empty: bool = False,
        answer_words: Sequence[int] | None = None,
        gated: bool = False,
        write: str = "none",
        head: str = "sum",
    ) -> None:
        """Raises ValueError for an option that is not one of CHOICES, or for no hop."""
        super().__init__()
        given = {"tying": tying, "encoding": encoding, "match": match, "write": write, "head": head}
        for name, value in given.items():
            if value not in CHOICES[name]:
                raise ValueError(f"{name}: expected one of {', '.join(CHOICES[name])}, got {value!r}")
        if hops < 1:
            raise ValueError(f"hops: expected at least 1, got {hops}")
        self.size, self.hops, self.memory = size, hops, memory
        self.tying = tying
        self.kept = {"adjacent": hops + 1, "layerwise": 2, "single": 1}[tying]  # vectors a sentence is kept as
        self.tied = tying == "adjacent" and head == "sum"
        self.input_module = InputModule(
            words=words,
            answers=(answer_words or [0] * answers) if self.tied else (),
            sentence_words=sentence_words,
            size=size,
            kept=self.kept,
            encoding=encoding,
            own_question=tying == "layerwise",
        )
        self.memory_module = MemoryModule(
            kept=self.kept, memory=memory, size=size, match=match, temporal=temporal, empty=empty
        )
        self.control_module = ControlModule(
            size=size, hops=hops, carried=tying == "layerwise", gated=gated, write=write
        )
        self.output_module = OutputModule(answers=answers, size=size, head=head, tied=self.tied)

    @property
    def linear(self) -> bool:
        """Whether attention is without softmax."""
        return self.memory_module.linear

    @linear.setter
    def linear(self, linear: bool) -> None:
        self.memory_module.linear = linear

    def matrices(self) -> list[nn.Parameter]:
        """Every weight matrix; the recipe clips the gradient of each by itself."""
        return list(self.parameters())

    def encode(self, sentences: Tensor) -> Tensor:
        """What is kept of sentences [..., words] of word ids: [..., kept, size]."""
        kept: Tensor = self.input_module(sentences)
        return kept

    def encode_question(self, question: Tensor) -> Tensor:
        """The first look u [..., size] of a question [..., words]."""
        return self.input_module.question(question)

    def forward(self, memory: Tensor, present: Tensor, times: Tensor, question: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of the answers [batch, answers] and where each hop looked [batch, hops, slots].

        memory: [batch, slots, kept, size], from `encode`; present: [batch, slots], false in empty slots;
        times: [batch, slots], how long ago, 1 = newest; question: [batch, size], from `encode_question`.
        """
        slots = self.memory_module(memory, present, times)
        u, o = question, torch.zeros_like(question)
        looks = []
        for hop in range(self.hops):
            found_by, gives = self._slots_of(hop)
            weights = self.memory_module.attend(slots[found_by], u, present)
            before, o = o, (weights.unsqueeze(1) @ slots[gives]).squeeze(1)
            # Not in a linear start: weights without bounds, written and read again, would grow with every hop.
            if self.control_module.writes and not self.linear:
                slots = self.memory_module.write(slots, weights, *self.control_module.write(u, before))
            u = self.control_module(u, o, hop)
            looks.append(weights)
        rows = self.input_module.answers() if self.tied else None
        return self.output_module(u, o, question, rows), torch.stack(looks, dim=1)

    def _slots_of(self, hop: int) -> tuple[int, int]:
        """Which of what is kept a hop looks by, and which it takes."""
        return {"adjacent": (hop, hop + 1), "layerwise": (0, 1), "single": (0, 0)}[self.tying]


def clip_each(matrices: Sequence[nn.Parameter], norm: float) -> None:
    """Clips the gradient of every matrix by itself to a norm; one common norm would be another recipe."""
    for matrix in matrices:
        if matrix.grad is not None:
            size = float(matrix.grad.norm())
            if size > norm:
                matrix.grad.mul_(norm / size)
            elif not math.isfinite(size):
                matrix.grad.zero_()
