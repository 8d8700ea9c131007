"""Follows the folder of bundles while the server runs: what is new is checked and then served, what is gone retires.

1. A bundle counts from the moment its manifest, which is written last, has looked the same twice.
2. It is loaded in a thread, self-check and all. Only one that passed is served; of the others the reason is told.
3. A version is never changed under its sessions: files that change while it is served are told of and left alone.
4. What the policy no longer offers serves the sessions that have it, and is unloaded when there are none.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tapehead.bundle import MANIFEST_NAME, BundleError

from ..clock import Clock
from ..errors import ModelNotFound
from ..versions import VersionPolicy
from .errors import ModelBroken, ModelInUse
from .model import Model
from .repository import Repository, find_bundles

RETIRE_SECONDS = 60.0  # between counts of the sessions that need what is no longer offered

Name = tuple[str, int]  # model, version

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """A bundle as it lies in the folder."""

    place: Path
    stamp: tuple[tuple[str, int, int], ...]  # of each file: name, changed at, size
    digest: str  # of the manifest, which holds those of all files


class Shelf:
    """Loads and unloads; belongs to one event loop."""

    def __init__(
        self,
        repository: Repository,
        folder: Path | None,
        policy: VersionPolicy,
        clock: Clock,
        *,
        load: Callable[[Path], Model],
        needed: Callable[[], Awaitable[Counter[Name]]],
        let_go: Callable[[Model], None],
        changed: Callable[[], None],
    ) -> None:
        """`needed` counts the sessions of each model and version; `let_go` frees what the server holds of a model;
        `changed` is told after each change. `load` blocks, in a thread; it raises BundleError."""
        self._repository = repository
        self._folder = folder
        self._policy = policy
        self._clock = clock
        self._load = load
        self._needed = needed
        self._let_go = let_go
        self._changed = changed
        self._lock = asyncio.Lock()  # one change at a time
        self._tried: dict[Name, Seen] = {}  # what was loaded, or could not be
        self._settling: dict[Name, Seen] = {}  # seen once
        self._unloaded: dict[Name, str] = {}  # by hand: stay away while the manifest has this digest
        self._by_hand: set[Name] = set()  # loaded by hand: stay whatever the policy
        self._next_count = 0.0
        self._start: set[Name] | None = {(model.model_id, model.version) for model in repository.models()}

    async def look(self) -> None:
        """One look at the folder, and what follows from it. A folder that cannot be read changes nothing."""
        async with self._lock:
            try:
                found = await asyncio.to_thread(self._scan)
            except OSError as error:
                _log.warning("%s cannot be read: %s", self._folder, error.strerror)
                return
            self._take_over(found)
            for name, seen in found.items():
                if self._is_news(name, seen) and name[1] in self._wanted(name[0], found):
                    await self._try(name, seen)
            self._settling = {name: seen for name, seen in found.items() if self._differs(name, seen)}
            for known in [name for name in self._tried if name not in found and self._repository.find(*name) is None]:
                self._forget(known)
            self._retire(found)
            await self._unload_unneeded()

    async def load(self, model_id: str, version: int = 0) -> Model:
        """Serves what lies in the folder now of a model: a version, or those that the policy wants.

        Raises ModelNotFound, and ModelBroken for the newest that was meant and cannot be served.
        """
        async with self._lock:
            found = await asyncio.to_thread(self._scan)
            self._take_over(found)
            there = [number for name, number in found if name == model_id and version in (0, number)]
            served = self._repository.find(model_id, version) if version else None
            if not there and served is None:
                raise ModelNotFound(model_id, version)
            for number in there:
                self._unloaded.pop((model_id, number), None)
            wanted = {version} if version else self._policy.wanted(model_id, there)
            for number in sorted(wanted & set(there)):
                name = (model_id, number)
                if self._repository.find(*name) is None or self._differs(name, found[name]):
                    await self._try(name, found[name])
            if version:
                self._by_hand.add((model_id, version))
            self._retire(found)
            newest = version or max(wanted, default=0)
            if reason := self._repository.broken.get(f"{model_id}/{newest}"):
                raise ModelBroken(model_id, newest, reason)
            return self._repository.get(model_id, version)

    async def unload(self, model_id: str, version: int = 0, *, force: bool = False) -> tuple[list[int], int]:
        """Serves a version, or all, no longer; returns which, and how many sessions need them.

        Raises ModelNotFound; ModelInUse where sessions need one, unless forced, having changed nothing.
        """
        async with self._lock:
            versions = self._repository.versions(model_id)
            models = [self._repository.get(model_id, number) for number in versions if version in (0, number)]
            if not models:
                raise ModelNotFound(model_id, version)
            needed = await self._needed()
            counts = [needed[model_id, model.version] for model in models]
            for model, count in zip(models, counts, strict=True):
                if count and not force:
                    raise ModelInUse(model_id, model.version, count)
            for model in models:
                name = (model_id, model.version)
                self._by_hand.discard(name)
                self._unloaded[name] = self._tried[name].digest if name in self._tried else ""
                self._remove(model)
            return [model.version for model in models], sum(counts)

    # --- what there is ------------------------------------------------------------------------------------------------

    def _scan(self) -> dict[Name, Seen]:
        """Reads the folder, in a thread. Manifests are read only where they look changed."""
        found = {}
        for place in find_bundles(self._folder) if self._folder else ():
            if not place.name.isdecimal():
                continue
            name = (place.parent.name, int(place.name))
            try:
                files = [(file.relative_to(place).as_posix(), file.stat()) for file in sorted(place.rglob("*"))]
                stamp = tuple((file, about.st_mtime_ns, about.st_size) for file, about in files)
                known = next((seen for seen in self._known(name) if seen.stamp == stamp), None)
                digest = known.digest if known else hashlib.sha256((place / MANIFEST_NAME).read_bytes()).hexdigest()
            except FileNotFoundError:
                continue  # taken away between two looks
            found[name] = Seen(place, stamp, digest)
        return found

    def _known(self, name: Name) -> Iterable[Seen]:
        return [known[name] for known in (self._tried, self._settling) if name in known]

    def _take_over(self, found: dict[Name, Seen]) -> None:
        """At the first look: what was loaded, or refused, at the start was as it lies there."""
        if self._start is not None:
            refused = {name for name in found if f"{name[0]}/{name[1]}" in self._repository.broken}
            self._tried.update({name: seen for name, seen in found.items() if name in self._start | refused})
            self._start = None

    def _differs(self, name: Name, seen: Seen) -> bool:
        """Whether a bundle is other than what was tried; of one that could not be served, any of its files counts."""
        tried = self._tried.get(name)
        if tried is None or tried.digest != seen.digest:
            return True
        return tried.stamp != seen.stamp and self._repository.find(*name) is None and name not in self._unloaded

    def _is_news(self, name: Name, seen: Seen) -> bool:
        """Whether a bundle is to be tried: it is other than what was tried, and has settled."""
        settled = name in self._settling and self._settling[name].stamp == seen.stamp
        return settled and self._differs(name, seen) and self._unloaded.get(name) != seen.digest

    def _wanted(self, model_id: str, found: dict[Name, Seen]) -> set[int]:
        """What the policy wants of the versions that are served, or may be once they were tried."""
        mine = {name: seen for name, seen in found.items() if name[0] == model_id}
        return self._policy.wanted(
            model_id,
            {
                name[1]
                for name, seen in mine.items()
                if self._repository.find(*name) is not None
                or (self._differs(name, seen) and self._unloaded.get(name) != seen.digest)
            },
        )

    def _offered(self, model_id: str, found: dict[Name, Seen]) -> set[int]:
        """What the policy offers of the versions that are served: a new one counts once it has passed."""
        served = {number for name, number in found if name == model_id and self._repository.find(name, number)}
        return self._policy.wanted(model_id, served)

    # --- what is done -------------------------------------------------------------------------------------------------

    async def _try(self, name: Name, seen: Seen) -> None:
        """Loads a bundle and serves it, or notes why not."""
        label = f"{name[0]}/{name[1]}"
        if self._repository.find(*name) is not None:
            reason = (
                "its files have changed while it is served, and a version never changes under its sessions: publish "
                "them as another version, or unload this one first"
            )
            if self._repository.broken.get(label) != reason:
                self._refuse(label, reason)
            return
        self._tried[name] = seen
        try:
            model = await asyncio.to_thread(self._load, seen.place)
        except BundleError as error:
            self._refuse(label, str(error))
            return
        except Exception as error:  # a strange bundle must not keep the good ones from being served
            _log.exception("bundle %s cannot be loaded", label)
            self._refuse(label, f"{type(error).__name__} while loading it; the log has more")
            return
        self._repository.broken.pop(label, None)
        self._repository.add(model)
        _log.info("model %s is served", label)
        self._changed()

    def _refuse(self, label: str, reason: str) -> None:
        self._repository.broken[label] = reason
        _log.warning("bundle %s is not served: %s", label, reason)
        self._changed()

    def _forget(self, name: Name) -> None:
        """A bundle that could not be served is gone."""
        del self._tried[name]
        self._repository.broken.pop(f"{name[0]}/{name[1]}", None)

    def _retire(self, found: dict[Name, Seen]) -> None:
        """Offers what the policy wants, and nothing else that came from the folder."""
        for model in self._repository.models():
            name = (model.model_id, model.version)
            if name not in self._tried:
                continue  # not from the folder
            if name in found and not self._differs(name, found[name]):
                self._repository.broken.pop(f"{name[0]}/{name[1]}", None)  # changed files were put back
            retired = name not in self._by_hand and name[1] not in self._offered(name[0], found)
            if retired != self._repository.is_retired(model):
                self._repository.retire(model, retired)
                _log.info("model %s/%d is %s", *name, "retired" if retired else "offered again")
                self._next_count = 0.0
                self._changed()

    async def _unload_unneeded(self) -> None:
        retired = [model for model in self._repository.models() if self._repository.is_retired(model)]
        if not retired or self._clock.monotonic() < self._next_count:
            return
        self._next_count = self._clock.monotonic() + RETIRE_SECONDS
        needed = await self._needed()
        for model in retired:
            if not needed[model.model_id, model.version]:
                self._remove(model)
                self._tried.pop((model.model_id, model.version), None)

    def _remove(self, model: Model) -> None:
        self._repository.remove(model)
        self._repository.broken.pop(f"{model.model_id}/{model.version}", None)
        self._let_go(model)
        _log.info("model %s/%d is not served any more", model.model_id, model.version)
        self._changed()
