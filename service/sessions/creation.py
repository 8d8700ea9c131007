"""Bringing sessions into being: new ones from a model, forks from another session's state."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

from .. import failpoints
from ..errors import InvalidField, QuotaExceeded, SessionExists
from ..hosting.model import Model, TensorSpec
from ..hosting.repository import Repository
from ..store.base import Applied, Birth, Head, Key, Lost, Snapshot, Store, Tombstone
from .constants import NOTHING, Constants, Given
from .identity import CreateSpec, checked, named, request_hash
from .live import first_state, gone
from .messages import Arrays
from .migration import check_compatible, moved_state
from .states import kept_steps, state_of
from .usage import Usage

START = "start"
DEFAULT_WINDOW = 64  # steps
DEFAULT_KEEP_MOST = 8  # states
MAX_WINDOW_BYTES = 16 * 2**20  # of the answers that a session keeps, if all outputs are always asked for


class Starter(Protocol):
    """Runs the entry `start` of a model; the engine."""

    async def begin(self, model: Model, inputs: Arrays, constants: Constants, *, owner: str) -> Arrays:
        """Returns the first state of a session, without batch axis."""


class Creation:
    """Creates sessions; the store decides every race."""

    def __init__(
        self, store: Store, repository: Repository, usage: Usage, starter: Starter, *, default_ttl: float
    ) -> None:
        self._store = store
        self._starter = starter
        self._usage = usage
        self._repository = repository
        self._default_ttl = default_ttl

    async def create(self, owner: str, spec: CreateSpec) -> tuple[Key, Head]:
        """Creates a session at step 0, or returns the one that the same request created before.

        The entry `start`, where the model has one, is run before anything is written. Raises InvalidField,
        ModelNotFound, SessionExists, and what the run raises; SessionNotFound or SessionExpired for a late repeat of a
        request whose session is gone.
        """
        checked(spec)
        if not spec.model_id:
            raise InvalidField("model_id", "the id of a served model", "nothing")
        model = self._repository.get(spec.model_id, spec.model_version)
        given = _given(model, spec)
        request = request_hash(spec, given=given.digest)
        began = START in model.entries
        birth = replace(self._birth(model, spec, request), constants=given.constants.record, began=began)
        if not began:
            return await self._write(owner, spec, birth, first_state(model))
        again = await self.found_again(owner, spec, request)
        if again is not None:
            return again
        begun = await self._starter.begin(model, given.start_inputs, given.constants, owner=owner)
        return await self._write(owner, spec, birth, first_state(model, begun))

    async def fork(
        self, source: Key, incarnation: bytes | None, step: int | None, spec: CreateSpec
    ) -> tuple[Key, Head]:
        """Creates a session that goes on from a step of another: from the latest if None. The other is not touched.

        The new session's steps are numbered on from that step. Its model is the source's, in another version if the
        request names one; window, time to live and kept states too, where the request leaves them open. Raises what
        `create` raises, StepNotKept, and ModelMismatch where it cannot go on with that version.
        """
        about = f"{source.session_id} {incarnation.hex() if incarnation else ''} {'' if step is None else step}"
        request = request_hash(checked(spec), about)
        again = await self.found_again(source.owner, spec, request)
        if again is not None:
            return again
        head = await self._store.head(source)
        if not isinstance(head, Head):
            raise gone(source.session_id, head)
        born = head.birth
        model = self._repository.get(born.model_id, born.model_version)
        target = self._repository.get(born.model_id, spec.model_version or born.model_version)

        def state_for_target(state: bytes) -> bytes:
            return state if target is model else moved_state(source.session_id, state, model, target)

        record = await state_of(self._store, source, incarnation or head.incarnation, step, model)
        if target is not model:
            check_compatible(source.session_id, model, target)
        failpoints.hit("fork")
        at = record.head.committed_step if step is None else step
        birth = self._birth(target, spec, request, origin_step=at, like=born)
        birth = replace(birth, constants=born.constants, began=born.began)
        state = state_for_target(record.state)
        if not (birth.began and at and 0 in kept_steps(record.head)):
            return await self._write(source.owner, spec, birth, state)
        begun = await state_of(self._store, source, record.head.incarnation, 0, model)  # no model could give it again
        kept = {0: state_for_target(begun.state), at: state}
        return await self.write_whole(source.owner, spec, Snapshot(birth, at, "", state, kept_states=kept))

    def _birth(
        self, model: Model, spec: CreateSpec, request: bytes, *, origin_step: int = 0, like: Birth | None = None
    ) -> Birth:
        if spec.durability is not None and spec.durability > self._store.durability:
            raise InvalidField("durability", f"at most {self._store.durability.name}", spec.durability.name)
        every, most = spec.keep_every, spec.keep_most
        if like is not None and not every:
            every, most = like.keep_every, most or like.keep_most
        return Birth(
            model_id=model.model_id,
            model_version=model.version,
            window=bounded_window(model, spec.window or (like.window if like else DEFAULT_WINDOW)),
            ttl=spec.ttl or (like.ttl if like else self._default_ttl),
            request_hash=request,
            labels=dict(spec.labels),
            origin_step=origin_step,
            keep_every=every,
            keep_most=(most or DEFAULT_KEEP_MOST) if every else 0,
        )

    async def _write(self, owner: str, spec: CreateSpec, birth: Birth, state: bytes) -> tuple[Key, Head]:
        async def write(key: Key, incarnation: bytes) -> Applied | Lost:
            failpoints.hit("create")
            outcome = await self._store.create(key, birth, incarnation, state, "")
            if isinstance(outcome, Lost) and isinstance(outcome.found, Tombstone):
                require_free(key, spec, birth, outcome.found)
                return await self._store.replace(key, birth, incarnation, state, "")
            return outcome

        return await self.place(owner, spec, birth, len(state), write)

    async def write_whole(self, owner: str, spec: CreateSpec, snapshot: Snapshot) -> tuple[Key, Head]:
        """Creates a session as the snapshot says. Raises what `place` raises, and what tells of an id that is gone."""

        async def write(key: Key, incarnation: bytes) -> Applied | Lost:
            failpoints.hit("create")
            found = await self._store.head(key)
            if isinstance(found, Head):
                return Lost(found)
            if isinstance(found, Tombstone):
                require_free(key, spec, snapshot.birth, found)
            return await self._store.restore(key, snapshot, incarnation, found)

        return await self.place(owner, spec, snapshot.birth, len(snapshot.state), write)

    async def place(
        self,
        owner: str,
        spec: CreateSpec,
        birth: Birth,
        state_bytes: int,
        write: Callable[[Key, bytes], Awaitable[Applied | Lost]],
    ) -> tuple[Key, Head]:
        """Lets `write` write a new session, under a key and an incarnation that are drawn here, where it has room.

        Returns the session that the same request created before, if that is what is there. Raises SessionExists,
        QuotaExceeded, TooLong.
        """
        key = Key(owner, named(owner, spec).session_id)
        outcome: Applied | Lost
        try:
            async with self._usage.room(owner, birth, state_bytes) as room:
                outcome = await write(key, secrets.token_bytes(16))
                if isinstance(outcome, Applied):
                    room.keep()
        except QuotaExceeded:
            outcome = Lost(await self._store.head(key))  # a repeat needs no room
            if not isinstance(outcome.found, Head):
                raise
        if isinstance(outcome, Applied):
            return key, outcome.head
        if isinstance(outcome.found, Head) and _is_repeat(outcome.found, birth.request_hash):
            return key, outcome.found
        raise SessionExists(key.session_id)

    async def found_again(self, owner: str, spec: CreateSpec, request: bytes) -> tuple[Key, Head] | None:
        """The session that the same request made before, which may outlive what it was made from."""
        if not request:
            return None
        key = Key(owner, named(owner, spec).session_id)
        found = await self._store.head(key)
        return (key, found) if isinstance(found, Head) and _is_repeat(found, request) else None


def _given(model: Model, spec: CreateSpec) -> Given:
    if spec.given is not None:
        return spec.given(model)
    for field, wanted in (("constants", model.constants), ("start_inputs", _start_inputs(model))):
        if wanted:
            raise InvalidField(field, ", ".join(tensor.name for tensor in wanted), "nothing")
    return NOTHING


def _start_inputs(model: Model) -> tuple[TensorSpec, ...]:
    return model.entries[START].inputs if START in model.entries else ()


def require_free(key: Key, spec: CreateSpec, birth: Birth, stone: Tombstone) -> None:
    """Raises what a caller hears of an id that is not made again: one that follows from its request, or one that this
    very request made before."""
    if not spec.session_id or (birth.request_hash and stone.request_hash == birth.request_hash):
        raise gone(key.session_id, stone)


def bounded_window(model: Model, window: int) -> int:
    """The window in steps, smaller where the answers are large: clients count in steps, so it is settled here."""
    largest = max(
        sum(output.least_bytes for output in entry.outputs) for entry in model.entries.values() if entry.writes_state
    )
    return max(1, min(window, MAX_WINDOW_BYTES // max(1, largest)))


def _is_repeat(head: Head, request: bytes) -> bool:
    return bool(request) and head.birth.request_hash == request
