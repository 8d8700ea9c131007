"""The grammar and its translation, and that nothing of the test is ever trained on."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from training.tasks.grammar import (
    ADJECTIVES,
    ADVERBS,
    LONGEST,
    NEW_PAIRS,
    NOUNS,
    VERBS,
    Sentence,
    draw_sentence,
    english_words,
    translated_words,
)
from training.tasks.translation import Translation, TranslationOptions

SEED = 7
STEMS = {english: stem for english, _, stem, _ in NOUNS}


@pytest.fixture(scope="module")
def sentences() -> list[Sentence]:
    random = np.random.default_rng(SEED)
    return [draw_sentence(random) for _ in range(6000)]


@pytest.fixture(scope="module")
def task() -> Translation:
    return Translation(TranslationOptions(training_sentences=200, validation_sentences=60, test_sentences=100))


def find(sentences: list[Sentence], pattern: str) -> list[tuple[str, str]]:
    told = [(" ".join(one.english), " ".join(one.translated)) for one in sentences]
    found = [(english, other) for english, other in told if re.fullmatch(pattern, english)]
    assert found, f"{pattern}, seed {SEED}"
    return found


def test_adverbs_go_to_the_front_and_verbs_to_the_end(sentences: list[Sentence]) -> None:
    stems = tuple(stem for *_, stem in VERBS)
    for one in sentences:
        assert one.translated[-1].startswith(stems)
        if one.english[-1] in ADVERBS:
            assert one.translated[0] == ADVERBS[one.english[-1]]
        assert ("not" in one.english) == (one.translated[-2] == "ne")


def test_adjectives_follow_their_noun_nearest_first_and_agree(sentences: list[Sentence]) -> None:
    for english, other in find(sentences, r"the \w+ \w+ (dog|river) .*"):
        first, second, noun = english.split()[1:4]
        ending = "a" if noun == "river" else "o"
        words = [f"l{ending}", *(stem + ending for stem in (STEMS[noun], ADJECTIVES[second], ADJECTIVES[first]))]
        assert " ".join(words) in other


def test_articles_and_nouns_agree_in_number(sentences: list[Sentence]) -> None:
    assert all("li kani" in other for _, other in find(sentences, r"the dogs .*"))
    assert all("une arbe" in other for _, other in find(sentences, r"some trees .*"))
    assert all("una fela" in other for _, other in find(sentences, r"a cat .*"))


@pytest.mark.parametrize(
    ("english", "verb"),
    [
        (r"(the|a) (\w+ )*dog sees .*", "vidat"),
        (r"(the|some) (\w+ )*dogs see .*", "vidun"),
        (r"(the|a) (\w+ )*dog saw .*", "vidab"),
        (r"(the|some) (\w+ )*dogs saw .*", "viduv"),
        (r".* does not see .*", "ne vidat"),
        (r".* do not see .*", "ne vidun"),
        (r"(the|a) (\w+ )*dog did not see .*", "ne vidab"),
        (r"(the|some) (\w+ )*dogs did not see .*", "ne viduv"),
    ],
)
def test_the_verb_has_its_subjects_number_and_the_sentences_tense(
    sentences: list[Sentence], english: str, verb: str
) -> None:
    assert all(other.endswith(f" {verb}") for _, other in find(sentences, english))


def test_every_word_is_known(sentences: list[Sentence]) -> None:
    assert {word for one in sentences for word in one.english} == set(english_words())
    assert {word for one in sentences for word in one.translated} == set(translated_words())
    assert len(set(english_words())) == len(english_words())
    assert len(set(translated_words())) == len(translated_words())
    assert max(len(one.english) for one in sentences) <= LONGEST


def test_no_test_sentence_is_trained_on(task: Translation) -> None:
    trained = texts(task, [task.draw(64, torch.Generator().manual_seed(seed)) for seed in range(40)])
    tested = texts(task, [task.validation(), *task.tests().values()])

    assert len(trained) == 200
    assert not trained & tested
    assert len(tested) > 200
    assert not any(has_new_pair(text) for text in trained)
    assert all(has_new_pair(text) for text in texts(task, [task.tests()["_new_pairs"]]))


def texts(task: Translation, batches: list) -> set[str]:
    return {task.source_as_text(pairs, row) for pairs in batches for row in range(len(pairs.lengths))}


def has_new_pair(text: str) -> bool:
    singular = {plural: one for one, plural, *_ in NOUNS}
    seen: list[str] = []
    for word in text.split():
        noun = singular.get(word, word)
        if noun in STEMS:
            if any((adjective, noun) in NEW_PAIRS for adjective in seen):
                return True
            seen = []
        elif word in ADJECTIVES:
            seen.append(word)
    return False


def test_sentences_grow_while_training_begins(task: Translation) -> None:
    generator = torch.Generator().manual_seed(SEED)

    assert task.draw(100, generator, 0.05).lengths.max() < task.draw(100, generator).lengths.max()


def test_a_served_sentence_is_padded_and_its_ids_have_words(task: Translation) -> None:
    pairs = task.validation()
    tokens = task.given(pairs, 0)["tokens"]
    words = task.start_inputs()[0].words

    assert tokens.shape == (LONGEST,)
    assert " ".join(words[token] for token in tokens if token) == task.source_as_text(pairs, 0)
    assert not tokens[int(pairs.lengths[0]) :].any()
