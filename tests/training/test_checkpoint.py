"""Checkpoints: what goes in comes out, and nothing half-written is ever seen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.checkpoint import pack_optimizer, read_tensors, unpack_optimizer, write_tensors
from training.errors import TrainingError


def test_tensors_and_facts_come_back(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6).reshape(2, 3).T, "b": torch.tensor(0.1)}
    write_tensors(tmp_path / "x.safetensors", tensors, {"update": 3, "best": float("inf")})

    back, facts = read_tensors(tmp_path / "x.safetensors")

    assert all(torch.equal(back[name], tensors[name]) for name in tensors)
    assert facts == {"update": 3, "best": float("inf")}
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD, torch.optim.RMSprop, torch.optim.AdamW])
def test_an_optimizer_goes_on_as_if_never_stopped(kind: type[torch.optim.Optimizer], tmp_path: Path) -> None:
    def pair() -> tuple[torch.nn.Linear, torch.optim.Optimizer]:
        torch.manual_seed(1)
        layer = torch.nn.Linear(2, 2)
        return layer, kind(layer.parameters(), lr=0.1, **({"momentum": 0.9} if kind is torch.optim.SGD else {}))

    def step(layer: torch.nn.Linear, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        layer(torch.ones(2)).sum().backward()
        optimizer.step()

    layer, optimizer = pair()
    step(layer, optimizer)
    other, resumed = pair()
    other.load_state_dict(layer.state_dict())
    write_tensors(tmp_path / "optimizer.safetensors", *pack_optimizer(optimizer))
    unpack_optimizer(resumed, *read_tensors(tmp_path / "optimizer.safetensors"))
    for pair_ in ((layer, optimizer), (other, resumed)):
        step(*pair_)

    assert torch.equal(layer.weight, other.weight)


def test_a_broken_or_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"not tensors at all")

    with pytest.raises(TrainingError, match=r"bad.safetensors: not a readable safetensors file"):
        read_tensors(tmp_path / "bad.safetensors")
    with pytest.raises(TrainingError, match=r"none.safetensors: no such file"):
        read_tensors(tmp_path / "none.safetensors")
