"""Memories of a fixed size: what the delta rule writes, and whole stories against one sentence after the other."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from training.networks.delta_rule import changes, finder, write
from training.networks.entity_network import EntityNetwork, EntityOptions

WORDS, ANSWERS, LENGTH = 11, 5, 4


@pytest.fixture
def network() -> EntityNetwork:
    """A small one, always the same."""
    torch.manual_seed(3)
    sizes: dict[str, Any] = {"size": 6, "layers": 3, "heads": 2, "address": 4, "value": 3, "hops": 2}
    options = EntityOptions(**sizes, linear_size=5, linear_hops=2)
    return EntityNetwork(words=WORDS, answers=ANSWERS, sentence_words=LENGTH, options=options)


def directions(*rows: list[float]) -> torch.Tensor:
    """Addresses or values [1, 1, T, width]."""
    return torch.tensor(rows).reshape(1, 1, len(rows), -1)


def test_an_open_gate_replaces_what_was_at_the_address_and_nothing_else() -> None:
    east, north = directions([1.0, 0.0]), directions([0.0, 1.0])
    memory = torch.zeros(1, 1, 2, 3)
    gate = torch.ones(1, 1, 1, 1)

    memory = write(memory, east, directions([1.0, 2.0, 3.0]), gate)
    memory = write(memory, north, directions([4.0, 5.0, 6.0]), gate)
    memory = write(memory, east, directions([7.0, 8.0, 9.0]), gate)
    half = write(memory, east, directions([0.0, 0.0, 0.0]), 0.5 * gate)

    assert (east @ memory).flatten().tolist() == [7, 8, 9]
    assert (north @ memory).flatten().tolist() == [4, 5, 6]
    assert (east @ half).flatten().tolist() == [3.5, 4, 4.5]
    assert torch.equal(write(memory, east, directions([1.0, 1.0, 1.0]), 0 * gate), memory)


def test_all_writes_at_once_are_those_after_each_other() -> None:
    torch.manual_seed(0)
    address = torch.nn.functional.normalize(torch.randn(2, 3, 7, 4), dim=-1)
    value, gate = torch.randn(2, 3, 7, 5), torch.rand(2, 3, 7, 1)
    look = torch.randn(2, 3, 8, 4)
    told = torch.ones(8, 7, dtype=torch.bool).tril(-1)  # the t-th look comes after t writes

    memory, expected = torch.randn(2, 3, 4, 5), []
    found = finder(memory, address, changes(address, value, gate, memory), told)(look)
    for t in range(8):
        expected.append(look[:, :, t : t + 1] @ memory)
        if t < 7:
            one = slice(t, t + 1)
            memory = write(memory, address[:, :, one], value[:, :, one], gate[:, :, one])

    assert torch.allclose(found, torch.cat(expected, dim=2), atol=1e-5)


def test_telling_one_by_one_answers_like_the_whole_story(network: EntityNetwork) -> None:
    torch.manual_seed(1)
    sentences = torch.randint(0, WORDS, (9, LENGTH))
    story = torch.randint(0, 9, (2, 6))
    questions, after = torch.randint(0, 9, (2, 4)), torch.tensor([[0, 1, 3, 6], [2, 2, 5, 4]])

    at_once = network(sentences, story, questions, after)

    for row in range(2):
        for column in range(4):
            memory = network.initial_memory(1)
            for t in range(int(after[row, column])):
                memory = network.tell(sentences[story[row, t]].unsqueeze(0), memory)
            alone, _ = network.ask(sentences[questions[row, column]].unsqueeze(0), memory)
            assert torch.allclose(alone[0], at_once[row, column], atol=1e-5)


def test_a_hop_says_from_which_matrices_it_took_what_it_found(network: EntityNetwork) -> None:
    torch.manual_seed(4)
    question, memory = torch.randint(2, WORDS, (1, LENGTH)), network.initial_memory(1)

    _, nothing = network.ask(question, memory)
    _, looks = network.ask(question, network.tell(torch.randint(2, WORDS, (1, LENGTH)), memory))
    deep, linear = network.tell(torch.randint(2, WORDS, (1, LENGTH)), memory)
    deep[:, 1:] = 0  # one matrix alone holds anything
    _, first = network.ask(question, (deep, linear))

    assert not nothing.any()
    assert looks.shape == (1, network.deep.options.hops, network.deep.matrices)
    assert torch.allclose(looks.sum(-1), torch.ones(1, network.deep.options.hops), atol=1e-5)
    assert torch.allclose(first[..., 0], torch.ones(1, network.deep.options.hops), atol=1e-5)


def test_a_story_goes_on_from_what_was_told_before(network: EntityNetwork) -> None:
    torch.manual_seed(6)
    sentences, story = torch.randint(0, WORDS, (9, LENGTH)), torch.randint(0, 9, (2, 8))
    questions, after = torch.randint(0, 9, (2, 2)), torch.tensor([[3, 8], [5, 6]])

    memory = network.tell_all(sentences, story[:, :3], network.initial_memory(2))
    later = network(sentences, story[:, 3:], questions, after - 3, memory)

    assert torch.allclose(later, network(sentences, story, questions, after), atol=1e-5)


def test_a_sentence_changes_the_memory_and_never_its_size(network: EntityNetwork) -> None:
    memory = network.initial_memory(3)
    shapes = [part.shape for part in memory]
    torch.manual_seed(2)

    for _ in range(50):
        before, memory = memory, network.tell(torch.randint(2, WORDS, (3, LENGTH)), memory)
        assert not any(torch.equal(one, other) for one, other in zip(before, memory, strict=True))

    assert [part.shape for part in memory] == shapes
    assert all(part.isfinite().all() for part in memory)


def test_what_a_sentence_writes_depends_on_what_was_told_before(network: EntityNetwork) -> None:
    """Of the first layer only what stands at the addresses counts; above, addresses and values change too."""
    torch.manual_seed(4)
    told = network.deep.encode(torch.randint(2, WORDS, (2, LENGTH)))
    empty = network.deep.initial_memory(1)
    addresses, _ = network.deep.tell_all(told.unsqueeze(0), empty)
    alone, _ = network.deep.tell_all(told[1:].unsqueeze(0), empty)

    first_layer, above = slice(0, 2), slice(2, 6)
    assert torch.allclose(addresses[:, first_layer, 1], alone[:, first_layer, 0], atol=1e-6)
    assert not torch.allclose(addresses[:, above, 1], alone[:, above, 0], atol=1e-3)


def test_empty_and_unknown_words_write_nothing_into_the_linear_memory(network: EntityNetwork) -> None:
    memory = network.linear.initial_memory(1)

    after = network.linear.tell(network.linear.encode(torch.tensor([[0, 1, 1, 0]])), memory)

    assert torch.equal(after, memory)
