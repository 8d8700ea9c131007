"""Figures: small PNG files, drawn without a display."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from cycler import cycler
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from .checkpoint import write_atomically
from .errors import TrainingError

COLOURS = 128  # of a picture
# The palette of Okabe and Ito, which people with any of the common colour blindnesses can tell apart.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#F0E442")
plt.rcParams["axes.prop_cycle"] = cycler(color=PALETTE)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics.jsonl; raises TrainingError naming file and line."""
    path = folder / "metrics.jsonl"
    if not path.is_file():
        raise TrainingError(f"{path}: no such file; expected the folder of a training run")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise TrainingError(
                f"{path}, line {number}: expected one JSON object, got {line[:60]!r}: {error}"
            ) from None
    if not rows:
        raise TrainingError(f"{path}: is empty; expected one JSON object a line")
    return rows


def draw_curve(folder: Path, out: Path | None = None) -> Path:
    """Draws a run's learning curve to curve.png, there or in `out`: training loss and validation score over updates."""
    path = (out or folder) / "curve.png"
    data = curve_png({folder.name: read_metrics(folder)})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data)
    return path


def curve_png(runs: dict[str, list[dict[str, Any]]]) -> bytes:
    """Draws validation scores by run's name on a logarithmic axis; of a single run the training loss as well."""
    figure, axes = plt.subplots(figsize=(6.4, 3.6))
    for number, (name, rows) in enumerate(runs.items()):
        updates = [row["update"] for row in rows]
        axes.plot(updates, [row["score"] for row in rows], color=f"C{number}", label=name)
        if len(runs) == 1:
            axes.plot(updates, [row["loss"] for row in rows], color="C0", alpha=0.35, label="training loss")
    axes.set(xlabel="update", ylabel="validation score (lower is better)", yscale="log")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="x-small")
    return png(figure)


def png(figure: Figure, dpi: int = 80) -> bytes:
    """A figure as PNG bytes, small because it has 128 colours at most; closes it."""
    drawn, data = io.BytesIO(), io.BytesIO()
    figure.tight_layout()
    figure.savefig(drawn, format="png", dpi=dpi)
    plt.close(figure)
    Image.open(drawn).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(data, "png", optimize=True)
    return data.getvalue()
