"""Trains what a row of the papers' tables needs, and keeps its results: `python -m training reproduce --run ROW`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .comparison import RESULTS
from .config import load_config
from .reproduce import Row
from .restarts import train_seeds
from .results import Result, read_result, write_result
from .tasks.babi_stories import TASKS

CONFIGS = Path(__file__).parent / "configs"
FAILED = 5.0  # percent of wrong answers above which a task counts as failed


def run_row(row: Row, workers: int, out: Path = Path("runs"), results: Path = RESULTS) -> list[Path]:
    """Trains all runs of a row in OUT, going on with what is there, and writes their results; returns the files."""
    results.mkdir(parents=True, exist_ok=True)
    return [path for plan in row.runs for path in _run(plan, workers, out, results)]


def _run(plan: Mapping[str, Any], workers: int, out: Path, results: Path) -> list[Path]:
    config = Path(os.path.relpath(CONFIGS / plan["config"]))  # as typed: the command is kept with the result
    seeds = list(plan["seeds"])
    name = load_config(config).name
    shared = [str(config), *(["--from", plan["from"]] if "from" in plan else [])]
    if not plan.get("each_task"):
        train_seeds(config, seeds, workers, out, (), shared)
        found = {seed: read_result(out / f"{name}-seed{seed}") for seed in seeds}
    else:
        by_task: dict[int, list[Result]] = {seed: [] for seed in seeds}
        for task in TASKS if plan["each_task"] is True else plan["each_task"]:
            changes = [f"name={name}-task{task}", f"task.tasks=[{task}]"]
            arguments = [*shared, *(word for change in changes for word in ("--set", change))]
            train_seeds(config, seeds, workers, out, changes, arguments)
            for seed in seeds:
                by_task[seed].append(read_result(out / f"{name}-task{task}-seed{seed}"))
        found = {seed: merge(name, of_seed) for seed, of_seed in by_task.items()}
    paths = []
    for seed, result in found.items():
        paths.append(results / f"{name}-seed{seed}.json")
        write_result(paths[-1], {field: value for field, value in result.items() if field != "run"})
    return paths


def merge(name: str, of_tasks: list[Result]) -> Result:
    """One result of a network a task: the error of every task, their mean, how many failed; seconds are summed."""
    first = of_tasks[0]
    parts = {}
    for part in ("validation", "test"):
        errors = {key: value for one in of_tasks for key, value in one[part].items() if key.startswith("task ")}
        failed = float(sum(error > FAILED for error in errors.values()))
        parts[part] = {"score": sum(errors.values()) / len(errors), "failed": failed, **errors}
    return {
        **first,
        **parts,
        "name": name,
        "seconds": sum(one["seconds"] for one in of_tasks),
        "best_update": {f"task {one['config']['task']['tasks'][0]}": one["best_update"] for one in of_tasks},
        "curve": {},
    }
