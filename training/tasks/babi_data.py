"""Questions to train on, to choose by and to measure with, and the measuring itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..experiment import Array
from .babi_batches import Batch, Questions, cut
from .babi_figures import Answered
from .babi_stories import TASKS, load, load_own
from .babi_words import Words, all_words

CHOOSING = 4  # of the held-out stories, every fourth chooses the weights; the others measure them
FAILED = 5.0  # percent of wrong answers above which a task counts as failed


@dataclass(frozen=True)
class Task:
    """The table [task] of a configuration."""

    tasks: tuple[int, ...] = TASKS
    folder: str = ""  # own stories: qaN_train.txt and qaN_valid.txt for each task N; empty: the twenty tasks
    memory: int = 50  # newest sentences that the network sees
    jitter: float = 0.1  # idle moments let into a story, as a share of its sentences


class BabiData:
    """What every experiment here trains and is measured on."""

    def __init__(self, task: Task) -> None:
        self.task = task
        read = partial(load_own, Path(task.folder)) if task.folder else load
        told = {number: read(number, "train") for number in task.tasks}
        held_out = {number: read(number, "valid") for number in task.tasks}
        choosing = {number: stories[::CHOOSING] for number, stories in held_out.items()}
        measuring = {number: [s for i, s in enumerate(stories) if i % CHOOSING] for number, stories in held_out.items()}
        own = (story for stories in (*told.values(), *held_out.values()) for story in stories)
        self.words = Words.of(own) if task.folder else all_words()
        self.train, self.choosing, self.measuring = (
            Questions(stories, self.words) for stories in (told, choosing, measuring)
        )

    def batches(self, questions: Questions) -> list[Batch]:
        """All questions, in order of length."""
        return [questions.batch(part, self.task.memory) for part in self._parts(questions)]

    def _parts(self, questions: Questions, slots: int = 6000) -> list[Array]:
        lengths = questions.lengths(self.task.memory)
        return cut(np.argsort(lengths, kind="stable"), lengths, slots)

    def support(self, network: nn.Module) -> dict[str, float]:
        """How well attention points at the sentences that decide the measuring questions, in percent of questions.

        With n such sentences: the n with the largest weight, averaged over the hops, are exactly those; or at least the
        first of them is one. Both are means over the tasks.
        """
        asked = self.measuring
        exact, first = np.zeros(len(asked)), np.zeros(len(asked))
        for part in self._parts(asked):
            weights = answer(network, asked.batch(part, self.task.memory))[1].mean(1).detach().numpy()
            slots = weights.shape[1]
            for number, row in zip(part, weights, strict=True):
                offset = slots - int(asked.end[number] - asked.first[number])  # slot of the story's first sentence
                deciding = {offset + line for line in asked.supporting[number]}
                ranked = np.argsort(-row)
                exact[number] = set(ranked[: len(deciding)].tolist()) == deciding
                first[number] = int(ranked[0]) in deciding
        tasks = [asked.task == task for task in self.task.tasks]
        return {
            "support_exact": round(100 * float(np.mean([exact[task].mean() for task in tasks])), 2),
            "support_first": round(100 * float(np.mean([first[task].mean() for task in tasks])), 2),
        }

    def case(self, network: nn.Module, number: int) -> Answered:
        """What a network makes of one of the measuring questions."""
        asked = self.measuring
        batch = asked.batch(np.array([number]), self.task.memory)
        scores, looks = answer(network, batch)
        first, end = asked.first[number], asked.end[number]
        seen_from = max(int(first), int(end) - self.task.memory)
        return Answered(
            sentences=[self._text(asked.sentences[row]) for row in asked.told[seen_from:end]],
            question=self._text(asked.sentences[asked.question[number]]),
            expected=self.words.answers[asked.answer[number]],
            answered=self.words.answers[int(scores.argmax())],
            supporting=[line for told in asked.supporting[number] if (line := int(first) + told - seen_from) >= 0],
            looks=looks[0].detach().numpy(),
        )

    def _text(self, ids: Array) -> str:
        return " ".join(self.words.words[number] for number in ids if number)

    def errors(self, network: nn.Module, batches: Sequence[Batch]) -> dict[str, float]:
        """Percent of wrong answers: per task, their mean as `score`, and how many tasks failed."""
        task = torch.cat([batch.task for batch in batches])
        wrong = torch.cat([answer(network, batch)[0].argmax(1) != batch.answer for batch in batches])
        percent = {number: 100 * wrong[task == number].float().mean().item() for number in self.task.tasks}
        mean = sum(percent.values()) / len(percent)
        failed = sum(error > FAILED for error in percent.values())
        return {
            "score": round(mean, 4),
            "failed": float(failed),
            **{f"task {number}": round(error, 3) for number, error in percent.items()},
        }


def vectors(network: nn.Module, batch: Batch) -> tuple[Any, Any]:
    """Memory and question of a batch as the network reads them (two of each for the two parts of a joint network)."""
    sentences = network.encode(batch.sentences)  # type: ignore[operator]
    questions = network.encode_question(batch.questions)  # type: ignore[operator]
    if isinstance(sentences, tuple):
        return tuple(rows[batch.memory] for rows in sentences), tuple(rows[batch.question] for rows in questions)
    return sentences[batch.memory], questions[batch.question]


def answer(network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Scores [batch, answers] and looks [batch, hops, slots] of a network."""
    memory, question = vectors(network, batch)
    scores, looks = network(memory, batch.present, batch.times, question)
    return scores, looks
