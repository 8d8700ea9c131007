"""Draws what was recorded: throughput against sessions, latencies, cost against the size of a batch.

python -m benchmarks.growth sessions --record benchmarks/results      (and latency, model, likewise)
python -m benchmarks.pictures [--results benchmarks/results] [--into benchmarks/pictures]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # after the choice of how to draw

from benchmarks import records

HERE = Path(__file__).parent


def sessions(facts: dict[str, Any], picture: Path) -> None:
    """Throughput and latency against open sessions."""
    figure, (above, below) = pyplot.subplots(2, 1, sharex=True, figsize=(7, 6))
    rows = facts["rows"]
    counts = [row["open"] for row in rows]
    above.semilogx(counts, [row["rate"] for row in rows], "o-")
    above.set(ylabel="steps/s", ylim=(0, None), title=f"At most {facts['active']} of the open sessions step")
    below.loglog(counts, [row["p50"] / 1e3 for row in rows], "o-", label="p50")
    below.loglog(counts, [row["p99"] / 1e3 for row in rows], "o--", label="p99")
    below.set(xlabel="open sessions", ylabel="latency, ms")
    below.legend()
    _save(figure, (above, below), picture)


def latency(facts: dict[str, Any], picture: Path) -> None:
    """A histogram of latencies for each offered share of the capacity."""
    figure, axes = pyplot.subplots(figsize=(7, 4))
    bounds = facts["bounds_ms"]
    for row in facts["rows"]:
        total = sum(row["counts"])
        parts = [100 * count / total for count in row["counts"][: len(bounds)]]
        axes.step(bounds, parts, label=f"{row['share']:.0%} of capacity")
    title = f"Steps that come at their own moments, durability {facts['level']}"
    axes.set(xscale="log", xlabel="latency from the moment a step was due, ms", ylabel="% of steps", title=title)
    axes.legend()
    _save(figure, (axes,), picture)


def model(facts: dict[str, Any], picture: Path) -> None:
    """What a row costs against the rows of a run."""
    figure, axes = pyplot.subplots(figsize=(7, 4))
    rows = facts["rows"]
    batches = [row["batch"] for row in rows]
    for key, label in (("by_hand", "run, by hand"), ("run", "run"), ("whole", "gather + run + scatter")):
        axes.loglog(batches, [row[key] for row in rows], "o-", label=label)
    axes.set(xlabel="rows of a run", ylabel="us a row", title="Cost of a step of the machine against the batch")
    axes.legend()
    _save(figure, (axes,), picture)


def _save(figure: Any, all_axes: tuple[Any, ...], picture: Path) -> None:
    for axes in all_axes:
        axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(picture, dpi=110)


DRAWN: dict[str, Callable[[dict[str, Any], Path], None]] = {"sessions": sessions, "latency": latency, "model": model}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--into", type=Path, default=HERE / "pictures")
    arguments = parser.parse_args()
    arguments.into.mkdir(parents=True, exist_ok=True)
    for name, draw in DRAWN.items():
        facts = records.read(arguments.results, name)
        if facts is None:
            print(f"{name}: nothing recorded in {arguments.results}")
            continue
        draw(facts, arguments.into / f"{name}.png")
        print(arguments.into / f"{name}.png")


if __name__ == "__main__":
    main()
