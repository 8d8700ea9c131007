"""The end-to-end memory network against its definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from training.networks.memory_modules import CHOICES, position_encoding
from training.networks.memory_network import MemoryNetwork, clip_each


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
    table, ages = [*net.input_module.tables], [*net.memory_module.ages]

    def embed(matrix: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        return (matrix[words] * net.input_module.place).sum(-2)

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

    assert [tuple(table.shape) for table in net.input_module.tables] == [(14, 6)] * 4, (
        "A1, C1 = A2, C2 = A3, C3; answers in C3"
    )
    assert sum(p.numel() for p in net.parameters()) == 4 * 14 * 6 + 4 * 8 * 6


def test_layerwise_tying_uses_the_same_matrices_at_every_hop() -> None:
    one, three = network(hops=1, tying="layerwise"), network(hops=3, tying="layerwise")

    assert [p.shape for p in one.parameters()] == [p.shape for p in three.parameters()]
    u = three.encode_question(QUESTION)
    _, looks = run(three, STORY, QUESTION)
    m, c = three.encode(STORY).unbind(-2)
    m, c = (part + rows[torch.tensor([2, 1, 0])] for part, rows in zip((m, c), three.memory_module.ages, strict=True))
    for hop in range(3):
        p = torch.softmax(m @ u, 0)
        assert torch.allclose(looks[0, hop], p, atol=1e-5)
        u = u @ three.control_module.carry + p @ c


def test_a_linear_start_attends_without_softmax() -> None:
    net = network(hops=1)
    net.linear = True
    _, looks = run(net, STORY, QUESTION)
    net.linear = False
    _, softmax = run(net, STORY, QUESTION)

    assert torch.allclose(torch.softmax(looks, -1), softmax, atol=1e-6)


EVERY = [{name: choice} for name, choices in CHOICES.items() for choice in choices]
EVERY += [{"gated": True}, {"temporal": False}, {"answer_words": [5, 0, 2]}]
EVERY += [{"tying": tying, "write": write, "gated": True} for tying in CHOICES["tying"] for write in ("add", "gated")]
EVERY += [{"tying": "layerwise", "match": "cosine", "head": "concat", "encoding": "bag", "write": "gated"}]


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("options", EVERY, ids=str)
def test_empty_slots_do_not_matter(linear: bool, options: dict[str, Any]) -> None:
    net = network(**options)
    net.linear = linear

    scores, looks = run(net, STORY, QUESTION)
    padded, padded_looks = run(net, STORY, QUESTION, empty=4)

    assert torch.allclose(scores, padded, atol=1e-6)
    assert torch.allclose(looks, padded_looks[:, :, 4:], atol=1e-6)
    assert not padded_looks[:, :, :4].any()


@pytest.mark.parametrize("empty", [0, 4])
def test_a_hop_that_may_look_at_empty_slots_finds_nothing_there(empty: int) -> None:
    """As if all 8 slots were there and the empty ones had scored 0, however many of them are handed in."""
    net = network(hops=1, empty=True)
    u, m = net.encode_question(QUESTION), slots_of(net, 0)
    scores = torch.cat([m @ u, torch.zeros(8 - len(m))])

    _, looks = run(net, STORY, QUESTION, empty=empty)

    assert torch.allclose(looks[0, 0, empty:], torch.softmax(scores, 0)[:3], atol=1e-6)
    assert not looks[0, 0, :empty].any()


@pytest.mark.parametrize("sentences", [8, 9])
def test_a_full_memory_has_no_empty_slots_to_look_at(sentences: int) -> None:
    """Nor has one to which a story longer than it is given whole."""
    story = torch.randint(2, 11, (sentences, 4))

    assert torch.allclose(run(network(empty=True), story, QUESTION)[0], run(network(), story, QUESTION)[0], atol=1e-6)


def test_an_answer_that_is_a_word_shares_its_row() -> None:
    net = network(answer_words=[5, 0, 2], hops=1)
    table = net.input_module.tables[-1]

    assert table.shape == (12, 6)  # 11 words and the one answer that is none
    assert torch.equal(net.input_module.answers(), table[[5, 11, 2]])
    run(net, STORY, QUESTION)[0][0, 0].backward()
    assert net.input_module.tables[-1].grad[5].any()


@pytest.mark.parametrize("options", [*EVERY, {"empty": True}], ids=str)
def test_a_question_about_nothing_has_a_finite_answer(options: dict[str, Any]) -> None:
    scores, looks = run(network(**options), STORY[:0], QUESTION, empty=3)

    assert scores.isfinite().all()
    assert not looks.any()


def test_every_matrix_is_clipped_by_itself() -> None:
    small, large, none = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
    small.grad, large.grad = torch.tensor([3.0, 4.0]), torch.tensor([30.0, 40.0])

    clip_each([small, large, none], norm=10.0)

    assert small.grad.tolist() == [3.0, 4.0]
    assert large.grad.tolist() == pytest.approx([6.0, 8.0])


@pytest.mark.parametrize("options", EVERY, ids=str)
def test_every_weight_of_every_option_learns(options: dict[str, Any]) -> None:
    net = network(**options)
    scores, looks = run(net, STORY, QUESTION)

    (scores.square().sum() + looks.square().sum()).backward()

    assert looks.shape == (1, 3, 3)
    assert torch.allclose(looks.sum(-1), torch.ones(1, 3), atol=1e-5)
    for name, weight in net.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.any(), name


def slots_of(net: MemoryNetwork, number: int) -> torch.Tensor:
    """What is kept of the story's sentences, with their times."""
    rows = net.memory_module.ages[number][torch.tensor([2, 1, 0])]
    return net.encode(STORY)[:, number] + rows


