"""Networks that read a story word by word, as people do, and answer at each question mark: an LSTM, an NTM, any other.

A word is one input of as many channels as there are words. A full stop ends a statement, a question mark a question;
at a question mark the outputs are scores of the answers. Everything that was told has to be in the network's state.
This is how the LSTM and the NTM were compared on bAbI in the paper of the Differentiable Neural Computer (Graves et
al. 2016, doi 10.1038/nature20101).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..checkpoint import with_prefix, without_prefix
from ..config import Config, read_table
from ..device import find_device
from ..errors import TrainingError
from ..experiment import Graphs
from ..networks.stepped import SteppedNetwork
from .babi_batches import Order
from .babi_data import CHOOSING, FAILED
from .babi_entity import EntityTask
from .babi_stories import Story, load, load_own
from .babi_words import Words
from .sequences import NETWORKS

STOP, ASK = ".", "?"
NOT_ASKED = -1  # the answer at every other word, and behind the end of a story


@dataclass(frozen=True)
class ReaderRecipe:
    """The table [recipe] of a reader."""

    words: int = 3000  # a batch
    learning_rate: float = 1e-3
    decay_from: float = 0.5  # of the updates; then half a cosine to zero
    clip: float = 10.0


class ReadStories:
    """Stories of several tasks as words, with the answers at their question marks."""

    def __init__(self, stories: Mapping[int, Sequence[Story]], words: Words) -> None:
        self.texts: list[NDArray[np.int64]] = []
        self.answers: list[NDArray[np.int64]] = []
        tasks = []
        for task, of_task in stories.items():
            for story in of_task:
                text, answers = _read(story, words)
                self.texts.append(text)
                self.answers.append(answers)
                tasks.append(task)
        self.task = np.array(tasks, np.int64)
        self.lengths = np.array([len(text) for text in self.texts], np.int64)

    def batch(self, which: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Words and answers, both [T, B]; shorter stories are filled up at their end."""
        shape = (int(self.lengths[which].max()), len(which))
        words, answers = np.zeros(shape, np.int64), np.full(shape, NOT_ASKED)
        for column, number in enumerate(which):
            words[: self.lengths[number], column] = self.texts[number]
            answers[: self.lengths[number], column] = self.answers[number]
        return torch.from_numpy(words), torch.from_numpy(answers)


