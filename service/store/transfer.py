"""Whole stores: whether all that they hold can be read, and how it goes from one to another, session by session."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Protocol

from ..errors import StateCorrupt, TapeheadError
from .base import Applied, Head, Key, Lost, Record, Snapshot, Store

_PAGE = 500  # keys
_TRIES = 10  # how often a session may be used while it is read


class Keyed(Store, Protocol):
    """A store that can name its sessions, those too whose heads are damaged."""

    async def keys(self, after: Key | None, limit: int) -> list[Key]:
        """Reads at most `limit` keys of sessions after one, in an order of the store's own; none means no more."""


class Busy(TapeheadError):
    """A session is used without pause, or a store is, that nobody may use meanwhile."""


@dataclass(slots=True)
class Tally:
    """What was found on a walk through a store."""

    sessions: int = 0
    answers: int = 0
    kept_states: int = 0
    damaged: dict[Key, str] = field(default_factory=dict)

    def add(self, snapshot: Snapshot) -> None:
        self.sessions += 1
        self.answers += len(snapshot.answers)
        self.kept_states += len(snapshot.kept_states)

    def __str__(self) -> str:
        return f"{self.sessions} session(s) with {self.answers} answer(s) and {self.kept_states} kept state(s)"


async def verify(store: Keyed) -> Tally:
    """Reads every row of every session, so that every checksum is compared."""
    tally = Tally()
    async for key, _, snapshot in _walk(store, tally):
        tally.add(snapshot)
        del key
    return tally


async def move(source: Keyed, target: Keyed, incarnation_of: Callable[[Head], bytes]) -> Tally:
    """Writes every session of the source that can be read to the target, then reads them back and compares.

    Raises Busy if the target has sessions, or if a session there is not what was written. Damaged ones stay behind, and
    the tally names them.
    """
    if await target.keys(None, 1):
        raise Busy(f"the store at {target.location} has sessions; expected an empty one")
    tally = Tally()
    async for key, head, snapshot in _walk(source, tally):
        incarnation = incarnation_of(head)
        stone = await target.head(key)
        outcome = await target.restore(key, snapshot, incarnation, None if isinstance(stone, Head) else stone)
        if isinstance(outcome, Lost):
            raise Busy(f"the store at {target.location} is used by others: session '{key.session_id}' appeared there")
        assert isinstance(outcome, Applied)
        if await snapshot_of(target, key) != (outcome.head, snapshot):
            raise Busy(f"session '{key.session_id}' is another at {target.location} than was written there")
        tally.add(snapshot)
    return tally


def same_incarnation(head: Head) -> bytes:
    """For a store that takes another's place: its clients go on as if nothing had been."""
    return head.incarnation


def new_incarnation(head: Head) -> bytes:
    """For a store that goes back in time: its clients hear that the session is another."""
    return secrets.token_bytes(len(head.incarnation))


async def snapshot_of(store: Store, key: Key) -> tuple[Head, Snapshot] | None:
    """All of a session as of one moment; None if there is none. Raises StateCorrupt, Busy."""
    for _ in range(_TRIES):
        record = await store.load(key)
        if not isinstance(record, Record):
            return None
        head = record.head
        try:
            snapshot = Snapshot(
                head.birth,
                head.committed_step,
                head.fingerprint,
                record.state,
                tuple(await store.answers(key, head.incarnation, head.oldest_kept_answer)),
                {step: await _kept(store, key, head, step) for step in head.kept_steps},
            )
        except (StateCorrupt, _Moved):
            if await _is_still(store, key, head):
                raise
            continue  # it went on while it was read
        if await _is_still(store, key, head):
            return head, snapshot
    raise Busy(f"session '{key.session_id}' is stepped without pause; try again")


async def _is_still(store: Store, key: Key, head: Head) -> bool:
    now = await store.head(key)
    return isinstance(now, Head) and (now.incarnation, now.committed_step) == (head.incarnation, head.committed_step)


class _Moved(Exception):
    """A kept state is gone."""


async def _kept(store: Store, key: Key, head: Head, step: int) -> bytes:
    state = await store.kept_state(key, head.incarnation, step)
    if state is None:
        raise _Moved
    return state


async def _walk(store: Keyed, tally: Tally) -> AsyncIterator[tuple[Key, Head, Snapshot]]:
    """Every session that can be read; the others go into the tally."""
    after: Key | None = None
    while page := await store.keys(after, _PAGE):
        for key in page:
            try:
                found = await snapshot_of(store, key)
            except StateCorrupt as error:
                tally.damaged[key] = error.message
            else:
                if found is not None:
                    yield key, *found
        after = page[-1]
