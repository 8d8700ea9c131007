"""Text to word ids and back, by the rules of a model's manifest."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tapehead.bundle.errors import TooManyWordsError, UnknownWordError
from tapehead.v1.manifest_pb2 import QuestionAnswering

_APOSTROPHES = str.maketrans("’ʼ", "''")  # noqa: RUF001 (typographic ones, as editors write them)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A sentence as the graphs take it."""

    ids: np.ndarray  # int64 [sentence_words], padded with 0 at the end
    unknown: tuple[str, ...]  # words that stand as the unknown word, each once, in the order of the text


class Vocabulary:
    """The words that a model knows, and how text becomes a row of their ids."""

    def __init__(
        self,
        words: Iterable[str],
        *,
        sentence_words: int,
        allow_unknown: bool = False,
        unknown_word_id: int = 0,
        characters: bool = False,
    ) -> None:
        self.words = tuple(words)
        self.sentence_words = sentence_words
        self.allow_unknown = allow_unknown
        self.unknown_word_id = unknown_word_id
        self.characters = characters
        self._ids = {word: number for number, word in enumerate(self.words) if number != 0}

    @classmethod
    def from_manifest(cls, rules: QuestionAnswering) -> Vocabulary:
        return cls(
            rules.words,
            sentence_words=rules.sentence_words,
            allow_unknown=rules.unknown_words == QuestionAnswering.UNKNOWN_WORDS_ALLOW,
            unknown_word_id=rules.unknown_word_id,
            characters=rules.splitting == QuestionAnswering.SPLITTING_CHARACTERS,
        )

    def split(self, text: str) -> list[str]:
        """Returns the words of `text` in lower case; whatever is no letter, digit or apostrophe only separates."""
        return split_characters(text) if self.characters else split_words(text)

    def encode(self, text: str) -> Encoded:
        """Returns the ids of `text`'s words; all 0 if it has none.

        Raises TooManyWordsError, or UnknownWordError where the model refuses unknown words.
        """
        words = self.split(text)
        if len(words) > self.sentence_words:
            raise TooManyWordsError(self.sentence_words, len(words))
        ids = np.zeros(self.sentence_words, dtype=np.int64)
        unknown: dict[str, None] = {}
        for position, word in enumerate(words):
            number = self._ids.get(word)
            if number is None:
                if not self.allow_unknown:
                    raise UnknownWordError(word, self.nearest(word))
                unknown[word] = None
                number = self.unknown_word_id
            ids[position] = number
        return Encoded(ids, tuple(unknown))

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the words of `ids` without the padding, with a space between (none between characters)."""
        words = (self.words[number] for number in ids if number != 0)
        return ("" if self.characters else " ").join(words)

    def nearest(self, word: str) -> tuple[str, ...]:
        """Returns up to three known words that look like `word`, best first."""
        return tuple(difflib.get_close_matches(word, self._ids, n=3))


def split_words(text: str) -> list[str]:
    """Returns the words of `text`; an apostrophe belongs to a word only inside it."""
    separated = "".join(c if c == "'" or _is_kept(c) else " " for c in _normalise(text))
    stripped = (word.strip("'") for word in separated.split())
    return [word for word in stripped if word]


def split_characters(text: str) -> list[str]:
    """Returns one word for each letter or digit of `text`, with the marks that stand on it."""
    words: list[str] = []
    for c in _normalise(text):
        if unicodedata.category(c)[0] == "M" and words:
            words[-1] += c
        elif _is_kept(c):
            words.append(c)
    return words


def _normalise(text: str) -> str:
    return unicodedata.normalize("NFC", text.lower()).translate(_APOSTROPHES)


def _is_kept(c: str) -> bool:
    return unicodedata.category(c)[0] in "LNM"  # letters, numbers, marks on letters