def _read(story: Story, words: Words) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The story up to its last question as word ids, and what is to be answered at each of them."""
    text: list[int] = []
    answers: list[int] = []
    told = 0
    for question in story.questions:
        for sentence in story.statements[told : question.after]:
            text += [words.id_of[word] for word in (*sentence, STOP)]
        told = question.after
        text += [words.id_of[word] for word in (*question.words, ASK)]
        answers += [NOT_ASKED] * (len(text) - len(answers) - 1) + [words.class_of[question.answer]]
    return np.array(text, np.int64), np.array(answers, np.int64)


class ReaderExperiment:
    """A stepped network that reads stories; an `Experiment`."""

    network: nn.Module
    optimizer: torch.optim.Optimizer

    def __init__(self, config: Config) -> None:
        self.config, self.device = config, find_device(config.device)
        self.task = read_table(EntityTask, config.task, f"{config.where}: [task]")
        self.recipe = read_table(ReaderRecipe, config.recipe, f"{config.where}: [recipe]")
        parts = [{number: self._load(number, part) for number in self.task.tasks} for part in ("train", "valid")]
        known = Words.of(story for part in parts for stories in part.values() for story in stories)
        self.words = Words((*known.words, STOP, ASK), known.answers)
        held_out = parts[1]
        self.train = ReadStories(parts[0], self.words)
        self.choosing = ReadStories({task: stories[::CHOOSING] for task, stories in held_out.items()}, self.words)
        rest = {task: [s for i, s in enumerate(stories) if i % CHOOSING] for task, stories in held_out.items()}
        self.measuring = ReadStories(rest, self.words)
        self.network = self.reader = self._make().to(self.device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.recipe.learning_rate)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.order = Order(self.train.lengths, self.recipe.words, self.generator)

    def _load(self, number: int, part: str) -> list[Story]:
        stories = load_own(Path(self.task.folder), number, part) if self.task.folder else load(number, part)
        return [story for story in stories if story.questions]

    def _make(self) -> SteppedNetwork:
        """The network that [network] describes: `reader` names it, and words and answers are its ends."""
        table: dict[str, Any] = {**self.config.network, "inputs": len(self.words.words)}
        table |= {"outputs": len(self.words.answers), "kind": table.pop("reader", "lstm")}
        where = f"{self.config.where}: [network]"
        if table["kind"] not in NETWORKS:
            raise TrainingError(f"{where}: reader: expected one of {', '.join(NETWORKS)}, got {table['kind']!r}")
        options, made = NETWORKS[table["kind"]]
        network: SteppedNetwork = made(read_table(options, table, where), where)
        return network

    def set_update(self, update: int) -> None:
        """Constant, then half a cosine."""
        done, flat = update / self.config.updates, self.recipe.decay_from
        decay = 0.5 + 0.5 * math.cos(math.pi * max(0.0, done - flat) / (1 - flat))
        self.optimizer.param_groups[0]["lr"] = self.recipe.learning_rate * decay

    def loss(self, update: int) -> Tensor:
        """Cross entropy, the mean over all questions of a batch."""
        scores, answers = self._answer(self.train, next(self.order))
        return nn.functional.cross_entropy(scores, answers)

    def _answer(self, stories: ReadStories, which: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Scores [questions, answers] and answers [questions], story by story at each moment."""
        words, answers = (part.to(self.device) for part in stories.batch(which))
        inputs = nn.functional.one_hot(words, len(self.words.words)).float()
        scores = self.reader.run(inputs)[0]
        is_asked = answers != NOT_ASKED
        return scores[is_asked], answers[is_asked]

    def clip(self) -> None:
        nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)

    def validate(self) -> dict[str, float]:
        """Errors on the held-out stories that choose the weights."""
        return self._errors(self.choosing)

    def test(self) -> dict[str, float]:
        """Errors on the held-out stories that choose nothing."""
        return self._errors(self.measuring)

    def _errors(self, stories: ReadStories) -> dict[str, float]:
        """Percent of wrong answers: per task, their mean as `score`, and how many tasks failed."""
        percent = {}
        for task in self.task.tasks:
            of_task = np.flatnonzero(stories.task == task)
            ordered = of_task[np.argsort(stories.lengths[of_task], kind="stable")]
            wrong = []
            for part in np.array_split(ordered, math.ceil(len(ordered) / 100)):
                scores, answers = self._answer(stories, part)
                wrong.append(scores.argmax(dim=1) != answers)
            percent[task] = 100 * torch.cat(wrong).float().mean().item()
        return {
            "score": round(sum(percent.values()) / len(percent), 4),
            "failed": float(sum(error > FAILED for error in percent.values())),
            **{f"task {task}": round(error, 3) for task, error in percent.items()},
        }

    def samples(self) -> str:
        """Of every task one story with what the network answers at its question marks."""
        firsts = [int(np.flatnonzero(self.measuring.task == task)[0]) for task in self.task.tasks]
        return "\n\n".join(self._sample(number) for number in firsts)

    def _sample(self, number: int) -> str:
        answered = iter(self._answer(self.measuring, np.array([number]))[0].argmax(dim=1).tolist())
        rows, row = [], ""
        for word, expected in zip(self.measuring.texts[number], self.measuring.answers[number], strict=True):
            row += f" {self.words.words[word]}"
            if expected != NOT_ASKED:
                answer = next(answered)
                wrong = "" if answer == expected else f", expected {self.words.answers[expected]}"
                rows.append(f"{row} {self.words.answers[answer]}{wrong}")
            if self.words.words[word] == STOP:
                rows.append(row)
            if self.words.words[word] in (STOP, ASK):
                row = ""
        return "\n".join(line.strip() for line in rows)

    def figures(self) -> dict[str, bytes]:
        """None."""
        return {}

    def graphs(self) -> Graphs:
        """Readers are here to be compared with, not to be served."""
        raise TrainingError(f"{self.config.where}: expected a joint or entity network to export, got a reader")

    def state(self) -> dict[str, Tensor]:
        """Where the order of batches stands."""
        return with_prefix("order", self.order.state())

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continues from there."""
        self.order.load_state(without_prefix("order", state))
