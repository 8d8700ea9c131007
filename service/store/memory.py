"""Sessions in a dictionary: for tests, for demonstrations, and for those who ask for `memory` durability.

No method but `expire` waits for anything, so that each is atomic on its event loop; any number of servers in one
process may share a store.
"""

from __future__ import annotations

import asyncio
import heapq
from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..clock import Clock, SystemClock
from .base import (
    TOMBSTONE_TTL,
    Answer,
    Applied,
    Birth,
    Commit,
    Damaged,
    Deleted,
    Durability,
    Head,
    Key,
    Lost,
    Opened,
    Record,
    Snapshot,
    Tombstone,
)
from .heads import born, committed, follows, restored

_VISITS = 256  # places that `expire` looks at before it lets others go on


@dataclass(slots=True)
class _Session:
    head: Head
    state: bytes
    answers: list[Answer] = field(default_factory=list)
    kept: dict[int, bytes] = field(default_factory=dict)  # by step


class MemoryStore:
    """Keeps sessions for as long as the process lives."""

    durability = Durability.MEMORY
    location = "memory"

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._places: dict[Key, _Session | Tombstone] = {}
        self._ids: dict[str, list[str]] = {}  # of live sessions, sorted, by owner
        # When to look at a place again, at or before its end; one that was used meanwhile is put back with its new end.
        self._due: list[tuple[float, str, str]] = []

    def __repr__(self) -> str:
        return f"<MemoryStore: {sum(map(len, self._ids.values()))} live sessions, {len(self._places)} places>"

    async def create(self, key: Key, birth: Birth, incarnation: bytes, state: bytes, client_id: str) -> Applied | Lost:
        if found := self._found(key):
            return Lost(found)
        return self._begin(key, birth, incarnation, state, client_id)

    async def replace(self, key: Key, birth: Birth, incarnation: bytes, state: bytes, client_id: str) -> Applied | Lost:
        if session := self._session(key):
            return Lost(session.head)
        return self._begin(key, birth, incarnation, state, client_id)

    async def restore(self, key: Key, snapshot: Snapshot, incarnation: bytes, over: Tombstone | None) -> Applied | Lost:
        if (found := self._found(key)) != over:
            return Lost(found)
        head = restored(snapshot, incarnation, self._clock.now())
        session = _Session(head, snapshot.state, list(snapshot.answers), dict(snapshot.kept_states))
        return self._place(key, session)

    async def head(self, key: Key) -> Head | Tombstone | None:
        return self._found(key)

    async def load(self, key: Key) -> Record | Tombstone | None:
        place = self._places.get(key)
        return Record(place.head, place.state) if isinstance(place, _Session) else place

    async def open(self, key: Key, incarnation: bytes, client_id: str) -> Opened | Lost:
        session = self._session(key)
        if session is None or session.head.incarnation != incarnation:
            return Lost(self._found(key))
        before = session.head
        session.head = replace(before, epoch=before.epoch + 1, last_writer=client_id, last_use_time=self._clock.now())
        return Opened(before, session.head)

    async def commit(self, commits: Sequence[Commit]) -> list[Applied | Lost | Damaged]:
        return [self._commit(commit) for commit in commits]

    async def answers(self, key: Key, incarnation: bytes, from_step: int) -> list[Answer]:
        session = self._session(key)
        if session is None or session.head.incarnation != incarnation:
            return []
        return [answer for answer in session.answers if answer.last_step >= from_step]

    async def answer(self, key: Key, incarnation: bytes, step: int) -> Answer | None:
        return next(
            (answer for answer in await self.answers(key, incarnation, step) if answer.first_step <= step), None
        )

    async def kept_state(self, key: Key, incarnation: bytes, step: int) -> bytes | None:
        session = self._session(key)
        if session is None or session.head.incarnation != incarnation:
            return None
        return session.kept.get(step)

    async def renew(self, key: Key, incarnation: bytes, epoch: int) -> bool:
        session = self._session(key)
        if session is None or (session.head.incarnation, session.head.epoch) != (incarnation, epoch):
            return False
        session.head = replace(session.head, last_use_time=self._clock.now())
        return True

    async def delete(self, key: Key, incarnation: bytes | None) -> Deleted | Lost:
        session = self._session(key)
        if session is None or incarnation not in (None, session.head.incarnation):
            return Lost(self._found(key))
        self._end(key, session.head, expired=False, now=self._clock.now())
        return Deleted(session.head)

    async def expire(self, limit: int) -> int:
        expired = visits = 0
        while expired < limit and self._due and self._due[0][0] <= self._clock.now():
            expired += self._visit(Key(*heapq.heappop(self._due)[1:]))
            visits += 1
            if visits % _VISITS == 0:
                await asyncio.sleep(0)
        return expired

    async def owners(self, after: str | None, limit: int) -> list[str]:
        owners = sorted(owner for owner in self._ids if after is None or owner > after)
        return owners[:limit]

    async def list(self, owner: str, after: str, limit: int) -> list[tuple[str, Head]]:
        ids = self._ids.get(owner, [])
        first = bisect_right(ids, after)
        sessions = ((session_id, self._session(Key(owner, session_id))) for session_id in ids[first : first + limit])
        return [(session_id, session.head) for session_id, session in sessions if session is not None]

    async def close(self) -> None:
        pass  # what was asked before is done

    def _session(self, key: Key) -> _Session | None:
        place = self._places.get(key)
        return place if isinstance(place, _Session) else None

    def _found(self, key: Key) -> Head | Tombstone | None:
        place = self._places.get(key)
        return place.head if isinstance(place, _Session) else place

    def _begin(self, key: Key, birth: Birth, incarnation: bytes, state: bytes, client_id: str) -> Applied:
        head = born(birth, incarnation, client_id, self._clock.now(), len(state))
        return self._place(key, _Session(head, state, kept=dict.fromkeys(head.kept_steps, state)))

    def _place(self, key: Key, session: _Session) -> Applied:
        self._places[key] = session
        insort(self._ids.setdefault(key.owner, []), key.session_id)  # code points sort as UTF-8 does
        self._watch(key, session.head.expire_time)
        return Applied(session.head)

    def _commit(self, commit: Commit) -> Applied | Lost:
        session = self._session(commit.key)
        if session is None or not follows(commit, session.head):
            return Lost(self._found(commit.key))
        answers = session.answers
        while answers and answers[0].last_step <= commit.release_through:
            answers.pop(0)
        answers.append(commit.answer)
        session.state = commit.state
        for step in commit.drop_kept:
            session.kept.pop(step, None)
        if commit.keep:
            session.kept[commit.answer.last_step] = commit.state
        session.head = committed(session.head, commit, answers[0].first_step, self._clock.now())
        return Applied(session.head)

    def _end(self, key: Key, head: Head, *, expired: bool, now: float) -> None:
        self._places[key] = Tombstone(head.incarnation, head.birth.request_hash, expired, now)
        ids = self._ids[key.owner]
        del ids[bisect_right(ids, key.session_id) - 1]
        if not ids:
            del self._ids[key.owner]
        self._watch(key, now + TOMBSTONE_TTL)

    def _visit(self, key: Key) -> int:
        """Does what is due at a place. Returns the number of sessions that expired: none or one."""
        place, now = self._places.get(key), self._clock.now()
        # 1. replaced meanwhile by nothing, 2. used since, 3. a session that was not, 4. a tombstone of age
        if place is None:
            return 0
        if (due := _end_of(place)) > now:
            self._watch(key, due)
            return 0
        if isinstance(place, _Session):
            self._end(key, place.head, expired=True, now=now)
            return 1
        del self._places[key]
        return 0

    def _watch(self, key: Key, due: float) -> None:
        heapq.heappush(self._due, (due, key.owner, key.session_id))
        if len(self._due) > 2 * len(self._places) + 64:  # ended sessions leave theirs behind
            self._due = [(_end_of(place), key.owner, key.session_id) for key, place in self._places.items()]
            heapq.heapify(self._due)


def _end_of(place: _Session | Tombstone) -> float:
    return place.head.expire_time if isinstance(place, _Session) else place.time + TOMBSTONE_TTL
