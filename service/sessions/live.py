"""The sessions in memory. This module is the sole owner of their objects: nothing else creates, finds or drops one.

A live session is a copy of the store's head. It is used for deciding, never believed against the store: whatever it
answers apart from a commit is confirmed first, and it is dropped as soon as it may differ.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol
from weakref import WeakValueDictionary

import numpy as np

from .. import failpoints
from ..errors import (
    OverCapacity,
    SessionExpired,
    SessionNotFound,
    SessionReplaced,
    SessionTakenOver,
    StateRegressed,
    TapeheadError,
)
from ..hosting.model import Model
from ..store.base import Answer, Head, Key, Record, Store, Tombstone
from ..store.record import OpenStateLayout, StateLayout
from .attachment import Attachment
from .constants import Constants
from .messages import Arrays, StepAnswer
from .session import Session, Span

LIVE_RETRY_AFTER = 0.2  # seconds


class GoAgain(Exception):
    """The copy was dropped before the work had begun: go through the step table again. Never leaves the service."""


class Slots(Protocol):
    """Rows for the states of one model's sessions."""

    def take(self) -> int:
        """Reserves a row."""

    def free(self, slot: int) -> None:
        """Gives a row back."""

    def write(self, slot: int, arrays: Sequence[np.ndarray]) -> None:
        """Fills a row, in the order of the model's state tensors."""

    def value(self, slot: int, name: str) -> np.ndarray:
        """A copy of one tensor of a row."""


class PendingWork(Protocol):
    """A step, or a chunk, that was accepted and is not settled."""

    @property
    def origin(self) -> Attachment | None:
        """The stream that sent it; None for a unary call."""

    @property
    def span(self) -> Span:
        """Its steps."""

    @property
    def client_id(self) -> str:
        """Who writes it."""

    @property
    def answer(self) -> asyncio.Future[StepAnswer]:
        """Done once it is settled."""

    def abandon(self, error: Exception) -> bool:
        """Fails it, and what is behind it, unless its commit has begun; tells whether it did."""


class LiveSession:
    """One session in memory: its numbers, its slot, and what waits to be done with it."""

    def __init__(
        self,
        key: Key,
        model: Model,
        head: Head,
        answers: Sequence[Answer],
        slots: Slots,
        slot: int,
        drop: Callable[[LiveSession, TapeheadError], None],
    ) -> None:
        self.key = key
        self.model = model
        self.head = head
        self.layout = state_layout(model)
        self.constants = Constants.read(head.birth.constants)
        self.slots = slots
        self.slot = slot
        self.rules = Session(
            window=head.birth.window,
            committed_step=head.committed_step,
            kept=[Span(a.first_step, a.step_count, a.input_hash) for a in answers],
        )
        self.works: list[PendingWork] = []  # accepted, in order; parallel to rules.in_flight
        self.attachment: Attachment | None = None
        self.confirmations = 0  # how often the copy was known to be the store's head
        self.is_gone = False
        self.is_opening = False
        self._drop = drop

    def drop(self, error: TapeheadError) -> None:
        """Forgets this copy, as `Live.drop` says."""
        self._drop(self, error)

    async def wait_settled(self) -> None:
        """Waits until what is in flight now is settled."""
        if self.works:
            await asyncio.wait([self.works[-1].answer])

    @property
    def told(self) -> int:
        """How many sentences were told, of a question-answering model that counts them; otherwise 0."""
        name = self.model.manifest.question_answering.length_state
        return int(self.slots.value(self.slot, name).reshape(-1)[0]) if name else 0

    @property
    def is_idle(self) -> bool:
        return not self.works and self.attachment is None

    def is_copy_of(self, head: Head) -> bool:
        return is_same_moment(self.head, head)

    def is_opening_of(self, head: Head) -> bool:
        return (self.head.incarnation, self.head.epoch) == (head.incarnation, head.epoch)

    def abandon_works(self, of: Attachment | None, error: Exception) -> None:
        """Takes out what a stream, or what unary calls (None), had accepted and whose commit has not begun."""
        for work in reversed(list(self.works)):
            if work.origin is of:
                work.abandon(error)

    def lost_to(self, found: Head | Tombstone | None, attachment: Attachment | None, client_id: str) -> TapeheadError:
        """Says why a writer of this copy has lost, by what the store has; the order of the cases decides.

        The last case, the same epoch at another step, is a takeover for a stream; a unary call goes again instead.
        """
        session_id = self.key.session_id
        if found is None or isinstance(found, Tombstone):
            return gone(session_id, found)
        if found.incarnation != self.head.incarnation:
            return SessionReplaced(session_id)
        if found.epoch < self.head.epoch:
            return StateRegressed(session_id, found.committed_step, self.head.committed_step)
        if attachment is not None:
            return attachment.taken_over_by(found.last_writer)
        same = bool(client_id) and found.last_writer == client_id
        return SessionTakenOver(session_id, same_client=same)


