"""Results as files: what a finished run measured, with all that is needed to compare it with others, and to draw it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .checkpoint import write_atomically
from .errors import TrainingError
from .figures import read_metrics

MOST_POINTS = 200  # of the learning curve that a result keeps
NEEDED = ("name", "seed", "updates", "seconds", "command", "validation", "test", "best_update")

Result = dict[str, Any]


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Writes a result as indented JSON, with the columns of its curve on a line each."""
    text = json.dumps({**result, "curve": None}, indent=2).removesuffix("null\n}")
    columns = ",\n".join(f"    {json.dumps(name)}: {json.dumps(column)}" for name, column in result["curve"].items())
    write_atomically(path, f"{text}{{\n{columns}\n  }}\n}}\n".encode())


def read_result(path: Path) -> Result:
    """A run's result, of its folder or of a file; `run` is its name. Raises TrainingError naming file and field."""
    file = path / "result.json" if path.is_dir() or not path.suffix else path
    if not file.is_file():
        raise TrainingError(f"{file}: no such file; expected a run that has finished")
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise TrainingError(f"{file}: expected a result as JSON: {error}") from None
    if missing := [name for name in NEEDED if name not in result]:
        raise TrainingError(f"{file}: expected a result with {missing[0]!r}, found no such field")
    return {**result, "run": path.name if path.is_dir() else path.stem}


def curve_of(folder: Path) -> dict[str, list[float]]:
    """A run's learning curve by column, thinned out to MOST_POINTS validations, the last among them."""
    rows = read_metrics(folder)
    every = -(-len(rows) // MOST_POINTS)
    kept = [row for number, row in enumerate(rows, start=1) if number % every == 0 or number == len(rows)]
    return {name: [float(f"{row[name]:.6g}") for row in kept] for name in ("update", "seconds", "loss", "score")}
