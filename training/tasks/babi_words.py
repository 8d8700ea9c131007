"""Words and answers of the bAbI tasks as numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from ..errors import TrainingError
from .babi_stories import DATA, TASKS, Story, find_file, load, read_stories
from .story import SENTENCE_WORDS

__all__ = ["EMPTY", "SENTENCE_WORDS", "UNKNOWN", "Words", "all_words"]

EMPTY = 0  # fills a sentence up; means nothing
UNKNOWN = 1  # stands for every word outside the vocabulary; means nothing either


@dataclass(frozen=True)
class Words:
    """The vocabulary, in the order of the ids, and the answers, in the order of the classes."""

    words: tuple[str, ...]
    answers: tuple[str, ...]
    id_of: dict[str, int] = field(init=False, repr=False)
    class_of: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id_of", {word: number for number, word in enumerate(self.words)})
        object.__setattr__(self, "class_of", {answer: number for number, answer in enumerate(self.answers)})

    @classmethod
    def of(cls, stories: Iterable[Story]) -> Words:
        """Every word and every answer of some stories, sorted."""
        sentences: set[tuple[str, ...]] = set()
        answers: set[str] = set()
        for story in stories:
            sentences.update(story.statements)
            sentences.update(question.words for question in story.questions)
            answers.update(question.answer for question in story.questions)
        words = {word for sentence in sentences for word in sentence}
        return cls(("", "<unknown>", *sorted(words)), tuple(sorted(answers)))

    def encode(self, sentence: Iterable[str]) -> NDArray[np.int64]:
        """Ids [SENTENCE_WORDS], filled up with EMPTY at the end.

        Raises:
            TrainingError: the sentence is longer than that.
        """
        ids = [self.id_of.get(word, UNKNOWN) for word in sentence]
        if len(ids) > SENTENCE_WORDS:
            raise TrainingError(f"expected a sentence of at most {SENTENCE_WORDS} words, got {len(ids)}")
        return np.array(ids + [EMPTY] * (SENTENCE_WORDS - len(ids)), np.int64)


def all_words() -> Words:
    """Words over all twenty tasks, 1k and 10k, so that every network of ours reads and answers with the same ids."""
    small = (read_stories(find_file(DATA / "en", task, "train")) for task in TASKS)
    large = (load(task, part) for task in TASKS for part in ("train", "valid"))
    return Words.of(story for stories in chain(small, large) for story in stories)
