"""The life of a session apart from its steps: created, opened, looked at, listed, deleted, expired."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from .. import failpoints
from ..clock import Clock
from ..errors import (
    AnswerReleased,
    FingerprintMismatch,
    InvalidField,
    ModelMismatch,
    SessionExists,
    SessionReplaced,
    SessionTakenOver,
    StateConflict,
    StateRegressed,
    StepGap,
    TapeheadError,
)
from ..hosting.model import Model
from ..hosting.repository import Repository
from ..store.base import Answer, Durability, Head, Key, Lost, Opened, Record, Store
from .answers import decode_answer
from .attachment import Attachment, Stepper
from .creation import Creation, Starter
from .identity import CreateSpec, check_client_id, check_session_id
from .listing import Filter, Listing, SessionView
from .live import GoAgain, Live, LiveSession, gone, is_same_moment, state_layout
from .standing import require_open
from .states import state_of
from .usage import Usage

MAX_ROUNDS = 4  # of an open that others race with
RENEW_AT = 1 / 3  # of the time to live
SHORT_LIFE = 60.0  # seconds to live, below which the looks of `watch` are too far apart
WATCHED_AT_ONCE = 64  # heads that are read together


@dataclass(frozen=True, slots=True)
class OpenSpec:
    """Asks to stream into a session."""

    session_id: str = ""
    incarnation: bytes | None = None  # the one to go on with; such an open never creates
    last_received_step: int | None = None
    client_id: str = ""
    previous_client_id: str = ""
    create: CreateSpec | None = None
    strict_fingerprint: bool = False
    suits: Callable[[Model], object] | None = None  # raises where the stream is not for such a model


class Engine(Stepper, Starter, Protocol):
    """What runs models."""


class Lifecycle:
    """Creates, opens and ends sessions; the store decides every race."""

    def __init__(
        self,
        store: Store,
        live: Live,
        repository: Repository,
        stepper: Engine,
        clock: Clock,
        usage: Usage,
        *,
        default_ttl: float,
    ) -> None:
        self._store = store
        self._live = live
        self._repository = repository
        self._stepper = stepper
        self._clock = clock
        self._usage = usage
        self._listing = Listing(store, self._is_attached)
        self._short_lived: set[LiveSession] = set()  # attached, or lately so
        self.creation = Creation(store, repository, usage, stepper, default_ttl=default_ttl)

    @property
    def store_durability(self) -> Durability:
        """What every commit survives."""
        return self._store.durability

    async def create(self, owner: str, spec: CreateSpec) -> SessionView:
        """Creates a session, as `Creation.create` says."""
        return self._view(*await self.creation.create(owner, spec))

    async def fork(self, source: Key, incarnation: bytes | None, step: int | None, spec: CreateSpec) -> SessionView:
        """Creates a session from another's state, as `Creation.fork` says."""
        check_session_id(source.session_id)
        return self._view(*await self.creation.fork(source, incarnation, step, spec))

    async def read_state(
        self, key: Key, incarnation: bytes | None, *, step: int | None, minimum_step: int = 0
    ) -> tuple[int, dict[str, np.ndarray]]:
        """The tensors of the state after a step, the latest if None, and that step's number. Changes nothing.

        Raises StepGap if the session has not reached `minimum_step`, and StepNotKept.
        """
        head = await self._head(key, incarnation, minimum_step)
        model = self._repository.get(head.birth.model_id, head.birth.model_version)
        record = await state_of(self._store, key, head.incarnation, step, model)
        committed = record.head.committed_step
        arrays = state_layout(model).decode(record.state)
        at = committed if step is None else step
        return at, {tensor.name: array for tensor, array in zip(model.state, arrays, strict=True)}

    async def get(self, key: Key, incarnation: bytes | None, minimum_step: int = 0) -> SessionView:
        """What the store knows of a session. Raises StepGap if it has not reached `minimum_step`."""
        return self._view(key, await self._head(key, incarnation, minimum_step))

    async def list_all(self, *, after: str, limit: int, wanted: Filter) -> tuple[list[SessionView], str]:
        """A page of everybody's sessions, as `Listing.page_of_all` says."""
        return await self._listing.page_of_all(after, limit, wanted)

    async def list(self, owner: str, *, after: str, limit: int, wanted: Filter) -> tuple[list[SessionView], str]:
        """A page of the owner's sessions, as `Listing.page` says."""
        return await self._listing.page(owner, after, limit, wanted)

    async def delete(self, key: Key, incarnation: bytes | None) -> Head | None:
        """Ends a session; whoever streams into it hears that it is gone. Returns its last head; None if it is damaged.

        A damaged session can be ended only without naming an incarnation; else it raises StateCorrupt.
        """
        check_session_id(key.session_id)
        async with self._live.door(key):
            return await self.delete_inside_door(key, incarnation)

    async def delete_inside_door(self, key: Key, incarnation: bytes | None) -> Head | None:
        """As `delete`, for a caller that holds the session's door."""
        failpoints.hit("delete")
        outcome = await self._store.delete(key, incarnation)
        if isinstance(outcome, Lost):
            raise self._lost(key, outcome)
        self._usage.ended(key.owner, outcome.head)
        live = self._live.peek(key)
        if live is not None:
            live.drop(gone(key.session_id, None))
        return outcome.head

    async def expire(self, limit: int) -> int:
        """Ends at most `limit` sessions that were not used for their time to live; returns how many."""
        expired = await self._store.expire(limit)
        if expired:
            self._usage.forget()
        return expired

    async def watch(self) -> None:
        """Looks after attached sessions: ends the streams of those that were opened elsewhere, renews the others."""
        attached = [live for live in self._live if live.attachment is not None]
        for first in range(0, len(attached), WATCHED_AT_ONCE):
            await asyncio.gather(*map(self._look_after, attached[first : first + WATCHED_AT_ONCE]))

    async def _look_after(self, live: LiveSession) -> None:
        with suppress(GoAgain, TapeheadError):  # dropped, or the store is away: the next commit, or look, says more
            await self._live.confirm(live)
            await self._renew(live)

    async def renew_short_lived(self) -> None:
        """Renews attached sessions that might not live until `watch` looks at them again."""
        for live in list(self._short_lived):
            if live.attachment is None:
                self._short_lived.discard(live)
                continue
            with suppress(TapeheadError):
                await self._renew(live)

    async def _renew(self, live: LiveSession) -> None:
        """By this process' own count of time: the store judges ages by its clock, which may be another."""
        attachment, head, now = live.attachment, live.head, self._clock.monotonic()
        if attachment is None or now - attachment.renewed_at < head.birth.ttl * RENEW_AT:
            return
        if await self._store.renew(live.key, head.incarnation, head.epoch):
            attachment.renewed_at = now
            if live.head is head:
                live.head = replace(head, last_use_time=self._clock.now())

    # --- opening ------------------------------------------------------------------------------------------------------

    async def open(self, owner: str, spec: OpenSpec) -> Attachment:
        """Opens a session for a stream: the newest open wins. Refusals come before anybody is fenced.

        Raises SessionNotFound, SessionExpired, SessionReplaced, ModelMismatch, StateRegressed, AnswerReleased,
        FingerprintMismatch, and what `create` raises.
        """
        _check_spec(spec)
        self._live.make_room_for(Key(owner, spec.session_id))
        key = await self._existing(owner, spec)
        async with self._live.door(key):
            for _ in range(MAX_ROUNDS):
                attachment = await self._try_open(key, spec)
                if attachment is not None:
                    return attachment
        raise StateConflict(key.session_id)

    async def _try_open(self, key: Key, spec: OpenSpec) -> Attachment | None:
        """One try; None if the session was replaced, or its copy dropped, meanwhile."""
        self._live.make_room_for(key)
        copy = self._live.peek(key)
        if copy is None:
            record = await self._live.read_inside_door(key)
            return await self._bump(key, record.head, self._require(key, record.head, spec), spec, record)
        head, model = await self._checked_head(key, spec)
        if copy.is_gone:
            return None
        copy.is_opening = True  # until the open is over, calls go again instead of joining this copy
        try:
            if await self._quiet(copy, spec.client_id):
                head, model = await self._checked_head(key, spec)  # a commit has moved it
            return await self._bump(key, head, model, spec)
        except BaseException:
            copy.drop(
                StateConflict(key.session_id)
            )  # whether the epoch was raised is not known: nobody goes on with it
            raise
        finally:
            copy.is_opening = False

    async def _checked_head(self, key: Key, spec: OpenSpec) -> tuple[Head, Model]:
        head = await self._head(key, spec.incarnation)
        return head, self._require(key, head, spec)

    def _require(self, key: Key, head: Head, spec: OpenSpec) -> Model:
        """The session's model, if the session is one that this open may have."""
        if spec.incarnation is not None and head.incarnation != spec.incarnation:
            raise SessionReplaced(key.session_id)
        model = self._repository.get(head.birth.model_id, head.birth.model_version)
        require_open(key.session_id, head)
        self._check(key, head, model, spec)
        return model

    async def _bump(
        self, key: Key, head: Head, model: Model, spec: OpenSpec, record: Record | None = None
    ) -> Attachment | None:
        """`record` is what the store had a moment ago of a session that is not in memory."""
        failpoints.hit("open.before")
        outcome = await self._store.open(key, head.incarnation, spec.client_id)
        failpoints.hit("open.after")
        if isinstance(outcome, Lost):
            return None
        live, answers = await self._copy(key, outcome, spec, record)
        return await self._attach(live, model, outcome.before, spec, answers)

    async def _existing(self, owner: str, spec: OpenSpec) -> Key:
        """The session's key, after creating it where the request allows that."""
        if spec.session_id and (spec.create is None or spec.incarnation is not None):
            check_session_id(spec.session_id)
            return Key(owner, spec.session_id)
        if spec.session_id:
            found = await self._store.head(Key(owner, spec.session_id))
            if isinstance(found, Head):
                return Key(owner, spec.session_id)
            if found is not None and spec.last_received_step:
                raise gone(spec.session_id, found)
        assert spec.create is not None
        if spec.last_received_step:
            raise StateRegressed(spec.session_id, 0, spec.last_received_step)
        if spec.suits is not None and spec.create.model_id:
            spec.suits(self._repository.get(spec.create.model_id, spec.create.model_version))
        try:
            key, _ = await self.creation.create(owner, replace(spec.create, session_id=spec.session_id))
        except SessionExists:
            return Key(owner, spec.session_id)  # somebody else was faster
        return key

    def _check(self, key: Key, head: Head, model: Model, spec: OpenSpec) -> None:
        if spec.suits is not None:
            spec.suits(model)
        wanted = spec.create
        if (
            wanted is not None
            and wanted.model_id
            and (wanted.model_id != head.birth.model_id or wanted.model_version not in (0, head.birth.model_version))
        ):
            raise ModelMismatch(
                key.session_id,
                f"'{head.birth.model_id}' version {head.birth.model_version}",
                f"'{wanted.model_id}'" + (f" version {wanted.model_version}" if wanted.model_version else ""),
            )
        last = spec.last_received_step
        if last is not None and last > head.committed_step:
            raise StateRegressed(key.session_id, head.committed_step, last)
        if last is not None and last < head.oldest_kept_answer - 1:
            raise AnswerReleased(last + 1, head.committed_step, head.oldest_kept_answer)
        if spec.strict_fingerprint and head.fingerprint not in ("", model.fingerprint):
            raise FingerprintMismatch(key.session_id, head.fingerprint, model.fingerprint)

    async def _quiet(self, live: LiveSession, opener: str) -> bool:
        """Ends the old stream, drops what has not begun, lets the commit in flight end; tells whether there was one."""
        if live.attachment is not None:
            live.attachment.end(live.attachment.taken_over_by(opener))
        live.abandon_works(None, GoAgain())
        was_committing = bool(live.works)
        await live.wait_settled()
        return was_committing

    async def _copy(
        self, key: Key, opened: Opened, spec: OpenSpec, record: Record | None
    ) -> tuple[LiveSession, Sequence[Answer] | None]:
        """The session in memory as of this opening: the copy there is, or the record that was read, if it equals the
        head before; else a new one. With its kept answers, if they have just been read."""
        live = self._live.peek(key)
        if live is None and record is not None and is_same_moment(record.head, opened.before):
            return await self._live.take_in_inside_door(key, Record(opened.after, record.state))
        if live is not None and live.is_copy_of(opened.before):
            live.head = opened.after
            live.confirmations += 1
        elif live is not None:
            live.drop(StateConflict(key.session_id))
        live = await self._live.fetch_inside_door(key)
        if not live.is_opening_of(opened.after):
            same = bool(live.head.last_writer) and live.head.last_writer in (spec.client_id, spec.previous_client_id)
            raise SessionTakenOver(key.session_id, same_client=same)
        return live, None

    async def _attach(
        self, live: LiveSession, model: Model, before: Head, spec: OpenSpec, answers: Sequence[Answer] | None
    ) -> Attachment | None:
        head, last = live.head, spec.last_received_step
        replays = []
        if last is not None and last < head.committed_step:
            if answers is None:
                answers = await self._store.answers(live.key, head.incarnation, last + 1)
            # What another server has committed since is not this stream's to tell.
            wanted = [answer for answer in answers if last < answer.last_step <= head.committed_step]
            replays = [decode_answer(answer, committed_step=head.committed_step) for answer in wanted]
            failpoints.hit("replay")
            if live.is_gone:
                return None
        attachment = Attachment(
            live,
            self._stepper,
            client_id=spec.client_id,
            previous_client_id=spec.previous_client_id,
            replays=replays,
            fingerprint_changed=before.fingerprint not in ("", model.fingerprint),
        )
        attachment.renewed_at = self._clock.monotonic()
        live.attachment = attachment
        if head.birth.ttl < SHORT_LIFE:
            self._short_lived.add(live)
        return attachment

    async def _head(self, key: Key, incarnation: bytes | None, minimum_step: int = 0) -> Head:
        check_session_id(key.session_id)
        if minimum_step < 0:
            raise InvalidField("minimum_step", "0 or more", minimum_step)
        found = await self._store.head(key)
        if not isinstance(found, Head):
            raise gone(key.session_id, found)
        if incarnation is not None and found.incarnation != incarnation:
            raise SessionReplaced(key.session_id)
        if found.committed_step < minimum_step:
            raise StepGap(minimum_step, found.committed_step + 1)
        return found

    def _lost(self, key: Key, outcome: Lost) -> TapeheadError:
        if isinstance(outcome.found, Head):
            return SessionReplaced(key.session_id)
        return gone(key.session_id, outcome.found)

    def _view(self, key: Key, head: Head) -> SessionView:
        return SessionView(key.session_id, head, attached=self._is_attached(key))

    def _is_attached(self, key: Key) -> bool:
        live = self._live.peek(key)
        return live is not None and live.attachment is not None


def _check_spec(spec: OpenSpec) -> None:
    """Raises InvalidField for what no open can ask."""
    if spec.session_id:
        check_session_id(spec.session_id)
    elif spec.create is None:
        raise InvalidField("session_id", "the session to open", "nothing, and no 'create'")
    elif spec.incarnation is not None:
        raise InvalidField("session_id", "the session whose incarnation is named", "nothing")
    if spec.last_received_step is not None and spec.last_received_step < 0:
        raise InvalidField("last_received_step", "0 or more", spec.last_received_step)
    check_client_id(spec.client_id, "client_id")
    check_client_id(spec.previous_client_id, "previous_client_id")
