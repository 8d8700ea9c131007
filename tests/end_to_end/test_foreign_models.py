"""Models as others export them, hosted by what was guessed of them, give what their authors' programs give."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tapehead
from tapehead.bundle.adopt import adopt
from tapehead.bundle.choices import Choices
from tapehead.bundle.runtime import onnxruntime
from tests.end_to_end.server_process import START_SECONDS, ServerProcess
from tests.foreign import (
    CONTEXT,
    FRAME,
    FRAMED,
    FRAMED_CONTEXT,
    HEAD_WIDTH,
    HEADS,
    VOICE,
    Encoder,
    Recurrent,
    Vad,
    decoder,
    encoder,
    framed,
    hidden,
    outside,
    quantised,
    recurrent,
    run_framed,
    vad,
)

pytestmark = pytest.mark.end_to_end

STEPS = 6
KILL_BEFORE = 3  # the server dies before this one, counted from 0


@dataclass(frozen=True)
class Hosted:
    """A model, what it is given, and what its author's program makes of that."""

    inputs: list[np.ndarray]
    expected: list[np.ndarray]
    constants: dict[str, Any] = field(default_factory=dict)


def draw(*shape: int) -> list[np.ndarray]:
    return list(np.random.default_rng(11).standard_normal((STEPS, *shape)).astype(np.float32))


def host_vad(folder: Path, models: Path) -> Hosted:
    """The frame before lends each frame its end, and the sample rate is given once."""
    place = vad(folder / "vad.onnx")
    adopt(place, models / "vad" / "1", Choices(carries={"input": CONTEXT}), {})
    program, frames = Vad(place, 8000), draw(FRAME)
    return Hosted(frames, [program(frame) for frame in frames], {"sr": 8000})


def host_decoder(folder: Path, models: Path) -> Hosted:
    """Four states that are one longer after each step."""
    place = decoder(folder / "decoder.onnx")
    adopt(place, models / "decoder" / "1", Choices(maxima={"past_key_values.*": STEPS}), {})
    session = onnxruntime.InferenceSession(str(place), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()][1:]
    state, rows, expected = [np.zeros((1, HEADS, 0, HEAD_WIDTH), np.float32) for _ in names], draw(8), []
    for row in rows:
        y, *state = session.run(None, {"x": row[np.newaxis], **dict(zip(names, state, strict=True))})
        expected.append(y[0])
    return Hosted(rows, expected)


def host_recurrent(folder: Path, models: Path) -> Hosted:
    """PyTorch's LSTM, with its batch at axis 1 and its weights in another file."""
    place = outside(recurrent(folder / "lstm.onnx"))
    adopt(place, models / "recurrent" / "1", Choices(), {})
    network, rows = Recurrent("LSTM"), draw(4)
    with torch.no_grad():
        y, _ = network.network(torch.from_numpy(np.stack(rows))[:, None])
        expected = network.line(y[:, 0]).numpy()
    return Hosted(rows, list(expected))


def host_encoder(folder: Path, models: Path) -> Hosted:
    """Three caches: one with the batch at axis 1, one of int64."""
    place = encoder(folder / "encoder.onnx")
    adopt(place, models / "encoder" / "1", Choices(), {})
    network, rows, expected = Encoder(), draw(4, 5), []
    state = [torch.zeros(1, 5, 2), torch.zeros(6, 1, 8), torch.zeros(1, dtype=torch.int64)]
    with torch.no_grad():
        for row in rows:
            y, *state = network(torch.from_numpy(row)[None], *state)
            expected.append(y[0].numpy())
    return Hosted(rows, expected)


def host_framed(folder: Path, models: Path) -> Hosted:
    """The author's program runs a whole recording at once; here each frame is a step, with the end of the last one."""
    place = framed(folder / "framed.onnx")
    adopt(place, models / "framed" / "1", Choices(step_axes={"input": 0}, carries={"input": FRAMED_CONTEXT}), {})
    frames = draw(FRAMED)
    return Hosted(frames, list(run_framed(place, np.concatenate(frames))))


def host_quantised(folder: Path, models: Path) -> Hosted:
    """Two sessions, or two steps, would share the scale of their quantisation: each runs for itself."""
    place = quantised(folder / "quantised.onnx")
    adopt(place, models / "quantised" / "1", Choices(step_axes={"mel": 1}, constants=frozenset({"voice"})), {})
    session = onnxruntime.InferenceSession(str(place), providers=["CPUExecutionProvider"])
    voice, state, rows, expected = np.full(VOICE, 0.3, np.float32), np.zeros((1, 1, 5), np.float32), draw(6), []
    for row in rows:
        mask, state = session.run(None, {"mel": row[np.newaxis, np.newaxis], "voice": voice[np.newaxis], "h0": state})
        expected.append(mask[0, 0])
    return Hosted(rows, expected, {"voice": voice})


