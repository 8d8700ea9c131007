"""Sessions in Redis: one store for several server processes, on any machines.

Each change of a session is one script, which compares and writes inside Redis; nothing is locked and nobody is elected.
What a script needs to know is sent along, taken from the last rows seen here; if they are not the session's any more,
the script writes nothing and replies with what is, and only then may it be asked again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from crc32c import crc32c

from ..clock import Clock
from ..errors import StateCorrupt, StoreUnavailable, TapeheadError
from .base import (
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
from .heads import born, restored
from .redis_commits import Commits, KnownRows
from .redis_ends import Ends
from .redis_fitness import Ask, facts_of, judge
from .redis_index import CREATION_SECONDS, OWNERS, Entry, after, from_ids, ids_of
from .redis_link import Command, Link, Script, Word, first_error
from .redis_rows import Found, Place, decode_found, decode_mark, encode_end, encode_still, moved_by, place_of
from .redis_url import location_of
from .rows import KeptRow, decode_answer, decode_kept, encode_answer, encode_birth, encode_kept

T = TypeVar("T")
Page = list[tuple[str, Head]]
Names = list[str]
Keys = list[Key]

REPLY_SECONDS = 5.0  # without which Redis counts as lost
_TRIES = 3  # how often a session may change between two looks at it
_UNKNOWN = bytes(16)  # the incarnation of what could not be read

_log = logging.getLogger(__name__)


class RedisStore:
    """Keeps sessions in one Redis, at the durability that its configuration honours."""

    durability: Durability

    def __init__(
        self, url: str, asked: Durability | None, asserted: Durability | None, reply_seconds: float, clock: Clock | None
    ):
        self.location = location_of(url)
        self._asked = asked
        self._asserted = asserted
        self._clock = clock
        scripts = [Script(name) for name in ("read", "create", "open", "renew", "commit", "end")]
        self._read, self._create, self._open, self._renew, commit, self._end = scripts
        self._link = Link(url, self.location, scripts, self._examine, reply_seconds)
        self._known = KnownRows()
        self._commits = Commits(self._link, self._read, commit, self._words, self._known)
        self._ends = Ends(self._link, self._read, self._end, self._words, self._time)
        self._running: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    @classmethod
    async def at(
        cls,
        url: str,
        durability: Durability | None = None,
        asserted: Durability | None = None,
        reply_seconds: float = REPLY_SECONDS,
        clock: Clock | None = None,
    ) -> RedisStore:
        """Connects, and finds out what this Redis can promise; None asks for the strongest that it can.

        asserted: what to believe of a Redis that hides its configuration. reply_seconds: without
        which Redis counts as lost. clock: Redis' own if None.
        Raises RedisUnfit with what to change, StoreUnavailable if Redis cannot be reached.
        """
        store = cls(url, durability, asserted, reply_seconds, clock)
        await store._link.start()
        return store

    def __repr__(self) -> str:
        return f"<RedisStore: {self.location}, {self.durability.name.lower()}>"

    async def create(self, key: Key, birth: Birth, incarnation: bytes, state: bytes, client_id: str) -> Applied | Lost:
        head_at = partial(_born, birth, incarnation, client_id, len(state))
        return await self._go(self._begin(place_of(key), head_at, _beginning(birth, state), lambda stone: False))

    async def replace(self, key: Key, birth: Birth, incarnation: bytes, state: bytes, client_id: str) -> Applied | Lost:
        head_at = partial(_born, birth, incarnation, client_id, len(state))
        return await self._go(self._begin(place_of(key), head_at, _beginning(birth, state), lambda stone: True))

    async def restore(self, key: Key, snapshot: Snapshot, incarnation: bytes, over: Tombstone | None) -> Applied | Lost:
        head_at = partial(restored, snapshot, incarnation)
        return await self._go(self._begin(place_of(key), head_at, snapshot, lambda stone: stone == over, over))

    async def head(self, key: Key) -> Head | Tombstone | None:
        found, _ = await self._go(self._look(place_of(key), "head"))
        return found.thing

    async def load(self, key: Key) -> Record | Tombstone | None:
        place = place_of(key)
        found, state = await self._go(self._look(place, "state"))
        if found.head is None or found.row is None:
            return found.stone
        if state is None or crc32c(state) != found.row.state_checksum:
            raise StateCorrupt(f"the state of {place} is not the one that its head names")
        return Record(found.head, state)

    async def open(self, key: Key, incarnation: bytes, client_id: str) -> Opened | Lost:
        return await self._go(self._raise_epoch(place_of(key), incarnation, client_id))

    async def commit(self, commits: Sequence[Commit]) -> list[Applied | Lost | Damaged]:
        return await self._go(self._commits.carry_out(commits))

    async def answers(self, key: Key, incarnation: bytes, from_step: int) -> list[Answer]:
        place = place_of(key)
        found, rows = await self._go(self._look(place, "answers", max(from_step, 0)))
        if found.head is None or not found.is_of(incarnation):
            return []
        kept = [decode_answer(place.answer_row(int(name)), row) for name, row in rows]
        expected = max(from_step, found.head.oldest_kept_answer)
        for answer in kept:
            if answer.first_step > expected:
                break
            expected = answer.last_step + 1
        if expected <= found.head.committed_step:
            raise StateCorrupt(f"the answer of step {expected} of {place} is missing")
        return kept

    async def answer(self, key: Key, incarnation: bytes, step: int) -> Answer | None:
        place = place_of(key)
        found, rows = await self._go(self._look(place, "answer", step))
        if not found.is_of(incarnation) or not rows:
            return None
        ((name, row),) = rows
        kept = decode_answer(place.answer_row(int(name)), row)
        return kept if kept.first_step <= step else None

    async def kept_state(self, key: Key, incarnation: bytes, step: int) -> bytes | None:
        place = place_of(key)
        found, row = await self._go(self._look(place, "kept", step))
        if found.head is None or not found.is_of(incarnation) or step not in found.head.kept_steps:
            return None
        if row is None:
            raise StateCorrupt(f"the kept state of step {step} of {place} is missing")
        kept = decode_kept(place.kept_row(step), row)
        if kept.incarnation != incarnation:
            raise StateCorrupt(f"the kept state of step {step} of {place} is another incarnation's")
        return kept.state

    async def renew(self, key: Key, incarnation: bytes, epoch: int) -> bool:
        place = place_of(key)
        reply = await self._go(self._one(self._renew.on(place.keys, *self._words(incarnation.hex(), epoch))))
        if reply[0] == 0:
            decode_found(place, reply[1:4])  # a damaged one says so
        return bool(reply[0])

    async def delete(self, key: Key, incarnation: bytes | None) -> Deleted | Lost:
        return await self._go(self._delete(place_of(key), incarnation))

    async def expire(self, limit: int) -> int:
        return await self._go(self._ends.expire(limit))

    async def owners(self, after: str | None, limit: int) -> list[str]:
        return await self._go(self._owners(after, limit))

    async def keys(self, after: Key | None, limit: int) -> list[Key]:
        """Reads keys of sessions, damaged ones too, in the order of owners and ids: a page of one owner's at a time."""
        return await self._go(self._keys(after, limit))

    async def list(self, owner: str, after: str, limit: int) -> list[tuple[str, Head]]:
        return await self._go(self._page(owner, after, limit))

    async def close(self) -> None:
        self._is_closed = True
        if self._running:
            await asyncio.wait(self._running)
        await self._link.close()

    # --- how they go --------------------------------------------------------------------------------------------------

    async def _go(self, operation: Coroutine[Any, Any, T]) -> T:
        """Carries an operation to its end, whether its caller waits for it or not."""
        if self._is_closed:
            operation.close()
            raise StoreUnavailable("it is closed")
        task = asyncio.create_task(operation)
        self._running.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may have left

    def _words(self, *words: Word) -> tuple[Word, ...]:
        """The arguments of a script: the time, unless Redis' own counts, and the rest."""
        return (repr(self._clock.now()) if self._clock else "", *words)

    async def _one(self, command: Command) -> Any:
        (reply,) = await self._link.send([command])
        if isinstance(reply, TapeheadError):
            raise reply
        return reply

    async def _time(self) -> float:
        if self._clock:
            return self._clock.now()
        seconds, microseconds = await self._one(("TIME",))
        return int(seconds) + int(microseconds) / 1e6

    async def _examine(self, ask: Ask) -> bool:
        """Looks at Redis at each new connection: it may have been started again with other settings since."""
        facts = await facts_of(self.location, ask)
        self.durability = self._asked = judge(self.location, facts, self._asked, self._asserted)
        # One MULTI for many sessions is one sync of Redis' log. Where nothing waits for a disk it only takes longer.
        return self.durability is Durability.DISK and not facts.is_cluster

    async def _look(self, place: Place, what: str, step: int = 0) -> tuple[Found, Any]:
        reply = await self._one(self._read.on(place.keys, *self._words(what, step)))
        found = decode_found(place, reply[1:4])
        self._known.see(place, found)
        return found, reply[4] if len(reply) > 4 else None

    async def _begin(
        self,
        place: Place,
        head_at: Callable[[float], Head],
        snapshot: Snapshot,
        gives_way: Callable[[Tombstone], bool],
        over: Tombstone | None = None,
    ) -> Applied | Lost:
        """Writes a session where nothing lies, or a tombstone that gives way; where one is named, over that alone."""
        _, *rows = (await self._one(self._read.on(place.keys, *self._words("head", 0))))[:4]
        found = decode_found(place, rows)
        if found.head or (found.stone and not gives_way(found.stone)) or (over and not found.stone):
            return Lost(found.thing)
        head = head_at(await self._time())
        entry = Entry(place.key, head.incarnation, head.create_time)
        await self._ends.enter(entry, head.expire_time)
        data, row = encode_still(place, head, crc32c(snapshot.state), encode_birth(snapshot.birth))
        words: list[Word] = [repr(head.create_time), CREATION_SECONDS, rows[1] or b"", head.incarnation.hex()]
        words += [head.oldest_kept_answer, head.last_writer, data, snapshot.state, len(snapshot.answers)]
        for answer in snapshot.answers:
            words += [answer.last_step, encode_answer(place.answer_row(answer.last_step), answer)]
        for step, state in snapshot.kept_states.items():
            words += [step, encode_kept(place.kept_row(step), KeptRow(head.incarnation, state))]
        reply = await self._one(self._create.on(place.keys, *self._words(*words)))
        if reply[0] == 1:
            self._known.put(place, data, row)
            return Applied(head)
        await self._ends.strike(entry)
        if reply[0] == 2:
            raise StoreUnavailable(f"a creation took more than {CREATION_SECONDS:.0f} s and was given up")
        return Lost(decode_found(place, reply[1:4]).thing)

    async def _raise_epoch(self, place: Place, incarnation: bytes, client_id: str) -> Opened | Lost:
        reply = await self._one(self._open.on(place.keys, *self._words(incarnation.hex(), client_id)))
        if reply[0] == 0:
            return Lost(decode_found(place, reply[1:4]).thing)
        _, head, before, after = reply
        found = decode_found(place, (head, before, None))
        self._known.see(place, found)
        assert found.head is not None
        return Opened(found.head, moved_by(found.head, decode_mark(place, after)))

    async def _delete(self, place: Place, incarnation: bytes | None) -> Deleted | Lost:
        for _ in range(_TRIES):
            try:
                found, _rows = await self._look(place, "head")
            except StateCorrupt:
                if incarnation is not None:
                    raise
                if await self._end_unread(place):
                    return Deleted(None)
                continue
            if found.head is None or (incarnation is not None and not found.is_of(incarnation)):
                return Lost(found.thing)
            is_ended, last = await self._ends.end(place, found.head)
            if is_ended:
                return Deleted(last)
        raise StoreUnavailable("a session changed again and again while it was deleted")

    async def _end_unread(self, place: Place) -> bool:
        """Ends what cannot be read, if it is still what was read. Its entries are tidied up as strays."""
        _, *rows = (await self._one(self._read.on(place.keys, *self._words("head", 0))))[:4]
        row = encode_end(place, _UNKNOWN, b"", expired=False)
        words = self._words("unread", _UNKNOWN.hex(), row, 0, *(each or b"" for each in rows))
        return bool((await self._one(self._end.on(place.keys, *words)))[0])

    async def _keys(self, begin: Key | None, limit: int) -> Keys:
        owner, session_id = (begin.owner, begin.session_id) if begin else (None, "")
        while True:
            if owner is not None:  # an empty name is one too: everybody's, where nobody is asked
                place = after(session_id)
                members = await self._one(("ZRANGE", ids_of(owner), place, "+", "BYLEX", "LIMIT", 0, limit))
                if members:
                    return [*dict.fromkeys(from_ids(owner, member).key for member in members)]
            bound = "-" if owner is None else f"({owner}"
            owners = await self._one(("ZRANGE", OWNERS, bound, "+", "BYLEX", "LIMIT", 0, 1))
            if not owners:
                return []
            owner, session_id = owners[0].decode(), ""

    async def _owners(self, begin: str | None, limit: int) -> Names:
        found: Names = []
        bound, more = "-" if begin is None else f"({begin}", True
        while more and len(found) < limit:
            count = limit - len(found)
            members = await self._one(("ZRANGE", OWNERS, bound, "+", "BYLEX", "LIMIT", 0, count))
            more = len(members) == count
            owners = [member.decode() for member in members]
            pages = await asyncio.gather(*(self._page(owner, "", 1) for owner in owners))
            found += [owner for owner, page in zip(owners, pages, strict=True) if page]
            bound = f"({owners[-1]}" if owners else bound
        return found

    async def _page(self, owner: str, begin: str, limit: int) -> Page:
        page: Page = []
        bound, more, damaged = after(begin), True, []
        strays: list[Entry] = []
        while more and len(page) < limit:
            count = limit - len(page)
            members = await self._one(("ZRANGE", ids_of(owner), bound, "+", "BYLEX", "LIMIT", 0, count))
            more = len(members) == count
            entries = [from_ids(owner, member) for member in members]
            places = [place_of(entry.key) for entry in entries]
            replies = await self._link.send([self._read.on(each.keys, *self._words("head", 0)) for each in places])
            if error := first_error(replies):
                raise error
            for entry, place, reply in zip(entries, places, replies, strict=True):
                try:
                    found = decode_found(place, reply[1:4])
                except StateCorrupt:
                    damaged.append(entry.key.session_id)
                    continue
                if found.head and entry.names(found.head):
                    page.append((entry.key.session_id, found.head))
                else:
                    strays.append(entry)
            bound = b"(" + members[-1] if members else bound
        if damaged:
            _log.warning("%d damaged sessions are left out of a list; the first is '%s'", len(set(damaged)), damaged[0])
        if strays:
            await self._ends.tidy(strays)
        return page


def _beginning(birth: Birth, state: bytes) -> Snapshot:
    """What a session is made of when it is created: that of an origin above 0 is kept too."""
    kept = {birth.origin_step: state} if birth.keeps_origin else {}
    return Snapshot(birth, birth.origin_step, "", state, kept_states=kept)


def _born(birth: Birth, incarnation: bytes, client_id: str, state_bytes: int, now: float) -> Head:
    return born(birth, incarnation, client_id, now, state_bytes)


def durability_at(
    url: str, asked: Durability | None, asserted: Durability | None, reply_seconds: float = REPLY_SECONDS
) -> Durability:
    """The level of a store there. Blocks, also within an event loop. Raises as `RedisStore.at` does."""

    async def look() -> Durability:
        store = await RedisStore.at(url, asked, asserted, reply_seconds)
        await store.close()
        return store.durability

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, look()).result()
