"""The command `plot`: pictures of one network, or of several beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from .checkpoint import WEIGHTS, write_atomically
from .comparison import comparison_table, group
from .errors import TrainingError
from .evaluate import load_trained
from .figures import draw_curve
from .plots import comparison_pngs
from .results import read_result


def draw_all(paths: Sequence[Path], out: Path | None) -> list[Path]:
    """Draws, and returns what it wrote: of one run or bundle its own pictures, of several runs or results one of each
    comparison. Raises TrainingError."""
    if len(paths) > 1:
        groups = group(read_result(path) for path in paths)
        if out is None:
            raise TrainingError("plot: several paths: expected --out FOLDER for the pictures that compare them")
        print(comparison_table(groups))
        return _write(out, comparison_pngs(groups))
    (path,) = paths
    is_bundle = (path / WEIGHTS[1]).is_file()
    if is_bundle and out is None:
        raise TrainingError(f"{path}: is a bundle, whose files are listed; expected --out FOLDER, or the command card")
    curve = [] if is_bundle else [draw_curve(path, out or path)]
    if not any((path / name).is_file() for name in WEIGHTS):
        return curve
    with torch.no_grad():
        return curve + _write(out or path, load_trained(path)[1].figures())


def _write(out: Path, pictures: dict[str, bytes]) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    for name, data in tqdm(pictures.items(), unit="picture", leave=False):
        write_atomically(out / name, data)
    return [out / name for name in pictures]