class Live:
    """Finds sessions, loading them from the store when they are not here."""

    def __init__(
        self,
        store: Store,
        model_of: Callable[[str, int], Model],
        slots_of: Callable[[Model], Slots],
        *,
        limit: int,
    ) -> None:
        self._store = store
        self._model_of = model_of
        self._slots_of = slots_of
        self._limit = limit
        self._sessions: OrderedDict[Key, LiveSession] = OrderedDict()  # least recently used first
        self._doors: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[LiveSession]:
        return iter(list(self._sessions.values()))

    @property
    def attached_count(self) -> int:
        return sum(session.attachment is not None for session in self._sessions.values())

    @asynccontextmanager
    async def door(self, key: Key) -> AsyncIterator[None]:
        """Held while a session is loaded, opened or deleted: one at a time for each session of this process."""
        async with self._doors.setdefault(key, asyncio.Lock()):
            yield

    def peek(self, key: Key) -> LiveSession | None:
        """The session if it is in memory."""
        return self._sessions.get(key)

    async def fetch(self, key: Key) -> LiveSession:
        """The session, loaded if need be. Raises SessionNotFound, SessionExpired, StateCorrupt, OverCapacity."""
        session = self._sessions.get(key)
        if session is not None and key not in self._doors:  # nobody is at the door, and the way is short
            self._sessions.move_to_end(key)
            return session
        async with self.door(key):
            return await self.fetch_inside_door(key)

    async def fetch_inside_door(self, key: Key) -> LiveSession:
        """As `fetch`, for a caller that holds the door."""
        session = self._sessions.get(key)
        if session is not None:
            self._sessions.move_to_end(key)
            return session
        record = await self.read_inside_door(key)
        session, _ = await self.take_in_inside_door(key, record)
        return session

    async def read_inside_door(self, key: Key) -> Record:
        """What the store has of a session. Raises SessionNotFound, SessionExpired, StateCorrupt."""
        record = await self._store.load(key)
        if not isinstance(record, Record):
            raise gone(key.session_id, record)
        return record

    async def take_in_inside_door(self, key: Key, record: Record) -> tuple[LiveSession, list[Answer]]:
        """Makes a copy of a session that is not in memory, as of a record; returns it with its kept answers."""
        head = record.head
        answers = await self._store.answers(key, head.incarnation, head.oldest_kept_answer)
        # A commit by another server since the record was read leaves answers that the head does not know yet.
        answers = [answer for answer in answers if answer.last_step <= head.committed_step]
        model = self._model_of(head.birth.model_id, head.birth.model_version)
        self.make_room_for(key)
        slots = self._slots_of(model)
        arrays = state_layout(model).decode(record.state)
        slot = slots.take()
        try:
            slots.write(slot, arrays)
            session = LiveSession(key, model, head, answers, slots, slot, self.drop)
        except BaseException:  # its constants may be damaged
            slots.free(slot)
            raise
        session.confirmations = 1
        self._sessions[key] = session
        return session, answers

    async def confirm(self, session: LiveSession) -> None:
        """Makes sure that the copy is the store's head, or drops it and raises GoAgain.

        Says nothing, and changes nothing, while a commit is in flight: then the head may rightly be ahead of the copy.
        """
        before = session.confirmations
        head = await self._store.head(session.key)
        if session.is_gone:
            raise GoAgain
        if session.confirmations != before:
            return  # a commit came through meanwhile, which compared more than this does
        if isinstance(head, Head) and session.is_opening_of(head) and session.works:
            return
        if isinstance(head, Head) and session.is_copy_of(head):
            session.confirmations += 1
            return
        self.drop(session, session.lost_to(head, session.attachment, ""))
        raise GoAgain

    def drop(self, session: LiveSession, error: TapeheadError) -> None:
        """Forgets the copy: its stream ends with the error, and calls that wait on it go through the table again."""
        if session.is_gone:
            return
        session.is_gone = True
        self._sessions.pop(session.key, None)
        if session.attachment is not None:
            session.attachment.end(error)
        session.abandon_works(None, GoAgain())
        session.slots.free(session.slot)

    def make_room_for(self, key: Key) -> None:
        """Drops the idle session that was used least recently, if need be. Raises OverCapacity if none is idle."""
        if key in self._sessions or len(self._sessions) < self._limit:
            return
        for _ in range(len(self._sessions)):
            session = next(iter(self._sessions.values()))
            if session.is_idle:
                failpoints.hit("park")
                self.drop(session, SessionNotFound(session.key.session_id))
                return
            self._sessions.move_to_end(session.key)  # in use, so that the next look need not pass it again
        raise OverCapacity("sessions in memory", self._limit, retry_after=LIVE_RETRY_AFTER)


def is_same_moment(one: Head, other: Head) -> bool:
    """Whether two heads are of one incarnation, opening and step, so that state and answers are the same too."""
    return (one.incarnation, one.epoch, one.committed_step) == (other.incarnation, other.epoch, other.committed_step)


def gone(session_id: str, found: Tombstone | Head | Record | None) -> TapeheadError:
    """What a caller hears of a session that is not there (any more)."""
    if isinstance(found, Tombstone) and found.expired:
        return SessionExpired(session_id)
    return SessionNotFound(session_id)


def first_state(model: Model, begun: Arrays | None = None) -> bytes:
    """The record of the state that a session begins with: its model's, and what was `begun` for it alone."""
    arrays = {**model.initial_state, **(begun or {})}
    return state_layout(model).encode([arrays[tensor.name] for tensor in model.state])


def state_layout(model: Model) -> StateLayout | OpenStateLayout:
    """How the model's state lies in a record."""
    fields = [(spec.name, spec.dtype, spec.shape) for spec in model.state]
    return OpenStateLayout(fields) if model.grows else StateLayout(fields)
