"""All bAbI tasks with one network whose memory has a fixed size: told sentence by sentence, asked at any moment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..checkpoint import with_prefix, without_prefix
from ..config import Config, read_table
from ..device import find_device, move
from ..errors import TrainingError
from ..experiment import Array, Graphs
from ..networks.entity_network import EntityNetwork, EntityOptions, Memory
from .babi_data import CHOOSING, FAILED
from .babi_entity_card import NOTES
from .babi_entity_graphs import checks, initial, manifest, modules, probes
from .babi_entity_sessions import LongSessions, tell
from .babi_entity_stories import NO_QUESTION, StoryBatch, WholeStories
from .babi_figures import draw_slots
from .babi_renaming import Renaming
from .babi_stories import TASKS, Story, load, load_own
from .babi_words import SENTENCE_WORDS, Words, all_words

AFTER = (300, 3000)  # sentences told before stories of task 1, to measure whether a memory stays in order
AFTER_STORIES = 50
SHOWN = (1, 2, 15, 16)  # tasks of which a question is drawn
FIRST_SHARE = 40  # of a batch's slots: how many make one story while the linear memory learns alone


@dataclass(frozen=True)
class EntityTask:
    """The table [task] of an entity network."""

    tasks: tuple[int, ...] = TASKS
    folder: str = ""  # own stories: qaN_train.txt and qaN_valid.txt for each task N; empty: the twenty tasks
    rename: bool = False  # train on stories with other names in them (`babi_renaming.py`)


@dataclass(frozen=True)
class EntityRecipe:
    """The table [recipe] of an entity network."""

    first_task: int = 16  # the linear memory learns it alone
    first_updates: int = 1200
    slots: int = 2500  # a batch: a sentence counts two, a question one
    learning_rate: float = 2e-3
    linear_learning_rate: float = 3e-3
    warm_up: int = 300  # updates after the linear memory's own
    decay_from: float = 0.5  # of the updates; then half a cosine to zero
    clip: float = 1.0
    often: tuple[int, ...] = ()
    often_share: float = 1.0  # how often an epoch has a story of these tasks
    seldom: tuple[int, ...] = ()
    seldom_share: float = 1.0
    # Some batches tell their stories after many sentences of other stories, so that the memory learns to stay in order.
    after_share: float = 0.0  # of the batches
    after_tasks: tuple[int, ...] = (1,)  # whose sentences are told before; none may change what a later story means
    after_longest: int = 200  # sentences more, whenever a session's turn comes
    after_turns: int = 20  # after which a session begins anew, on average


class EntityExperiment:
    """An entity network on all tasks at once; an `Experiment`."""

    network: nn.Module
    optimizer: torch.optim.Optimizer

    def __init__(self, config: Config) -> None:
        self.config = config
        self.task = read_table(EntityTask, config.task, f"{config.where}: [task]")
        self.recipe = recipe = read_table(EntityRecipe, config.recipe, f"{config.where}: [recipe]")
        options = read_table(EntityOptions, config.network, f"{config.where}: [network]")
        self.device = find_device(config.device)
        self._read_stories()
        self.network = self.entity = EntityNetwork(
            words=len(self.words.words),
            answers=len(self.words.answers),
            sentence_words=SENTENCE_WORDS,
            options=options,
        ).to(self.device)
        linear = [*self.entity.linear.parameters()]
        rest = [*self.entity.deep.parameters(), *self.entity.gate.parameters()]
        self.optimizer = torch.optim.Adam([{"params": rest}, {"params": linear}], betas=(0.9, 0.98), fused=True)
        self.generator = torch.Generator().manual_seed(config.seed)
        shares = np.ones(len(self.train))
        shares[np.isin(self.train.task, recipe.often)] = recipe.often_share
        shares[np.isin(self.train.task, recipe.seldom)] = recipe.seldom_share
        self.renaming = Renaming(self.words) if self.task.rename else None
        self.order = self.train.order(recipe.slots, self.generator, shares)
        after = recipe.after_tasks if np.isin(self.train.task, recipe.after_tasks).any() else self.task.tasks[:1]
        self.sessions = LongSessions(self.entity, self.train, after, recipe.after_turns)
        self.first_stories = np.flatnonzero(self.train.task == recipe.first_task)
        if recipe.first_updates and not len(self.first_stories):
            raise TrainingError(
                f"{config.where}: [recipe] first_task: expected one of the tasks, got {recipe.first_task}"
            )

    def _read_stories(self) -> None:
        parts: dict[str, dict[int, Sequence[Story]]] = {"train": {}, "choosing": {}, "measuring": {}}
        for number in self.task.tasks:
            held_out = self._load(number, "valid")
            parts["train"][number] = self._load(number, "train")
            parts["choosing"][number] = held_out[::CHOOSING]
            parts["measuring"][number] = [story for i, story in enumerate(held_out) if i % CHOOSING]
        own = (story for part in parts.values() for stories in part.values() for story in stories)
        self.words = Words.of(own) if self.task.folder else all_words()
        self.train, self.choosing, self.measuring = (WholeStories(part, self.words) for part in parts.values())

    def _load(self, number: int, part: str) -> list[Story]:
        return load_own(Path(self.task.folder), number, part) if self.task.folder else load(number, part)

    def set_update(self, update: int) -> None:
        """Warm-up, then constant, then half a cosine; the linear memory alone before all that."""
        recipe, done = self.recipe, update / self.config.updates
        together = max(0, update - recipe.first_updates)
        decay = 0.5 + 0.5 * math.cos(math.pi * max(0.0, done - recipe.decay_from) / (1 - recipe.decay_from))
        deep, linear = self.optimizer.param_groups
        deep["lr"] = recipe.learning_rate * min(1.0, together / recipe.warm_up) * decay
        linear["lr"] = recipe.linear_learning_rate * decay

    def loss(self, update: int) -> Tensor:
        """The linear memory's cross entropy alone on its task; later the deep one's own plus that of both together."""
        if update <= self.recipe.first_updates:
            count = self.recipe.slots // FIRST_SHARE
            drawn = torch.randint(len(self.first_stories), (count,), generator=self.generator)
            batch = self._training_batch(self.first_stories[drawn.numpy()])
            return _cross_entropy(self.entity.plain(*batch.asked()), batch.answer)
        which, share = next(self.order), self.recipe.after_share
        if share and torch.rand((), generator=self.generator) < share:
            batch, memory = self._later_in_sessions(which)
        else:
            batch, memory = self._training_batch(which), None
        y, added = self.entity.parts(*batch.asked(), memory)
        return _cross_entropy(y, batch.answer) + _cross_entropy(y.detach() + added, batch.answer)

    def _later_in_sessions(self, which: NDArray[np.int64]) -> tuple[StoryBatch, Memory]:
        """Some of these stories, as told in sessions that were told much else before, and what those remember."""
        length = int(torch.randint(1, self.recipe.after_longest + 1, (), generator=self.generator))
        most = max(1, 2 * self.recipe.slots // int(2 * length + self.train.costs[which].max()))
        chosen, memory, prefix = self.sessions.draw(min(most, len(which)), length, self.generator)
        batch = self._training_batch(which[: len(chosen)], prefix)
        self.sessions.go_on(chosen, batch.sentences, batch.story[:, :length], self.generator)
        return batch, memory

    def _training_batch(self, which: NDArray[np.int64], prefix: NDArray[np.int64] | None = None) -> StoryBatch:
        batch = self.train.batch(which, prefix)
        return move(self.renaming.rename_stories(batch, self.generator) if self.renaming else batch, self.device)

    def _batch(self, stories: WholeStories, which: NDArray[np.int64]) -> StoryBatch:
        return move(stories.batch(which), self.device)

    def clip(self) -> None:
        """One norm for the deep memory, one for the linear one."""
        nn.utils.clip_grad_norm_(self.entity.deep.parameters(), self.recipe.clip)
        nn.utils.clip_grad_norm_([*self.entity.linear.parameters(), *self.entity.gate.parameters()], self.recipe.clip)

    def validate(self) -> dict[str, float]:
        """Errors on the held-out stories that choose the weights.

        Where stories are told after many others in training, they are here too, and the score counts that as a task.
        """
        errors = self._errors(self.choosing)
        if self.recipe.after_share:
            wrong = self._wrong_after(self.choosing, AFTER[0])
            errors |= {f"after {AFTER[0]}": wrong, "score": round(errors["score"] + wrong / len(self.task.tasks), 4)}
        return errors

    def test(self) -> dict[str, float]:
        """Errors on the held-out stories that choose nothing."""
        return self._errors(self.measuring) | {
            f"after {length}": self._wrong_after(self.measuring, length) for length in AFTER
        }

    def _wrong_after(self, stories: WholeStories, length: int) -> float:
        """Percent of wrong answers to the first task whose sentences are told before, after so many more of them."""
        task = next((task for task in self.recipe.after_tasks if task in stories.task), int(stories.task[0]))
        which = np.flatnonzero(stories.task == task)[:AFTER_STORIES]
        random = torch.Generator().manual_seed(length)
        prefix = stories.prefixes((task,), len(which), length, random)
        batch = move(stories.batch(which, prefix), self.device)
        memory = tell(self.entity, batch.sentences, batch.story[:, :length], self.entity.initial_memory(len(which)))
        story, after = batch.story[:, length:], batch.after - length
        wrong = self.network(batch.sentences, story, batch.questions, after, memory).argmax(-1) != batch.answer
        return round(100 * float(wrong[batch.answer != NO_QUESTION].float().mean()), 3)

    def _errors(self, stories: WholeStories) -> dict[str, float]:
        """Percent of wrong answers: per task, their mean as `score`, and how many tasks failed."""
        wrong, asked = dict.fromkeys(self.task.tasks, 0), dict.fromkeys(self.task.tasks, 0)
        for which in stories.parts():
            batch = self._batch(stories, which)
            is_asked = batch.answer != NO_QUESTION
            is_wrong = is_asked & (self.network(*batch.asked()).argmax(-1) != batch.answer)
            for number in set(batch.task.tolist()):
                wrong[number] += int(is_wrong[batch.task == number].sum())
                asked[number] += int(is_asked[batch.task == number].sum())
        percent = {number: 100 * wrong[number] / asked[number] for number in self.task.tasks}
        return {
            "score": round(sum(percent.values()) / len(percent), 4),
            "failed": float(sum(error > FAILED for error in percent.values())),
            **{f"task {number}": round(error, 3) for number, error in percent.items()},
        }

    def samples(self) -> str:
        """Of every task one story up to its last question."""
        firsts = [int(np.flatnonzero(self.measuring.task == number)[0]) for number in self.task.tasks]
        return "\n\n".join(self._sample(number) for number in firsts)

    def _sample(self, number: int) -> str:
        batch = self._batch(self.measuring, np.array([number]))
        chances = torch.softmax(self.network(*batch.asked())[0, -1], dim=-1)
        answered, expected = int(chances.argmax()), int(batch.answer[0, -1])
        rows = [self._text(batch.sentences[row]) for row in batch.story[0]]
        verdict = "" if answered == expected else f", expected {self.words.answers[expected]}"
        question = self._text(batch.sentences[batch.questions[0, -1]])
        answer = f"{self.words.answers[answered]} ({100 * float(chances[answered]):.0f} %){verdict}"
        return "\n".join([*rows, f"{question}? {answer}"])

    def _text(self, ids: Tensor) -> str:
        return " ".join(self.words.words[number] for number in ids.tolist() if number)

    def figures(self) -> dict[str, bytes]:
        """From which matrices each hop took what it found, for one question of some tasks."""
        cases = [self._looked(number) for number in SHOWN if number in self.task.tasks]
        cases = cases or [self._looked(self.task.tasks[0])]
        layers, heads = range(self.entity.deep.options.layers), range(self.entity.deep.options.heads)
        names = [f"layer {layer + 1}, {head + 1}" for layer in layers for head in heads]
        return {"attention.png": draw_slots(cases, names)}

    def _looked(self, task: int) -> tuple[str, Array]:
        """The last question of a story and its answer, and where each hop looked, [hops, matrices]."""
        number = int(np.flatnonzero(self.measuring.task == task)[0])
        batch = self._batch(self.measuring, np.array([number]))
        memory, asked = self.entity.initial_memory(1), batch.sentences[batch.questions[0, -1:]]
        for row in batch.story[0, : int(batch.after[0, -1])]:
            memory = self.entity.tell(batch.sentences[row : row + 1], memory)
        with torch.no_grad():
            scores, looks = self.entity.ask(asked, memory)
        answer = self.words.answers[int(scores[0].argmax())]
        return f"{self._text(asked[0])}? {answer}", looks[0].cpu().numpy()

    def graphs(self) -> Graphs:
        """The entries `tell`, `ask` and `answer`; a real story of every task as probe, random words as checks."""
        return Graphs(
            manifest=manifest(self.entity, self.words),
            modules=modules(self.entity),
            initial=initial(self.entity),
            probes=probes(self.measuring),
            checks=checks(len(self.words.words)),
            figures=self.figures(),
            notes=NOTES,
        )

    def state(self) -> dict[str, Tensor]:
        """Where the order of batches stands, and what long sessions remember."""
        sessions = with_prefix("sessions", self.sessions.state()) if self.recipe.after_share else {}
        return {**with_prefix("order", self.order.state()), **sessions}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continues from there."""
        self.order.load_state(without_prefix("order", state))
        if self.recipe.after_share:
            self.sessions.load_state(without_prefix("sessions", state))


def _cross_entropy(scores: Tensor, answer: Tensor) -> Tensor:
    """The mean over all questions of a batch of stories."""
    return nn.functional.cross_entropy(scores.flatten(0, 1), answer.flatten(), ignore_index=NO_QUESTION)
