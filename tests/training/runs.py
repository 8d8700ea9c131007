"""A configuration that trains in a second, and what tests compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training.config import Config, load_config

TINY = """
name = "tiny-copy"
family = "sequences"
updates = 6
evaluate_every = 2
average = 0.9

[task]
bits = 2
longest = 3
validation_sequences = 6
test_lengths = [5]
test_sequences = 4

[network]
inputs = 3
outputs = 2
controller = 12
locations = 8
width = 4
"""


def tiny_config(folder: Path, *overrides: str, seed: int | None = None) -> Config:
    """The tiny copy experiment, from a file in `folder`."""
    path = folder / "tiny.toml"
    path.write_text(TINY, encoding="utf-8")
    return load_config(path, overrides, seed)


def rows(run: Path) -> list[dict[str, Any]]:
    """A run's metrics, without the time."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]
