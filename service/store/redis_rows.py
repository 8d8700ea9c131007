"""What a Redis store keeps of a session, under three keys with one hash tag, so that all lie in one slot of a cluster.

    tapehead:{owner/id}          hash:  head -> head row as of the last creation or commit
                                        mark -> epoch, last use, oldest kept answer, last writer: they change without it
                                        state -> the latest state
                                 or:    tombstone -> tombstone row
                                        mark -> when the session ended; Redis drops the key in time
    tapehead:{owner/id}:answers  hash:  last step -> answer row
    tapehead:{owner/id}:kept     hash:  step -> kept row

Rows are those of `rows`; what the mark says stands in them as 0 or empty. Scripts write the mark, inside Redis, with
the only checksum that Redis can compute: SHA-1, over the key of the session too. It is text, to be read by people:

    40 hexadecimal digits of the checksum, "1", incarnation, epoch, last use, oldest kept answer, last writer
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from urllib.parse import quote

from ..errors import StateCorrupt
from .base import Head, Key, Tombstone
from .rows import HeadRow, TombstoneRow, decode_head, decode_tombstone, encode_head, encode_tombstone

PREFIX = b"tapehead:"
FOREIGN = b"another kind of value"  # what scripts give as the mark of what is no hash
_DIGITS = 40  # of the mark's checksum
_MARK_VERSION = "1"
_LITERAL = "/:~ "  # besides letters, digits, and _ . -; never a brace, which would end the tag


@dataclass(frozen=True, slots=True)
class Place:
    """The keys of a session."""

    key: Key
    session: bytes
    answers: bytes
    kept: bytes

    @property
    def keys(self) -> tuple[bytes, bytes, bytes]:
        return self.session, self.answers, self.kept

    def answer_row(self, last_step: int) -> bytes:
        """What the checksum of an answer's row covers besides the row."""
        return self.answers + b":%d" % last_step

    def kept_row(self, step: int) -> bytes:
        return self.kept + b":%d" % step

    def __str__(self) -> str:
        return f"session '{self.key.session_id}'"


@lru_cache(maxsize=8192)
def place_of(key: Key) -> Place:
    """Raises ValueError for an owner that no session can have."""
    if "\0" in key.owner:
        raise ValueError(f"owner: expected no NUL, got {key.owner!r}")
    tag = f"{{{quote(key.owner, safe='')}/{quote(key.session_id, safe=_LITERAL)}}}"
    session = PREFIX + tag.encode()
    return Place(key, session, session + b":answers", session + b":kept")


@dataclass(frozen=True, slots=True)
class Mark:
    """The part of a head that scripts move."""

    incarnation: bytes
    epoch: int
    used: float  # seconds since the epoch; of a tombstone: when the session ended
    oldest_kept_answer: int
    writer: str


def decode_mark(place: Place, data: bytes) -> Mark:
    """Raises StateCorrupt on any damage."""
    text = data[_DIGITS + 1 :]
    if data[: _DIGITS + 1] != hashlib.sha1(place.session + b" " + text).hexdigest().encode() + b" ":
        raise StateCorrupt(f"the checksum of the mark of {place} is wrong, or it lies in another's place")
    version, *fields = text.split(b" ", 5)
    if version != _MARK_VERSION.encode() or len(fields) != 5:
        raise StateCorrupt(f"expected mark version {_MARK_VERSION} of {place}, got {version.decode(errors='replace')}")
    incarnation, epoch, used, oldest, writer = fields
    return Mark(bytes.fromhex(incarnation.decode()), int(epoch), float(used), int(oldest), writer.decode())


@dataclass(frozen=True, slots=True)
class Found:
    """What lies at a place: a head with its row, a tombstone, or nothing."""

    head: Head | None = None
    row: HeadRow | None = None
    data: bytes = b""  # of the head row
    stone: Tombstone | None = None

    @property
    def thing(self) -> Head | Tombstone | None:
        return self.head or self.stone

    def is_of(self, incarnation: bytes) -> bool:
        return self.head is not None and self.head.incarnation == incarnation


def decode_found(place: Place, rows: Sequence[bytes | None]) -> Found:
    """Reads head, mark and tombstone rows as a script gives them. Raises StateCorrupt on any damage."""
    head, mark, stone = rows
    if head is None and stone is None:
        if mark == FOREIGN:
            raise StateCorrupt(f"what lies in the place of {place} is no hash")
        if mark is not None:
            raise StateCorrupt(f"the head of {place} is missing")
        return Found()
    if mark is None:
        raise StateCorrupt(f"the mark of {place} is missing")
    moved = decode_mark(place, mark)
    if head is None:
        assert stone is not None
        ended = decode_tombstone(place.session, stone).tombstone
        _same(place, ended.incarnation, moved)
        return Found(stone=replace(ended, time=moved.used))
    row = decode_head(place.session, head)
    _same(place, row.head.incarnation, moved)
    return Found(head=moved_by(row.head, moved), row=row, data=head)


def moved_by(head: Head, mark: Mark) -> Head:
    """The head of a row with what its mark says."""
    return replace(
        head,
        epoch=mark.epoch,
        oldest_kept_answer=mark.oldest_kept_answer,
        last_writer=mark.writer,
        last_use_time=mark.used,
    )


def encode_still(place: Place, head: Head, state_checksum: int, birth: bytes) -> tuple[bytes, HeadRow]:
    """The row of a head without what its mark says."""
    still = replace(head, epoch=0, oldest_kept_answer=0, last_writer="", last_use_time=0.0)
    row = HeadRow(still, 0, state_checksum, 0.0, birth)
    return encode_head(place.session, row), row


def encode_end(place: Place, incarnation: bytes, request_hash: bytes, *, expired: bool) -> bytes:
    """The row of a tombstone, whose time its mark says."""
    return encode_tombstone(place.session, TombstoneRow(Tombstone(incarnation, request_hash, expired, 0.0), 0, 0.0))


def _same(place: Place, incarnation: bytes, mark: Mark) -> None:
    if incarnation != mark.incarnation:
        raise StateCorrupt(f"the mark of {place} is another incarnation's")
