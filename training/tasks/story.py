"""Stories: statements in the order told, and the questions asked between them."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

from tapehead.bundle.text import split_words

from ..errors import TrainingError

SENTENCE_WORDS = 12  # of a statement or a question, at most


@dataclass(frozen=True)
class Question:
    """A question, asked after the first `after` statements of its story."""

    words: tuple[str, ...]
    answer: str  # one class, even where it lists several words: "apple,milk"
    after: int
    supporting: tuple[int, ...]  # which statements decide it, counted from 0; none: not known


@dataclass
class Story:
    """Statements in the order told, and the questions asked between them."""

    statements: list[tuple[str, ...]] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)


@functools.cache  # a few thousand sentences tell all stories
def split(text: str) -> tuple[str, ...]:
    """Text as words, by the rules that a served model applies."""
    return tuple(split_words(text))


def to_words(text: str, place: str) -> tuple[str, ...]:
    """The words of a sentence; raises TrainingError naming its place where there are none or too many."""
    if not (words := split(text)):
        raise TrainingError(f"{place}: expected words, got {text!r}")
    if len(words) > SENTENCE_WORDS:
        raise TrainingError(f"{place}: expected a sentence of at most {SENTENCE_WORDS} words, got {len(words)}")
    return words