@pytest.mark.parametrize("write", ["add", "gated"])
def test_hops_that_write_do_what_is_written_down(write: str) -> None:
    """p = softmax(m u); o = sum p m; w = W [u ; o before]; m <- m + p w or (1 - p g) m + p g w; u' = u + o."""
    net = network(tying="single", write=write, hops=3)
    control = net.control_module
    assert control.written is not None

    m, u = slots_of(net, 0), net.encode_question(QUESTION)
    before = torch.zeros(6)
    expected = []
    for _ in range(3):
        p = torch.softmax(m @ u, 0)
        o = p @ m
        both = torch.cat([u, before])
        w = control.written @ both
        if write == "add":
            m = m + p[:, None] * w
        else:
            assert control.erased is not None
            share = p[:, None] * torch.sigmoid(control.erased(both))
            m = (1 - share) * m + share * w
        u, before = u + o, o
        expected.append(p)

    scores, looks = run(net, STORY, QUESTION)

    assert torch.allclose(looks[0], torch.stack(expected), atol=1e-5)
    assert net.output_module.answers is not None
    assert torch.allclose(scores[0], net.output_module.answers @ u, atol=1e-5)


def test_a_write_ends_with_its_question() -> None:
    net = network(write="gated")
    memory = net.encode(STORY).unsqueeze(0)
    before = memory.clone()
    times = torch.tensor([[3, 2, 1]])

    first, _ = net(memory, times > 0, times, net.encode_question(QUESTION).unsqueeze(0))
    net(memory, times > 0, times, net.encode_question(QUESTION.flip(0)).unsqueeze(0))
    again, _ = net(memory, times > 0, times, net.encode_question(QUESTION).unsqueeze(0))

    assert torch.equal(memory, before)
    assert torch.equal(first, again)


def test_what_is_written_changes_where_later_hops_look() -> None:
    net = network(write="add")
    _, looks = run(net, STORY, QUESTION)
    torch.nn.init.zeros_(net.control_module.written)  # type: ignore[arg-type]
    _, plain = run(net, STORY, QUESTION)

    assert torch.allclose(looks[0, 0], plain[0, 0], atol=1e-6)
    assert not torch.allclose(looks[0, 1:], plain[0, 1:], atol=1e-4)


def test_a_gated_hop_mixes_what_it_read_and_what_it_was() -> None:
    net = network(gated=True)
    u, o = torch.randn(1, 6), torch.randn(1, 6)
    through = torch.sigmoid(net.control_module.gates[1](u))

    assert torch.allclose(net.control_module(u, o, 1), o * through + u * (1 - through))
    assert len(net.control_module.gates) == 3, "one a hop"


@pytest.mark.parametrize("match", CHOICES["match"])
def test_how_slots_are_matched(match: str) -> None:
    net = network(match=match, hops=1)
    memory = net.memory_module
    m, u = slots_of(net, 0), net.encode_question(QUESTION)
    if match == "cosine":
        scores = memory.sharpness * (m @ u) / (m.norm(dim=1) * u.norm())
    elif match == "bilinear":
        memory.form.data.normal_()
        scores = m @ memory.form @ u
    elif match == "network":
        both = torch.cat([m, u.expand(3, -1), m * u], dim=1)
        scores = memory.compare(both).squeeze(1)
    else:
        scores = m @ u

    _, looks = run(net, STORY, QUESTION)

    assert torch.allclose(looks[0, 0], torch.softmax(scores, 0), atol=1e-5)


@pytest.mark.parametrize("head", CHOICES["head"])
@pytest.mark.parametrize("tying", CHOICES["tying"])
def test_what_answers_are_read_from(head: str, tying: str) -> None:
    net = network(head=head, tying=tying, hops=1)
    u = net.encode_question(QUESTION)
    scores, looks = run(net, STORY, QUESTION)
    o = looks[0, 0] @ slots_of(net, net.kept - 1)
    carried = u if net.control_module.carry is None else u @ net.control_module.carry
    rows = net.input_module.answers() if net.tied else net.output_module.answers

    if head == "network":
        assert net.output_module.network is not None
        expected = net.output_module.network(o)
    else:
        assert rows is not None
        expected = rows @ (carried + o if head == "sum" else torch.cat([o, u]))

    assert torch.allclose(scores[0], expected, atol=1e-5)


def test_without_temporal_encoding_the_order_of_sentences_does_not_count() -> None:
    timeless, timed = network(temporal=False), network()

    assert torch.allclose(run(timeless, STORY, QUESTION)[0], run(timeless, STORY.flip(0), QUESTION)[0], atol=1e-6)
    assert not torch.allclose(run(timed, STORY, QUESTION)[0], run(timed, STORY.flip(0), QUESTION)[0], atol=1e-4)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"tying": "loose"}, "tying: expected one of adjacent, layerwise, single, got 'loose'"),
        ({"match": "guess"}, "match: expected one of dot, cosine, bilinear, network, got 'guess'"),
        ({"write": "often"}, "write: expected one of none, add, gated, got 'often'"),
        ({"head": "two"}, "head: expected one of sum, concat, network, got 'two'"),
        ({"hops": 0}, "hops: expected at least 1, got 0"),
    ],
)
def test_options_that_do_not_exist_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        network(**options)
