"""The cell: a pure function of input and state, whose heads see the memory of the step before."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from training.networks.addressing import read
from training.networks.ntm import NTM, NetworkOptions, NTMState

SMALL = NetworkOptions(inputs=4, outputs=3, controller=8, locations=6, width=5)


@pytest.fixture
def network() -> NTM:
    torch.manual_seed(3)
    return NTM(SMALL).eval()


def test_a_state_holds_everything(network: NTM) -> None:
    """Going on from a state that was stored gives the bits of never having stopped."""
    inputs = torch.randn(6, 2, SMALL.inputs, generator=torch.Generator().manual_seed(1))

    whole, last = network.run(inputs)
    first, middle = network.run(inputs[:4])
    second, end = network.run(inputs[4:], NTMState(*(value.clone() for value in middle)))

    assert torch.equal(whole, torch.cat([first, second]))
    assert all(torch.equal(one, other) for one, other in zip(last, end, strict=True))


def test_step_and_run_agree(network: NTM) -> None:
    inputs = torch.randn(3, 2, SMALL.inputs, generator=torch.Generator().manual_seed(1))
    state = network.initial_state(2)
    outputs = []
    for x in inputs:
        y, state = network.step(x, state)
        outputs.append(y)

    torch.testing.assert_close(torch.stack(outputs), network.run(inputs)[0])


def test_a_step_leaves_its_state_alone(network: NTM) -> None:
    state = NTMState(*(value.clone() for value in network.initial_state(1)))
    before = NTMState(*(value.clone() for value in state))

    network.step(torch.ones(1, SMALL.inputs), state)

    assert all(torch.equal(one, other) for one, other in zip(state, before, strict=True))


def test_the_read_head_sees_the_memory_from_before_the_write(network: NTM) -> None:
    state = network.initial_state(1)
    for _ in range(3):
        state = network.step(torch.ones(1, SMALL.inputs), state)[1]
    after = network.step(torch.ones(1, SMALL.inputs), state)[1]

    vector = after.controller[:, SMALL.controller :]

    torch.testing.assert_close(vector, read(state.memory, after.weights[:, :1]))
    assert not torch.allclose(vector, read(after.memory, after.weights[:, :1]))


def test_rows_of_a_batch_do_not_meet(network: NTM) -> None:
    inputs = torch.randn(5, 3, SMALL.inputs, generator=torch.Generator().manual_seed(2))
    together = network.run(inputs)[0]

    for row in range(3):
        torch.testing.assert_close(network.run(inputs[:, row : row + 1])[0][:, 0], together[:, row])


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_gradients_are_finite_over_a_long_extreme_sequence(network: NTM, scale: float) -> None:
    with torch.no_grad():
        network.heads.weight.mul_(100)  # every head output at its limit
    inputs = scale * torch.randn(60, 2, SMALL.inputs, generator=torch.Generator().manual_seed(4))

    outputs, state = network.run(inputs)
    (outputs.square().mean() + state.memory.square().mean()).backward()

    assert torch.isfinite(outputs).all()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_the_initial_weights_lie_on_the_first_location(network: NTM) -> None:
    weights = network.initial_state(1).weights

    assert weights.argmax(-1).eq(0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 2))


def test_heads_stay_where_they_are_if_told_so_at_the_start() -> None:
    """Before any training, over 40 steps of random input; without that, they spread out."""
    inputs = torch.randn(40, 4, SMALL.inputs, generator=torch.Generator().manual_seed(6))
    least = {}
    for stay in (0.0, 4.0):
        torch.manual_seed(3)
        state = NTM(replace(SMALL, stay=stay)).eval().run(inputs)[1]
        least[stay] = state.weights[..., 0].min().item()

    assert least[4.0] > 0.9
    assert least[0.0] < 0.5