HOSTS = {
    "vad": host_vad,
    "decoder": host_decoder,
    "recurrent": host_recurrent,
    "encoder": host_encoder,
    "framed": host_framed,
    "quantised": host_quantised,
}


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, dict[str, Hosted]]]:
    folder = tmp_path_factory.mktemp("foreign")
    known = {name: host(folder, folder / "models") for name, host in HOSTS.items()}
    with ServerProcess(folder, "--models", str(folder / "models")) as server:
        yield server, known


def test_each_step_is_that_of_the_authors_program_over_a_kill_too(hosted: tuple[ServerProcess, dict[str, Hosted]]):
    server, known = hosted
    got: dict[str, list[np.ndarray]] = {name: [] for name in known}
    with tapehead.connect(server.grpc) as client:
        for first, last in ((0, KILL_BEFORE), (KILL_BEFORE, STEPS)):
            for name, model in known.items():
                with client.session(name, name, constants=model.constants) as session:
                    got[name] += [session.step(model.inputs[step]).output for step in range(first, last)]
            if first == 0:
                server.kill()
                server.start()

    for name, model in known.items():
        np.testing.assert_allclose(got[name], model.expected, rtol=2e-5, atol=2e-6, err_msg=name)


def test_without_what_is_carried_the_numbers_would_be_others(hosted: tuple[ServerProcess, dict[str, Hosted]]):
    """The check above can fail."""
    server, known = hosted
    place = server.folder / "vad.onnx"
    session = onnxruntime.InferenceSession(str(place), providers=["CPUExecutionProvider"])
    state, rate = np.zeros((2, 1, 128), np.float32), np.array(8000)
    for frame in known["vad"].inputs:
        output, state = session.run(["output", "stateN"], {"input": frame[np.newaxis], "state": state, "sr": rate})

    assert not np.allclose(output[0], known["vad"].expected[-1], rtol=2e-5, atol=2e-6)


def test_steps_that_are_sent_together_do_not_share_what_a_call_would(
    hosted: tuple[ServerProcess, dict[str, Hosted]],
):
    """Steps of one message are one call where that gives the same bits, and many calls elsewhere."""
    server, known = hosted
    for name in ("framed", "quantised"):
        with tapehead.connect(server.grpc) as client, client.session(name, constants=known[name].constants) as session:
            got = [result.output for result in session.stream(known[name].inputs)]
        np.testing.assert_allclose(got, known[name].expected, rtol=2e-5, atol=2e-6, err_msg=name)


def test_a_state_that_is_full_takes_no_further_step(hosted: tuple[ServerProcess, dict[str, Hosted]]):
    server, known = hosted
    with tapehead.connect(server.grpc) as client, client.session("decoder") as session:
        for row in known["decoder"].inputs:
            session.step(row)
        with pytest.raises(tapehead.TapeheadError, match="the limit is 6, got 7"):
            session.step(known["decoder"].inputs[0])


def test_a_lone_file_is_served_in_one_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Alone unless a folder of bundles is named; under the name of the file; and again after a restart."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    place = vad(tmp_path / "Voice Activity.onnx")
    frames = draw(FRAME)
    with (
        ServerProcess(tmp_path, "--model", str(place)) as server,
        tapehead.connect(server.grpc) as client,
    ):
        assert [model.model_id for model in client.models.list()] == ["voice-activity"]
        with client.session("voice-activity", "s", constants={"sr": 16_000}) as session:
            first = session.step(frames[0]).output
            server.kill()
            server.start()
            second = session.step(frames[1]).output

    graph = onnxruntime.InferenceSession(str(place), providers=["CPUExecutionProvider"])
    state = np.zeros((2, 1, 128), np.float32)
    for frame, got in zip(frames, (first, second), strict=False):
        expected, state = graph.run(
            ["output", "stateN"], {"input": frame[np.newaxis], "state": state, "sr": np.array(16_000)}
        )
        np.testing.assert_allclose(got, expected[0], rtol=2e-5)


@pytest.mark.parametrize(
    ("write", "said"),
    [(decoder, "tapehead bundle build"), (hidden, "LSTM but no state input, so every call starts anew")],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_a_file_that_leaves_something_open_ends_the_start_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write, said: str
):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    server = ServerProcess(tmp_path, "--model", str(write(tmp_path / "m.onnx")))

    server.launch()

    assert server.wait(START_SECONDS) == 1
    assert said in server.log
    assert "Traceback" not in server.log
    assert not (tmp_path / "state/tapehead/models/m/1").exists()
