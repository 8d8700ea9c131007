"""The loop: what a run leaves behind, that it learns, that seeds repeat, and that an interruption changes nothing."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training.checkpoint import read_tensors, write_tensors
from training.errors import TrainingError
from training.experiment import build
from training.results import read_result
from training.tasks.sequences import SequenceExperiment
from training.train import train

from .runs import rows, tiny_config

ROOT = Path(__file__).parents[2]


class Interrupted(Exception):
    """Stands for a kill."""


def interrupt_at(update: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the loss of one update raise."""
    original = SequenceExperiment.loss

    def loss(self: SequenceExperiment, current: int) -> torch.Tensor:
        if current == update:
            raise Interrupted
        return original(self, current)

    monkeypatch.setattr(SequenceExperiment, "loss", loss)


def test_a_run_leaves_configuration_metrics_weights_curve_and_result(tmp_path: Path) -> None:
    result = train(tiny_config(tmp_path), tmp_path / "run", command="as typed")

    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == {
        "config.toml",
        "metrics.jsonl",
        "checkpoint.safetensors",
        "best.safetensors",
        "curve.png",
        "result.json",
    }
    assert [row["update"] for row in rows(tmp_path / "run")] == [2, 4, 6]
    assert result["command"] == "as typed"
    assert "wrong_bits_at_5" in result["test"]


@pytest.mark.parametrize("update", [2, 4, 5])
def test_a_resumed_run_has_the_bits_of_one_never_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, update: int
) -> None:
    config, whole, broken = tiny_config(tmp_path), tmp_path / "whole", tmp_path / "broken"
    train(config, whole)
    with monkeypatch.context() as patch:
        interrupt_at(update + 1, patch)
        with pytest.raises(Interrupted):
            train(config, broken)
    with (broken / "metrics.jsonl").open("a") as file:
        file.write('{"update": 99, "sco')  # the line that the kill cut

    train(config, broken, resume=True)

    for name in ("checkpoint.safetensors", "best.safetensors"):
        one, other = read_tensors(whole / name)[0], read_tensors(broken / name)[0]
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one), name
    assert rows(whole) == rows(broken)


@pytest.mark.end_to_end
def test_a_process_killed_twice_in_mid_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    overrides = ["updates=20", "evaluate_every=2"]
    config, whole, broken = tiny_config(tmp_path, *overrides), tmp_path / "whole", tmp_path / "broken"
    train(config, whole)
    seed = random.randrange(1000)
    print(f"seed {seed}")
    order = random.Random(seed)
    command = [sys.executable, "-m", "training", "train", str(tmp_path / "tiny.toml"), "--out", str(broken)]
    command += [word for override in overrides for word in ("--set", override)]

    for resume in ([], ["--resume"]):
        process = subprocess.Popen([*command, *resume], stderr=subprocess.PIPE, cwd=ROOT)
        assert process.stderr is not None
        until(process.stderr.fileno(), b"score=", times=order.randint(1, 3))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        process.stderr.close()
    assert len(rows(broken)) < 10
    train(config, broken, resume=True)

    for name in ("checkpoint.safetensors", "best.safetensors"):
        one, other = read_tensors(whole / name)[0], read_tensors(broken / name)[0]
        assert all(torch.equal(one[key], other[key]) for key in one), name
    assert rows(whole) == rows(broken)


def until(handle: int, text: bytes, times: int) -> None:
    """Reads until a text has come so often."""
    seen = b""
    while seen.count(text) < times:
        got = os.read(handle, 4096)
        assert got, f"the process ended after {seen!r}"
        seen += got


def test_a_run_killed_before_its_first_checkpoint_begins(tmp_path: Path) -> None:
    config, run = tiny_config(tmp_path, "updates=2"), tmp_path / "run"
    run.mkdir()
    (run / "config.toml").write_text("name =")  # all that was written
    (run / "checkpoint.partial").write_bytes(b"half")

    train(config, run, resume=True)

    assert [row["update"] for row in rows(run)] == [2]


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, run = tiny_config(tmp_path, "updates=2"), tmp_path / "run"
    original = SequenceExperiment.validate

    def validate(self: SequenceExperiment) -> dict[str, float]:
        with pytest.raises(TrainingError, match="another process trains here"):
            train(config, run, resume=True)
        return original(self)

    monkeypatch.setattr(SequenceExperiment, "validate", validate)

    train(config, run)


