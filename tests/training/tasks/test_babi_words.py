"""Words and answers as numbers."""

from __future__ import annotations

import pytest

from tapehead.bundle.text import Vocabulary
from training.errors import TrainingError
from training.tasks.babi_stories import parse
from training.tasks.babi_words import EMPTY, SENTENCE_WORDS, UNKNOWN, Words

STORIES = parse(["1 Mary took the milk.", "2 What does Mary hold?\tmilk,apple\t1"], "file")


def test_ids_are_sorted_behind_the_two_words_that_mean_nothing() -> None:
    words = Words.of(STORIES)

    assert words.words[EMPTY] == ""
    assert list(words.words[2:]) == sorted({"mary", "took", "the", "milk", "what", "does", "hold"})
    assert words.answers == ("milk,apple",)


def test_a_sentence_is_filled_up_and_unknown_words_stand_as_one() -> None:
    ids = Words.of(STORIES).encode(("mary", "juggled"))

    assert ids.shape == (SENTENCE_WORDS,)
    assert ids[1] == UNKNOWN
    assert not ids[2:].any()


def test_a_sentence_that_is_too_long_is_refused() -> None:
    with pytest.raises(TrainingError, match="expected a sentence of at most 12 words, got 13"):
        Words.of(STORIES).encode(["mary"] * 13)


def test_a_served_model_reads_the_same_ids() -> None:
    words = Words.of(STORIES)
    served = Vocabulary(words.words, sentence_words=SENTENCE_WORDS, allow_unknown=True, unknown_word_id=UNKNOWN)

    assert (
        served.encode("Mary took the MILK, twice.").ids.tolist()
        == words.encode(("mary", "took", "the", "milk", "twice")).tolist()
    )
