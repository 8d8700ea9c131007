"""Several seeds side by side: independent runs, one summary in which validation alone chooses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.commands import spread
from training.errors import TrainingError
from training.restarts import summarise, summary_lines, train_seeds
from training.results import read_result
from training.train import train

from .runs import rows, tiny_config


def result(seed: int, score: float, wrong: float) -> dict[str, object]:
    test = {"wrong": wrong} | ({"extra": 1.0} if seed == 1 else {})
    name = f"x-seed{seed}"
    return {"name": "x", "run": name, "seed": seed, "seconds": 1.0, "validation": {"score": score}, "test": test}


def test_validation_chooses_and_the_median_is_over_all() -> None:
    summary = summarise([result(1, 0.3, 1.0), result(2, 0.2, 9.0), result(3, 0.9, 2.0)])

    assert summary["best"]["seed"] == 2  # although its test figure is the worst
    assert summary["best"]["test"] == {"wrong": 9.0}
    assert summary["median"]["test"] == {"wrong": 2.0}
    assert any("seed 2" in line and "median" in line for line in summary_lines(summary))


@pytest.mark.end_to_end
def test_seeds_train_apart_go_on_and_are_summed_up(tmp_path: Path) -> None:
    tiny_config(tmp_path)
    config, out = tmp_path / "tiny.toml", tmp_path / "runs"
    overrides = ["updates=2"]
    arguments = [str(config), "--set", "updates=2"]
    train(tiny_config(tmp_path, *overrides, seed=2), out / "tiny-copy-seed2")
    finished = (out / "tiny-copy-seed2" / "result.json").read_bytes()

    summary = train_seeds(config, [2, 3], 2, out, overrides, arguments)

    assert (out / "tiny-copy-seed2" / "result.json").read_bytes() == finished
    alone = tmp_path / "alone"
    train(tiny_config(tmp_path, *overrides, seed=3), alone)
    assert rows(out / "tiny-copy-seed3") == rows(alone)
    assert read_result(out / "tiny-copy-seed3")["seed"] == 3
    assert json.loads((out / "tiny-copy-seeds.json").read_text()) == summary
    assert summary["seeds"] == [2, 3]


@pytest.mark.end_to_end
def test_a_seed_that_fails_is_named_with_its_reason_and_the_others_finish(tmp_path: Path) -> None:
    tiny_config(tmp_path)
    out = tmp_path / "runs"
    (out / "tiny-copy-seed2").mkdir(parents=True)
    (out / "tiny-copy-seed2" / "mine.txt").write_text("mine")

    with pytest.raises(TrainingError, match=r"1 of 2 runs failed: tiny-copy-seed2: error: .*is not empty"):
        train_seeds(
            tmp_path / "tiny.toml", [2, 3], 2, out, ["updates=1"], [str(tmp_path / "tiny.toml"), "--set", "updates=1"]
        )

    assert (out / "tiny-copy-seed3" / "result.json").is_file()


def test_a_finished_run_of_another_configuration_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    train(tiny_config(tmp_path, "updates=1", seed=2), out / "tiny-copy-seed2")

    with pytest.raises(TrainingError, match="finished with another configuration"):
        train_seeds(tmp_path / "tiny.toml", [2], 1, out, ["updates=2"], [])
    with pytest.raises(TrainingError, match="expected every seed once, got 2 2"):
        train_seeds(tmp_path / "tiny.toml", [2, 2], 1, out, [], [])


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("x --seeds 1 2 3 --workers 2", "x --seeds 1 --seeds 2 --seeds 3 --workers 2"),
        ("x --seeds 4", "x --seeds 4"),
        ("x --seed 4 5", "x --seed 4 5"),
    ],
)
def test_seeds_are_named_once_for_all(typed: str, read: str) -> None:
    assert spread(typed.split()) == read.split()
