"""The models of one server: read at its start, followed while it runs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from tapehead.bundle import BundleError

from .api.health import MODEL_PREFIX, Health
from .clock import Clock
from .engine.engine import Engine
from .errors import ModelNotFound
from .hosting.lone import adopt_files
from .hosting.model import Model
from .hosting.repository import Repository, find_bundles, load_model
from .hosting.shelf import Shelf
from .sessions.live import Live
from .sessions.needs import count_by_model
from .settings import Settings, state_folder
from .store.base import Store
from .telemetry.metrics import Metrics
from .versions import VersionPolicy


class NothingToServe(Exception):
    """No model can be served; the message is one sentence."""


def load_all(settings: Settings) -> Repository:
    """Loads every bundle, in seconds or more. Raises NothingToServe."""
    folder = settings.models_folder
    taken = {bundle.parent.name for bundle in find_bundles(folder)} if folder else set()
    try:
        lone = adopt_files(settings.model, state_folder() / "models", taken)
    except BundleError as error:
        raise NothingToServe(f"--model: {error}") from None
    repository = Repository.load(folder, also=lone, max_batch=settings.max_batch, cache_folder=cache_folder())
    if not repository.models():
        place = folder or ", ".join(map(str, settings.model))
        raise NothingToServe(f"--models: no bundle of {place} can be served: {_first(repository.broken)}")
    return repository


def make_shelf(
    settings: Settings,
    repository: Repository,
    store: Store,
    live: Live,
    engine: Engine,
    clock: Clock,
    changed: Callable[[], None],
) -> Shelf:
    """Returns what follows the folder of models; `changed` is told after each change."""

    def load(place: Path) -> Model:
        return load_model(place, max_batch=settings.max_batch, cache_folder=cache_folder())

    async def needed() -> Counter[tuple[str, int]]:
        return await count_by_model(store)

    def let_go(model: Model) -> None:
        for session in live:
            if session.model is model:
                session.drop(ModelNotFound(model.model_id, model.version))
        engine.forget(model)

    return Shelf(
        repository,
        settings.models_folder,
        VersionPolicy.parse(settings.model_versions),
        clock,
        load=load,
        needed=needed,
        let_go=let_go,
        changed=changed,
    )


def tell_metrics(metrics: Metrics, repository: Repository) -> None:
    """Says what is served."""
    metrics.set_models(
        {
            "model": model.model_id,
            "version": str(model.version),
            "kind": model.kind,
            "fingerprint": model.fingerprint,
            "batch_invariant": str(model.batch_invariant).lower(),
        }
        for model in repository.models()
    )


def tell_health(health: Health, repository: Repository, told: set[str]) -> None:
    """Says which models are served; `told` holds those that were said before."""
    now = {model.model_id for model in repository.models()}
    for model_id in now - told:
        health.add(MODEL_PREFIX + model_id)
    for model_id in told - now:
        health.remove(MODEL_PREFIX + model_id)
    told.clear()
    told.update(now)


def cache_folder() -> Path:
    """Where verdicts of self-checks are remembered; losing it costs time alone."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tapehead"


def _first(broken: Mapping[str, str]) -> str:
    return next((f"{name}: {reason}" for name, reason in broken.items()), "there is none")
