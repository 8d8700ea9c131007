"""Several seeds of one configuration side by side, each in a process and a folder of its own, and what they come to.

Every run can be killed and goes on by itself; so does the whole, by the same command. Which run is the best is decided
by validation alone; the test figures are reported of that one, and as the median over all.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tqdm import tqdm

from .checkpoint import write_atomically
from .config import Config, load_config, write_toml
from .errors import TrainingError
from .results import Result, read_result

LOOK_EVERY = 0.5  # seconds between two looks at the runs


@dataclass
class Run:
    """One seed."""

    config: Config
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def update(self) -> int:
        """The update of its last validation."""
        try:
            lines = (self.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
            return int(json.loads(lines[-1])["update"])
        except (OSError, IndexError, json.JSONDecodeError):
            return 0

    def is_finished(self) -> bool:
        """Whether its result is there; raises TrainingError if that is of another configuration."""
        if not (self.folder / "result.json").is_file():
            return False
        before = tomllib.loads((self.folder / "config.toml").read_text(encoding="utf-8"))
        if before != tomllib.loads(write_toml(self.config.table())):
            raise TrainingError(f"{self.folder}: has finished with another configuration than {self.config.where}")
        return True

    def start(self, arguments: Sequence[str]) -> None:
        """Begins it, or goes on with it; what it says goes to its train.log."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "training", "train", *arguments, "--resume"]
        command += ["--seed", str(self.config.seed), "--out", str(self.folder)]
        with (self.folder / "train.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})

    def last_words(self) -> str:
        """The last line of its train.log."""
        lines = (self.folder / "train.log").read_text(encoding="utf-8", errors="replace").splitlines()
        return lines[-1] if lines else "it said nothing"


def train_seeds(
    config: Path, seeds: Sequence[int], workers: int, out: Path, overrides: Sequence[str], arguments: Sequence[str]
) -> dict[str, Any]:
    """Trains `config` with every seed, `workers` at a time, in folders OUT/NAME-seedN; returns the summary.

    `arguments` are those of `train` that all runs share. The summary also goes to OUT/NAME-seeds.json. Raises
    TrainingError, once all others have ended, if a run fails; and if a seed is named twice.
    """
    if len(set(seeds)) != len(seeds):
        raise TrainingError(f"--seeds: expected every seed once, got {' '.join(map(str, seeds))}")
    resolved = [load_config(config, overrides, seed) for seed in seeds]
    runs = [Run(one, out / f"{one.name}-seed{one.seed}") for one in resolved]
    waiting = [run for run in runs if not run.is_finished()]
    running: list[Run] = []
    failed: list[Run] = []
    total = sum(run.config.updates for run in runs)
    done = sum(run.update() for run in runs)
    with tqdm(initial=done, total=total, unit="update", mininterval=0.1 if sys.stderr.isatty() else 10) as progress:
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    running.append(waiting.pop(0))
                    running[-1].start(arguments)
                time.sleep(LOOK_EVERY)
                ended = [run for run in running if run.process is not None and run.process.poll() is not None]
                running = [run for run in running if run not in ended]
                failed += [run for run in ended if run.process is not None and run.process.returncode != 0]
                progress.set_postfix_str(
                    f"{len(runs) - len(waiting) - len(running) - len(failed)} of {len(runs)} seeds", refresh=False
                )
                progress.update(sum(run.update() for run in runs) - progress.n)
        finally:
            _stop(running)
    if failed:
        reasons = "; ".join(f"{run.folder.name}: {run.last_words()}" for run in failed)
        raise TrainingError(f"{len(failed)} of {len(runs)} runs failed: {reasons}")
    summary = summarise([read_result(run.folder) for run in runs])
    write_atomically(out / f"{resolved[0].name}-seeds.json", (json.dumps(summary, indent=2) + "\n").encode())
    return summary


def _stop(running: Sequence[Run]) -> None:
    for run in running:
        if run.process is not None:
            run.process.terminate()
    for run in running:
        if run.process is not None:
            run.process.wait()


def best_of(results: Sequence[Result]) -> Result:
    """The result whose validation score is the lowest; what was measured on test data has no say."""
    return min(results, key=lambda result: float(result["validation"]["score"]))


def medians(results: Sequence[Result], part: str) -> dict[str, float]:
    """The median over all results of every figure that all of them have, of `validation` or `test`."""
    shared = [name for name in results[0][part] if all(name in result[part] for result in results)]
    return {name: median(float(result[part][name]) for result in results) for name in shared}


def summarise(results: Sequence[Result]) -> dict[str, Any]:
    """Every seed's figures, the best run by validation, and medians over all."""
    best = best_of(results)
    return {
        "name": best["name"],
        "seeds": [result["seed"] for result in results],
        "seconds": [result["seconds"] for result in results],
        "best": {"seed": best["seed"], "run": best["run"], "validation": best["validation"], "test": best["test"]},
        "median": {"validation": medians(results, "validation"), "test": medians(results, "test")},
        "scores": [result["validation"]["score"] for result in results],
    }


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """A summary for people: the seeds' scores, then the best run's and the median test figures side by side."""
    scores = ", ".join(f"{score:.4g}" for score in summary["scores"])
    best, middle = summary["best"]["test"], summary["median"]["test"]
    width = max(len(name) for name in middle)
    rows = [f"{name:{width}}  {best[name]:>10.4g}  {value:>10.4g}" for name, value in middle.items()]
    return [
        f"validation scores of seeds {', '.join(map(str, summary['seeds']))}: {scores}",
        f"{'test':{width}}  {'seed ' + str(summary['best']['seed']):>10}  {'median':>10}",
        *rows,
        f"the best by validation: {summary['best']['run']}",
    ]
