"""Where an update's time goes: measured on a tiny run, and as a table."""

from __future__ import annotations

from pathlib import Path

from tests.training.runs import tiny_config
from training.profiling import PROFILED, profile_config, profile_lines
from training.train import train


def test_every_part_of_an_update_has_its_time_and_the_run_is_what_it_was(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    measured = profile_config(config, updates=2)

    assert measured["name"] == "tiny-copy"
    assert set(measured["milliseconds"]) == {"forward", "backward", "update"}
    assert all(part > 0 for part in measured["milliseconds"].values())
    assert len(measured["operators"]) == 3
    assert 0 < sum(measured["operators"].values()) <= 100
    assert "compiled" not in measured  # this recipe does not compile
    assert measured["parameters"] == train(config, tmp_path / "run")["parameters"]


def test_the_table_tells_shares_of_the_whole() -> None:
    profiled = {
        "name": "x",
        "parameters": 1234,
        "milliseconds": {"forward": 2.0, "backward": 5.0, "update": 3.0},
        "operators": {"mm": 40.4},
        "compiled": 4.25,
    }

    head, [line] = profile_lines([profiled])

    assert len(head) == len(line)
    assert line == ("x", "1,234", "10.0", "4.2", "20 %", "50 %", "30 %", "mm 40 %")


def test_all_that_is_profiled_is_there() -> None:
    from training.profiling import CONFIGS

    assert all((CONFIGS / f"{name}.toml").is_file() for name in PROFILED)
