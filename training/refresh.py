"""Writes a bundle's card and pictures again, without training and without touching its graphs and weights.

python -m training card models/ntm-copy/1
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tapehead.bundle import BundleError, read_manifest, verify, write_manifest
from tapehead.bundle.files import describe_file
from tapehead.v1.manifest_pb2 import Manifest

from .card import write_card
from .comparison import RESULTS, group, load_results, related
from .errors import TrainingError
from .evaluate import load_trained
from .experiment import Graphs
from .figures import curve_png
from .plots import comparison_pngs
from .results import Result, read_result

KEPT = "results.json"  # of a bundle: what its card tells of its runs


def refresh(bundle: Path, results: Sequence[Path] = (), note: str | None = None, folder: Path = RESULTS) -> Path:
    """Replaces a bundle's README.md and PNG files; the rest keeps its bytes, but for the manifest's list of files.

    `results` (the shipped run's first) and `note` replace what the bundle has kept of both. `folder` has the results
    of other networks on the same task. Raises TrainingError.
    """
    try:
        manifest = read_manifest(bundle)
    except BundleError as error:
        raise TrainingError(str(error)) from None
    kept, kept_remark = kept_of(bundle)
    told = [read_result(path) for path in results] or kept
    if not told:
        raise TrainingError(f"{bundle}: has no {KEPT}; expected --result with the result file of its run")
    remark = kept_remark if note is None else note
    config, experiment = load_trained(bundle)
    with torch.no_grad():
        graphs = experiment.graphs()
    files = {file.path: (bundle / file.path).read_bytes() for file in manifest.files}
    files = {path: data for path, data in files.items() if not path.endswith(".png") and path != "README.md"}
    files |= _card_files(manifest, graphs, told, remark, files, config.table(), folder)
    draft = bundle.with_name(f".{bundle.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    for path, data in files.items():
        (draft / path).parent.mkdir(parents=True, exist_ok=True)
        (draft / path).write_bytes(data)
    del manifest.files[:]
    manifest.files.extend(describe_file(path, data) for path, data in sorted(files.items()))
    write_manifest(draft, manifest)
    verify(draft)
    shutil.rmtree(bundle)
    draft.rename(bundle)
    return bundle


def _card_files(
    manifest: Manifest,
    graphs: Graphs,
    results: Sequence[Result],
    note: str,
    files: Mapping[str, bytes],
    config: Mapping[str, Any],
    folder: Path = RESULTS,
) -> dict[str, bytes]:
    """The card, its pictures and what it is written from; `files` are the bundle's others, of which it gives sizes.

    Beside the runs of the bundle stand those results of `folder` that are of the same task.
    """
    pictures = dict(graphs.figures)
    curves = {result["run"]: _rows(result["curve"]) for result in results if result.get("curve")}
    if curves:
        pictures["curve.png"] = curve_png(curves)
    own = {result["run"] for result in results}
    others = [result for result in related(config, load_results(folder)) if result["run"] not in own]
    beside = group([*results, *others]) if others else []
    pictures |= comparison_pngs(beside)
    card = write_card(manifest, graphs.notes, results, note, {**files, **pictures}, beside)
    return {**pictures, "README.md": card.encode(), KEPT: kept_as(results, note)}


def _rows(curve: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    return [dict(zip(curve, values, strict=True)) for values in zip(*curve.values(), strict=True)]


def is_bundle(folder: Path) -> bool:
    """Whether a folder is a bundle, and not that of a run."""
    return (folder / "manifest.json").is_file()


def kept_as(results: Sequence[Result], note: str) -> bytes:
    """What a bundle keeps for its card; the inverse of `kept_of`."""
    return json.dumps({"note": note, "results": list(results)}, indent=1).encode()


def kept_of(bundle: Path) -> tuple[list[Result], str]:
    """The results that a bundle has kept, the shipped run's first, and the remark of its card; none if it has none."""
    path = bundle / KEPT
    if not path.is_file():
        return [], ""
    kept = json.loads(path.read_text(encoding="utf-8"))
    return kept["results"], kept["note"]
