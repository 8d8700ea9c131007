"""What each owner has in the store, held against its quota.

An owner is counted from the store when it first creates something, and again from time to time: sessions expire, and
other servers of the same store create and delete too. Between two counts this server adds what it creates and takes
off what it deletes; nobody is refused on a count that is older than a second. A creation whose outcome is not known
stays counted until the next count, since the store may go on with it. A state that grows counts as large as it may get.
Owners without such a quota are never counted. With several servers, an owner may get beyond its quota by what the
others create within RECOUNT_SECONDS.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from weakref import WeakValueDictionary

from ..clock import Clock
from ..errors import ModelNotFound, QuotaExceeded, StoreUnavailable, TapeheadError, TooLong
from ..hosting.repository import Repository
from ..store.base import Birth, Head, Store
from .owners import Quota

RECOUNT_SECONDS = 60.0
REFUSE_SECONDS = 1.0  # the oldest count on which anybody is refused
RETRY_AFTER = 5.0  # seconds; sessions end when somebody deletes them, or by their age
PAGE = 256  # heads that are read at once


@dataclass(slots=True)
class _Count:
    counted_at: float  # monotonic
    sessions: int = 0
    state_bytes: int = 0


@dataclass(slots=True)
class Place:
    """Room that was found for one session; it is given back where it is certain that nothing was created."""

    is_kept: bool = False

    def keep(self) -> None:
        """The session was created."""
        self.is_kept = True


class Usage:
    """Knows what owners have."""

    def __init__(self, store: Store, quota_of: Callable[[str], Quota], clock: Clock, repository: Repository) -> None:
        self._store = store
        self._quota_of = quota_of
        self._clock = clock
        self._repository = repository
        self._counts: dict[str, _Count] = {}
        self._sessions_begun: Counter[str] = Counter()  # by owner: being created, so that a count may not see them yet
        self._bytes_begun: Counter[str] = Counter()
        self._doors: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def room(self, owner: str, birth: Birth, state_bytes: int) -> AsyncIterator[Place]:
        """Finds room for a session whose state has so many bytes, and holds it while the session is created.

        Raises QuotaExceeded; TooLong for what will never have room.
        """
        quota, size, place = self._quota_of(owner), self._most_bytes(birth, state_bytes), Place()
        if not quota.sessions and not quota.state_bytes:
            yield place
            return
        if 0 < quota.state_bytes < size:
            raise TooLong("bytes of a session's states, for the owner's quota", quota.state_bytes, size)
        async with self._doors.setdefault(
            owner, asyncio.Lock()
        ):  # one look at a time, so that nobody counts what another one is counting
            count = await self._count_with_room(owner, quota, size)
            count.sessions += 1
            count.state_bytes += size
        self._begin(owner, 1, size)
        try:
            yield place
        except StoreUnavailable:
            raise  # it may have been created; so it may where the caller was cancelled, and the store goes on
        except TapeheadError:
            self._take_off(owner, size)
            raise
        else:
            if not place.is_kept:
                self._take_off(owner, size)
        finally:
            self._begin(owner, -1, -size)

    def ended(self, owner: str, head: Head | None) -> None:
        """A session was deleted by this server; None if nobody knows how large it was."""
        if head is None:
            self._counts.pop(owner, None)
        else:
            self._take_off(owner, self._most_bytes(head.birth, head.state_bytes))

    def forget(self) -> None:
        """Sessions have ended, and nobody knows whose: everybody is counted again when it matters."""
        self._counts.clear()

    async def _count_with_room(self, owner: str, quota: Quota, size: int) -> _Count:
        count = await self._counted(owner, RECOUNT_SECONDS)
        if _over(count, quota, size):
            count = await self._counted(owner, REFUSE_SECONDS)
        if found := _over(count, quota, size):
            raise QuotaExceeded(*found, retry_after=RETRY_AFTER)
        return count

    async def _counted(self, owner: str, oldest: float) -> _Count:
        """A count that is at most so many seconds old."""
        now = self._clock.monotonic()
        count = self._counts.get(owner)
        if count is not None and now - count.counted_at <= oldest:
            return count
        count, after = _Count(now), ""
        while page := await self._store.list(owner, after, PAGE):
            for _, head in page:
                count.sessions += 1
                count.state_bytes += self._most_bytes(head.birth, head.state_bytes)
            after = page[-1][0]
            if len(page) < PAGE:
                break
        count.sessions += self._sessions_begun[owner]
        count.state_bytes += self._bytes_begun[owner]
        self._counts[owner] = count
        return count

    def _begin(self, owner: str, sessions: int, state_bytes: int) -> None:
        for begun, more in ((self._sessions_begun, sessions), (self._bytes_begun, state_bytes)):
            begun[owner] += more
            if not begun[owner]:
                del begun[owner]

    def _most_bytes(self, birth: Birth, state_bytes: int) -> int:
        """The most that a session's states may take."""
        try:
            model = self._repository.get(birth.model_id, birth.model_version)
        except ModelNotFound:
            return most_bytes(birth, state_bytes)
        return most_bytes(birth, max(state_bytes, model.most_state_bytes) if model.grows else state_bytes)

    def _take_off(self, owner: str, size: int) -> None:
        count = self._counts.get(owner)
        if count is not None:
            count.sessions = max(0, count.sessions - 1)
            count.state_bytes = max(0, count.state_bytes - size)


def most_bytes(birth: Birth, state_bytes: int) -> int:
    """The most that a session's states may take, as its birth says: the latest, the kept ones, a fork's origin, and
    what its first ancestor began with, where no model could give that again."""
    began_elsewhere = birth.began and birth.origin_step > 0
    return state_bytes * (1 + birth.keep_most + birth.keeps_origin + began_elsewhere)


def _over(count: _Count, quota: Quota, size: int) -> tuple[str, int] | None:
    """What there is no room for, and its bound."""
    if quota.sessions and count.sessions + 1 > quota.sessions:
        return "sessions", quota.sessions
    if quota.state_bytes and count.state_bytes + size > quota.state_bytes:
        return "bytes of states", quota.state_bytes
    return None
