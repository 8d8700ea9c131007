"""Questions as arrays, and batches of about the same number of memory slots.

A story is kept once, as the numbers of its sentences; a question is a place in it. A batch names each of its distinct
sentences once, so that a network encodes "Mary moved to the garden" once however many stories tell it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import TrainingError
from .babi_stories import Story
from .babi_words import Words


@dataclass(frozen=True)
class Batch:
    """Some questions, each with the sentences told before it; stories are aligned at their newest sentence."""

    sentences: Tensor  # [distinct, words] int64: word ids
    memory: Tensor  # [batch, slots] int64: rows of `sentences`, newest last; 0 in empty slots
    present: Tensor  # [batch, slots] bool: false in empty slots
    times: Tensor  # [batch, slots] int64: how long ago; 1 = newest
    questions: Tensor  # [distinct questions, words] int64: word ids
    question: Tensor  # [batch] int64: rows of `questions`
    answer: Tensor  # [batch] int64: classes
    task: Tensor  # [batch] int64
    deciding: NDArray[
        np.int64
    ]  # [batch, most]: how long ago the sentences that decide were told, as if without jitter;
    # 0 fills up, and a question for which none are named has only zeros


class Questions:
    """Questions of several tasks, with their stories, as flat arrays."""

    def __init__(self, stories: Mapping[int, Sequence[Story]], words: Words) -> None:
        """`stories` by task. Sentences get numbers, questions the range of the told lines that they may look at.

        Raises:
            TrainingError: a task has no question, or a sentence has too many words.
        """
        number_of: dict[tuple[str, ...], int] = {}
        told: list[int] = []
        rows: list[tuple[int, int, int, int, int]] = []
        supporting: list[tuple[int, ...]] = []
        for task, of_task in stories.items():
            if not any(story.questions for story in of_task):
                raise TrainingError(f"task {task}: expected at least one question in every part, got none")
            for story in of_task:
                first = len(told)
                told += [number_of.setdefault(sentence, len(number_of)) for sentence in story.statements]
                for question in story.questions:
                    asked = number_of.setdefault(question.words, len(number_of))
                    rows.append((first, first + question.after, asked, words.class_of[question.answer], task))
                    supporting.append(question.supporting)
        self.sentences = np.stack([words.encode(sentence) for sentence in number_of])
        self.told = np.array(told, np.int64)
        self.first, self.end, self.question, self.answer, self.task = np.array(rows, np.int64).reshape(-1, 5).T.copy()
        self.supporting = supporting  # per question, counted from the story's first sentence
        self.deciding = np.zeros((len(rows), max((len(lines) for lines in supporting), default=0)), np.int64)
        for number, lines in enumerate(supporting):
            self.deciding[number, : len(lines)] = self.end[number] - self.first[number] - np.array(lines, np.int64)

    def __len__(self) -> int:
        return len(self.answer)

    def lengths(self, memory: int) -> NDArray[np.int64]:
        """How many sentences each question looks at, at most `memory`."""
        told: NDArray[np.int64] = np.minimum(self.end - self.first, memory)
        return told

    def batch(
        self, which: NDArray[np.int64], memory: int, jitter: float = 0.0, random: torch.Generator | None = None
    ) -> Batch:
        """The questions numbered `which`, each with its newest `memory` sentences.

        With `jitter` up to ceil(jitter n) moments pass in which nothing is told, at random places of a story of n
        sentences: times change, their order does not.
        """
        length = self.lengths(memory)[which]
        slots = int(length.max())
        age = np.arange(slots, 0, -1)  # [slots]
        present = age <= length[:, None]  # [batch, slots]
        told = self.told[np.where(present, self.end[which][:, None] - age, 0)]
        distinct, row = np.unique(told[present], return_inverse=True)
        rows = np.zeros(present.shape, np.int64)
        rows[present] = row
        asked, question = np.unique(self.question[which], return_inverse=True)
        times = np.broadcast_to(age, present.shape)
        if jitter:
            assert random is not None
            times = _jitter(times, length, jitter, random).clip(max=memory)
        return Batch(
            sentences=torch.from_numpy(self.sentences[distinct]),
            memory=torch.from_numpy(rows),
            present=torch.from_numpy(present),
            times=torch.from_numpy(times.copy()),
            questions=torch.from_numpy(self.sentences[asked]),
            question=torch.from_numpy(question),
            answer=torch.from_numpy(self.answer[which]),
            task=torch.from_numpy(self.task[which]),
            deciding=self.deciding[which],
        )


def _jitter(
    times: NDArray[np.int64], length: NDArray[np.int64], share: float, random: torch.Generator
) -> NDArray[np.int64]:
    """Times [batch, slots] with idle moments let in."""
    most = np.ceil(share * length)
    idle = np.floor(torch.rand(len(length), generator=random).numpy() * (most + 1))
    # n + idle moments in random order of merit; the n best keep their order and become the times of the sentences.
    slots = times.shape[1]
    moments = slots + int(most.max())
    merit = torch.rand(len(length), moments, generator=random).numpy()
    moment = np.arange(moments)
    merit[moment >= (length + idle)[:, None]] = 2.0
    chosen = np.sort(np.where(np.argsort(np.argsort(merit, axis=1), axis=1) < length[:, None], moment, moments), axis=1)
    jittered = chosen[:, :slots] + 1  # oldest last: column c is the sentence told c before the newest
    return np.where(jittered <= moments, jittered, times[:, ::-1])[:, ::-1]


class Order:
    """An endless order of batches: every epoch shuffles, sorts by length and cuts at about `slots` slots.

    Once `focused`, an epoch has every question `shares` times on average (below 1: that often), instead of once.
    `state` and `load_state` continue in the middle of an epoch with the same batches.
    """

    def __init__(
        self,
        lengths: NDArray[np.int64],
        slots: int,
        random: torch.Generator,
        shares: NDArray[np.float64] | None = None,
    ) -> None:
        self.lengths, self.slots, self.random = lengths, slots, random
        self.shares = np.ones(len(lengths)) if shares is None else shares
        self.focused = False
        self.start = random.get_state()  # of the random numbers, when this epoch was laid out
        self.position = 0
        self.epoch: list[NDArray[np.int64]] = []

    def __next__(self) -> NDArray[np.int64]:
        if self.position == len(self.epoch):
            self.start, self.position = self.random.get_state(), 0
            self.epoch = self._lay_out(self.random)
        self.position += 1
        return self.epoch[self.position - 1]

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        return self

    def focus(self, focused: bool) -> None:
        """Begins a new epoch where this changes what an epoch is."""
        if focused != self.focused:
            self.focused, self.position, self.epoch = focused, 0, []

    def _lay_out(self, random: torch.Generator) -> list[NDArray[np.int64]]:
        numbers = np.arange(len(self.lengths))
        if self.focused:
            chance = torch.rand(len(numbers), generator=random).numpy()
            numbers = np.repeat(numbers, np.floor(self.shares + chance).astype(np.int64))
        shuffled = numbers[torch.randperm(len(numbers), generator=random).numpy()]
        batches = cut(shuffled[np.argsort(self.lengths[shuffled], kind="stable")], self.lengths, self.slots)
        return [batches[number] for number in torch.randperm(len(batches), generator=random)]

    def state(self) -> dict[str, Tensor]:
        """Where the order stands."""
        position, focused = torch.tensor(self.position), torch.tensor(self.focused)
        return {"start": self.start, "position": position, "focused": focused}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continues from there."""
        self.start, self.position = state["start"].clone(), int(state["position"])
        self.focused = bool(state["focused"])
        random = torch.Generator()
        random.set_state(self.start)
        self.epoch = self._lay_out(random) if self.position else []


def cut(ordered: NDArray[np.int64], lengths: NDArray[np.int64], slots: int) -> list[NDArray[np.int64]]:
    """Questions in order of length, cut so that a batch padded to its longest story has about `slots` slots."""
    batches, first = [], 0
    for position, number in enumerate(ordered):
        # One slot more than sentences: the question's own.
        if position > first and (position + 1 - first) * (lengths[number] + 1) > slots:
            batches.append(ordered[first:position])
            first = position
    batches.append(ordered[first:])
    return batches
