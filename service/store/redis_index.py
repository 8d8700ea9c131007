"""Which sessions there are, in an order, and when to look at each again: the indexes of a Redis store.

    tapehead:ids:OWNER  sorted by member: session id NUL incarnation, time of creation
    tapehead:owners     sorted by member: owner; none is struck, for there are no more than were ever let in
    tapehead:ends       sorted by time:   owner NUL session id NUL incarnation, time of creation

They lie in other slots than the sessions, so that no operation changes both. An entry names one incarnation, which
makes that harmless: it is written before the session is, and taken away when that incarnation has ended or can never
begin. An entry without its session says nothing, for every entry is compared with the head. A session is never without
its entry: a creation that comes more than `CREATION_SECONDS` after its entries is refused by its script, and entries
without a session are tidied up after twice that time.
"""

from __future__ import annotations

from dataclasses import dataclass

from .base import Head, Key

ENDS = b"tapehead:ends"
OWNERS = b"tapehead:owners"
CREATION_SECONDS = 60.0
_IDS = b"tapehead:ids:"


@dataclass(frozen=True, slots=True)
class Entry:
    """Names one incarnation of a session, whether it lives or not."""

    key: Key
    incarnation: bytes
    created: float  # seconds since the epoch, by Redis' clock

    @property
    def in_ids(self) -> bytes:
        return f"{self.key.session_id}\0{self._birth}".encode()

    @property
    def in_ends(self) -> bytes:
        return f"{self.key.owner}\0{self.key.session_id}\0{self._birth}".encode()

    @property
    def _birth(self) -> str:
        return f"{self.incarnation.hex()} {self.created!r}"

    def names(self, head: Head | None) -> bool:
        """Tells whether this is the entry of the session there: a restored one has a time of its own."""
        return head is not None and (head.incarnation, head.create_time) == (self.incarnation, self.created)

    def is_stray(self, now: float) -> bool:
        """Tells of an entry whose session is not there whether it can never come any more."""
        return now > self.created + 2 * CREATION_SECONDS


def ids_of(owner: str) -> bytes:
    """The key of an owner's index."""
    return _IDS + owner.encode()


def from_ids(owner: str, member: bytes) -> Entry:
    session_id, birth = member.decode().rsplit("\0", 1)
    return _entry(Key(owner, session_id), birth)


def from_ends(member: bytes) -> Entry:
    place, birth = member.decode().rsplit("\0", 1)
    owner, session_id = place.split("\0", 1)
    return _entry(Key(owner, session_id), birth)


def after(session_id: str) -> bytes:
    """The bound of a range of members that come after all of this id. Ids have no character below this one."""
    return b"[" + session_id.encode() + b"\1" if session_id else b"-"


def _entry(key: Key, birth: str) -> Entry:
    incarnation, created = birth.split(" ")
    return Entry(key, bytes.fromhex(incarnation), float(created))
