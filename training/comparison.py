"""Results beside each other: which of them are of the same task, and what a table and a picture can say about them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .restarts import best_of, medians
from .results import Result, read_result

RESULTS = Path(__file__).parent / "results"  # of the runs that pages and cards speak of; NAME-seedN.json
SAME = ("kind", "tasks", "size", "folder")  # options of a task that make it another one


@dataclass(frozen=True)
class Group:
    """The results of one configuration, a seed each."""

    name: str
    results: tuple[Result, ...]

    @property
    def best(self) -> Result:
        """The one with the lowest validation score."""
        return best_of(self.results)

    def median(self, part: str = "test") -> dict[str, float]:
        """Medians over the seeds."""
        return medians(self.results, part)


def load_results(folder: Path = RESULTS) -> list[Result]:
    """All results of a folder, in order of their names."""
    return [read_result(path) for path in sorted(folder.glob("*.json"))]


def group(results: Iterable[Result]) -> list[Group]:
    """Results by configuration: by the name of the run without its seed."""
    by_name: dict[str, list[Result]] = {}
    for result in results:
        by_name.setdefault(re.sub(r"-seed\d+$", "", result["run"]), []).append(result)
    return [Group(name, tuple(of_name)) for name, of_name in by_name.items()]


def related(config: Mapping[str, Any], results: Iterable[Result]) -> list[Result]:
    """Those results that are of the task of a configuration's table, whatever network they are of."""
    return [result for result in results if _config(result) and _task(_config(result)) == _task(config)]


def _config(result: Result) -> dict[str, Any]:
    """Its configuration; nothing for a result of many networks, one a task."""
    config = result.get("config")
    return config if isinstance(config, dict) else {}


def _task(config: Mapping[str, Any]) -> tuple[Any, ...]:
    return (config["family"], *(str(config["task"].get(option)) for option in SAME))


def seen(result: Result) -> float | None:
    """How many sequences or questions a run trained on, counting repetitions; None where its batches vary."""
    batch = _config(result).get("recipe", {}).get("batch")
    return None if batch is None else float(batch) * float(result["updates"])


def by_size(figures: Mapping[str, float], measure: str) -> dict[float, float]:
    """What was measured at several sizes, by size: `wrong_bits_at_40` is at 40."""
    found = ((re.fullmatch(rf"{measure}_at_(\d+)", name), value) for name, value in figures.items())
    return dict(sorted((float(match[1]), value) for match, value in found if match))


def by_task(figures: Mapping[str, float]) -> dict[int, float]:
    """Percent of wrong answers by the number of the task."""
    found = ((re.fullmatch(r"task (\d+)", name), value) for name, value in figures.items())
    return dict(sorted((int(match[1]), value) for match, value in found if match))


def comparison_table(groups: Sequence[Group]) -> str:
    """Parameters, time and cost of every configuration, as Markdown: the best by validation, and the median."""
    measures = [name for name in ("score", "failed", "bits", "wrong_bits") if all(name in g.median() for g in groups)]
    head = ["", "parameters", "sequences seen", "seconds", "seeds"]
    head += [f"{name.replace('_', ' ')}: {which}" for name in measures for which in ("best", "median")]
    rows = [head, ["---"] * len(head)]
    for one in groups:
        count = seen(one.best)
        row = [one.name, f"{one.best['parameters']:,}" if "parameters" in one.best else ""]
        row += ["" if count is None else f"{count:,.0f}", f"{one.best['seconds']:,.0f}", str(len(one.results))]
        row += [f"{value:.4g}" for name in measures for value in (one.best["test"][name], one.median()[name])]
        rows.append(row)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
