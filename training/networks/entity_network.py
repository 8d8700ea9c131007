"""A network for stories whose memory has a fixed size: told sentence by sentence, asked at any moment."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .deep_memory import DeepMemory, DeepOptions, shares
from .delta_rule import finder
from .linear_memory import LinearMemory

Memory = tuple[Tensor, Tensor]  # of the deep memory [B, M, K, V] and of the linear one [B, H, S, S]


@dataclass(frozen=True)
class EntityOptions(DeepOptions):
    """The table [network] of an entity network."""

    kind: str = "entity"
    linear_size: int = 50
    linear_hops: int = 3


class EntityNetwork(nn.Module):
    """A deep memory, and a linear one that adds what the deep one does not find.

    The scores are y + g b: y of the deep memory, b of the linear one, g a gate that reads the question. Induction
    (bAbI task 16) is why: a deep memory settles at a guess there, plain hops do not.
    """

    def __init__(self, *, words: int, answers: int, sentence_words: int, options: EntityOptions) -> None:
        super().__init__()
        self.deep = DeepMemory(words=words, answers=answers, sentence_words=sentence_words, options=options)
        self.linear = LinearMemory(
            words=words,
            answers=answers,
            sentence_words=sentence_words,
            size=options.linear_size,
            hops=options.linear_hops,
        )
        self.gate = nn.Linear(options.size, 1)

    def initial_memory(self, batch: int) -> Memory:
        """Both memories before anything was told."""
        return self.deep.initial_memory(batch), self.linear.initial_memory(batch)

    def tell(self, sentence: Tensor, memory: Memory) -> Memory:
        """Both memories after one more sentence [B, words]."""
        deep, linear = memory
        after = self.deep.tell(self.deep.encode(sentence), deep)
        return after, self.linear.tell(self.linear.encode(sentence), linear)

    def ask(self, question: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Scores [B, answers] of a question [B, words], and where each hop looked.

        That is how much of what a hop found came from each matrix of the deep memory, [B, hops, M]: parts that sum to
        1, or zeros where nothing was told.
        """
        deep, linear = memory
        asked = self.deep.encode(question)
        y, found = self.deep.observe(asked.unsqueeze(1), lambda look: look @ deep)
        finds = [linear[:, hop : hop + 1].__rmatmul__ for hop in range(self.linear.hops)]
        b = self.linear.ask(self.linear.encode(question).unsqueeze(1), finds).squeeze(1)
        return y.squeeze(1) + self._open(asked) * b, shares(torch.stack(found, dim=1).squeeze(3))

    def _open(self, asked: Tensor) -> Tensor:
        """How far each question lets the linear memory speak; it does not teach the question's vector."""
        return torch.sigmoid(self.gate(asked.detach()))

    def tell_all(self, sentences: Tensor, story: Tensor, memory: Memory) -> Memory:
        """Both memories after the sentences of some stories; `story` [B, T] names rows of `sentences`."""
        deep, linear = memory
        address, changed = self.deep.tell_all(self.deep.encode(sentences)[story], deep)
        deep = deep + address.transpose(-1, -2) @ changed
        address, changed = self.linear.tell_all(self.linear.encode(sentences)[story], linear)
        return deep, linear + address.transpose(-1, -2) @ changed

    def parts(
        self, sentences: Tensor, story: Tensor, questions: Tensor, after: Tensor, memory: Memory | None = None
    ) -> tuple[Tensor, Tensor]:
        """Scores y and what is added to them, both [B, Q, answers], of all questions of some stories.

        sentences: [distinct, words]; story [B, T] and questions [B, Q] name rows of it; `after` [B, Q] is how many
        sentences of the story were told when the question was asked. The stories go on from `memory`, if it is given.
        """
        memory = self.initial_memory(len(story)) if memory is None else memory
        vectors = self.deep.encode(sentences)
        asked = vectors[questions]
        find = finder(memory[0], *self.deep.tell_all(vectors[story], memory[0]), _told(story, after))
        return self.deep.ask(asked, find), self._open(asked) * self.plain(sentences, story, questions, after, memory)

    def plain(
        self, sentences: Tensor, story: Tensor, questions: Tensor, after: Tensor, memory: Memory | None = None
    ) -> Tensor:
        """Scores b [B, Q, answers] of the linear memory alone; arguments as in `parts`."""
        before = (self.initial_memory(len(story)) if memory is None else memory)[1]
        vectors = self.linear.encode(sentences)
        address, changed = self.linear.tell_all(vectors[story], before)
        told = _told(story, after)
        each = [slice(hop, hop + 1) for hop in range(self.linear.hops)]
        finds = [finder(before[:, one], address[:, one], changed[:, one], told) for one in each]
        return self.linear.ask(vectors[questions], finds)

    def forward(
        self, sentences: Tensor, story: Tensor, questions: Tensor, after: Tensor, memory: Memory | None = None
    ) -> Tensor:
        """Scores [B, Q, answers]; arguments as in `parts`."""
        y, added = self.parts(sentences, story, questions, after, memory)
        return y + added


def _told(story: Tensor, after: Tensor) -> Tensor:
    """Which sentences were told before each question [B, 1, Q, T]."""
    return (torch.arange(story.shape[1], device=after.device) < after.unsqueeze(-1)).unsqueeze(1)
