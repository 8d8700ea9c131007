"""Every family of experiments computes where it is told to, and moves whole batches there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from training.config import load_config
from training.device import find_device, move
from training.experiment import build

CONFIGS = Path(__file__).parents[2] / "training" / "configs"
ONE_TASK = ["task.tasks=[1]"]


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("babi-joint", ["task.tasks=[1,16]", "recipe.first_updates=1"]),
        ("babi-memory", ONE_TASK),
        ("babi-entity", ["task.tasks=[1,16]"]),
        ("attention-captions", ["recipe.batch=2"]),
        ("ntm-copy", ["recipe.compile=false", "recipe.batch=1", "task.longest=3"]),
        ("lstm-copy", ["recipe.batch=1", "task.longest=3"]),
    ],
)
def test_two_updates_leave_nothing_on_the_processor(name: str, overrides: list[str]) -> None:
    """PyTorch refuses to compute with tensors of two devices; meta stands for one that is not the processor."""
    experiment = build(replace(load_config(CONFIGS / f"{name}.toml", overrides), device="meta"))

    for update in (1, 2):
        experiment.set_update(update)
        loss = experiment.loss(update)
        loss.backward()

        assert loss.device.type == "meta"
    assert all(parameter.device.type == "meta" for parameter in experiment.network.parameters())


def test_a_batch_moves_with_all_its_tensors_and_nothing_else() -> None:
    @dataclass(frozen=True)
    class Batch:
        one: torch.Tensor
        facts: np.ndarray
        other: torch.Tensor | None = None

    moved = move(Batch(torch.zeros(2), np.ones(3)), find_device("meta"))

    assert moved.one.device.type == "meta"
    assert moved.facts.tolist() == [1, 1, 1]
    assert moved.other is None
