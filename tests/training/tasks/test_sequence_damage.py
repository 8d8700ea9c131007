"""Damage to the tape between input and answer."""

from __future__ import annotations

from pathlib import Path

import torch

from training.evaluate import load_trained
from training.experiment import build
from training.tasks.sequence_damage import KINDS, damage, has_recall, wrong_bits
from training.tasks.sequence_task import measure

from ..runs import tiny_config

MODELS = Path(__file__).parents[3] / "models"


def test_only_what_is_hit_changes() -> None:
    memory = torch.full((4, 3, 1000), 0.5)
    for kind in KINDS:
        after = damage(memory, 0.1, kind, torch.Generator().manual_seed(1))
        changed = (after != memory).any(dim=1)

        assert 0.05 < changed.float().mean() < 0.15, kind
        assert torch.equal(after.transpose(1, 2)[~changed], memory.transpose(1, 2)[~changed])
        assert torch.equal(damage(memory, 0.0, kind, torch.Generator()), memory)


def test_without_damage_it_is_the_network_as_ever(tmp_path: Path) -> None:
    experiment = build(tiny_config(tmp_path))
    batch = experiment._many()

    with torch.no_grad():
        assert (
            wrong_bits(experiment.network, batch, 0.0, KINDS[0]) == measure(experiment.network, [batch])["wrong_bits"]
        )


def test_the_shipped_machine_needs_its_tape() -> None:
    _, experiment = load_trained(MODELS / "ntm-copy" / "1")
    batch = experiment._many()

    with torch.no_grad():
        assert wrong_bits(experiment.network, batch, 0.0, KINDS[0]) == 0
        assert wrong_bits(experiment.network, batch, 0.4, KINDS[0]) > 5


def test_only_networks_with_a_tape_have_one_to_damage(tmp_path: Path) -> None:
    machine = build(tiny_config(tmp_path))
    plain = build(tiny_config(tmp_path, 'network={kind="lstm",inputs=3,outputs=2,units=4}'))

    assert has_recall(machine.network, machine._many())
    assert not has_recall(plain.network, plain._many())
