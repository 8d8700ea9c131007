"""The papers' tables beside ours: rendered from result files, and docs/results.md is what they say today."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from training.campaign import CONFIGS, merge, run_row
from training.comparison import group, load_results
from training.config import load_config
from training.errors import TrainingError
from training.profiling import read_profiles
from training.reproduce import Row, find_row, read_rows, render, reproduce

from .runs import tiny_config

ROOT = Path(__file__).parents[2]


def row(**changes: Any) -> Row:
    """A row about a network named tiny."""
    published = ({"who": "A paper", "bits": "about 0.1"},)
    fields = {"id": "x", "part": "Sequences", "title": "copy", "measures": {"bits": "bits", "wrong": "wrong bits"}}
    return Row(**{**fields, "published": published, "ours": ("tiny*",), **changes})


def result(name: str, seed: int, score: float, bits: float) -> dict[str, Any]:
    run = f"{name}-seed{seed}"
    facts = {"updates": 10, "seconds": 1.0, "command": f"train {run}", "best_update": 10, "run": run}
    return {"name": name, "seed": seed, **facts, "validation": {"score": score}, "test": {"bits": bits}}


def test_the_page_is_what_the_result_files_say() -> None:
    fresh = render(read_rows(), group(load_results()), read_profiles())

    assert (ROOT / "docs" / "results.md").read_text() == fresh, "run: python -m training reproduce"


def test_every_row_trains_what_it_shows() -> None:
    for one in read_rows():
        assert one.runs, one.id
        begun_from = {plan["from"] for plan in one.runs if "from" in plan}
        for plan in one.runs:
            name = load_config(CONFIGS / plan["config"]).name
            is_shown = any(fnmatch(name, pattern) for pattern in one.ours)
            is_stage = any(f"runs/{name}-seed{seed}" in begun_from for seed in plan["seeds"])
            assert is_shown or is_stage, f"{one.id}: {plan['config']}"


def test_validation_chooses_the_best_and_what_is_missing_is_said() -> None:
    text = render(
        [row()], group([result("tiny", 1, 0.2, 9.0), result("tiny", 2, 0.9, 1.0), result("tiny", 3, 0.5, 2.0)])
    )

    assert "| A paper | about 0.1 |  |" in text
    assert "| **ours: tiny**, best of 3 seeds | 9 | not measured |" in text
    assert "| **ours: tiny**, median | 2 | not measured |" in text
    assert "train tiny-seed1\n" in text
    assert "| **ours** | not measured | not measured |" in render([row()], [])


def test_a_table_by_task_has_a_column_of_each_of_ours() -> None:
    one, other = result("tiny", 1, 0.2, 9.0), result("tiny-too", 1, 0.2, 9.0)
    one["test"] |= {"task 2": 7.5, "task 10": 0.0}
    other["test"] |= {"task 2": 1.0}

    text = render([row(by_task=True)], group([one, other]))

    assert "| wrong answers, %, by task | tiny | tiny-too |" in text
    assert "| 2 | 7.5 | 1 |\n| 10 | 0 | not measured |" in text
    assert "by task" not in render([row()], group([one, other]))


def test_what_compares_is_drawn_once_there_are_two() -> None:
    one, other = result("tiny", 1, 0.2, 9.0), result("tiny-too", 1, 0.2, 9.0)
    drawn = row(drawn=("sizes",))

    assert "![copy: sizes](results-x-sizes.png)" in render([drawn], group([one, other]))
    assert "results-x" not in render([drawn], group([one]))


def test_a_row_trains_and_keeps_its_results(tmp_path: Path) -> None:
    tiny_config(tmp_path)
    config = tmp_path / "small.toml"
    config.write_text((tmp_path / "tiny.toml").read_text().replace("updates = 6", "updates = 2"))
    one = row(ours=("tiny-copy",), runs=({"config": str(config), "seeds": [5]},))

    (path,) = run_row(one, 1, tmp_path / "runs", tmp_path / "results")

    assert path.name == "tiny-copy-seed5.json"
    assert json.loads(path.read_text())["seed"] == 5
    assert "**ours: tiny-copy**, one seed" in render([one], group(load_results(tmp_path / "results")))


def test_a_network_a_task_is_merged() -> None:
    def of_task(task: int, error: float) -> dict[str, Any]:
        measured = {"score": error, "failed": float(error > 5), f"task {task}": error}
        merged = {**result("tasks", 1, 0.0, 0.0), "config": {"task": {"tasks": [task]}}}
        return {**merged, "validation": measured, "test": measured}

    merged = merge("tasks", [of_task(1, 0.0), of_task(2, 9.0), of_task(3, 3.0)])

    assert merged["test"] == {"score": 4.0, "failed": 1.0, "task 1": 0.0, "task 2": 9.0, "task 3": 3.0}
    assert merged["seconds"] == 3.0


def test_it_writes_page_and_picture(tmp_path: Path) -> None:
    text = reproduce(tmp_path)

    assert (tmp_path / "results.md").read_text() == text
    shown = re.findall(r"!\[.*\]\((.*)\)", text)
    assert len(shown) > 1
    assert {path.name for path in tmp_path.iterdir()} == {"results.md", *shown}
    assert all((tmp_path / name).stat().st_size < 100 * 1024 for name in shown)


def test_an_unknown_row_names_those_there_are() -> None:
    with pytest.raises(TrainingError, match=r"--run fly: expected one of babi-1k-memory, .*, copy, "):
        find_row("fly")
