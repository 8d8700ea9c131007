"""Batches: what a question sees, how time is jittered, and an order that can be taken up again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.errors import TrainingError
from training.tasks.babi_batches import Batch, Order, Questions, cut
from training.tasks.babi_stories import parse
from training.tasks.babi_words import Words

LINES = """\
1 Mary moved to the bathroom.
2 John went to the hallway.
3 Where is Mary?\tbathroom\t1
4 Mary went to the garden.
5 Where is Mary?\tgarden\t4
1 Lily is a swan.
2 Where is John?\thallway\t1
""".splitlines()
STORIES = parse(LINES, "file")
WORDS = Words.of(STORIES)
QUESTIONS = Questions({1: STORIES}, WORDS)


def told(batch: Batch, row: int) -> list[str]:
    """The sentences that a question sees, as text."""
    slots = [slot for slot, present in zip(batch.memory[row], batch.present[row], strict=True) if present]
    return [" ".join(WORDS.words[word] for word in batch.sentences[slot] if word) for slot in slots]


def test_a_question_sees_what_was_told_before_it() -> None:
    batch = QUESTIONS.batch(np.array([0, 1, 2]), memory=10)

    assert told(batch, 0) == ["mary moved to the bathroom", "john went to the hallway"]
    assert told(batch, 1) == [*told(batch, 0), "mary went to the garden"]
    assert told(batch, 2) == ["lily is a swan"]
    assert [WORDS.answers[answer] for answer in batch.answer] == ["bathroom", "garden", "hallway"]


def test_a_small_memory_keeps_the_newest() -> None:
    batch = QUESTIONS.batch(np.array([1]), memory=2)

    assert told(batch, 0) == ["john went to the hallway", "mary went to the garden"]


def test_time_counts_back_from_the_newest_sentence() -> None:
    batch = QUESTIONS.batch(np.array([0, 1]), memory=10)

    assert batch.times[1].tolist() == [3, 2, 1]
    assert batch.times[0][batch.present[0]].tolist() == [2, 1]


def test_each_sentence_is_encoded_once() -> None:
    batch = QUESTIONS.batch(np.array([0, 1, 2, 0, 1]), memory=10)

    assert len(batch.sentences) == 4
    assert len(batch.questions) == 2


@pytest.mark.parametrize("seed", range(5))
def test_jitter_keeps_the_order_and_lets_idle_moments_in(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    which = np.array([0, 1, 2] * 40)

    batch = QUESTIONS.batch(which, memory=10, jitter=1.0, random=random)

    idle = []
    for times, present in zip(batch.times, batch.present, strict=True):
        seen = times[present]
        assert (seen[:-1] > seen[1:]).all(), f"seed {seed}"
        assert 1 <= seen.min() <= seen.max() <= 2 * len(seen), f"seed {seed}"
        idle.append(int(seen.max()) - len(seen))
    assert min(idle) == 0, f"seed {seed}"
    assert max(idle) == 3, f"seed {seed}"


def test_batches_have_about_as_many_slots_as_asked_for() -> None:
    lengths = np.sort(np.random.default_rng(1).integers(1, 60, 500))

    batches = cut(np.arange(500), lengths, slots=300)

    assert np.concatenate(batches).tolist() == list(range(500))
    assert all(len(batch) * (lengths[batch].max() + 1) <= 300 for batch in batches)


def test_an_epoch_has_every_question_once() -> None:
    lengths = np.random.default_rng(1).integers(1, 9, 50)
    order = Order(lengths, 30, torch.Generator().manual_seed(3))

    first = next(order)
    epoch = [first, *(next(order) for _ in range(len(order.epoch) - 1))]

    assert sorted(np.concatenate(epoch).tolist()) == list(range(50))


@pytest.mark.parametrize("taken", [0, 1, 3, 40])
def test_an_order_goes_on_where_it_stood(taken: int) -> None:
    lengths = np.random.default_rng(1).integers(1, 9, 50)
    order = Order(lengths, 30, torch.Generator().manual_seed(3))
    for _ in range(taken):
        next(order)
    random = torch.Generator().manual_seed(99)
    other = Order(lengths, 30, random)

    other.load_state(order.state())
    random.set_state(order.random.get_state())

    for _ in range(60):
        assert next(order).tolist() == next(other).tolist()


def test_a_focused_epoch_has_questions_as_often_as_asked_for() -> None:
    shares = np.repeat([0.0, 1.0, 3.0, 0.5], 100)
    order = Order(np.full(400, 4), 50, torch.Generator().manual_seed(3), shares)
    next(order)

    order.focus(True)
    first = next(order)
    epoch = np.concatenate([first, *(next(order) for _ in range(len(order.epoch) - 1))])

    times = np.bincount(epoch, minlength=400)
    assert times[:100].sum() == 0
    assert (times[100:200] == 1).all()
    assert (times[200:300] == 3).all()
    assert set(times[300:]) == {0, 1}


def test_a_task_without_questions_is_refused() -> None:
    with pytest.raises(TrainingError, match="task 4: expected at least one question"):
        Questions({4: parse(["1 Mary moved."], "file")}, WORDS)
