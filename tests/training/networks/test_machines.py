"""What all machines promise, whatever their controller, heads and memory: pure steps, finite numbers, equal bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from tapehead.bundle import read_manifest, verify
from tests.training.runs import tiny_config
from training.errors import TrainingError
from training.evaluate import load_trained
from training.export import export
from training.networks.cells import CELLS
from training.networks.content_machine import ContentMachine, ContentOptions
from training.networks.machine import Machine
from training.networks.ntm import NTM, NetworkOptions
from training.tasks.sequence_graphs import Step
from training.train import train

INPUTS, OUTPUTS, WIDTH, LOCATIONS, UNITS = 4, 3, 5, 6, 8
MODELS = Path(__file__).parents[3] / "models"


def ntm(controller: str, layers: int, heads: tuple[int, int] = (1, 1), memory: str = "constant") -> NTM:
    return NTM(
        NetworkOptions(
            inputs=INPUTS,
            outputs=OUTPUTS,
            controller=UNITS,
            controller_kind=controller,
            layers=layers,
            locations=LOCATIONS,
            width=WIDTH,
            memory=memory,
            read_heads=heads[0],
            write_heads=heads[1],
        )
    )


def content(controller: str, layers: int, strength: float | str = "learned", memory: str = "learned") -> ContentMachine:
    return ContentMachine(
        ContentOptions(
            inputs=INPUTS,
            outputs=OUTPUTS,
            controller=UNITS,
            controller_kind=controller,
            layers=layers,
            locations=LOCATIONS,
            width=WIDTH,
            memory=memory,
            key_strength=strength,
        )
    )


MACHINES: dict[str, Callable[[], Machine]] = {
    **{f"ntm, {kind}": lambda kind=kind: ntm(kind, 1) for kind in CELLS},
    **{f"ntm, 3 layers, 2 + 3 heads, {kind}": lambda kind=kind: ntm(kind, 3, (2, 3), "learned") for kind in CELLS},
    "ntm, 2 + 1 heads": lambda: ntm("lstm", 2, (2, 1), "random"),
    **{f"content machine, {kind}": lambda kind=kind: content(kind, 1) for kind in CELLS},
    "content machine, no strength": lambda: content("lstm", 2, 1.0, "random"),
}


@pytest.fixture(params=MACHINES)
def machine(request: pytest.FixtureRequest) -> Machine:
    torch.manual_seed(3)
    return MACHINES[request.param]().eval()


def randn(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_state_holds_everything_and_is_left_alone(machine: Machine) -> None:
    inputs = randn(6, 2, INPUTS)

    whole, last = machine.run(inputs)
    first, middle = machine.run(inputs[:4])
    kept = type(middle)(*(value.clone() for value in middle))
    second, end = machine.run(inputs[4:], middle)

    assert torch.equal(whole, torch.cat([first, second]))
    for one, other in ((last, end), (middle, kept)):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_every_parameter_learns(machine: Machine) -> None:
    logits, _ = machine.run(randn(4, 2, INPUTS))
    logits.square().sum().backward()

    for name, parameter in machine.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.numel() == 0 or parameter.grad.abs().sum() > 0, name


def test_what_a_step_shows_is_as_described(machine: Machine) -> None:
    logits, state, shown = machine.observe(randn(2, INPUTS), machine.initial_state(2))
    seen = dict(zip([one.name for one in machine.seen], shown, strict=True))

    assert logits.shape == (2, OUTPUTS)
    assert all(value.shape == (2, *one.shape) for one, value in zip(machine.seen, shown, strict=True))
    assert torch.equal(seen.pop("tape"), state.memory.transpose(1, 2))
    assert set(state._fields) <= set(machine.state_meanings)
    for weights in seen.values():
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:2]))


def test_rows_of_a_batch_do_not_meet(machine: Machine) -> None:
    inputs = randn(5, 3, INPUTS)
    together = machine.run(inputs)[0]

    for row in range(3):
        torch.testing.assert_close(machine.run(inputs[:, row : row + 1])[0][:, 0], together[:, row])


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("make", [ntm, content], ids=["ntm", "content machine"])
def test_a_hundred_thousand_steps_stay_finite(make: Callable[[str, int], Machine], kind: str) -> None:
    """100 sequences of 1,000 steps: ordinary, tiny, huge and zero inputs, and heads told the most extreme things."""
    torch.manual_seed(3)
    machine = make(kind, 1).eval()
    scales = torch.tensor([0.0, 1e-30, 1.0, 1e3, 1e30]).repeat(20)[:, None]
    generator = torch.Generator().manual_seed(17)
    with torch.no_grad():
        machine.heads.weight.mul_(10)
        state = machine.initial_state(100)
        for step in range(1000):
            if step == 500:
                machine.heads.weight.mul_(100)  # nearly every head output at its limit
            logits, state, shown = machine.observe(scales * torch.randn(100, INPUTS, generator=generator), state)
            if step % 50 == 0 or step > 950:
                for value in (logits, *state, *shown):
                    assert torch.isfinite(value).all(), f"step {step}, seed 17"
    weights = shown[0]
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:2]))


def test_a_random_memory_is_drawn_from_the_seed_and_kept_with_the_weights() -> None:
    torch.manual_seed(1)
    one = ntm("lstm", 1, memory="random")
    torch.manual_seed(1)
    same = ntm("lstm", 1, memory="random")
    other = ntm("lstm", 1, memory="random")
    before = other.initial_state(1).memory.clone()
    other.load_state_dict(one.state_dict())

    assert torch.equal(one.initial_state(2).memory, same.initial_state(2).memory)
    assert not torch.equal(one.initial_state(1).memory, before)
    assert torch.equal(one.initial_state(1).memory, other.initial_state(1).memory)
    assert "initial_memory" not in dict(one.named_parameters())
    assert "initial_memory" in dict(ntm("lstm", 1, memory="learned").named_parameters())


@pytest.mark.parametrize("make", [NTM, ContentMachine])
def test_heads_are_told_noise_in_training_alone(make: type[Machine]) -> None:
    options = NetworkOptions if make is NTM else ContentOptions
    torch.manual_seed(2)
    noisy = make(options(inputs=INPUTS, outputs=OUTPUTS, controller=UNITS, locations=LOCATIONS, head_noise=1.0))
    torch.manual_seed(2)
    plain = make(options(inputs=INPUTS, outputs=OUTPUTS, controller=UNITS, locations=LOCATIONS))
    inputs = randn(3, 2, INPUTS)

    assert not torch.equal(noisy.train().run(inputs)[0], noisy.run(inputs)[0])
    assert torch.equal(plain.train().run(inputs)[0], plain.run(inputs)[0])
    assert torch.equal(noisy.eval().run(inputs)[0], plain.eval().run(inputs)[0])


def test_the_content_machine_computes_its_formulas() -> None:
    """Against the sentences of its description, one location after the other."""
    torch.manual_seed(5)
    machine = content("feed-forward", 1, 2.5).double()
    x, state = randn(1, INPUTS).double(), machine.initial_state(1)
    memory, start = machine.initial_memory.detach().T.numpy(), machine.initial_weights.softmax(-1)[0].detach().numpy()
    vector = sum(start[i] * memory[i] for i in range(LOCATIONS))
    np.testing.assert_allclose(state.controller[0].detach().numpy(), vector)

    logits, after, (weights, tape) = machine.observe(x, state)

    hidden = torch.tanh(machine.feed_forward(torch.cat([x, torch.from_numpy(vector)[None]], dim=-1)))
    key, erase, add = (part[0].detach().numpy() for part in machine.heads(hidden).split(WIDTH, dim=-1))
    key, erase, add = np.tanh(key), 1 / (1 + np.exp(-erase)), np.tanh(add)
    cosines = [key @ row / np.linalg.norm(key) / np.linalg.norm(row) for row in memory]
    by_hand = np.exp(2.5 * np.array(cosines))
    by_hand /= by_hand.sum()
    written = np.stack([row - a * erase * row + a * add for a, row in zip(by_hand, memory, strict=True)])
    read = sum(a * row for a, row in zip(by_hand, written, strict=True))
    np.testing.assert_allclose(weights[0, 0].detach(), by_hand)
    np.testing.assert_allclose(tape[0].detach(), written)
    np.testing.assert_allclose(after.controller[0].detach(), read)
    torch.testing.assert_close(logits, machine.output(torch.cat([hidden, torch.from_numpy(read)[None]], dim=-1)))


def test_a_layer_before_the_output_makes_it_a_curved_function_of_what_was_read() -> None:
    plain = NTM(NetworkOptions(inputs=INPUTS, outputs=OUTPUTS, controller=UNITS, locations=LOCATIONS, width=WIDTH))
    curved = NTM(replace(plain.options, output_units=7))
    features = randn(2, UNITS + WIDTH)
    first, _, second = curved.output

    expected = torch.tanh(features @ first.weight.T + first.bias) @ second.weight.T + second.bias

    assert isinstance(plain.output, torch.nn.Linear)
    assert first.out_features == 7
    torch.testing.assert_close(curved.output(features), expected)
    with pytest.raises(TrainingError, match="output_units: expected at least 0, got -1"):
        NTM(replace(plain.options, output_units=-1))


def test_without_key_strength_the_weights_cannot_focus() -> None:
    """No memory and no key give a weight above e^2 / (e^2 + N - 1)."""
    machine = content("lstm", 1, 1.0)
    with torch.no_grad():
        machine.initial_memory.copy_(-torch.ones(WIDTH, LOCATIONS))
        machine.initial_memory[:, 2] = 1
        machine.heads.weight.zero_()
        machine.heads.bias[:WIDTH] = 20.0
        weights = machine.observe(torch.zeros(1, INPUTS), machine.initial_state(1))[2][0]

    most = np.e**2 / (np.e**2 + LOCATIONS - 1)
    assert weights[0, 0, 2].item() == pytest.approx(most, rel=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ntm("transformer", 1), "controller_kind: expected one of feed-forward, rnn, gru, lstm, got 'transf"),
        (lambda: ntm("lstm", 0), "layers: expected at least 1, got 0"),
        (lambda: ntm("lstm", 1, (1, 0)), "write_heads: expected at least 1, got 0"),
        (lambda: ntm("lstm", 1, memory="empty"), "memory: expected one of constant, learned, random, got 'empty'"),
        (lambda: NTM(NetworkOptions(head_noise=-1.0)), "head_noise: expected at least 0, got -1.0"),
        (lambda: content("lstm", 1, memory="constant"), "memory: expected 'learned' or 'random'"),
        (lambda: content("lstm", 1, 0.5), "key_strength: expected 'learned' or at least 1, got 0.5"),
        (lambda: content("lstm", 1, "fixed"), "key_strength: expected 'learned' or at least 1, got 'fixed'"),
    ],
)
def test_machines_that_make_no_sense_are_refused(make: Callable[[], Machine], message: str) -> None:
    with pytest.raises(TrainingError, match=f"network: {message}"):
        make()


@pytest.mark.parametrize(
    "options",
    [
        "network={kind = 'ntm', controller_kind = 'gru', layers = 2, read_heads = 2, write_heads = 1",
        "network={kind = 'ntm', controller_kind = 'feed-forward', read_heads = 2, write_heads = 2, memory = 'learned'",
        "network={kind = 'content-machine'",
    ],
    ids=["odd heads", "feed-forward", "content machine"],
)
def test_a_machine_becomes_a_bundle_whose_bits_do_not_depend_on_the_batch(options: str, tmp_path: Path) -> None:
    network = f"{options}, inputs = 3, outputs = 2, controller = 12, locations = 16, width = 4}}"
    train(tiny_config(tmp_path, network, "updates=2"), tmp_path / "run")
    bundle = export(tmp_path / "run", tmp_path / "models", 1)
    trained = load_trained(bundle)[1].network
    assert verify(bundle) <= 1e-4
    assert [t.name for t in read_manifest(bundle).entries[0].outputs if t.inspection] == [s.name for s in trained.seen]

    threads = onnxruntime.SessionOptions()
    threads.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(bundle / "model.onnx"), threads)
    states = [value.detach().numpy() for value in trained.initial_state(33)]
    names = [value.name for value in session.get_inputs()]
    with torch.no_grad():
        for x in randn(20, 33, 3, seed=13).numpy():
            whole = session.run(None, dict(zip(names, [x, *states], strict=True)))
            for batch in (1, 2, 3, 4, 5, 7, 8, 13, 16, 31):
                part = session.run(None, dict(zip(names, [x[:batch], *(s[:batch] for s in states)], strict=True)))
                for one, other in zip(whole, part, strict=True):
                    assert np.array_equal(one[:batch], other), f"batch of {batch}, seed 13"
            expected = Step(trained)(torch.from_numpy(x), *(torch.from_numpy(value) for value in states))
            for one, other in zip(whole, expected, strict=True):
                np.testing.assert_allclose(one, other, atol=1e-5)
            states = whole[-len(states) :]


@pytest.mark.parametrize("name", ["ntm-copy", "ntm-repeat-copy", "ntm-associative-recall"])
def test_shipped_machines_compute_what_their_bundles_do(name: str) -> None:
    """Weights that were trained long ago load into the machine of today, and give the same answers."""
    folder = max((MODELS / name).iterdir(), key=lambda version: int(version.name))
    trained = load_trained(folder)[1].network
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    names = [value.name for value in session.get_inputs()]
    states = [value.detach().numpy() for value in trained.initial_state(2)]
    with torch.no_grad():
        for x in randn(12, 2, trained.inputs, seed=23).gt(0).float():
            got = session.run(None, dict(zip(names, [x.numpy(), *states], strict=True)))
            expected = Step(trained)(x, *(torch.from_numpy(value) for value in states))
            for one, other in zip(got, expected, strict=True):
                np.testing.assert_allclose(one, other, atol=2e-5)
            states = got[-len(states) :]
