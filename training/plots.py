"""Pictures of several results side by side, drawn from their files. The seed that validation chose is drawn thick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from .comparison import Group, by_size, by_task, seen
from .figures import png

MEASURES = {"bits": "bits a sequence", "wrong_bits": "wrong bits a sequence", "wrong_sequences": "share with any error"}


def comparison_pngs(groups: Sequence[Group]) -> dict[str, bytes]:
    """Every picture for which these results have figures, by file name."""
    drawn = {"curves.png": curves_png(groups), "sizes.png": sizes_png(groups), "tasks.png": tasks_png(groups)}
    return {name: data for name, data in drawn.items() if data is not None}


def curves_png(groups: Sequence[Group]) -> bytes | None:
    """Validation scores over the sequences seen (over updates where these are not counted), a colour a network."""
    with_curves = [one for one in groups if any(result.get("curve") for result in one.results)]
    if len(with_curves) < 2:
        return None
    counted = all(seen(result) is not None for one in with_curves for result in one.results)
    figure, axes = plt.subplots(figsize=(6.4, 3.6))
    for number, one in enumerate(with_curves):
        for result in one.results:
            if not result.get("curve"):
                continue
            scale = (seen(result) or 0) / result["updates"] if counted else 1
            thick = result is one.best
            axes.plot(
                [scale * update for update in result["curve"]["update"]],
                result["curve"]["score"],
                color=f"C{number}",
                linewidth=1.8 if thick else 0.7,
                alpha=1 if thick else 0.6,
                label=one.name if thick else None,
            )
    axes.set(xlabel="sequences seen" if counted else "update", ylabel="validation score (lower is better)")
    axes.set_yscale("log")
    _finish(axes)
    return png(figure)


def sizes_png(groups: Sequence[Group]) -> bytes | None:
    """What the best of each network and the median of its seeds (dotted) measure at sizes beyond those trained on."""
    measures = [name for name in MEASURES if any(by_size(one.best["test"], name) for one in groups)]
    if not measures:
        return None
    figure, all_axes = plt.subplots(1, len(measures), figsize=(2.8 * len(measures), 3.2), squeeze=False)
    for axes, measure in zip(all_axes[0], measures, strict=True):
        for number, one in enumerate(groups):
            for figures, style in ((one.best["test"], "o-"), (one.median(), "o:")):
                values = by_size(figures, measure)
                if values and (style == "o-" or len(one.results) > 1):
                    axes.plot(
                        list(values),
                        list(values.values()),
                        style,
                        color=f"C{number}",
                        markersize=4,
                        label=one.name if style == "o-" else None,
                    )
        axes.set(xlabel="size (length, items, distance)", ylabel=MEASURES[measure])
        if measure != "wrong_sequences":
            axes.set_yscale("symlog", linthresh=0.1)
        axes.set_ylim(bottom=0)
        _finish(axes)
    return png(figure)


def tasks_png(groups: Sequence[Group]) -> bytes | None:
    """Percent of wrong answers, a bar a task and network; the line is where a task counts as failed."""
    with_tasks = [(one.name, by_task(one.best["test"])) for one in groups if by_task(one.best["test"])]
    if not with_tasks:
        return None
    figure, axes = plt.subplots(figsize=(6.4, 3.0))
    width = 0.8 / len(with_tasks)
    for number, (name, errors) in enumerate(with_tasks):
        places = [task + (number - (len(with_tasks) - 1) / 2) * width for task in errors]
        axes.bar(places, list(errors.values()), width, label=name)
    axes.axhline(5, color="black", linewidth=0.8, linestyle="--")
    axes.set(xlabel="bAbI task", ylabel="wrong answers, %", xticks=sorted(with_tasks[0][1]))
    axes.tick_params(labelsize="x-small")
    _finish(axes)
    return png(figure)


def lines_png(lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], x: str, y: str) -> bytes:
    """Some lines (x values, y values) by name."""
    figure, axes = plt.subplots(figsize=(6.4, 3.0))
    for name, (places, values) in lines.items():
        axes.plot(places, values, "o-", markersize=4, label=name)
    axes.set(xlabel=x, ylabel=y)
    axes.set_ylim(bottom=0)
    _finish(axes)
    return png(figure)


def _finish(axes: Axes) -> None:
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="x-small")
