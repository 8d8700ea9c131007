"""ONNX files that are served without a bundle of theirs: one is made of each, kept, and used again.

A bundle is kept under `FOLDER/MODEL_ID/VERSION`. A file that has changed since becomes the next version; the earlier
ones stay served, since sessions rely on them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from tapehead.bundle import MANIFEST_NAME, BundleError, read_manifest
from tapehead.bundle.adopt import adopt, load_whole, model_id_of, revision_of
from tapehead.bundle.choices import Choices

_log = logging.getLogger(__name__)


def adopt_files(files: Sequence[Path], folder: Path, taken: Iterable[str]) -> list[Path]:
    """Returns the bundles of ONNX files, made where there is none of a file as it is now, and those of its past.

    taken: Ids that other models have. Raises BundleError where an id is taken twice, or where a file leaves something
    open; the message then asks what it is, with the command that says it.
    """
    owners = {model_id: "--models" for model_id in taken}
    bundles = []
    for file in files:
        model_id = model_id_of(file)
        if model_id in owners:
            raise BundleError(f"{file}: the model {model_id!r} is served from {owners[model_id]} already; rename one")
        owners[model_id] = str(file)
        bundles += _versions_of(file, folder / model_id)
    return bundles


def _versions_of(file: Path, home: Path) -> list[Path]:
    known = sorted(
        (place.parent for place in home.glob(f"*/{MANIFEST_NAME}") if place.parent.name.isdecimal()),
        key=lambda place: int(place.name),
    )
    if not known or not _is_made_of(known[-1], file):
        bundle = home / str(int(known[-1].name) + 1 if known else 1)
        try:
            notes = adopt(file, bundle, Choices(), {}).notes
        except BundleError:
            if not (bundle / MANIFEST_NAME).exists():
                raise
            notes = ()  # another server was faster
        for note in notes:
            _log.info("%s: %s", file, note)
        known.append(bundle)
    return known


def _is_made_of(bundle: Path, file: Path) -> bool:
    """Whether the graph of a bundle is what the file holds now; one that cannot be read is made anew."""
    try:
        manifest = read_manifest(bundle)
    except BundleError as error:
        _log.warning("bundle %s is not used: %s", bundle, error)
        return False
    return manifest.provenance.revision == revision_of(load_whole(file), file)
