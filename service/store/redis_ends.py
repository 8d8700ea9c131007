"""How sessions of a Redis store end, and how the indexes are kept true."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from .. import failpoints
from ..errors import StateCorrupt, TapeheadError
from .base import Head
from .redis_index import CREATION_SECONDS, ENDS, OWNERS, Entry, from_ends, ids_of
from .redis_link import Command, Link, Script, Word, first_error
from .redis_rows import Place, decode_found, encode_end, place_of

_VISITS = 64  # entries that expiry looks at in one go
_PATIENCE = 24 * 3600.0  # seconds until expiry tries again to read a damaged head

_log = logging.getLogger(__name__)


class Ends:
    """Ends sessions by their incarnation or their age, and writes and strikes entries of the indexes."""

    def __init__(
        self,
        link: Link,
        read: Script,
        end: Script,
        words: Callable[..., tuple[Word, ...]],
        time: Callable[[], Awaitable[float]],
    ) -> None:
        """`words` makes the arguments of a script; `time` tells Redis' own."""
        self._link = link
        self._read = read
        self._end = end
        self._words = words
        self._time = time

    async def enter(self, entry: Entry, due: float) -> None:
        """Before the session is written."""
        owner = entry.key.owner
        replies = await self._link.send(
            [
                ("ZADD", OWNERS, 0, owner),
                ("ZADD", ids_of(owner), 0, entry.in_ids),
                ("ZADD", ENDS, repr(due), entry.in_ends),
            ]
        )
        if error := first_error(replies):
            raise error

    async def strike(self, *entries: Entry) -> None:
        """After it has ended. If this fails, the entries are found to be strays later."""
        commands = [command for entry in entries for command in _strike(entry)]
        try:
            await self._link.send(commands)
        except TapeheadError as error:
            _log.info("%d entries are left for later: %s", len(entries), error.message)

    async def tidy(self, strays: Sequence[Entry]) -> None:
        """Strikes those whose sessions cannot come any more."""
        now = await self._time()
        await self.strike(*(stray for stray in strays if stray.is_stray(now)))

    async def end(self, place: Place, head: Head) -> tuple[bool, Head | None]:
        """Ends the incarnation of this head, whatever it did since; tells whether it did, and its last head."""
        (reply,) = await self._link.send([self._ending(place, head, "delete")])
        if isinstance(reply, TapeheadError):
            raise reply
        if reply[0] != 1:
            return False, None
        await self.strike(Entry(place.key, head.incarnation, head.create_time))
        try:
            return True, decode_found(place, reply[1:4]).head
        except StateCorrupt:
            return True, None  # it was damaged at the last moment

    async def expire(self, limit: int) -> int:
        expired = 0
        while expired < limit:
            now = await self._time()
            count = min(_VISITS, limit - expired)
            (members,) = await self._link.send([("ZRANGE", ENDS, "-inf", repr(now), "BYSCORE", "LIMIT", 0, count)])
            if isinstance(members, TapeheadError):
                raise members
            if not members:
                break
            expired += await self._visit([from_ends(member) for member in members], now)
        return expired

    async def _visit(self, entries: Sequence[Entry], now: float) -> int:
        """Ends the sessions of age, and moves or strikes every other entry, so that none is looked at twice at once."""
        places = [place_of(entry.key) for entry in entries]
        looks = await self._link.send([self._read.on(place.keys, *self._words("head", 0)) for place in places])
        if error := first_error(looks):
            raise error
        ending: list[tuple[Entry, Head]] = []
        tidying: list[Command] = []
        for entry, place, look in zip(entries, places, looks, strict=True):
            try:
                found = decode_found(place, look[1:4])
            except StateCorrupt:  # its owner learns it on the next call; expiry of the others goes on
                tidying.append(_move(entry, now + _PATIENCE))
                continue
            # 1. no such incarnation, 2. one that was used since, 3. one that was not
            if found.head is None or not entry.names(found.head):
                later = _move(entry, entry.created + 2 * CREATION_SECONDS + 1.0)
                tidying.extend(_strike(entry) if entry.is_stray(now) else [later])
            elif found.head.expire_time > now:
                tidying.append(_move(entry, found.head.expire_time))
            else:
                ending.append((entry, found.head))
        if ending:
            failpoints.hit("expire")
        commands = [self._ending(place_of(entry.key), head, "expire") for entry, head in ending]
        replies = await self._link.send(commands + tidying)
        expired = [entry for (entry, _), reply in zip(ending, replies, strict=False) if _is_applied(reply)]
        await self.strike(*expired)
        if error := first_error(replies):
            raise error
        return len(expired)

    def _ending(self, place: Place, head: Head, how: str) -> Command:
        row = encode_end(place, head.incarnation, head.birth.request_hash, expired=how == "expire")
        words = self._words(how, head.incarnation.hex(), row, repr(head.birth.ttl), "", "", "")
        return self._end.on(place.keys, *words)


def _is_applied(reply: Any) -> bool:
    return isinstance(reply, list) and reply[0] == 1


def _strike(entry: Entry) -> list[Command]:
    return [("ZREM", ids_of(entry.key.owner), entry.in_ids), ("ZREM", ENDS, entry.in_ends)]


def _move(entry: Entry, due: float) -> Command:
    return ("ZADD", ENDS, "XX", repr(due), entry.in_ends)  # only if it is still there
