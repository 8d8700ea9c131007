"""How well attention points at the sentences that decide."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.tasks.babi_batches import Batch, Questions
from training.tasks.babi_stories import parse
from training.tasks.babi_support import support
from training.tasks.babi_words import Words

LINES = """\
1 Mary took the milk.
2 John went to the hallway.
3 Mary went to the garden.
4 Where is the milk?\tgarden\t1 3
1 Lily is a swan.
2 What color is Lily?\twhite\t1
""".splitlines()
STORIES = parse(LINES, "file")
WORDS = Words.of(STORIES)


def batch(which: int, memory: int = 10) -> Batch:
    """One of the two questions."""
    return Questions({1: STORIES}, WORDS).batch(np.array([which]), memory)


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([[0.9, 0.1, 0.0], [0.0, 0.1, 0.9]], (100, 100, 100)),
        ([[0.9, 0.1, 0.0], [0.9, 0.1, 0.0]], (0, 0, 100)),
        ([[0.6, 0.0, 0.4], [0.6, 0.0, 0.4]], (0, 100, 100)),
        ([[0.0, 1.0, 0.0], [0.6, 0.0, 0.4]], (0, 0, 0)),
        ([[0.4, 0.6, 0.0], [0.3, 0.6, 0.1]], (0, 0, 0)),
    ],
)
def test_two_sentences_decide(looks: list[list[float]], expected: tuple[float, ...]) -> None:
    measured = support([batch(0)], [torch.tensor([looks])])

    assert (measured["support_found"], measured["support_exact"], measured["support_first"]) == expected


def test_a_sentence_that_is_no_longer_kept_is_not_found() -> None:
    assert support([batch(0, memory=2)], [torch.tensor([[[0.1, 0.9]]])])["support_found"] == 0


def test_empty_slots_are_never_the_best() -> None:
    both = Questions({1: STORIES}, WORDS).batch(np.array([0, 1]), 10)
    looks = torch.tensor([[[0.9, 0.0, 0.0], [0.0, 0.0, 0.9]], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])

    assert support([both], [looks])["support_found"] == 100


def test_tasks_count_alike_and_questions_without_named_sentences_do_not_count() -> None:
    unknown = parse(["1 Lily is a swan.", "2 What color is Lily?\twhite\t"], "file")
    questions = Questions({1: [STORIES[0]] * 3, 2: [STORIES[1]], 3: unknown}, WORDS)
    asked = questions.batch(np.arange(5), 10)
    looks = torch.zeros(5, 1, 3)
    looks[:3, :, 1] = 1  # wrong
    looks[3:, :, 2] = 1  # right

    assert support([asked], [looks])["support_found"] == 50
    assert support([questions.batch(np.array([4]), 10)], [torch.ones(1, 1, 1)]) == {}
