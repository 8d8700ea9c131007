"""RNN, GRU and LSTM: the formulas, against PyTorch's own layers, and what a step shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tapehead.bundle import read_manifest, verify
from tests.training.runs import tiny_config
from training.errors import TrainingError
from training.evaluate import evaluate
from training.experiment import build
from training.export import export
from training.networks.recurrent import GRU, LSTM, RNN, Recurrent, RecurrentOptions
from training.train import train

KINDS: dict[str, tuple[type[Recurrent], Any]] = {
    "rnn": (RNN, nn.RNN),
    "gru": (GRU, nn.GRU),
    "lstm": (LSTM, nn.LSTM),
}
GATES = {"rnn": 1, "gru": 2, "lstm": 3}


def network(kind: str, layers: int = 2) -> Recurrent:
    torch.manual_seed(1)
    return KINDS[kind][0](RecurrentOptions(inputs=3, outputs=2, kind=kind, units=5, layers=layers))


@pytest.mark.parametrize("kind", KINDS)
def test_it_computes_what_pytorchs_layers_compute(kind: str) -> None:
    ours = network(kind)
    theirs = KINDS[kind][1](3, 5, num_layers=2)
    weights = dict(theirs.named_parameters())
    with torch.no_grad():
        for number, layer in enumerate(ours.layers):
            _copy_weights(kind, layer, number, weights)
        x = torch.randn(7, 4, 3)
        logits, state = ours.run(x)
        expected, last = theirs(x)

    torch.testing.assert_close(logits, ours.output(expected))
    hidden = last[0] if kind == "lstm" else last
    torch.testing.assert_close(state.hidden, torch.cat(list(hidden), dim=-1))


def _copy_weights(kind: str, layer: nn.Module, number: int, weights: dict[str, torch.Tensor]) -> None:
    """Ours into theirs: one product on [x; h] is two on x and h; an LSTM's gates are in another order."""
    theirs = {name: weights[f"{name}_l{number}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    if kind == "gru":
        assert isinstance(layer, nn.ModuleList)
        for ours, side in zip(layer, ("ih", "hh"), strict=True):
            theirs[f"weight_{side}"].copy_(ours.weight)
            theirs[f"bias_{side}"].copy_(ours.bias)
        return
    assert isinstance(layer, nn.Linear)
    size = layer.in_features - 5
    order = [0, 1, 3, 2] if kind == "lstm" else [0]  # ours: input, forget, output gate, candidate
    rows = torch.cat([torch.arange(5) + 5 * block for block in order])
    theirs["weight_ih"].copy_(layer.weight[rows][:, :size])
    theirs["weight_hh"].copy_(layer.weight[rows][:, size:])
    theirs["bias_ih"].copy_(layer.bias[rows])
    theirs["bias_hh"].zero_()


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_shows_the_gates_of_every_layer(kind: str) -> None:
    built = network(kind)
    x, state = torch.randn(4, 3), built.initial_state(4)
    logits, after, seen = built.observe(x, state)
    stepped, same = built.step(x, state)

    assert len(seen) == len(built.seen) == GATES[kind]
    for value, described in zip(seen, built.seen, strict=True):
        assert value.shape == (4, *described.shape) == (4, 2, 5)
        assert value.min() >= (-1 if kind == "rnn" else 0)
        assert value.max() <= 1
    assert torch.equal(logits, stepped)
    assert all(torch.equal(one, other) for one, other in zip(after, same, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_the_gates_say_what_happens_to_the_state(kind: str) -> None:
    built = network(kind, layers=1)
    state = built.initial_state(4)._replace(hidden=torch.randn(4, 5))
    _, after, seen = built.observe(torch.randn(4, 3), state)

    if kind == "gru":
        update = seen[1][:, 0]
        candidate = (after.hidden - update * state.hidden) / (1 - update)
        assert candidate.abs().max() <= 1 + 1e-5
    elif kind == "lstm":
        torch.testing.assert_close(after.hidden, seen[2][:, 0] * torch.tanh(after.cell))
    else:
        torch.testing.assert_close(after.hidden, seen[0][:, 0])


def test_a_compiled_network_trains_the_same_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the compiler itself, which is slow and may be missing."""
    sizes = []
    monkeypatch.setattr(torch, "compile", lambda step, dynamic: sizes.append(dynamic) or step)
    built = network("lstm")
    twin = built.compiled()
    x = torch.randn(3, 2, 3)

    assert sizes == [False]
    assert torch.equal(twin.run(x)[0], built.run(x)[0])
    twin.run(x)[0].sum().backward()
    assert all(parameter.grad is not None for parameter in built.parameters())
    assert "step" not in vars(built)


def test_a_network_without_units_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"network: layers: expected at least 1, got 0"):
        LSTM(RecurrentOptions(layers=0))


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_a_trained_network_becomes_a_bundle(kind: str, tmp_path: Path) -> None:
    network = f"network={{kind = '{kind}', inputs = 3, outputs = 2, units = 6, layers = 2}}"
    train(tiny_config(tmp_path, network, "updates=2"), tmp_path / "run")
    bundle = export(tmp_path / "run", tmp_path / "models", 1)
    step = read_manifest(bundle).entries[0]

    assert verify(bundle) <= 1e-4
    assert [tensor.name for tensor in step.outputs if tensor.inspection] == [s.name for s in KINDS[kind][0].gates]
    assert (bundle / "gates.png").read_bytes().startswith(b"\x89PNG")
    assert evaluate(bundle) == evaluate(tmp_path / "run")


def test_an_lstm_learns_to_echo_in_seconds(tmp_path: Path) -> None:
    experiment = build(
        tiny_config(
            tmp_path,
            "updates=150",
            "task={kind = 'delayed-echo', delay = 2, length = 8, validation_sequences = 100}",
            "network={kind = 'lstm', inputs = 1, outputs = 1, units = 24}",
            "recipe={batch = 16, learning_rate = 0.02, clip_norm = 10.0}",
        )
    )
    for update in range(1, 151):
        experiment.set_update(update)
        experiment.optimizer.zero_grad()
        experiment.loss(update).backward()
        experiment.clip()
        experiment.optimizer.step()

    assert experiment.validate()["wrong_bits"] < 0.1
