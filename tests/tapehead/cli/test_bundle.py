"""`tapehead bundle` as a person runs it on files that others exported."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf import json_format
from onnx import helper

from tapehead.bundle import read_manifest
from tapehead.cli import app
from tapehead.v1.manifest_pb2 import Manifest
from tests.bundles import onnx_bytes, value
from tests.foreign import decoder, hidden, outside, quantised, vad

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of `tapehead bundle ...`."""
        monkeypatch.setattr(sys, "argv", ["tapehead", "bundle", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            app.main()
        output = capsys.readouterr()
        code = ended.value.code
        return (code if isinstance(code, int) else 0), output.out, output.err

    return run


def adder(place: Path, *, after: str = "next_state.total", weight: float = 1.0) -> Path:
    """y = total + weight x, which becomes the total."""
    nodes = [
        helper.make_node("Mul", ["x", "weight"], ["scaled"]),
        helper.make_node("Add", ["state.total", "scaled"], ["y"]),
        helper.make_node("Identity", ["y"], [after]),
    ]
    shape: list[str | int] = ["batch", 2]
    inputs, outputs = [value("x", shape), value("state.total", shape)], [value("y", shape), value(after, shape)]
    place.write_bytes(onnx_bytes(nodes, inputs, outputs, {"weight": np.array(weight, np.float32)}))
    return place


def test_what_inspect_prints_is_what_build_takes(run: Run, tmp_path: Path):
    model = vad(tmp_path / "My VAD.onnx")

    code, printed, _ = run("inspect", model, "--carry", "input=64")
    (tmp_path / "m.toml").write_text(printed)
    built = run("build", model, "--manifest", tmp_path / "m.toml", tmp_path / "models/vad/3")
    guessed = run("build", model, "--carry", "input=64", tmp_path / "models/vad/4")

    assert (code, built[0], guessed[0]) == (0, 0, 0)
    said = json_format.ParseDict(tomllib.loads(printed), Manifest())
    assert (said.model_id, said.entries[0].inputs[0].carry.last, said.state[0].batch_axis) == ("my-vad", 64, 1)
    by_manifest, by_guess = (read_manifest(tmp_path / f"models/vad/{version}") for version in (3, 4))
    by_guess.version = 3
    assert by_manifest == by_guess


def test_what_is_unsure_is_asked_with_a_command_that_answers_it(run: Run, tmp_path: Path):
    model, folder = decoder(tmp_path / "decoder.onnx"), tmp_path / "models/decoder/1"

    code, printed, _ = run("inspect", model)
    refused = run("build", model, folder)
    answered = run("build", model, "--maximum", "*=8", folder)

    assert code == 0
    assert f"tapehead bundle build {model} --maximum '*'=LENGTH" in printed
    assert refused[0] == 1
    assert "How long may it be?" in refused[2]
    assert answered[0] == 0, answered[2]
    assert list(read_manifest(folder).state[0].maximum) == [2, 8, 4]


def test_a_command_that_answers_a_question_says_again_what_was_said(run: Run, tmp_path: Path):
    model = quantised(tmp_path / "q.onnx")

    _, printed, _ = run("inspect", model, "--step-axis", "mel=1")
    code, _, refused = run("build", model, "--step-axis", "mel=1", tmp_path / "q/1")

    assert code == 1
    for said in (printed, refused):
        assert f"tapehead bundle build {model} --step-axis mel=1 --constant voice=VALUE models/" in said


def test_a_bundle_that_was_built_is_verified_again(run: Run, tmp_path: Path):
    folder = tmp_path / "models/adder/1"
    assert run("build", adder(tmp_path / "a.onnx"), folder)[0] == 0

    assert run("verify", folder) == (0, f"{folder}: 2 probe(s) replayed, largest difference 0.\n", "")

    (folder / "model.onnx").write_bytes(adder(tmp_path / "b.onnx", weight=2).read_bytes())
    code, _, said = run("verify", folder)
    assert code == 1
    assert "expected sha256" in said


def test_steps_without_and_with_chunks(run: Run, tmp_path: Path):
    model = adder(tmp_path / "a.onnx")

    run("build", model, tmp_path / "with/1")
    run("build", model, "--no-chunk", tmp_path / "without/1")

    assert [entry.name for entry in read_manifest(tmp_path / "with/1").entries] == ["step", "chunk"]
    assert [entry.name for entry in read_manifest(tmp_path / "without/1").entries] == ["step"]


def test_weights_in_another_file_are_put_inside(run: Run, tmp_path: Path):
    model = outside(adder(tmp_path / "a.onnx", weight=3))
    assert onnx.load(model, load_external_data=False).graph.initializer[0].external_data

    code, _, said = run("build", model, tmp_path / "a/1")
    (tmp_path / "a.weights").unlink()

    assert (code, said.count("Traceback")) == (0, 0)
    assert run("verify", tmp_path / "a/1")[0] == 0
    code, _, said = run("build", model, tmp_path / "a/2")
    assert code == 1
    assert "a.weights" in said


def test_a_state_that_never_changes_is_none(run: Run, tmp_path: Path):
    graph = [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", ["h"], ["new_h"])]
    shape: list[str | int] = ["batch", 2]
    model = tmp_path / "still.onnx"
    model.write_bytes(
        onnx_bytes(graph, [value("x", shape), value("h", shape)], [value("y", shape), value("new_h", shape)])
    )

    code, _, said = run("build", model, tmp_path / "still/1")

    assert code == 1
    assert "no state changed in 2 steps: h" in said
    assert not (tmp_path / "still/1").exists()


def test_a_batch_that_mixes_its_sessions_is_refused_by_name(run: Run, tmp_path: Path):
    graph = [
        helper.make_node("Add", ["h", "x"], ["sum"]),
        helper.make_node("ReduceMean", ["sum", "zero"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["sum", "mean"], ["y"]),
        helper.make_node("Add", ["sum", "mean"], ["new_h"]),
    ]
    shape: list[str | int] = ["batch", 2]
    model = tmp_path / "mixing.onnx"
    ports = [value("x", shape), value("h", shape)], [value("y", shape), value("new_h", shape)]
    model.write_bytes(onnx_bytes(graph, *ports, {"zero": np.array([0])}))

    code, _, said = run("build", model, tmp_path / "mixing/1")

    assert code == 1
    assert "of a session differs when another one runs beside it" in said
    assert "x=0, y=0, h=0; write --batch-axis" in said
    assert run("build", model, "--batch-axis", "*=-1", tmp_path / "mixing/1")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--state", "x"], 2, "--state x: expected NAME=OUTPUT"),
        (["--maximum", "state.total=many"], 2, "expected NAME=NUMBER"),
        (["--state", "nothing=y"], 1, "the graph has no input 'nothing'"),
        (["--constant", "x=[1, 2]", "--not-state", "state.total"], 1, "no state was found"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said(run: Run, tmp_path: Path, arguments: list[str], code: int, said: str):
    got, _, error = run("build", adder(tmp_path / "a.onnx"), *arguments, tmp_path / "a/1")

    assert got == code
    assert said in " ".join(error.replace("│", " ").split())
    assert not (tmp_path / "a").exists() or not list((tmp_path / "a").iterdir())


def test_files_and_folders_that_will_not_do(run: Run, tmp_path: Path):
    model = adder(tmp_path / "a.onnx")
    (tmp_path / "text.onnx").write_text("not a graph")
    assert run("build", model, tmp_path / "a/1")[0] == 0

    for arguments, said in (
        ((model, tmp_path / "a/1"), "is there already"),
        ((model, tmp_path / "a/first"), "expected .../MODEL_ID/VERSION"),
        ((model, tmp_path / "A B/1"), "model_id: expected"),
        ((tmp_path / "none.onnx", tmp_path / "a/2"), "there is no such file"),
        ((tmp_path / "text.onnx", tmp_path / "a/2"), "not an ONNX file"),
        ((hidden(tmp_path / "hidden.onnx"), tmp_path / "a/2"), "LSTM but no state input, so every call starts anew"),
    ):
        code, _, error = run("build", *arguments)
        assert code == 1
        assert said in error


def test_the_client_runs_without_the_packages_that_bundles_need(tmp_path: Path):
    """And says what to install once they are needed."""
    script = (
        "import sys\n"
        "sys.modules['onnx'] = sys.modules['onnxruntime'] = None\n"
        f"sys.argv = ['tapehead', 'bundle', 'verify', {str(tmp_path)!r}]\n"
        "from tapehead.cli.app import main\n"
        "main()\n"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert (
        done.stderr
        == "tapehead: bundles need more than the client: pip install '.[bundle]' in the root of Tapehead's repository\n"
    )
