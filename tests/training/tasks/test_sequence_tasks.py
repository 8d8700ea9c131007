"""The sequence tasks: what a sequence looks like, what its right answer is, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional

from training.errors import TrainingError
from training.tasks.blanks import BlankOptions, FillTheBlank
from training.tasks.copying import Copy, CopyOptions, RepeatCopy, RepeatCopyOptions
from training.tasks.echo import DelayedEcho, EchoOptions
from training.tasks.ngrams import NGramOptions, NGrams, best_chances, beta_half
from training.tasks.recall import AssociativeRecall, RecallOptions
from training.tasks.sequence_task import Batch
from training.tasks.sequence_views import sequence_to_text
from training.tasks.sequences import TASKS
from training.tasks.sorting import PrioritySort, SortOptions


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_copy_is_bits_then_the_delimiter_then_silence() -> None:
    batch = Copy(CopyOptions(bits=4), "test").batch((3,), 2, seeded())

    assert batch.inputs.shape == (7, 2, 5)
    assert torch.equal(batch.inputs[:3, :, :4], batch.targets)
    assert batch.inputs[:3, :, 4].eq(0).all()
    assert torch.equal(batch.inputs[3], torch.tensor([0.0, 0, 0, 0, 1]).expand(2, 5))
    assert batch.inputs[4:].eq(0).all()


@pytest.mark.parametrize("delimiter", [False, True])
def test_repeat_copy_gives_all_back_as_often_as_asked_and_then_the_end_marker(delimiter: bool) -> None:
    task = RepeatCopy(RepeatCopyOptions(bits=2, delimiter=delimiter), "test")
    batch = task.batch((3, 2), 5, seeded())

    assert batch.inputs.shape == (3 + 1 + 7, 5, 4 if delimiter else 3)
    shown = batch.inputs[:3, :, :2]
    assert torch.equal(batch.targets[:6, :, :2], torch.cat([shown, shown]))
    assert batch.targets[:6, :, 2].eq(0).all()
    assert torch.equal(batch.targets[6], torch.tensor([0.0, 0, 1]).expand(5, 3))
    assert torch.allclose(batch.inputs[3, 0, 2:], torch.tensor([task.normalised(2), 1])[: 1 + delimiter])
    assert batch.inputs[4:].eq(0).all()


def test_the_number_of_repeats_has_mean_0_and_variance_1() -> None:
    task = RepeatCopy(RepeatCopyOptions(), "test")
    numbers = torch.tensor([task.normalised(repeats) for repeats in range(1, 11)])

    assert numbers.mean().item() == pytest.approx(0, abs=1e-6)
    assert numbers.var(correction=0).item() == pytest.approx(1)
    assert len(task.sizes()) == 100


def test_recall_asks_for_the_item_after_the_one_shown_again() -> None:
    batch = AssociativeRecall(RecallOptions(), "test").batch((5,), 40, seeded())

    assert batch.inputs.shape == (5 * 4 + 5 + 3, 40, 8)
    assert batch.inputs[:, 0, 6].nonzero().flatten().tolist() == [0, 4, 8, 12, 16]
    assert batch.inputs[:, 0, 7].nonzero().flatten().tolist() == [20, 24]
    assert batch.inputs[25:].eq(0).all()
    items = batch.inputs[:20].reshape(5, 4, 40, 8)[:, 1:, :, :6]
    followed = set()
    for row in range(40):
        query = batch.inputs[21:24, row, :6]
        (found,) = (number for number in range(4) if torch.equal(items[number, :, row], query))
        assert torch.equal(batch.targets[:, row], items[found + 1, :, row])
        followed.add(found)
    assert followed == {0, 1, 2, 3}


def test_ngram_bits_follow_the_table_of_their_sequence() -> None:
    """In long sequences of bigrams the share of ones after a bit is near a probability drawn from Beta(1/2, 1/2)."""
    task = NGrams(NGramOptions(order=2, length=2000), "test")
    batch = task.batch((2000,), 300, seeded())
    before, after = batch.inputs[..., 0], batch.targets[..., 0]
    ones = (before * after).sum(0) / before.sum(0)
    ones = ones[before.sum(0) > 100]

    assert torch.equal(batch.inputs[1:], batch.targets[:-1])
    assert ones.mean().item() == pytest.approx(0.5, abs=0.1)
    assert ones.var().item() == pytest.approx(1 / 8, abs=0.03)  # of Beta(1/2, 1/2)


def test_beta_half_has_its_moments() -> None:
    drawn = beta_half(100, 1000, seeded())

    assert drawn.mean().item() == pytest.approx(0.5, abs=0.005)
    assert drawn.var().item() == pytest.approx(1 / 8, abs=0.002)


def test_the_optimal_estimator_counts_what_followed_each_context() -> None:
    bits = torch.tensor([[0.0], [1], [0], [1], [1]])  # contexts of one bit: 0 -> 1, 1 -> 0, 0 -> 1, 1 -> 1

    assert best_chances(bits, 1)[:, 0].tolist() == pytest.approx([1 / 2, 1 / 2, 3 / 4, 1 / 4])


def test_the_optimum_is_the_cost_of_the_best_chances() -> None:
    batch = NGrams(NGramOptions(length=40), "test").batch((40,), 3, seeded())
    assert batch.optimum is not None
    assert batch.chances is not None

    cost = functional.binary_cross_entropy(batch.chances, batch.targets, reduction="none").sum(dim=(0, 2))

    assert batch.optimum.tolist() == pytest.approx((cost / math.log(2)).tolist())


def test_the_optimum_of_200_bits_is_the_published_one() -> None:
    """About 133 bits, five of which are fair coins that are not counted here."""
    optimum = NGrams(NGramOptions(), "test").batch((200,), 4000, seeded()).optimum

    assert optimum is not None
    assert optimum.mean().item() == pytest.approx(128.1, abs=2)


def test_priority_sort_gives_the_highest_first() -> None:
    batch = PrioritySort(SortOptions(), "test").batch((20,), 3, seeded())

    assert batch.inputs.shape == (37, 3, 10)
    assert batch.inputs[20, :, 9].eq(1).all()
    for row in range(3):
        shown = sorted(batch.inputs[:20, row].tolist(), key=lambda vector: -vector[8])
        assert batch.targets[:, row].tolist() == [vector[:8] for vector in shown[:16]]
        assert -1 <= shown[-1][8] < shown[0][8] <= 1


def test_an_echo_is_what_was_shown_before() -> None:
    batch = DelayedEcho(EchoOptions(bits=2, delay=3), "test").batch((20,), 4, seeded())

    assert torch.equal(batch.targets, batch.inputs[:17])


def test_a_blank_asks_for_the_marked_letter() -> None:
    task = FillTheBlank(BlankOptions(bits=2), "test")
    batch = task.batch((5,), 50, seeded())

    assert batch.inputs.shape == (6, 50, 4)
    assert torch.equal(batch.targets[0], batch.inputs[0, :, :2])
    assert batch.inputs[:, 0, 2].tolist() == [1, 0, 0, 0, 0, 0]
    assert torch.equal(batch.inputs[5], torch.tensor([0.0, 0, 0, 1]).expand(50, 4))
    assert len({tuple(letter.tolist()) for letter in batch.targets[0]}) == 4
    assert not torch.equal(batch.inputs[0, :, :2], batch.inputs[1, :, :2])
    assert [size for size in task.sizes() if size == (100,)]
    assert task.beyond()["at_200"] == (200,)


def test_a_blank_is_read_in_letters() -> None:
    task = FillTheBlank(BlankOptions(bits=2), "test")
    inputs = torch.tensor([[1.0, 0, 1, 0], [0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1]])[:, None]
    targets = torch.tensor([[[1.0, 0]]])

    assert task.to_text(Batch(inputs, targets), torch.tensor([[[2.0, -2]]])) == "Cad_ -> C, answered C"
    assert task.to_text(Batch(inputs, targets), torch.tensor([[[2.0, 2]]])) == "Cad_ -> C, answered D (wrong)"


@pytest.mark.parametrize("kind", TASKS)
def test_every_task_is_the_same_for_the_same_seed_and_can_be_read(kind: str) -> None:
    options, made = TASKS[kind]
    task = made(options(kind=kind), "test")
    for size in (task.sizes()[0], task.sizes()[-1], *task.beyond().values()):
        one, same, other = (task.batch(size, 2, seeded(seed)) for seed in (1, 1, 2))
        text = sequence_to_text(task, one, one.targets - 0.5)

        assert torch.equal(one.inputs, same.inputs)
        assert torch.equal(one.targets, same.targets)
        assert not torch.equal(one.inputs, other.inputs)
        assert one.inputs.shape[2] == sum(width for _, width in task.inputs)
        assert one.targets.shape[2] == sum(width for _, width in task.outputs)
        assert "\n0 of " in text
        assert all(line.count("|") == 2 for line in text.splitlines()[:-1])
        assert task.title(size)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("copy", {"shortest": 5, "longest": 3}, "expected 1 <= shortest <= longest, got 5 and 3"),
        ("repeat-copy", {"most_repeats": 1}, "longest, most_repeats: expected at least 1 and 2, got 10 and 1"),
        ("repeat-copy", {"test_sizes": ((1,),)}, r"test_sizes: expected pairs of length and repeats, got \[1\]"),
        ("associative-recall", {"fewest": 1}, "expected 2 <= fewest <= most, got 1 and 6"),
        ("ngrams", {"order": 300}, "expected 1 < order < length, got 300 and 200"),
        ("ngrams", {"test_lengths": (6,)}, "test_lengths: expected more than order 6, got 6"),
        ("priority-sort", {"kept": 21}, "expected 1 <= kept <= vectors, got 21 and 20"),
        ("fill-the-blank", {"shortest": 5, "longest": 3}, "expected 1 <= shortest <= longest, got 5 and 3"),
        ("fill-the-blank", {"bits": 9}, "bits: expected 1 to 4, got 9"),
        ("fill-the-blank", {"test_distances": (0,)}, "test_distances: expected at least 1, got 0"),
        ("delayed-echo", {"delay": 30}, "expected 1 <= delay < every length, got 30 and 20"),
    ],
)
def test_options_that_make_no_sense_are_refused(kind: str, options: dict[str, Any], message: str) -> None:
    table, made = TASKS[kind]
    with pytest.raises(TrainingError, match=f"here: {message}"):
        made(table(kind=kind, **options), "here")
