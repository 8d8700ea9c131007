"""The end-to-end memory network against its definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from training.networks.memory_network import MemoryNetwork, clip_each, position_encoding


def network(**options: Any) -> MemoryNetwork:
    """A small one, always the same."""
    torch.manual_seed(5)
    return MemoryNetwork(**{"words": 11, "answers": 3, "sentence_words": 4, "size": 6, "memory": 8, **options})


def run(net: MemoryNetwork, story: torch.Tensor, question: torch.Tensor, empty: int = 0) -> Any:
    """A story [sentences, words] with some empty slots before it, and a question [words]."""
    slots = len(story) + empty
    filled = torch.cat([torch.randint(2, 11, (empty, 4)), story])
    times = torch.arange(slots, 0, -1).unsqueeze(0)
    memory = net.encode(filled).unsqueeze(0)
    return net(memory, times <= len(story), times, net.encode_question(question).unsqueeze(0))


STORY = torch.tensor([[2, 3, 4, 0], [5, 3, 6, 7], [8, 9, 0, 0]])
QUESTION = torch.tensor([10, 2, 0, 0])


def test_position_encoding_has_the_published_values() -> None:
    encoding = position_encoding(words=3, size=5)

    for j in range(1, 4):
        for k in range(1, 6):
            expected = 1 + 4 * (k - (5 + 1) / 2) * (j - (3 + 1) / 2) / (5 * 3)
            assert encoding[j - 1, k - 1].item() == pytest.approx(expected)


def test_position_encoding_tells_orders_apart_and_a_bag_does_not() -> None:
    one, other = torch.tensor([2, 3, 4, 0]), torch.tensor([4, 3, 2, 0])

    assert not torch.allclose(network().encode_question(one), network().encode_question(other))
    bag = network(encoding="bag")
    assert torch.allclose(bag.encode_question(one), bag.encode_question(other))


def test_the_empty_and_the_unknown_word_add_nothing() -> None:
    net = network()

    assert torch.equal(net.encode(torch.tensor([2, 3, 0, 0])), net.encode(torch.tensor([2, 3, 1, 0])))
    assert not net.encode(torch.tensor([1, 1, 0, 0])).any()


def test_a_hop_is_what_the_paper_says() -> None:
    net = network(hops=1)
    table, ages = [*net.tables], [*net.ages]

    def embed(matrix: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        return (matrix[words] * net.place).sum(-2)

    u = embed(table[0], QUESTION)
    age = torch.tensor([2, 1, 0])
    m, c = embed(table[0], STORY) + ages[0][age], embed(table[1], STORY) + ages[1][age]
    p = torch.softmax(m @ u, 0)
    expected = (u + p @ c) @ table[1][11:].T

    scores, looks = run(net, STORY, QUESTION)

    assert torch.allclose(scores[0], expected, atol=1e-6)
    assert torch.allclose(looks[0, 0], p, atol=1e-6)


def test_adjacent_tying_shares_matrices_from_hop_to_hop() -> None:
    net = network(hops=3, tying="adjacent")

    assert [tuple(table.shape) for table in net.tables] == [(14, 6)] * 4, "A1, C1 = A2, C2 = A3, C3; answers in C3"
    assert sum(p.numel() for p in net.parameters()) == 4 * 14 * 6 + 4 * 8 * 6


def test_layerwise_tying_uses_the_same_matrices_at_every_hop() -> None:
    one, three = network(hops=1, tying="layerwise"), network(hops=3, tying="layerwise")

    assert [p.shape for p in one.parameters()] == [p.shape for p in three.parameters()]
    u = three.encode_question(QUESTION)
    _, looks = run(three, STORY, QUESTION)
    m, c = three.encode(STORY).unbind(-2)
    m, c = (part + rows[torch.tensor([2, 1, 0])] for part, rows in zip((m, c), three.ages, strict=True))
    for hop in range(3):
        p = torch.softmax(m @ u, 0)
        assert torch.allclose(looks[0, hop], p, atol=1e-5)
        u = u @ three.carry + p @ c


def test_a_linear_start_attends_without_softmax() -> None:
    net = network(hops=1)
    net.linear = True
    _, looks = run(net, STORY, QUESTION)
    net.linear = False
    _, softmax = run(net, STORY, QUESTION)

    assert torch.allclose(torch.softmax(looks, -1), softmax, atol=1e-6)


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("tying", ["adjacent", "layerwise"])
def test_empty_slots_do_not_matter(linear: bool, tying: str) -> None:
    net = network(tying=tying)
    net.linear = linear

    scores, looks = run(net, STORY, QUESTION)
    padded, padded_looks = run(net, STORY, QUESTION, empty=4)

    assert torch.allclose(scores, padded, atol=1e-6)
    assert torch.allclose(looks, padded_looks[:, :, 4:], atol=1e-6)
    assert not padded_looks[:, :, :4].any()


def test_a_question_about_nothing_has_a_finite_answer() -> None:
    scores, looks = run(network(), STORY[:0], QUESTION, empty=3)

    assert scores.isfinite().all()
    assert not looks.any()


def test_every_matrix_is_clipped_by_itself() -> None:
    small, large, none = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
    small.grad, large.grad = torch.tensor([3.0, 4.0]), torch.tensor([30.0, 40.0])

    clip_each([small, large, none], norm=10.0)

    assert small.grad.tolist() == [3.0, 4.0]
    assert large.grad.tolist() == pytest.approx([6.0, 8.0])
