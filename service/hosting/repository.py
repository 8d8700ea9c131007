"""The models that this server has: read once from a folder of bundles, found by id and version."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tapehead.bundle import (
    MANIFEST_NAME,
    BundleError,
    Vocabulary,
    check_next_state,
    dtype_of,
    initial_state,
    read_manifest,
    replay_probes,
    whole_state,
    with_both_entries,
)
from tapehead.v1.manifest_pb2 import Entry, EntryTensor, Manifest, ModelKind, NonFinite, StateTensor

from ..errors import ModelNotFound
from .calibration import run_seconds
from .fingerprint import compute_fingerprint
from .model import Arrays, EntrySpec, Kind, Model, TensorSpec, chunk_key
from .padding import padded
from .runner import Runner
from .selfcheck import check_batches

DEFAULT_MAX_BATCH = 128  # beyond it a step of the networks at hand gets no cheaper
LONGEST_CHUNK = 0.02  # seconds of one run of several steps

_log = logging.getLogger(__name__)
_KINDS: dict[ModelKind, Kind] = {
    ModelKind.MODEL_KIND_SEQUENCE: "sequence",
    ModelKind.MODEL_KIND_QUESTION_ANSWERING: "question_answering",
}


class Repository:
    """Finds models. What there is changes on the event loop alone, between two looks; a model itself never does."""

    def __init__(self, models: Iterable[Model], broken: dict[str, str] | None = None) -> None:
        self._models: dict[tuple[str, int], Model] = {}  # by id, then newest first
        self._retired: set[tuple[str, int]] = set()  # for the sessions that have them, not for new ones
        self._newest: dict[str, Model] = {}
        self.broken = broken or {}  # "<model_id>/<version>" of bundles that cannot be served -> why
        self._order(models)

    @classmethod
    def load(
        cls,
        folder: Path | None,
        *,
        also: Iterable[Path] = (),
        max_batch: int = DEFAULT_MAX_BATCH,
        cache_folder: Path | None = None,
    ) -> Repository:
        """Loads every bundle `folder/<model_id>/<version>/`, and those of `also`. One that cannot be loaded is kept in
        `broken` with the reason and stops none of the others. Takes up to a few seconds a model, much less where
        `cache_folder` remembers the self-check of this fingerprint.
        """
        bundles = [*(find_bundles(folder) if folder else ()), *also]
        with ThreadPoolExecutor(
            os.cpu_count()
        ) as pool:  # most of it is onnxruntime's work, beside which others may run
            opened = [pool.submit(_open_bundle, bundle) for bundle in bundles]
        models, broken = [], {}
        for bundle, opening in zip(bundles, opened, strict=True):
            name = f"{bundle.parent.name}/{bundle.name}"
            try:  # one after the other from here on: what is measured is measured alone
                models.append(_checked(*opening.result(), max_batch, cache_folder))
            except BundleError as error:
                broken[name] = str(error)
            except Exception as error:  # a strange bundle must not keep the good ones from being served
                _log.exception("bundle %s cannot be loaded", name)
                broken[name] = f"{type(error).__name__} while loading it; the log has more"
        return cls(models, broken)

    def get(self, model_id: str, version: int = 0) -> Model:
        """Returns a model, the newest version of it if `version` is 0; raises ModelNotFound."""
        model = self._models.get((model_id, version)) if version else self._newest.get(model_id)
        if model is None:
            raise ModelNotFound(model_id, version)
        return model

    def find(self, model_id: str, version: int) -> Model | None:
        """The model in exactly this version, if it is served."""
        return self._models.get((model_id, version))

    def add(self, model: Model) -> None:
        """Serves a model, to new sessions too."""
        self._retired.discard((model.model_id, model.version))
        self._order([*self._models.values(), model])

    def remove(self, model: Model) -> None:
        """Serves a model no longer."""
        self._retired.discard((model.model_id, model.version))
        self._order(other for other in list(self._models.values()) if other is not model)

    def retire(self, model: Model, retired: bool = True) -> None:
        """Keeps a model for the sessions that have it, and for whoever names its version; or offers it to all again."""
        key = (model.model_id, model.version)
        (self._retired.add if retired else self._retired.discard)(key)
        self._order(self._models.values())

    def is_retired(self, model: Model) -> bool:
        return (model.model_id, model.version) in self._retired

    def _order(self, models: Iterable[Model]) -> None:
        ordered = sorted(models, key=lambda model: (model.model_id, -model.version))
        self._models = {(model.model_id, model.version): model for model in ordered}
        offered = [model for model in ordered if (model.model_id, model.version) not in self._retired]
        self._newest = {model.model_id: model for model in reversed(offered)}

    def models(self) -> list[Model]:
        """Returns every model, by id and then newest version first."""
        return list(self._models.values())

    def versions(self, model_id: str) -> list[int]:
        """Returns the versions of a model, newest first; empty if there is none."""
        return [version for found, version in self._models if found == model_id]


def find_bundles(folder: Path) -> list[Path]:
    """Returns the bundles' folders: every `<model_id>/<version>/` with a manifest; none whose name begins with a dot,
    which is how a bundle is called while it is written."""
    places = (place.parent for place in folder.glob(f"*/*/{MANIFEST_NAME}"))
    return sorted(place for place in places if not place.name.startswith("."))


def load_model(folder: Path, *, max_batch: int = DEFAULT_MAX_BATCH, cache_folder: Path | None = None) -> Model:
    """Loads one bundle: hashes, graph rules, graphs, probes, self-check, calibration. Raises BundleError."""
    return _checked(*_open_bundle(folder), max_batch, cache_folder)


def _open_bundle(folder: Path) -> tuple[Model, Runner]:
    """Hashes, graph rules, graphs and probes of one bundle."""
    manifest = with_both_entries(read_manifest(folder))
    if (folder.parent.name, folder.name) != (manifest.model_id, str(manifest.version)):
        raise BundleError(
            f"{folder}: expected the folder {manifest.model_id}/{manifest.version}, as the manifest says, "
            f"got {folder.parent.name}/{folder.name}"
        )
    runner = Runner.load(folder, manifest)
    model = _unchecked(manifest, runner, initial_state(folder, manifest))
    _replay(model)
    return model, runner


def _checked(model: Model, runner: Runner, max_batch: int, cache_folder: Path | None) -> Model:
    """Self-check and calibration, or what is remembered of them."""
    verdict = check_batches(model, max_batch, cache_folder, obstacle=runner.batch_obstacle)
    stepping = verdict.entries.keys() & {"step", "tell"} or verdict.entries.keys()
    model = dataclasses.replace(
        model,
        runner=padded(runner, verdict.multiples),
        fingerprint=compute_fingerprint(model.manifest, verdict.multiples),
        batch_invariant=not any(verdict.entries[name].reason for name in stepping),
        batch_reason=verdict.reason,
        max_batch=min(verdict.entries[name].max_batch for name in stepping),
        max_batches=verdict.max_batches,
        chunk_sizes=verdict.chunk_sizes,
    )
    if verdict.reason:  # for steps it is the warning; questions alone are dearer where many come at once
        level = logging.DEBUG if model.batch_invariant else logging.WARNING
        _log.log(level, "model %s/%d runs one row at a time: %s", model.model_id, model.version, verdict.reason)
    if verdict.chunk_reason:
        _log.info("model %s/%d runs chunks step by step: %s", model.model_id, model.version, verdict.chunk_reason)
    times = cache_folder / f"{model.fingerprint}-{max_batch}.times.json" if cache_folder else None
    return _cut_chunks(dataclasses.replace(model, run_seconds=run_seconds(model, times)))


def _cut_chunks(model: Model) -> Model:
    """Bounds the time of a run of several steps, by its rows and at last by its steps: others wait behind it."""
    sizes, rows_of = [], dict(model.max_batches)
    for steps in model.chunk_sizes:
        key = chunk_key(steps)
        while rows_of[key] > 1 and model.seconds_per_run(key, rows_of[key]) > LONGEST_CHUNK:
            rows_of[key] //= 2
        if model.seconds_per_run(key, rows_of[key]) <= LONGEST_CHUNK:
            sizes.append(steps)
    return dataclasses.replace(model, chunk_sizes=tuple(sizes), max_batches=rows_of)


def _unchecked(manifest: Manifest, runner: Runner, initial: Arrays) -> Model:
    is_qa = manifest.kind == ModelKind.MODEL_KIND_QUESTION_ANSWERING
    return Model(
        model_id=manifest.model_id,
        version=manifest.version,
        kind=_KINDS[manifest.kind],
        manifest=manifest,
        runner=runner,
        entries={entry.name: _entry(entry) for entry in manifest.entries},
        state=tuple(_state(tensor) for tensor in whole_state(manifest)),
        initial_state=initial,
        fingerprint=compute_fingerprint(manifest),
        vocabulary=Vocabulary.from_manifest(manifest.question_answering) if is_qa else None,
        batch_invariant=False,
        batch_reason="not checked",
        max_batch=1,
        run_seconds={},
    )


def _entry(entry: Entry) -> EntrySpec:
    return EntrySpec(
        name=entry.name,
        inputs=tuple(_tensor(tensor) for tensor in entry.inputs if not tensor.constant),
        outputs=tuple(_tensor(tensor) for tensor in entry.outputs),
        reads_state=entry.reads_state,
        writes_state=entry.writes_state,
        constants=tuple(_tensor(tensor) for tensor in entry.inputs if tensor.constant),
    )


def _state(tensor: StateTensor) -> TensorSpec:
    return dataclasses.replace(_tensor(tensor), maximum=tuple(tensor.maximum))


def _tensor(tensor: EntryTensor | StateTensor) -> TensorSpec:
    return TensorSpec(
        name=tensor.name,
        dtype=dtype_of(tensor.dtype),
        shape=tuple(tensor.shape),
        inspection=isinstance(tensor, EntryTensor) and tensor.inspection,
        reject_non_finite=tensor.non_finite != NonFinite.NON_FINITE_ALLOW,
        words=len(tensor.words) if isinstance(tensor, EntryTensor) else 0,
    )


def _replay(model: Model) -> None:
    """Replays the bundle's probes through the runner that will serve; raises BundleError with the numbers."""

    def run(entry: str, inputs: Arrays, state: Arrays) -> tuple[Arrays, Arrays]:
        outputs = tuple(output.name for output in model.entries[entry].outputs)
        try:
            given, next_state = model.runner.run(entry, _add_batch(inputs), _add_batch(state), outputs)
        except Exception as error:  # onnxruntime's errors share no base class of their own
            raise BundleError(f"entry {entry!r} cannot be run: {error}") from error
        check_next_state(model.manifest, entry, next_state)
        return _drop_batch(given), _drop_batch(next_state)

    replay_probes(model.manifest, run, model.initial_state)


def _add_batch(arrays: Arrays) -> Arrays:
    return {name: array[np.newaxis] for name, array in arrays.items()}


def _drop_batch(arrays: Arrays) -> Arrays:
    return {name: array[0] for name, array in arrays.items()}
