"""Whole stories with all their questions, for networks that take a story in once and are asked along the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .babi_batches import Order, cut
from .babi_stories import Story
from .babi_words import Words

NO_QUESTION = -1  # the answer where a story has fewer questions than the longest of its batch


@dataclass(frozen=True)
class StoryBatch:
    """Some stories; each distinct sentence is there once. Shorter stories are filled up at their end."""

    sentences: Tensor  # [distinct, words] int64: word ids
    story: Tensor  # [B, T] int64: rows of `sentences`, oldest first
    questions: Tensor  # [B, Q] int64: rows of `sentences`
    after: Tensor  # [B, Q] int64: how many sentences were told before the question
    answer: Tensor  # [B, Q] int64: classes, or NO_QUESTION
    task: Tensor  # [B] int64

    def asked(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What a network is given."""
        return self.sentences, self.story, self.questions, self.after


class WholeStories:
    """Stories of several tasks as arrays."""

    def __init__(self, stories: Mapping[int, Sequence[Story]], words: Words) -> None:
        """`stories` by task; those without questions are left out, and so is what is told after the last question."""
        number_of: dict[tuple[str, ...], int] = {}
        pairs = [(task, story) for task, of_task in stories.items() for story in of_task if story.questions]
        self.task = np.array([task for task, _ in pairs], np.int64)
        self.told: list[NDArray[np.int64]] = []
        self.asked: list[NDArray[np.int64]] = []  # of each story [3, questions]: question, after, answer
        for _, story in pairs:
            told = story.statements[: max(question.after for question in story.questions)]
            self.told.append(np.array([number_of.setdefault(words, len(number_of)) for words in told], np.int64))
            rows = [
                (number_of.setdefault(one.words, len(number_of)), one.after, words.class_of[one.answer])
                for one in story.questions
            ]
            self.asked.append(np.array(rows, np.int64).T)
        self.sentences = np.stack([words.encode(sentence) for sentence in number_of])
        self.lengths = np.array([len(told) for told in self.told], np.int64)
        self.counts = np.array([asked.shape[1] for asked in self.asked], np.int64)
        # What a story costs; keeps stories of many sentences apart from stories of many questions, too.
        self.costs = 2 * self.lengths + self.counts

    def __len__(self) -> int:
        return len(self.told)

    def batch(self, which: NDArray[np.int64], prefix: NDArray[np.int64] | None = None) -> StoryBatch:
        """The stories numbered `which`, each told after its row of `prefix` [B, sentences], if there is one."""
        story = np.zeros((len(which), self.lengths[which].max()), np.int64)
        asked = np.zeros((3, len(which), self.counts[which].max()), np.int64)
        asked[2] = NO_QUESTION
        for row, number in enumerate(which):
            story[row, : self.lengths[number]] = self.told[number]
            asked[:, row, : self.counts[number]] = self.asked[number]
        if prefix is not None:
            story = np.concatenate([prefix, story], axis=1)
            asked[1] += prefix.shape[1]
        distinct, rows = np.unique(np.concatenate([story.ravel(), asked[0].ravel()]), return_inverse=True)
        return StoryBatch(
            sentences=torch.from_numpy(self.sentences[distinct]),
            story=torch.from_numpy(rows[: story.size].reshape(story.shape)),
            questions=torch.from_numpy(rows[story.size :].reshape(asked[0].shape)),
            after=torch.from_numpy(asked[1]),
            answer=torch.from_numpy(asked[2]),
            task=torch.from_numpy(self.task[which]),
        )

    def prefixes(self, tasks: Sequence[int], rows: int, length: int, random: torch.Generator) -> NDArray[np.int64]:
        """Sentences [rows, length] as these tasks tell them: stories one behind the other, from a random place on."""
        told = np.concatenate([told for told, task in zip(self.told, self.task, strict=True) if task in tasks])
        first = torch.randint(len(told), (rows, 1), generator=random).numpy()
        prefix: NDArray[np.int64] = told[(first + np.arange(length)) % len(told)]
        return prefix

    def order(self, slots: int, random: torch.Generator, shares: NDArray[np.float64]) -> Order:
        """An endless order of batches of about as large stories; `shares` as in `Order`."""
        order = Order(self.costs, slots, random, shares)
        order.focus(True)
        return order

    def parts(self, slots: int = 8000) -> list[NDArray[np.int64]]:
        """Every story once, in batches of about as large ones."""
        return cut(np.argsort(self.costs, kind="stable"), self.costs, slots)
