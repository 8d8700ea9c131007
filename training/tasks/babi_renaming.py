"""The bAbI stories with other names in them: training data varied by what does not matter to an answer.

Within a story people, places, things or colours change names with one another, in sentences, question and answer alike.
Directions turn or are mirrored as a whole, so that north stays the opposite of south. Nothing else is used than the
training stories and which words name the same sort of thing in a task; sorts whose members differ (who is thirsty goes
to the kitchen; a box is larger than a chocolate) are left alone. Held-out stories are never changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .babi_batches import Batch
from .babi_entity_stories import NO_QUESTION, StoryBatch
from .babi_words import Words

Forms = tuple[str, ...]  # what one thing is called: "wolf", "wolves"


@dataclass(frozen=True)
class Sort:
    """Things that may change names in some tasks; with `turns` only as these say, else in any way."""

    tasks: tuple[int, ...]
    things: tuple[Forms, ...]
    turns: tuple[tuple[int, ...], ...] = ()  # each: the thing that takes each one's place

    def changes(self) -> Sequence[tuple[int, ...]]:
        """Every way in which they may change names."""
        return self.turns or tuple(permutations(range(len(self.things))))


def _called(names: str) -> tuple[Forms, ...]:
    return tuple(tuple(name.split("/")) for name in names.split())


ROOMS = "bathroom bedroom garden hallway kitchen office"
SQUARE = (
    (0, 1, 2, 3),
    (1, 2, 3, 0),
    (2, 3, 0, 1),
    (3, 0, 1, 2),
    (0, 3, 2, 1),
    (2, 1, 0, 3),
    (1, 0, 3, 2),
    (3, 2, 1, 0),
)
SORTS = (
    Sort((1, 2, 3, 6, 7, 8, 9, 12, 13), _called("daniel john mary sandra")),
    Sort((11,), _called("daniel john")),  # he
    Sort((11,), _called("mary sandra")),  # she
    Sort((5,), _called("bill fred jeff mary")),
    Sort((10, 14), _called("bill fred julie mary")),
    Sort((15,), _called("emily gertrude jessica winona")),
    Sort((16,), _called("bernhard brian greg julius lily")),
    Sort((20,), _called("antoine jason sumit yann")),
    Sort((1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 19), _called(ROOMS)),
    Sort((10, 14), _called("bedroom cinema kitchen office park school")),
    Sort((2, 3, 5, 6, 7, 8), _called("apple milk football")),
    Sort((15,), _called("cat/cats mouse/mice wolf/wolves")),  # sheep are one and many alike
    Sort((16,), _called("frog lion rhino swan")),
    Sort((16,), _called("gray green white yellow")),
    Sort((17,), _called("blue pink red yellow")),
    Sort((17,), _called("rectangle sphere square triangle")),
    Sort((17,), _called("left right")),
    Sort((17,), _called("above below")),
    Sort((4, 19), _called("north/n east/e south/s west/w"), SQUARE),
)


class Renaming:
    """Changes names in batches; one change a task and batch, so that a batch has few distinct sentences."""

    def __init__(self, words: Words) -> None:
        """Answers are renamed part by part: "n,e" has the forms n and e, which are no words of a story."""
        parts = [answer.split(",") for answer in words.answers]
        symbols = list(dict.fromkeys([*words.words, *(part for answer in parts for part in answer)]))
        number = {symbol: i for i, symbol in enumerate(symbols)}
        self.symbols = len(symbols)
        self.answers = [tuple(number[part] for part in answer) for answer in parts]
        self.class_of = {answer: i for i, answer in enumerate(self.answers)}
        self.sorts: dict[int, list[tuple[NDArray[np.int64], NDArray[np.int64]]]] = {}
        for sort in SORTS:
            if all(form in number for thing in sort.things for form in thing):
                source, targets = _tables(sort, number)
                for task in sort.tasks:
                    self.sorts.setdefault(task, []).append((source, targets))

    def draw(self, task: int, random: torch.Generator) -> NDArray[np.int64]:
        """A change of names for a task: what every word and part of an answer becomes [symbols]."""
        change = np.arange(self.symbols)
        for source, targets in self.sorts.get(task, ()):
            change[source] = targets[int(torch.randint(len(targets), (), generator=random))]
        return change

    def rename(self, batch: Batch, random: torch.Generator) -> Batch:
        """The batch with other names; questions whose answer would be no class keep theirs."""
        changes, by = self._draw_for(batch.task, random)
        answers = batch.answer.numpy().copy()
        for asked, answer in enumerate(answers.tolist()):
            became = self._renamed(answer, changes[by[asked]])
            if became is None:
                by[asked] = len(changes) - 1
            else:
                answers[asked] = became
        present = batch.present.numpy()
        sentences, row = _rename_rows(changes, by, batch.sentences.numpy(), batch.memory.numpy(), present)
        memory = np.zeros(present.shape, np.int64)
        memory[present] = row
        rows = batch.question.numpy()[:, None]
        questions, question = _rename_rows(changes, by, batch.questions.numpy(), rows, np.ones(rows.shape, bool))
        return replace(
            batch,
            sentences=torch.from_numpy(sentences),
            memory=torch.from_numpy(memory),
            questions=torch.from_numpy(questions),
            question=torch.from_numpy(question),
            answer=torch.from_numpy(answers),
        )

    def rename_stories(self, batch: StoryBatch, random: torch.Generator) -> StoryBatch:
        """Likewise, of whole stories; one of whose answers any would be no class keeps its names."""
        changes, by = self._draw_for(batch.task, random)
        answers = batch.answer.numpy().copy()
        for row, of_story in enumerate(answers):
            asked = np.flatnonzero(of_story != NO_QUESTION)
            became = [self._renamed(answer, changes[by[row]]) for answer in of_story[asked].tolist()]
            if None in became:
                by[row] = len(changes) - 1
            else:
                of_story[asked] = became
        told = batch.story.shape[1]
        rows = torch.cat([batch.story, batch.questions], dim=1).numpy()
        sentences, places = _rename_rows(changes, by, batch.sentences.numpy(), rows, np.ones(rows.shape, bool))
        place = torch.from_numpy(places.reshape(rows.shape))
        return replace(
            batch,
            sentences=torch.from_numpy(sentences),
            story=place[:, :told],
            questions=place[:, told:],
            answer=torch.from_numpy(answers),
        )

    def _draw_for(self, task: Tensor, random: torch.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """A change for each task of a batch, then that which changes nothing; and the number of each row's change."""
        tasks, by = np.unique(task.numpy(), return_inverse=True)
        return np.stack([*(self.draw(int(task), random) for task in tasks), np.arange(self.symbols)]), by

    def _renamed(self, answer: int, change: NDArray[np.int64]) -> int | None:
        """What an answer becomes; None if that is no class."""
        return self.class_of.get(tuple(change[list(self.answers[answer])].tolist()))


def _tables(sort: Sort, number: dict[str, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of all forms [forms], and what they become in each change [changes, forms]."""
    source = [number[form] for thing in sort.things for form in thing]
    targets = [[number[form] for became in change for form in sort.things[became]] for change in sort.changes()]
    return np.array(source), np.array(targets)


def _rename_rows(
    changes: NDArray[np.int64],
    by: NDArray[np.int64],
    sentences: NDArray[np.int64],
    rows: NDArray[np.int64],
    present: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct sentences after each question's change, and which of them each present row is."""
    key = (by[:, None] * len(sentences) + rows)[present]
    distinct, place = np.unique(key, return_inverse=True)
    which, old = np.divmod(distinct, max(1, len(sentences)))
    return changes[which[:, None], sentences[old]], place