def test_a_result_has_what_a_comparison_needs(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)

    train(config, tmp_path / "run")

    result = read_result(tmp_path / "run")
    assert result["run"] == "run"
    assert result["config"] == config.table()
    assert result["parameters"] == sum(p.numel() for p in build(config).network.parameters())
    assert result["curve"]["update"] == [2, 4, 6]
    assert result["curve"]["score"] == pytest.approx([row["score"] for row in rows(tmp_path / "run")], rel=1e-5)
    assert torch.__version__ in result["machine"]


def test_a_device_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    config = replace(tiny_config(tmp_path), device="frobnicator")

    with pytest.raises(TrainingError, match=r"--device frobnicator: expected cpu or a device that PyTorch \S+ finds"):
        train(config, tmp_path / "run")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_cuda_the_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"--device cuda: expected cpu or"):
        train(replace(tiny_config(tmp_path), device="cuda"), tmp_path / "run")


def test_an_update_computes_on_the_device_alone(tmp_path: Path) -> None:
    """PyTorch refuses to mix the meta device with any tensor left on the processor."""
    experiment = build(replace(tiny_config(tmp_path), device="meta"))

    experiment.set_update(1)
    loss = experiment.loss(1)
    loss.backward()
    experiment.clip()
    experiment.optimizer.step()

    assert loss.device.type == "meta"


def test_the_same_seed_repeats_and_another_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(tiny_config(tmp_path, "updates=2", seed=seed), tmp_path / name)

    assert rows(tmp_path / "a") == rows(tmp_path / "b")
    assert rows(tmp_path / "a") != rows(tmp_path / "c")


def test_it_learns(tmp_path: Path) -> None:
    overrides = ["updates=150", "evaluate_every=75", "average=0.0", "recipe.learning_rate=0.01", "task.longest=1"]
    result = train(tiny_config(tmp_path, *overrides), tmp_path / "run")

    assert result["test"]["bits"] < 0.5  # guessing costs 2


def test_the_best_weights_are_kept_and_not_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([3.0, 1.0, 2.0])
    monkeypatch.setattr(SequenceExperiment, "validate", lambda self: {"score": next(scores)})

    result = train(tiny_config(tmp_path), tmp_path / "run")

    assert result["best_update"] == 4


def test_it_starts_from_shipped_weights(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "updates=1", "recipe.learning_rate=0.0", "recipe.final_learning_rate=0.0")
    weights = {name: value + 1 for name, value in build(config).network.state_dict().items()}
    write_tensors(tmp_path / "weights.safetensors", weights)

    train(config, tmp_path / "run", warm_start=tmp_path)

    trained = read_tensors(tmp_path / "run" / "best.safetensors")[0]
    assert all(torch.equal(trained[name], weights[name]) for name in weights)


def test_warm_start_names_a_tensor_of_another_shape(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    weights = build(config).network.state_dict() | {"output.bias": torch.zeros(5)}
    write_tensors(tmp_path / "weights.safetensors", weights)

    with pytest.raises(TrainingError, match=r"'output.bias': expected shape \(2,\), got \(5,\)"):
        train(config, tmp_path / "run", warm_start=tmp_path)


def test_a_used_folder_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")

    with pytest.raises(TrainingError, match="is not empty"):
        train(tiny_config(tmp_path), tmp_path / "run")

    assert [path.name for path in (tmp_path / "run").iterdir()] == ["notes.txt"]


def test_resume_refuses_another_configuration_and_an_empty_folder(tmp_path: Path) -> None:
    train(tiny_config(tmp_path, "updates=2"), tmp_path / "run")

    with pytest.raises(TrainingError, match="another configuration"):
        train(tiny_config(tmp_path, "updates=4"), tmp_path / "run", resume=True)
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(TrainingError, match="nothing to resume"):
        train(tiny_config(tmp_path), tmp_path / "run", resume=True)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SequenceExperiment, "loss", lambda self, update: torch.tensor(float("nan"), requires_grad=True))

    with pytest.raises(TrainingError, match="the loss of update 1 is nan"):
        train(tiny_config(tmp_path), tmp_path / "run")


def test_warm_start_needs_a_bundle_or_a_run(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"expected best.safetensors \(a run\) or weights.safetensors \(a bundle\)"):
        train(tiny_config(tmp_path), tmp_path / "run", warm_start=tmp_path)
