"""A memory network whose hops rewrite the memory.

In a plain memory network the question alone travels; sentences stay as they were told. Here the question is a slot
beside the sentences, and at every hop each slot looks at every other and rewrites itself with what it found. A sentence
("the wolf is north of her") can so take up what another one says before the question asks for both. All hops share one
block of weights, as in the Universal Transformer (Dehghani et al. 2018, arXiv 1807.03819).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .memory_network import MemoryNetwork

Told = tuple[Tensor, Tensor, Tensor]  # memory, present, times: what a network's forward takes
LEAST = 1e-3  # of a hop's weight on the sentences; below it the weights shown fade instead of being blown up


class RewritingNetwork(nn.Module):
    """`hops` passes of one pre-normalised attention block over the slots of a story and its question.

    A sentence is one linear map of its words side by side, so that every place in it has weights of its own. Order in
    the story enters as a learned bias per head for every distance in time.

    The four modules of a memory network (`memory_modules.py`) are here: I is `encode`; G and O are one, the block, in
    which every slot looks, is read and is rewritten; R is `answer` on the question's slot.
    """

    def __init__(
        self,
        *,
        words: int,
        answers: int,
        sentence_words: int,
        size: int = 64,
        heads: int = 4,
        hops: int = 5,
        memory: int = 130,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.size, self.heads, self.hops, self.memory = size, heads, hops, memory
        self.table = nn.Parameter(torch.randn(words, size))
        with torch.no_grad():
            self.table[:2] = 0  # the empty and the unknown word: neither means anything
        self.join = nn.Linear(sentence_words * size, size, bias=False)
        self.steps = nn.Parameter(torch.randn(hops, size) * 0.02)
        self.distance = nn.Parameter(torch.zeros(2 * memory + 1, heads))
        self.before_attention, self.before_mixing = nn.LayerNorm(size), nn.LayerNorm(size)
        self.look = nn.Linear(size, size)
        self.offer = nn.Linear(size, 2 * size)
        self.take = nn.Linear(size, size)
        self.mix = nn.Sequential(nn.Linear(size, 2 * size), nn.ReLU(), nn.Linear(2 * size, size))
        self.drop = nn.Dropout(dropout)
        self.before_answer = nn.LayerNorm(size)
        self.answer = nn.Linear(size, answers)

    def encode(self, sentences: Tensor) -> Tensor:
        """Vectors [..., size] of sentences [..., words] of word ids; questions are sentences like any other."""
        encoded: Tensor = self.join(nn.functional.embedding(sentences, self.table, padding_idx=0).flatten(-2))
        return encoded

    def forward(self, memory: Tensor, present: Tensor, times: Tensor, question: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of the answers [batch, answers] and where the question looked at each hop [batch, hops, slots].

        memory: [batch, slots, size] and question: [batch, size], from `encode`; present: [batch, slots], false in empty
        slots; times: [batch, slots], how long ago, 1 = newest. The weights are the mean over the heads.
        """
        x = torch.cat([memory, question.unsqueeze(1)], dim=1)  # the question is the last slot
        bias = self._bias(present, times)
        looks = []
        for hop in range(self.hops):
            last = hop == self.hops - 1  # nobody reads what the sentences would become
            x = x + self.steps[hop]
            seen = self.before_attention(x)
            # One sentence stays beside the question: for a single row, other kernels add in another order.
            x, looking, bias = (x[:, -2:], seen[:, -2:], bias[:, :, -2:]) if last else (x, seen, bias)
            found, weights = self._attend(looking, seen, bias)
            x = x + self.drop(found)
            x = x + self.drop(self.mix(self.before_mixing(x)))
            looks.append(weights.mean(dim=1))
        scores: Tensor = self.answer(self.before_answer(x[:, -1]))
        return scores, torch.stack(looks, dim=1)[:, :, :-1]

    def _bias(self, present: Tensor, times: Tensor) -> Tensor:
        """What is added to the scores before the softmax [batch, heads, slots + 1, slots + 1]."""
        times = nn.functional.pad(times, (0, 1))  # the question's time is 0
        distance = (times.unsqueeze(1) - times.unsqueeze(2)).clamp(-self.memory, self.memory) + self.memory
        bias = nn.functional.embedding(distance, self.distance).permute(0, 3, 1, 2)
        empty = ~nn.functional.pad(present, (0, 1), value=True)
        return bias.masked_fill(empty[:, None, None, :], -1e9)

    def _attend(self, looking: Tensor, offered: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """What each looking slot finds [batch, looking, size], and the last one's weights [batch, heads, offered].

        The softmax is taken apart, and its sum comes with what is found out of one matrix product, which adds slot by
        slot: however many empty slots stand before the filled ones, it gives the same to the last bit. So a story's
        answer does not depend on the longest story of its batch.
        """
        q = self._split(self.look(looking))
        k, v = (self._split(part) for part in self.offer(offered).chunk(2, dim=-1))
        scores = q @ k.transpose(-1, -2) * (self.size // self.heads) ** -0.5 + bias
        raised = torch.exp(scores - scores.amax(dim=-1, keepdim=True).detach())
        summed = raised @ nn.functional.pad(v, (0, 1), value=1.0)
        found, total = summed[..., :-1], summed[..., -1:]
        weights = raised[:, :, -1] / total[:, :, -1]
        return self.take((found / total).transpose(1, 2).flatten(2)), weights

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], self.heads, self.size // self.heads).transpose(1, 2)


def sum_over_slots(x: Tensor) -> Tensor:
    """The sum of x [..., slots] over the slots, [..., 1], the same in any batch.

    By a matrix product, like the sums above; with two columns, because the kernels for one add in another order.
    """
    return (x @ x.new_ones(x.shape[-1], 2)).amax(dim=-1, keepdim=True)


class JointNetwork(nn.Module):
    """A rewriting network, and a small memory network that adds what the large one does not find.

    The answer is y + g b: y from the rewriting network, b from the memory network, g a gate that reads the question.
    Induction (bAbI task 16) is why: large networks settle at a guess there, and a memory network of three plain hops
    that learns this task first does not.
    """

    def __init__(self, rewriting: RewritingNetwork, residual: MemoryNetwork) -> None:
        super().__init__()
        self.rewriting, self.residual = rewriting, residual
        self.gate = nn.Linear(rewriting.size, 1)

    def encode(self, sentences: Tensor) -> tuple[Tensor, Tensor]:
        """Both networks' vectors of sentences [..., words]: [..., size] and [..., kept, residual size]."""
        return self.rewriting.encode(sentences), self.residual.encode(sentences)

    def encode_question(self, question: Tensor) -> tuple[Tensor, Tensor]:
        """Both networks' vectors of a question [..., words]: [..., size] and [..., residual size]."""
        return self.rewriting.encode(question), self.residual.encode_question(question)

    def parts(self, large: Told, small: Told, question: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Scores y of the rewriting network, what is added to them, and where the hops of each of the two looked.

        Both are given what they were told, with their own vectors of it; the residual network may be given less.
        The gate reads the question's vector without teaching it, so that the rewriting network learns as if alone.
        """
        y, looks = self.rewriting(*large, question[0])
        memory, present, times = small
        b, residual_looks = self.residual(memory, present & (times <= self.residual.memory), times, question[1])
        return y, torch.sigmoid(self.gate(question[0].detach())) * b, looks, residual_looks

    def forward(
        self, memory: tuple[Tensor, Tensor], present: Tensor, times: Tensor, question: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Scores of the answers [batch, answers], and where the question looked at each hop [batch, hops, slots].

        memory: both networks' vectors, [batch, slots, size] and [batch, slots, kept, residual size]; present and times
        as in the parts; question: both networks' vectors of it.
        """
        y, added, *looks = self.parts((memory[0], present, times), (memory[1], present, times), question)
        return y + added, self.seen(y, added, *looks)

    def seen(self, y: Tensor, added: Tensor, looks: Tensor, residual_looks: Tensor) -> Tensor:
        """Where the question looked at each hop [batch, hops, slots], each hop's weights summing to 1.

        Those of both networks, each as far as it decided the answer; once the residual network has no more hops, those
        of its last one.
        """
        share = decided(y, added).unsqueeze(-1)  # [batch, 1, 1]
        hops = torch.arange(self.rewriting.hops).clamp(max=self.residual.hops - 1)
        looks = looks / sum_over_slots(looks).clamp(min=LEAST)
        return looks + share * (residual_looks[:, hops] - looks)


def decided(y: Tensor, added: Tensor) -> Tensor:
    """How far `added` decided the answer of y + added [batch, answers], from 0 to 1: [batch, 1].

    That is its part of the distance between the best answer and the next one; one that would shorten it counts as 0.
    """
    best, next_best = torch.topk(y + added, 2).indices.chunk(2, dim=-1)
    of_y = (y.gather(1, best) - y.gather(1, next_best)).clamp(min=0)
    of_added = (added.gather(1, best) - added.gather(1, next_best)).clamp(min=0)
    return of_added / (of_y + of_added).clamp(min=1e-6)
