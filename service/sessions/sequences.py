"""Sequences of the Open Inference Protocol: how they begin, begin anew and end.

A sequence is an ordinary session under an id that follows from its model and its sequence id. A START on one that runs
begins a new incarnation. Of the old one a frozen copy stays, under an id of its own: it can be read and forked for its
time to live, and every commit to it, under whichever id, is refused.

It is made without a new operation of the store, in this order: fence, copy, look whether anything came between, delete,
create. A crash in between leaves the old sequence, or none, and the copy; never one without its past. On one server
nothing can come between. Another server may commit in the round trip between the last look and the delete: such a step
is missing in the copy, as if it had come after the START.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..clock import Clock
from ..errors import InvalidField, SessionExists, SessionReplaced, StateConflict, TapeheadError
from ..store.base import Applied, Head, Key, Lost, Store, Tombstone
from .identity import CreateSpec, check_session_id
from .lifecycle import Lifecycle
from .live import GoAgain, Live
from .portable import Portable
from .standing import FROZEN_PREFIX, PREFIX, REPLACED, is_ended

MAX_SEQUENCE_ID = 128  # characters, as in Triton
KEEP_ENDED_SECONDS = 60.0  # for a repeat of the last step
BEGUN_BY = "oip.start"  # the label that tells a repeat of a START
MAX_ROUNDS = 8  # of a START that others race with
PAGE = 256  # heads that are read at once


@dataclass(frozen=True, slots=True)
class Ended:
    """A sequence whose END was committed, and when its session goes."""

    due: float  # seconds, monotonic
    key: Key
    incarnation: bytes


class Sequences:
    """Begins and ends sequences."""

    def __init__(
        self,
        store: Store,
        live: Live,
        lifecycle: Lifecycle,
        portable: Portable,
        clock: Clock,
        *,
        refuse_restart: bool,
        replaced: Callable[[str], None],
    ) -> None:
        """`replaced` is told the model of each sequence that begins anew; with `refuse_restart` none ever does."""
        self._store = store
        self._live = live
        self._lifecycle = lifecycle
        self._portable = portable
        self._clock = clock
        self._refuse_restart = refuse_restart
        self._replaced = replaced
        self._ended: deque[Ended] = deque()  # in the order of their ends

    async def begin(self, owner: str, spec: CreateSpec, mark: str, *, is_whole: bool) -> bytes:
        """Creates the session of a sequence, in place of one that is there; returns its incarnation.

        `mark` tells the request from others; where the START of the sequence that is there had the same, nothing is
        done, unless that sequence was ended since by another request than this one, which `is_whole` says. Empty is
        like no other. Raises SessionExists where a running sequence must not be replaced, and what creating raises.
        """
        key = Key(owner, spec.session_id)
        check_session_id(key.session_id)
        spec = replace(spec, labels={**spec.labels, **({BEGUN_BY: mark} if mark else {})})
        for _ in range(MAX_ROUNDS):
            async with self._live.door(key):
                found = await self._store.head(key)
                if isinstance(found, Head):
                    ended = is_ended(key.session_id, found)
                    if mark and found.birth.labels.get(BEGUN_BY) == mark and (is_whole or not ended):
                        return found.incarnation
                    if not ended and self._refuse_restart:
                        raise SessionExists(key.session_id)
                    if not await self._clear(key, found, ended):
                        continue
                try:
                    _, head = await self._lifecycle.creation.create(owner, spec)
                except SessionExists:
                    continue  # another server was faster
                return head.incarnation
        raise StateConflict(key.session_id)

    def note_end(self, key: Key, incarnation: bytes) -> None:
        """The last step of a sequence was committed: its session goes in a minute."""
        self._ended.append(Ended(self._clock.monotonic() + KEEP_ENDED_SECONDS, key, incarnation))

    async def remove_ended(self) -> None:
        """Deletes the sessions of sequences that were ended long enough ago."""
        while self._ended and self._ended[0].due <= self._clock.monotonic():
            ended = self._ended.popleft()
            try:
                await self._lifecycle.delete(ended.key, ended.incarnation)
            except TapeheadError:
                continue  # gone, or begun anew, already; if the store is away, the next start finds it

    async def find_ended(self) -> None:
        """Notes the ended sequences that an earlier process left. Reads the heads of sequences, a page at a time."""
        owner: list[str] = await self._store.owners(None, 1)
        while owner:
            after = PREFIX
            while page := await self._store.list(owner[0], after, PAGE):
                for session_id, head in page:
                    if is_ended(session_id, head):
                        self.note_end(Key(owner[0], session_id), head.incarnation)
                after = page[-1][0]
                if len(page) < PAGE or not after.startswith(PREFIX):
                    break
                await asyncio.sleep(0)
            owner = await self._store.owners(owner[0], 1)

    async def _clear(self, key: Key, head: Head, ended: bool) -> bool:
        """Ends a session so that its id is free, and keeps a frozen copy of one that ran; tells whether it did."""
        copy = self._live.peek(key)
        if copy is not None:
            copy.is_opening = True  # until it is dropped, calls go again instead of joining it
            try:
                if copy.attachment is not None:
                    copy.attachment.end(SessionReplaced(key.session_id))
                copy.abandon_works(None, GoAgain())
                await copy.wait_settled()
            finally:
                copy.is_opening = False
                copy.drop(SessionReplaced(key.session_id))
        if not ended and not await self._freeze(key, head.incarnation):
            return False
        try:
            await self._lifecycle.delete_inside_door(key, head.incarnation)
        except TapeheadError:
            return False  # it moved on; whoever looks again sees what is there
        if not ended:
            self._replaced(head.birth.model_id)
        return True

    async def _freeze(self, key: Key, incarnation: bytes) -> bool:
        """Writes the copy; False if the session moved on while it was made."""
        frozen = Key(key.owner, f"{FROZEN_PREFIX}{incarnation.hex()}")
        found = await self._store.head(frozen)
        if isinstance(found, Head):  # of an earlier try, which may be older than what is there now
            await self._lifecycle.delete(frozen, found.incarnation)
        snapshot = await self._portable.snapshot(key, incarnation)
        labels = {**snapshot.birth.labels, REPLACED: key.session_id}
        labels.pop(BEGUN_BY, None)
        snapshot = replace(snapshot, birth=replace(snapshot.birth, labels=labels))
        spec = CreateSpec(frozen.session_id)

        async def write(place: Key, _drawn: bytes) -> Applied | Lost:
            stone = await self._store.head(place)
            if isinstance(stone, Tombstone) or stone is None:
                return await self._store.restore(place, snapshot, incarnation, stone)
            return Lost(stone)

        await self._lifecycle.creation.place(key.owner, spec, snapshot.birth, len(snapshot.state), write)
        now = await self._store.head(key)
        return isinstance(now, Head) and (now.incarnation, now.committed_step) == (incarnation, snapshot.committed_step)


def sequence_id_text(value: int | str) -> str:
    """A sequence's id as text: 5 and "5" are one. Raises InvalidField for one that is longer than any may be."""
    text = str(value)
    if len(text) > MAX_SEQUENCE_ID:
        raise InvalidField("sequence_id", f"at most {MAX_SEQUENCE_ID} characters", len(text))
    return text
