"""The coverage regulariser, against sums done by hand."""

from __future__ import annotations

import pytest
import torch

from training.errors import TrainingError
from training.networks.coverage import Coverage, covered, even

# One sample of 2 steps over 3 positions, and one of 1 step over 2; what is padded is garbage.
NAN = float("nan")
WEIGHTS = torch.tensor(
    [
        [[0.5, 0.25, 0.25], [0.75, 0.0, 0.25]],
        [[1.0, 0.0, 7.0], [NAN, NAN, NAN]],
    ]
)
POSITIONS = torch.tensor([[True, True, True], [True, True, False]])
STEPS = torch.tensor([[True, True], [True, False]])


def test_what_positions_were_covered_with() -> None:
    assert torch.where(POSITIONS, covered(WEIGHTS, STEPS), 0).tolist() == [[1.25, 0.25, 0.5], [1.0, 0.0, 0.0]]
    assert even(POSITIONS, STEPS).tolist() == [[pytest.approx(2 / 3)], [0.5]]


@pytest.mark.parametrize(
    ("tau", "first", "second"),
    [
        (1.0, 0.25**2 + 0.75**2 + 0.5**2, 0 + 1.0**2),
        (0.5, 0.75**2 + 0.25**2 + 0, 0.5**2 + 0.5**2),
        ("even", (1.25 - 2 / 3) ** 2 + (2 / 3 - 0.25) ** 2 + (2 / 3 - 0.5) ** 2, 0.5**2 + 0.5**2),
        ("learned", 0.25**2 + 0.75**2 + 0.5**2, 0 + 1.0**2),  # it begins at 1
    ],
)
def test_the_penalty_is_the_one_computed_by_hand(tau: float | str, first: float, second: float) -> None:
    penalty = Coverage(tau)(WEIGHTS, POSITIONS, STEPS)

    torch.testing.assert_close(penalty, torch.tensor([first, second]))


def test_padding_gets_no_gradient() -> None:
    weights = WEIGHTS.nan_to_num().requires_grad_()
    Coverage(1.0)(weights, POSITIONS, STEPS).sum().backward()

    assert weights.grad is not None
    real = STEPS.unsqueeze(2) & POSITIONS.unsqueeze(1)
    assert not weights.grad[~real].any()
    torch.testing.assert_close(weights.grad[0, 0], torch.tensor([2 * 0.25, -2 * 0.75, -2 * 0.5]))


def test_only_an_even_share_reaches_zero_where_words_and_positions_differ_in_number() -> None:
    """2 steps over 3 positions, all alike: the floor of another tau is L (tau - T / L)^2."""
    alike = torch.full((1, 2, 3), 1 / 3)
    positions, steps = POSITIONS[:1], STEPS[:1]

    assert Coverage("even")(alike, positions, steps).item() == pytest.approx(0, abs=1e-12)
    assert Coverage(1.0)(alike, positions, steps).item() == pytest.approx(3 * (1 - 2 / 3) ** 2)


def test_a_word_for_each_position_costs_nothing_with_tau_1() -> None:
    reversing = torch.eye(4).flip(0).unsqueeze(0)
    every = torch.ones(1, 4, dtype=torch.bool)

    assert Coverage(1.0)(reversing, every, every).item() == 0


def test_a_learned_tau_settles_at_the_mean_coverage() -> None:
    """The first sample's positions have 2 / 3 on average, and they are the only ones."""
    coverage = Coverage("learned")
    optimizer = torch.optim.SGD(coverage.parameters(), lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        coverage(WEIGHTS[:1], POSITIONS[:1], STEPS[:1]).sum().backward()
        optimizer.step()

    assert coverage.learned is not None
    assert coverage.learned.item() == pytest.approx(2 / 3, abs=1e-5)
    assert not list(Coverage("even").parameters())


@pytest.mark.parametrize("tau", ["odd", 0.0, -1.0])
def test_another_tau_is_refused(tau: float | str) -> None:
    with pytest.raises(TrainingError, match="config: tau: expected a number above 0, or one of learned, even; got"):
        Coverage(tau, "config")
