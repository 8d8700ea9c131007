"""The copy task: what a sequence looks like, what is measured, and how a person sees it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from tests.training.runs import tiny_config
from training.experiment import build
from training.tasks.sequence_views import to_human_readable
from training.tasks.sequences import CopyExperiment, copy_batch, measure


@pytest.fixture
def experiment(tmp_path: Path) -> CopyExperiment:
    built = build(tiny_config(tmp_path))
    assert isinstance(built, CopyExperiment)
    return built


def test_a_sequence_is_bits_then_the_delimiter_then_silence() -> None:
    inputs, targets = copy_batch(3, 2, 4, torch.Generator().manual_seed(1))

    assert inputs.shape == (7, 2, 5)
    assert torch.equal(inputs[:3, :, :4], targets)
    assert inputs[:3, :, 4].eq(0).all()
    assert torch.equal(inputs[3], torch.tensor([0.0, 0, 0, 0, 1]).expand(2, 5))
    assert inputs[4:].eq(0).all()


def test_a_network_that_guesses_costs_one_bit_a_bit(experiment: CopyExperiment) -> None:
    with torch.no_grad():
        experiment.network.output.weight.zero_()
    batch = copy_batch(3, 50, 2, torch.Generator().manual_seed(1))

    measured = measure(experiment.network, [batch])

    assert measured["bits"] == pytest.approx(6)
    assert measured["wrong_bits"] == pytest.approx(batch[1].sum().item() / 50)  # it answers 0
    assert 0 < measured["wrong_sequences"] <= 1


def test_the_loss_is_summed_over_bits_and_steps(experiment: CopyExperiment) -> None:
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
    built = build(tiny_config(tmp_path, "task.longer_length=8", "task.longer_sequences=3"))

    measured = built.validate()

    assert measured["score"] == pytest.approx(measured["bits"] + 2 / 8 * measured["bits_at_8"])


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


def test_samples_and_figures_are_drawn(experiment: CopyExperiment) -> None:
    with torch.no_grad():
        assert "length 6" in experiment.samples()
        assert all(data.startswith(b"\x89PNG") for data in experiment.figures().values())
