"""Text becomes word ids and comes back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapehead.bundle import BundleError, TooManyWordsError, UnknownWordError, Vocabulary
from tapehead.bundle.text import split_characters, split_words
from tapehead.v1.manifest_pb2 import QuestionAnswering

WORDS = ("", "mary", "went", "to", "the", "kitchen", "where", "is", "don't", "<unknown>")


def vocabulary(**rules: object) -> Vocabulary:
    return Vocabulary(WORDS, sentence_words=6, **rules)  # type: ignore[arg-type]


def test_a_sentence_round_trips():
    """Case and punctuation go, the words stay, the rest of the row is padding."""
    encoded = vocabulary().encode("Mary went to the kitchen.")

    assert encoded.ids.dtype == np.int64
    assert encoded.ids.tolist() == [1, 2, 3, 4, 5, 0]
    assert encoded.unknown == ()
    assert vocabulary().decode(encoded.ids) == "mary went to the kitchen"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("What is the bathroom east of?", ["what", "is", "the", "bathroom", "east", "of"]),
        ("Don’t 'quote' me", ["don't", "quote", "me"]),  # noqa: RUF001 (an editor's apostrophe)
        ("north,west", ["north", "west"]),
        ("left_right 3.5", ["left", "right", "3", "5"]),
        ("ÉCOLE cafe\u0301", ["école", "café"]),
        ("  ' -- … ", []),
        ("हिन्दी है", ["हिन्दी", "है"]),
    ],
)
def test_words_are_split_at_whatever_is_no_letter_digit_or_inner_apostrophe(text: str, words: list[str]):
    assert split_words(text) == words


def test_characters_are_words_where_writing_has_no_spaces():
    """Punctuation only separates, and a mark stays with its letter."""
    assert split_characters("玛丽 去了,厨房。") == list("玛丽去了厨房")
    assert split_characters("x\u0302y") == ["x\u0302", "y"]


@settings(deadline=None)
@given(st.text())
def test_splitting_its_own_words_changes_nothing(text: str):
    """Words are in their final form, so a vocabulary built from them finds them again."""
    words = split_words(text)

    assert split_words(" ".join(words)) == words
    assert all(word and split_words(word) == [word] for word in words)


@settings(deadline=None)
@given(st.lists(st.sampled_from([word for word in WORDS if word and word[0] != "<"]), max_size=6))
def test_known_words_round_trip(words: list[str]):
    """decode undoes encode for every sentence of known words."""
    encoded = vocabulary().encode(" ".join(words))

    assert vocabulary().decode(encoded.ids) == " ".join(words)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_encoded_or_refused_with_a_bundle_error(text: str):
    """No text brings an id that the model has no row for."""
    try:
        encoded = vocabulary(allow_unknown=True, unknown_word_id=9).encode(text)
    except BundleError:
        return

    assert encoded.ids.shape == (6,)
    assert ((encoded.ids >= 0) & (encoded.ids < len(WORDS))).all()
    assert (encoded.ids == 9).sum() >= len(encoded.unknown)


def test_an_unknown_word_is_refused_with_its_nearest():
    with pytest.raises(UnknownWordError) as refusal:
        vocabulary().encode("Mary went to the kitchn")

    assert refusal.value.word == "kitchn"
    assert refusal.value.nearest[0] == "kitchen"


def test_unknown_words_are_listed_once_where_they_are_allowed():
    """Each stands as the unknown word, in its place."""
    encoded = vocabulary(allow_unknown=True, unknown_word_id=9).encode("Zoe told zoe the news")

    assert encoded.ids.tolist() == [9, 9, 9, 4, 9, 0]
    assert encoded.unknown == ("zoe", "told", "news")


def test_a_long_sentence_is_refused_with_both_numbers():
    with pytest.raises(TooManyWordsError) as refusal:
        vocabulary().encode("the the the the the the the")

    assert (refusal.value.limit, refusal.value.got) == (6, 7)


def test_the_empty_word_cannot_be_written():
    """Id 0 is padding: no text gives it a place among the words."""
    assert vocabulary().encode("").ids.tolist() == [0] * 6


def test_the_manifest_decides_the_rules():
    rules = QuestionAnswering(
        words=["", "玛", "丽", "?"],
        sentence_words=4,
        unknown_words=QuestionAnswering.UNKNOWN_WORDS_ALLOW,
        unknown_word_id=3,
        splitting=QuestionAnswering.SPLITTING_CHARACTERS,
    )

    encoded = Vocabulary.from_manifest(rules).encode("玛丽好")

    assert encoded.ids.tolist() == [1, 2, 3, 0]
    assert Vocabulary.from_manifest(rules).decode([1, 2]) == "玛丽"
