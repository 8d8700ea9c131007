"""The network whose hops rewrite the memory, and its small residual."""

from __future__ import annotations

import torch

from training.networks.memory_network import MemoryNetwork
from training.networks.rewriting_network import JointNetwork, RewritingNetwork, decided


def rewriting() -> RewritingNetwork:
    """A small one, always the same, with biases that are not zero."""
    torch.manual_seed(5)
    net = RewritingNetwork(words=11, answers=3, sentence_words=4, size=8, heads=2, hops=3, memory=6)
    torch.nn.init.normal_(net.distance)
    return net


STORY = torch.randint(2, 11, (2, 3, 4), generator=torch.Generator().manual_seed(1))
QUESTION = torch.randint(2, 11, (2, 4), generator=torch.Generator().manual_seed(2))
TIMES = torch.tensor([[3, 2, 1], [3, 2, 1]])
PRESENT = TIMES > 0


def test_shapes_and_weights() -> None:
    net = rewriting()

    scores, looks = net(net.encode(STORY), PRESENT, TIMES, net.encode(QUESTION))

    assert scores.shape == (2, 3)
    assert looks.shape == (2, 3, 3)
    assert (looks >= 0).all()
    assert (looks.sum(-1) < 1).all(), "the rest is the question's look at itself"


def test_empty_slots_do_not_matter() -> None:
    net = rewriting()
    memory, question = net.encode(STORY), net.encode(QUESTION)
    scores, looks = net(memory, PRESENT, TIMES, question)

    noise = torch.randn(2, 3, 8)
    times = torch.arange(6, 0, -1).expand(2, -1)
    padded, padded_looks = net(torch.cat([noise, memory], 1), times <= 3, times, question)

    assert torch.allclose(scores, padded, atol=1e-5)
    assert torch.allclose(looks, padded_looks[:, :, 3:], atol=1e-5)
    assert not padded_looks[:, :, :3].any()


def test_the_empty_and_the_unknown_word_mean_nothing() -> None:
    net = rewriting()

    assert torch.equal(net.encode(torch.tensor([2, 0, 3, 0])), net.encode(torch.tensor([2, 1, 3, 0])))
    assert not net.encode(torch.tensor([1, 1, 0, 0])).any()


def test_only_differences_in_time_count() -> None:
    net = rewriting()
    memory, question = net.encode(STORY), net.encode(QUESTION)
    earlier = TIMES + torch.tensor([[1, 1, 0]])

    same, _ = net(memory, PRESENT, TIMES, question)
    other, _ = net(memory, PRESENT, earlier, question)

    assert not torch.allclose(same, other)
    net.distance.data.zero_()
    assert torch.allclose(
        net(memory, PRESENT, TIMES, question)[0], net(memory, PRESENT, earlier, question)[0], atol=1e-6
    )


def test_sentences_learn_from_each_other() -> None:
    """From the second hop on, what one sentence says reaches the question through the others too."""
    net = rewriting()
    memory, question = net.encode(STORY).requires_grad_(), net.encode(QUESTION)
    _, looks = net(memory, PRESENT, TIMES, question)

    (gradient,) = torch.autograd.grad(looks[0, 1, 0], memory)

    assert gradient[0].abs().sum(-1).gt(0).all()
    assert not gradient[1].any(), "stories of a batch stay apart"


def test_a_question_about_nothing_has_a_finite_answer() -> None:
    net = rewriting()
    nothing = torch.zeros_like(PRESENT)

    scores, looks = net(net.encode(STORY), nothing, TIMES, net.encode(QUESTION))

    assert scores.isfinite().all()
    assert not looks.any()


def test_the_residual_does_not_teach_the_rewriting_network() -> None:
    net = rewriting()
    joint = JointNetwork(net, MemoryNetwork(words=11, answers=3, sentence_words=4, size=6, memory=2))
    memory, question = joint.encode(STORY), joint.encode_question(QUESTION)

    _, added, *_ = joint.parts((memory[0], PRESENT, TIMES), (memory[1], PRESENT, TIMES), question)
    added.sum().backward()

    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(parameter.grad is not None for parameter in joint.gate.parameters())


def test_the_residual_sees_its_newest_sentences_only() -> None:
    joint = JointNetwork(rewriting(), MemoryNetwork(words=11, answers=3, sentence_words=4, size=6, memory=2))
    memory, question = joint.encode(STORY), joint.encode_question(QUESTION)

    large = (memory[0], PRESENT, TIMES)
    _, whole, *_ = joint.parts(large, (memory[1], PRESENT, TIMES), question)
    _, newest, *_ = joint.parts(large, (memory[1][:, -2:], PRESENT[:, -2:], TIMES[:, -2:]), question)

    assert torch.allclose(whole, newest, atol=1e-6)


def test_the_weights_shown_sum_to_one() -> None:
    joint = JointNetwork(rewriting(), MemoryNetwork(words=11, answers=3, sentence_words=4, size=6, memory=2))

    _, looks = joint(joint.encode(STORY), PRESENT, TIMES, joint.encode_question(QUESTION))

    assert torch.allclose(looks.sum(-1), torch.ones(2, 3), atol=1e-5)


def test_who_decided() -> None:
    y = torch.tensor([[5.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    added = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [3.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])

    assert decided(y, added).squeeze(1).tolist() == [0.0, 1.0, 0.75, 0.0]
