"""The command line: errors are one sentence and exit code 2, everything else is 0."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from training import commands

from .runs import TINY

ROOT = Path(__file__).parents[2]


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Runs the command line in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["training", *arguments])
    with pytest.raises(SystemExit) as exit_:
        commands.main()
    return int(exit_.value.code or 0)


def test_train_evaluate_plot_and_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, run = tmp_path / "tiny.toml", tmp_path / "run"
    config.write_text(TINY)
    train = ["train", str(config), "--seed", "4", "--set", "updates=2", "--out", str(run)]

    assert run_main(monkeypatch, *train) == 0
    assert "test: bits " in capsys.readouterr().out
    assert run_main(monkeypatch, *train, "--resume") == 0
    assert run_main(monkeypatch, "evaluate", str(run)) == 0
    assert "bits wrong" in capsys.readouterr().out
    (run / "curve.png").unlink()
    assert run_main(monkeypatch, "plot", str(run)) == 0
    assert (run / "curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "none.toml"], "none.toml: no such configuration file"),
        (["evaluate", "none"], "none: no such folder"),
        (["export", "none"], "none: no such folder"),
        (["plot", "none"], "none/metrics.jsonl: no such file"),
        (["card", "none"], "none/manifest.json: cannot be read"),
        (["reproduce", "--run", "fly"], "--run fly: expected one of "),
        (["train", "none.toml", "--seed", "1", "--seeds", "2"], "--seeds and --seed: expected one of the two"),
    ],
)
def test_an_error_is_one_sentence(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    assert run_main(monkeypatch, *arguments) == 2

    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_broken_metrics_file_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"update": 1}\n{"upd')

    assert run_main(monkeypatch, "plot", str(tmp_path)) == 2
    assert "metrics.jsonl, line 2: expected one JSON object" in capsys.readouterr().err


def test_a_run_from_a_run_knows_both_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, first, second = tmp_path / "tiny.toml", tmp_path / "first", tmp_path / "second"
    config.write_text(TINY)
    train = ["train", str(config), "--set", "updates=1", "--out"]

    assert run_main(monkeypatch, *train, str(first)) == 0
    assert run_main(monkeypatch, *train, str(second), "--from", str(first)) == 0

    commands_ = json.loads((second / "result.json").read_text())["command"].split(" &&\n")
    assert commands_[0] == f"python -m training train {config} --out {first} --set updates=1"
    assert commands_[1] == f"python -m training train {config} --from {first} --out {second} --set updates=1"


def test_help_names_the_commands() -> None:
    text = CliRunner().invoke(commands.app, ["--help"]).output

    assert all(f" {command} " in text for command in ("train", "evaluate", "export", "card", "plot", "reproduce"))


@pytest.mark.parametrize("arguments", [["train", "--sed", "3"], ["train"], ["fly"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_main(monkeypatch, *arguments) == 2


def test_a_package_that_is_missing_is_one_sentence(tmp_path: Path) -> None:
    words = ["training", "train", str(ROOT / "training/configs/lstm-echo.toml"), "--out", str(tmp_path)]
    program = f"import runpy, sys; sys.modules['tqdm'] = None; sys.argv = {words}; "
    program += "runpy.run_module('training', run_name='__main__')"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)

    assert done.returncode == 2
    assert done.stderr.startswith("error: training needs the package 'tqdm': make setup installs it")
    assert done.stderr.count("\n") == 1
