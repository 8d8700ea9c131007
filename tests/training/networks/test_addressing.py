"""The addressing and the write against loops written by hand from the paper's formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from training.networks import addressing

LOCATIONS, WIDTH, HEADS = 7, 4, 2


def draw(batch: int, seed: int = 5) -> dict[str, torch.Tensor]:
    """Random memory, previous weights and head outputs."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {
        "memory": normal(batch, WIDTH, LOCATIONS),
        "previous": torch.softmax(normal(batch, HEADS, LOCATIONS), dim=-1),
        "key": torch.tanh(normal(batch, HEADS, WIDTH)),
        "strength": torch.exp(normal(batch, HEADS, 1)),
        "gate": torch.sigmoid(normal(batch, HEADS, 1)),
        "back": torch.exp(normal(batch, HEADS, 1)),
        "forward": torch.exp(normal(batch, HEADS, 1)),
        "sharpening": 1 + torch.exp(normal(batch, HEADS, 1)),
    }


def addressed_by_hand(given: dict[str, torch.Tensor], row: int, head: int) -> list[float]:
    """Equations 5 to 9 of the paper for one head of one row, one location after the other."""
    memory, key = given["memory"][row].numpy(), given["key"][row, head].numpy()
    strength, gate, back, forward, power = (
        given[name][row, head].item() for name in ("strength", "gate", "back", "forward", "sharpening")
    )
    scores = []
    for i in range(LOCATIONS):
        dot = sum(key[j] * memory[j, i] for j in range(WIDTH))
        lengths = math.sqrt(sum(k * k for k in key)) * math.sqrt(sum(memory[j, i] ** 2 for j in range(WIDTH)))
        scores.append(math.exp(strength * dot / lengths))
    content = [score / sum(scores) for score in scores]
    previous = given["previous"][row, head].tolist()
    gated = [gate * content[i] + (1 - gate) * previous[i] for i in range(LOCATIONS)]
    shifts = {-1: back, 0: 1.0, 1: forward}
    total = sum(shifts.values())
    turned = [
        sum(gated[j] * shifts[s] / total for j in range(LOCATIONS) for s in shifts if (j + s) % LOCATIONS == i)
        for i in range(LOCATIONS)
    ]
    sharp = [weight**power for weight in turned]
    return [weight / sum(sharp) for weight in sharp]


@pytest.mark.parametrize("batch", [1, 3])
def test_address_is_the_papers_four_stages(batch: int) -> None:
    given = draw(batch)

    weights = addressing.address(given.pop("memory"), given.pop("previous"), **given)

    given = draw(batch)
    for row in range(batch):
        for head in range(HEADS):
            np.testing.assert_allclose(weights[row, head], addressed_by_hand(given, row, head), rtol=1e-9)


@pytest.mark.parametrize("batch", [1, 3])
def test_write_erases_then_adds(batch: int) -> None:
    given = draw(batch)
    memory, weights = given["memory"], given["previous"][:, :1]
    erase, add = torch.sigmoid(memory[:, :, :1]), torch.tanh(memory[:, :, 1:2])

    after = addressing.write(memory, weights, erase, add)

    for row in range(batch):
        for i in range(LOCATIONS):
            for j in range(WIDTH):
                w, e, a = weights[row, 0, i], erase[row, j, 0], add[row, j, 0]
                assert after[row, j, i].item() == pytest.approx((memory[row, j, i] * (1 - w * e) + w * a).item())


@pytest.mark.parametrize("batch", [1, 3])
def test_read_is_the_weighted_sum_of_the_locations(batch: int) -> None:
    given = draw(batch)
    memory, weights = given["memory"], given["previous"][:, :1]

    vector = addressing.read(memory, weights)

    for row in range(batch):
        by_hand = sum(weights[row, 0, i] * memory[row, :, i] for i in range(LOCATIONS))
        np.testing.assert_allclose(vector[row], by_hand)


@pytest.mark.parametrize("heads", [1, 3])
def test_several_heads_read_one_after_the_other(heads: int) -> None:
    memory, weights = draw(2)["memory"], torch.rand(2, heads, LOCATIONS, dtype=torch.float64)

    vectors = addressing.read(memory, weights)

    for head in range(heads):
        alone = addressing.read(memory, weights[:, head : head + 1])
        torch.testing.assert_close(vectors[:, head * WIDTH : (head + 1) * WIDTH], alone)


def test_of_several_heads_all_erase_before_any_adds() -> None:
    generator = torch.Generator().manual_seed(8)
    memory, weights = draw(2)["memory"], torch.rand(2, 3, LOCATIONS, generator=generator, dtype=torch.float64)
    erase, add = (torch.rand(2, 3 * WIDTH, 1, generator=generator, dtype=torch.float64) for _ in range(2))

    after = addressing.write(memory, weights, erase, add)

    for row in range(2):
        for i in range(LOCATIONS):
            for j in range(WIDTH):
                expected = memory[row, j, i]
                for head in range(3):
                    expected = expected * (1 - weights[row, head, i] * erase[row, head * WIDTH + j, 0])
                for head in range(3):
                    expected = expected + weights[row, head, i] * add[row, head * WIDTH + j, 0]
                assert after[row, j, i].item() == pytest.approx(expected.item())


def test_shift_turns_a_peak_around_the_ring() -> None:
    peak = torch.zeros(1, 1, 5)
    peak[0, 0, 0] = 1
    nothing, all_of_it = torch.tensor([[[0.0]]]), torch.tensor([[[1e9]]])

    back = addressing.sharpen(addressing.shift(peak, all_of_it, nothing), torch.ones(1, 1, 1))
    forward = addressing.sharpen(addressing.shift(peak, nothing, all_of_it), torch.ones(1, 1, 1))

    assert back.argmax() == 4
    assert forward.argmax() == 1


@pytest.mark.parametrize("degenerate", ["empty memory", "empty key", "no weights", "a peak", "strong", "sharp"])
def test_degenerate_input_gives_finite_weights_and_gradients(degenerate: str) -> None:
    given = {name: value.float() for name, value in draw(2).items()}
    match degenerate:
        case "empty memory":
            given["memory"].zero_()
        case "empty key":
            given["key"].zero_()
        case "no weights":
            given["previous"].zero_()
            given["gate"].zero_()
        case "a peak":
            given["previous"].zero_()[..., 3] = 1
            given["gate"].zero_()
            given["back"].fill_(math.exp(-20))
            given["forward"].fill_(math.exp(-20))
        case "strong":
            given["strength"].fill_(20)
            given["memory"].mul_(1e6)
        case "sharp":
            given["sharpening"].fill_(21)
    for value in given.values():
        value.requires_grad_()

    weights = addressing.address(given["memory"], given["previous"], **{k: given[k] for k in list(given)[2:]})
    weights.square().sum().backward()

    assert torch.isfinite(weights).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, HEADS))
    assert all(value.grad is not None and torch.isfinite(value.grad).all() for value in given.values())
