"""Configurations: every complaint names the file, the option, what was expected and what was found."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from training.config import load_config, write_toml
from training.errors import TrainingError
from training.experiment import build

from .runs import TINY, tiny_config

SHIPPED = sorted((Path(__file__).parents[2] / "training" / "configs").glob("ntm-*.toml"))


def test_overrides_and_seed_win_over_the_file(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "recipe.learning_rate=1", "name=other", "task.test_lengths=[7, 9]", seed=5)

    assert config.recipe["learning_rate"] == 1
    assert config.name == "other"
    assert config.task["test_lengths"] == [7, 9]
    assert config.seed == 5


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    table = tiny_config(tmp_path, "recipe.learning_rate=1e-9").table()

    assert tomllib.loads(write_toml(table)) == table


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_configurations_build(path: Path) -> None:
    assert build(load_config(path)).network is not None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("updatez=3", "unknown option 'updatez'; expected one of: name, family, updates"),
        ("updates=many", "updates: expected a whole number, got 'many'"),
        ("updates=0", "updates: expected at least 1, got 0"),
        ("seed=-1", "seed: expected at least 0, got -1"),
        ("average=1.0", r"average: expected a decay in \[0, 1\), got 1.0"),
        ("average=true", "average: expected a number, got True"),
        ("family=birds", "family: expected one of .*, got 'birds'"),
        ("recipe.speed=1", r"\[recipe\]: unknown option 'speed'; expected one of: batch, learning_rate"),
        ("recipe.batch=1.5", r"\[recipe\]: batch: expected a whole number, got 1.5"),
        ("task.kind=sort", r"\[task\]: kind: expected one of copy, repeat-copy, .*, got 'sort'"),
        ("task.shortest=4", r"\[task\]: expected 1 <= shortest <= longest, got 4 and 3"),
        ("task.test_lengths=[1, 'a']", r"\[task\]: test_lengths\[1\]: expected a whole number, got 'a'"),
        ("task.bits=3", r"\[network\]: inputs and outputs: expected \(4, 3\) for the task, got \(3, 2\)"),
        ("task", "--set task: expected key=value"),
        ("updates.x=1", "--set updates.x=1: updates is an option, not a table"),
    ],
)
def test_a_wrong_option_is_named(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        build(tiny_config(tmp_path, override))


def test_a_missing_option_is_named(tmp_path: Path) -> None:
    path = tmp_path / "short.toml"
    path.write_text(TINY.replace("updates = 6\n", ""))

    with pytest.raises(TrainingError, match=r"short.toml: option 'updates' is missing; expected a whole number"):
        load_config(path)


def test_broken_toml_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("name = 'x'\nupdates = = 3\n")

    with pytest.raises(TrainingError, match=r"broken.toml: not valid TOML: .*line 2"):
        load_config(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"none.toml: no such configuration file"):
        load_config(tmp_path / "none.toml")
