"""Sequence experiments: recipe, measurements, choice of task and network, and how a person sees a sequence."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from tests.training.runs import tiny_config
from training.campaign import CONFIGS
from training.config import load_config
from training.errors import TrainingError
from training.experiment import build
from training.tasks.copying import Copy, CopyOptions
from training.tasks.sequence_task import measure
from training.tasks.sequence_views import to_human_readable
from training.tasks.sequences import SequenceExperiment


@pytest.fixture
def experiment(tmp_path: Path) -> SequenceExperiment:
    built = build(tiny_config(tmp_path))
    assert isinstance(built, SequenceExperiment)
    return built


def test_a_network_that_guesses_costs_one_bit_a_bit(experiment: SequenceExperiment) -> None:
    with torch.no_grad():
        experiment.network.output.weight.zero_()
    batch = Copy(CopyOptions(bits=2), "test").batch((3,), 50, torch.Generator().manual_seed(1))

    measured = measure(experiment.network, [batch])

    assert measured["bits"] == pytest.approx(6)
    assert measured["wrong_bits"] == pytest.approx(batch.targets.sum().item() / 50)  # it answers 0
    assert 0 < measured["wrong_sequences"] <= 1


def test_the_loss_is_summed_over_bits_and_steps(experiment: SequenceExperiment) -> None:
    with torch.no_grad():
        experiment.network.output.weight.zero_()
    lengths = {round(experiment.loss(update).item() / (2 * math.log(2)), 3) for update in range(20)}

    assert lengths == {1, 2, 3}


def test_validation_is_the_same_for_every_seed_and_not_the_test(tmp_path: Path) -> None:
    one, other = (build(tiny_config(tmp_path, seed=seed)) for seed in (1, 2))
    other.network.load_state_dict(one.network.state_dict())

    assert one.validate() == other.validate()
    assert one.validate()["bits"] != one.test()["bits"]


def test_longer_sequences_count_in_the_score_where_asked(tmp_path: Path) -> None:
    built = build(tiny_config(tmp_path, "task.longer_length=8", "task.longer_sequences=3", "task.longer_weight=0.5"))

    measured = built.validate()

    assert measured["score"] == pytest.approx(measured["bits"] + 0.5 * 2 / 8 * measured["bits_at_8"])


def test_sizes_grow_where_asked(tmp_path: Path) -> None:
    built = build(tiny_config(tmp_path, "updates=90", "recipe.grow_until=0.5"))
    assert isinstance(built, SequenceExperiment)
    with torch.no_grad():
        built.network.output.weight.zero_()

    def longest(first: int, last: int) -> int:
        return round(max(built.loss(update).item() for update in range(first, last + 1)) / (2 * math.log(2)))

    assert [longest(1, 14), longest(15, 29), longest(45, 90)] == [1, 2, 3]


def test_chances_are_learned_where_asked_and_known(tmp_path: Path) -> None:
    """With logits of 0 the cost is one bit a bit, whatever is wanted; the gradient says what was."""
    small = ["recipe.compile=false", "network.units=8", "task.length=20", "task.validation_sequences=4"]
    built = build(load_config(CONFIGS / "lstm-ngrams.toml", [*small, "recipe.chances=true"], 1))
    assert isinstance(built, SequenceExperiment)
    same = torch.Generator().manual_seed(1)
    torch.randint(0, 1, (), generator=same)  # the one size was drawn first
    batch = built.task.batch((20,), built.recipe.batch, same)
    assert batch.chances is not None
    with torch.no_grad():
        built.network.output.weight.zero_()
        built.network.output.bias.zero_()

    built.loss(1).backward()

    wanted = (0.5 - batch.chances).sum() / built.recipe.batch
    assert built.network.output.bias.grad.item() == pytest.approx(wanted.item(), rel=1e-4)
    with pytest.raises(TrainingError, match=r"\[recipe\]: chances: expected false, for task 'copy' has no chances"):
        build(tiny_config(tmp_path, "recipe.chances=true"))


def test_an_unknown_kind_is_refused_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"\[task\]: kind: expected one of copy, repeat-copy, .*, got 'paste'"):
        build(tiny_config(tmp_path, "task.kind=paste"))
    with pytest.raises(
        TrainingError, match=r"\[network\]: kind: expected one of ntm, content-machine, rnn, gru, lstm, got 'mlp'"
    ):
        build(tiny_config(tmp_path, "network.kind=mlp"))
    with pytest.raises(TrainingError, match=r"inputs and outputs: expected \(9, 8\) for the task, got \(3, 2\)"):
        build(tiny_config(tmp_path, "task.bits=8"))


def test_the_rate_is_flat_and_then_falls_along_a_cosine(tmp_path: Path) -> None:
    experiment = build(tiny_config(tmp_path, "updates=100", "recipe.anneal_from=0.5"))
    rates = []
    for update in (1, 50, 75, 100):
        experiment.set_update(update)
        rates.append(experiment.optimizer.param_groups[0]["lr"])

    assert rates == pytest.approx([1e-3, 1e-3, (1e-3 + 1e-5) / 2, 1e-5])


def test_a_person_sees_the_bits_and_which_are_wrong() -> None:
    targets = torch.tensor([[1.0, 0], [0, 1], [1, 1]])
    logits = torch.tensor([[9.0, -9], [9, 9], [9, 9]])

    assert to_human_readable(targets, logits).splitlines() == [
        "target  |#.#|",
        "        |.##|",
        "answer  |###|",
        "        |.##|",
        "wrong   | x |",
        "        |   |",
        "1 of 6 bits wrong",
    ]


def test_samples_and_figures_are_drawn(experiment: SequenceExperiment) -> None:
    with torch.no_grad():
        assert "length 5" in experiment.samples()
        assert all(data.startswith(b"\x89PNG") for data in experiment.figures().values())
