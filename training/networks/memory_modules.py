"""The four modules that a memory network is made of.

In the words of Weston, Chopra and Bordes (2015, arXiv 1410.3916): `InputModule` is I (input feature map).
`MemoryModule` is G (generalisation: what becomes of the memory) with the matching half of O. `ControlModule` is the
other half of O (output feature map: what a hop does with what it read). `OutputModule` is R (response).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

INITIAL = 0.1  # standard deviation of every matrix at the start, as in Sukhbaatar et al. (2015)
NEVER = -1e9  # the score of what is not to be looked at
SHARPNESS = 5.0  # of a cosine at the start: a softmax over numbers from -1 to 1 would hardly choose

# What the options may be; the first is the network of Sukhbaatar et al. (2015).
CHOICES = {
    "tying": ("adjacent", "layerwise", "single"),
    "encoding": ("position", "bag"),
    "match": ("dot", "cosine", "bilinear", "network"),
    "head": ("sum", "concat", "network"),
    "write": ("none", "add", "gated"),
}


def position_encoding(words: int, size: int) -> Tensor:
    """Weights [words, size] that let a sum of words know their order (Sukhbaatar et al. 2015, section 4.1).

    l(j, k) = 1 + 4 (k - (d+1)/2) (j - (J+1)/2) / (d J) for word j of J and dimension k of d, both counted from 1.
    """
    j = torch.arange(1, words + 1).unsqueeze(1) - (words + 1) / 2
    k = torch.arange(1, size + 1) - (size + 1) / 2
    return 1 + 4 * j * k / (words * size)


def matrix(rows: int, columns: int) -> nn.Parameter:
    """A matrix as every one starts."""
    return nn.Parameter(torch.randn(rows, columns) * INITIAL)


class InputModule(nn.Module):
    """I: turns text into vectors, a weighted sum of its words' rows.

    A sentence is kept `kept` times, once by each table. Questions have a table of their own if `own_question`, else
    the first one. `answers` (adjacent tying: the last table's rows are the answers) has the word of each answer, or 0
    for an answer that is none; such an answer has a row of its own behind the words'.
    """

    place: Tensor  # [sentence_words, size]: what each word of a sentence is weighed by
    answer_rows: Tensor  # [answers]: where the tables have them

    def __init__(
        self,
        *,
        words: int,
        answers: Sequence[int],
        sentence_words: int,
        size: int,
        kept: int,
        encoding: str,
        own_question: bool,
    ) -> None:
        super().__init__()
        self.words = words
        own = iter(range(words, words + len(answers)))
        rows = torch.tensor([word or next(own) for word in answers], dtype=torch.int64)
        self.register_buffer("answer_rows", rows, persistent=False)
        extra = sum(word == 0 for word in answers)
        self.tables = nn.ParameterList(matrix(words + extra, size) for _ in range(kept))
        self.question_table = matrix(words, size) if own_question else None
        with torch.no_grad():
            for table in (*self.tables, *([] if self.question_table is None else [self.question_table])):
                table[:2] = 0  # the empty and the unknown word: neither means anything
        place = position_encoding(sentence_words, size) if encoding == "position" else torch.ones(sentence_words, size)
        self.register_buffer("place", place, persistent=False)

    def forward(self, sentences: Tensor) -> Tensor:
        """What is kept of sentences [..., words] of word ids: [..., kept, size], one row per table."""
        return torch.stack([self._sum(table, sentences) for table in self.tables], dim=-2)

    def question(self, question: Tensor) -> Tensor:
        """The vector [..., size] of a question [..., words]."""
        return self._sum(self.tables[0] if self.question_table is None else self.question_table, question)

    def answers(self) -> Tensor:
        """The last table's rows [answers, size] that stand for the answers."""
        last: Tensor = self.tables[-1]
        return last[self.answer_rows]

    def _sum(self, table: Tensor, sentences: Tensor) -> Tensor:
        return (nn.functional.embedding(sentences, table, padding_idx=0) * self.place).sum(dim=-2)


class MemoryModule(nn.Module):
    """G and matching: keeps the slots with their times, says how well each fits a question, takes writes in.

    match: how well slot m fits u: `dot` m.u; `cosine`, sharpened; `bilinear` m.Mu; `network`, a small one of
        [m; u; m u].
    temporal: every age has a row of its own that is added to the slots of that age, one for each of the `kept`.
    empty: whether a hop can look at nothing: each of the `memory` slots that nothing was told to scores 0 beside the
        others and gives nothing.
    linear: weights are scores without softmax. Training may start this way (the linear start of Sukhbaatar et al.).
    """

    def __init__(self, *, kept: int, memory: int, size: int, match: str, temporal: bool, empty: bool = False) -> None:
        super().__init__()
        self.memory, self.match, self.empty, self.linear = memory, match, empty, False
        rows = kept if temporal else 0
        self.ages = nn.ParameterList(matrix(memory, size) for _ in range(rows))  # row 0: the newest sentence
        if match == "cosine":
            self.sharpness = nn.Parameter(torch.tensor(SHARPNESS))
        elif match == "bilinear":
            self.form = nn.Parameter(torch.eye(size))  # M starts as the dot product
        elif match == "network":
            self.compare = nn.Sequential(nn.Linear(3 * size, size), nn.Tanh(), nn.Linear(size, 1, bias=False))

    def forward(self, memory: Tensor, present: Tensor, times: Tensor) -> list[Tensor]:
        """The slots: for each of the kept, vectors [batch, slots, size], zero where nothing was told.

        memory: [batch, slots, kept, size]; present: [batch, slots]; times: [batch, slots], 1 = newest.
        """
        there = present.unsqueeze(-1).to(memory.dtype)
        slots = list(memory.unbind(dim=2))
        if len(self.ages):
            age = (times - 1).clamp(0, self.memory - 1)
            slots = [part + nn.functional.embedding(age, rows) for part, rows in zip(slots, self.ages, strict=True)]
        return [part * there for part in slots]

    def attend(self, slots: Tensor, u: Tensor, present: Tensor) -> Tensor:
        """Weights [batch, slots] of slots [batch, slots, size] for u [batch, size].

        They are zero in empty slots, also where nothing was told at all. If a hop can look at nothing, what they lack
        to a sum of 1 is how much it does.
        """
        scores, there = self._scores(slots, u.unsqueeze(1)), present.to(slots.dtype)
        if self.linear:
            return scores * there
        scores = scores.masked_fill(~present, NEVER)
        if not self.empty:
            return torch.softmax(scores, dim=-1) * there
        empty = torch.clamp(self.memory - there.sum(dim=1, keepdim=True), min=0)  # n of score 0 weigh as one of log n
        nothing = torch.log(empty).clamp(min=NEVER)
        return torch.softmax(torch.cat([scores, nothing], dim=1), dim=-1)[:, :-1] * there

    def _scores(self, slots: Tensor, u: Tensor) -> Tensor:
        if self.match == "cosine":
            return self.sharpness * nn.functional.cosine_similarity(slots, u, dim=-1, eps=1e-6)
        if self.match == "bilinear":
            u = u @ self.form.T
        elif self.match == "network":
            both = torch.cat([slots, u.expand_as(slots), slots * u], dim=-1)
            scores: Tensor = self.compare(both)
            return scores.squeeze(-1)
        return (slots * u).sum(-1)

    @staticmethod
    def write(slots: Sequence[Tensor], weights: Tensor, w: Tensor, gate: Tensor | None) -> list[Tensor]:
        """The slots after a write of w [batch, size] where the weights [batch, slots] point.

        m_i + p_i w, or with a gate g [batch, size]: (1 - p_i g) m_i + p_i g w. What is kept of a sentence is written
        to alike, whichever table it is from.
        """
        p = weights.unsqueeze(-1)
        if gate is None:
            return [part + p * w.unsqueeze(1) for part in slots]
        share = p * gate.unsqueeze(1)
        return [part + share * (w.unsqueeze(1) - part) for part in slots]


class ControlModule(nn.Module):
    """O: what goes on to the next hop and what a hop writes, from what was read and the state before.

    carried: a matrix H takes the state from hop to hop (layer-wise tying).
    gated: u' = o T + u (1 - T), T = sigmoid(W_k u + b_k), as in Liu and Perez (2017, arXiv 1610.04211). Otherwise
        u' = u + o.
    write: `none`; `add`: w = W [u_k ; o_(k-1)]; `gated`: also a gate g = sigmoid(V [u_k ; o_(k-1)] + b) for each
        dimension.
    """

    def __init__(self, *, size: int, hops: int, carried: bool, gated: bool, write: str) -> None:
        super().__init__()
        self.writes = write != "none"
        self.carry = matrix(size, size) if carried else None  # H
        self.gates = nn.ModuleList(nn.Linear(size, size) for _ in range(hops if gated else 0))
        self.written = matrix(size, 2 * size) if self.writes else None  # W
        self.erased = nn.Linear(2 * size, size) if write == "gated" else None  # V, b

    def forward(self, u: Tensor, o: Tensor, hop: int) -> Tensor:
        """The next state [batch, size] from the state u and what hop number `hop` read, o (both [batch, size])."""
        kept = u if self.carry is None else u @ self.carry
        if not len(self.gates):
            return kept + o
        through = torch.sigmoid(self.gates[hop](u))
        return o * through + kept * (1 - through)

    def write(self, u: Tensor, before: Tensor) -> tuple[Tensor, Tensor | None]:
        """What a hop writes and its gate, if any, from its state and what the hop before read: [batch, size] each."""
        assert self.written is not None
        both = torch.cat([u, before], dim=-1)
        return both @ self.written.T, None if self.erased is None else torch.sigmoid(self.erased(both))


class OutputModule(nn.Module):
    """R: scores of the answers.

    head: `sum`: rows of the answers times the last state (u + o); `concat`: rows of the answers times [o ; q], what the
        last hop read and the question; `network`: a small network of o = sum_i p_i x_i alone.
    tied: the rows are given to it (adjacent tying: they are the last table's); only with `sum`.
    """

    def __init__(self, *, answers: int, size: int, head: str, tied: bool) -> None:
        super().__init__()
        self.head = head
        self.answers = None if tied or head == "network" else matrix(answers, 2 * size if head == "concat" else size)
        self.network = (
            nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, answers)) if head == "network" else None
        )

    def forward(self, u: Tensor, o: Tensor, question: Tensor, rows: Tensor | None) -> Tensor:
        """Scores [batch, answers] from the last state, the last read and the question, [batch, size] each."""
        if self.network is not None:
            scores: Tensor = self.network(o)
            return scores
        answers = rows if self.answers is None else self.answers
        assert answers is not None
        return (torch.cat([o, question], dim=-1) if self.head == "concat" else u) @ answers.T
