"""Questions to train on, to choose by and to measure with, and the measuring itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..device import move
from ..experiment import Array
from .babi_batches import Batch, Questions, cut
from .babi_figures import Answered
from .babi_stories import TASKS, Story, load, load_own, load_unseen
from .babi_support import support
from .babi_words import Words, all_words

CHOOSING = 4  # of the held-out stories, every fourth chooses the weights; the others measure them
FAILED = 5.0  # percent of wrong answers above which a task counts as failed


@dataclass(frozen=True)
class Task:
    """The table [task] of a configuration."""

    tasks: tuple[int, ...] = TASKS
    size: str = "10k"  # or 1k: questions a task, some of them held out
    folder: str = (
        ""  # own stories: qaN_train.txt and qaN_valid.txt (or .jsonl) for each task N; empty: the twenty tasks
    )
    memory: int = 50  # newest sentences that the network sees
    rename: bool = False  # train on stories with other names in them (`babi_renaming.py`)
    jitter: float = 0.1  # idle moments let into a story, as a share of its sentences


class BabiData:
    """What every experiment here trains and is measured on."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.words = self._words()
        parts = [self._split(number) for number in task.tasks]
        self.train, self.choosing, self.measuring = (
            Questions(dict(zip(task.tasks, stories, strict=True)), self.words) for stories in zip(*parts, strict=True)
        )

    def _words(self) -> Words:
        if not self.task.folder:
            return all_words()
        folder = Path(self.task.folder)
        stories = (load_own(folder, number, part) for number in self.task.tasks for part in ("train", "valid"))
        return Words.of(story for of_part in stories for story in of_part)

    def _split(self, task: int) -> tuple[list[Story], list[Story], list[Story]]:
        """What a task is trained, chosen and measured on.

        Of what is held out every fourth story chooses the weights and the others measure them. A tenth of 1k is too few
        for both: all of it chooses, and stories of the 10k set measure.
        """
        if self.task.folder:
            told, held_out = (load_own(Path(self.task.folder), task, part) for part in ("train", "valid"))
        else:
            told, held_out = (load(task, part, self.task.size) for part in ("train", "valid"))
            if self.task.size == "1k":
                return told, held_out, load_unseen(task)
        return told, held_out[::CHOOSING], [story for i, story in enumerate(held_out) if i % CHOOSING]

    def batches(self, questions: Questions) -> list[Batch]:
        """All questions, in order of length."""
        return [questions.batch(part, self.task.memory) for part in self._parts(questions)]

    def _parts(self, questions: Questions, slots: int = 6000) -> list[Array]:
        lengths = questions.lengths(self.task.memory)
        return cut(np.argsort(lengths, kind="stable"), lengths, slots)

    def case(self, network: nn.Module, number: int) -> Answered:
        """What a network makes of one of the measuring questions."""
        asked = self.measuring
        batch = asked.batch(np.array([number]), self.task.memory)
        scores, looks = measured(network, batch)
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
        """Percent of wrong answers: per task, their mean as `score`, how many tasks failed; and `support_*`.

        The latter say how well attention points at the sentences that decide (`babi_support.py`).
        """
        answered = [measured(network, batch) for batch in batches]
        task = torch.cat([batch.task for batch in batches])
        pairs = zip(answered, batches, strict=True)
        wrong = torch.cat([scores.argmax(1) != batch.answer for (scores, _), batch in pairs])
        percent = {number: 100 * wrong[task == number].float().mean().item() for number in self.task.tasks}
        mean = sum(percent.values()) / len(percent)
        failed = sum(error > FAILED for error in percent.values())
        return {
            "score": round(mean, 4),
            "failed": float(failed),
            **{f"task {number}": round(error, 3) for number, error in percent.items()},
            **support(batches, [looks for _, looks in answered]),
        }


def measured(network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Scores and looks on the processor, computed where the network is."""
    scores, looks = answer(network, move(batch, next(network.parameters()).device))
    return scores.cpu(), looks.cpu()


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
