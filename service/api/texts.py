"""Stories, sentences and questions as the word ids that graphs take, by the rules of the model's vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tapehead.bundle import TooManyWordsError, UnknownWordError
from tapehead.v1.manifest_pb2 import QuestionAnswering

from ..errors import InvalidField, NotSupported, TooLong, UnknownWord
from ..hosting.model import Model


@dataclass(frozen=True, slots=True)
class TextLimits:
    """What a text may have, whatever the model; more could never be answered in good time."""

    story_sentences: int = 1000
    text_bytes: int = 4096  # of one sentence or question


@dataclass(frozen=True, slots=True)
class Encoded:
    """Word ids with the words that the model has never seen, each once, in the order of the text."""

    ids: np.ndarray  # int64 [words], or [sentences, words]
    unknown: tuple[str, ...]


class TextCodec:
    """Reads texts for one model."""

    def __init__(self, model: Model, limits: TextLimits) -> None:
        """Raises NotSupported for a model that knows no words."""
        if model.kind != "question_answering" or model.vocabulary is None:
            raise NotSupported(f"the model '{model.model_id}' takes steps of numbers; it can be told and asked nothing")
        self._vocabulary = model.vocabulary
        self._limits = limits

    def sentence(self, text: str, field: str) -> Encoded:
        """Returns one sentence or question. Raises InvalidField, TooLong, UnknownWord."""
        size = len(text.encode())
        if size > self._limits.text_bytes:
            raise TooLong(f"bytes of {field}", self._limits.text_bytes, size)
        try:
            encoded = self._vocabulary.encode(text)
        except TooManyWordsError as error:
            raise TooLong(f"words of {field}", error.limit, error.got) from None
        except UnknownWordError as error:
            raise UnknownWord(error.word, error.nearest) from None
        if not encoded.ids.any() and not encoded.unknown:
            raise InvalidField(field, "a text with at least one word", repr(text))
        return Encoded(encoded.ids, encoded.unknown)

    def sentences(self, texts: Sequence[str], field: str) -> Encoded:
        """Returns sentences, oldest first. Raises as `sentence` does, and for too many or none."""
        if not texts:
            raise InvalidField(field, "at least one sentence", "none")
        if len(texts) > self._limits.story_sentences:
            raise TooLong(f"sentences of {field}", self._limits.story_sentences, len(texts))
        encoded = [self.sentence(text, f"{field}[{position}]") for position, text in enumerate(texts)]
        unknown = dict.fromkeys(word for sentence in encoded for word in sentence.unknown)
        return Encoded(np.stack([sentence.ids for sentence in encoded]), tuple(unknown))


def forgotten_sentences(length: int, rules: QuestionAnswering) -> int:
    """Returns how many of the oldest sentences of a story of this length do not fit the model's memory.

    Raises TooLong where the model refuses stories that outgrow its memory.
    """
    if rules.story_overflow == QuestionAnswering.STORY_OVERFLOW_ABSORB:
        return 0
    forgotten = max(0, length - rules.memory_sentences)
    if forgotten and rules.story_overflow != QuestionAnswering.STORY_OVERFLOW_FORGET_OLDEST:
        raise TooLong("sentences of the story, for this model's memory", rules.memory_sentences, length)
    return forgotten
