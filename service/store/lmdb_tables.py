"""What each operation of the LMDB store does inside one transaction.

The small head lies apart from the large state, so that an open or a renewal does not write the state again. Four tables
are here; those of states, answers and kept states are in `lmdb_bodies`.

    heads       owner NUL session id       -> head row; live sessions alone, in the order of `list`
    tombstones  owner NUL session id       -> tombstone row
    ends        time, number               -> H or T, then owner NUL session id
    about       "format", "last number"

The number, 8 bytes, is drawn when a session is created and never again: what was one session's is never taken for
another's. `ends` lists each session and tombstone once, under a time at or before its end. A commit leaves it alone;
when the time has come, `expire` ends the session or moves the entry to the new end. So each session costs expiry one
look per time to live, however many there are and however often they commit.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from crc32c import crc32c

from .. import failpoints
from ..clock import Clock
from ..errors import StateCorrupt
from .base import (
    TOMBSTONE_TTL,
    Answer,
    Applied,
    Birth,
    Commit,
    Damaged,
    Deleted,
    Head,
    Key,
    Lost,
    Opened,
    Record,
    Snapshot,
    Tombstone,
)
from .heads import born, committed, follows, restored
from .lmdb_bodies import NUMBER, Bodies, keys_from, name_of
from .rows import (
    HeadRow,
    TombstoneRow,
    decode_head,
    decode_tombstone,
    encode_birth,
    encode_head,
    encode_tombstone,
)

if TYPE_CHECKING:
    import lmdb

    Transaction = lmdb.Transaction[bytes]

FORMAT = b"1"
TABLES = 7
VISITS = 256  # entries of `ends` that one transaction looks at, so that commits do not wait for long
_LONGEST_KEY = 511  # bytes; fixed in LMDB
_KNOWN = 8192  # rows, a kilobyte each
_PATIENCE = 24 * 3600.0  # seconds until `expire` tries again to read a damaged head

_END = struct.Struct(">dQ")  # times are positive, and such floats sort as their bytes do
_UNKNOWN = bytes(16)  # the incarnation of what could not be read

_log = logging.getLogger(__name__)


def place_of(key: Key) -> bytes:
    """The key of a session in `heads` and `tombstones`."""
    if "\0" in key.owner:
        raise ValueError(f"owner: expected no NUL, got {key.owner!r}")
    place = f"{key.owner}\0{key.session_id}".encode()
    if len(place) > _LONGEST_KEY:
        raise ValueError(f"owner and session id: expected at most {_LONGEST_KEY - 1} bytes, got {len(place) - 1}")
    return place


class Tables:
    """Reads and writes sessions. What raises StateCorrupt has written nothing before."""

    def __init__(self, environment: lmdb.Environment, clock: Clock) -> None:
        """Raises StateCorrupt if the file was written in another format."""
        self._clock = clock
        # What the last rows written mean. Only the very same bytes, read from the file, are taken at this meaning.
        self._known: dict[bytes, tuple[bytes, HeadRow]] = {}
        self._heads = environment.open_db(b"heads")
        self._tombstones = environment.open_db(b"tombstones")
        self._bodies = Bodies(environment)
        self._ends = environment.open_db(b"ends")
        self._about = environment.open_db(b"about")
        with environment.begin(write=True) as txn:
            found = txn.get(b"format", db=self._about)
            if found is None:
                txn.put(b"format", FORMAT, db=self._about)
            elif found != FORMAT:
                raise StateCorrupt(
                    f"expected a store of format {FORMAT.decode()}, got {found.decode(errors='replace')}"
                )

    # --- reads --------------------------------------------------------------------------------------------------------

    def head(self, txn: Transaction, place: bytes) -> Head | Tombstone | None:
        row = self._head(txn, place)
        return row.head if row else self._stone(txn, place)

    def load(self, txn: Transaction, place: bytes) -> Record | Tombstone | None:
        row = self._head(txn, place)
        if row is None:
            return self._stone(txn, place)
        return Record(row.head, self._bodies.state(txn, place, row))

    def answers(self, txn: Transaction, place: bytes, incarnation: bytes, from_step: int) -> list[Answer]:
        row = self._head(txn, place)
        if row is None or row.head.incarnation != incarnation:
            return []
        return self._bodies.answers(txn, place, row, from_step)

    def answer(self, txn: Transaction, place: bytes, incarnation: bytes, step: int) -> Answer | None:
        row = self._head(txn, place)
        if row is None or row.head.incarnation != incarnation:
            return None
        return self._bodies.answer(txn, row, step)

    def kept_state(self, txn: Transaction, place: bytes, incarnation: bytes, step: int) -> bytes | None:
        row = self._head(txn, place)
        if row is None or row.head.incarnation != incarnation or step not in row.head.kept_steps:
            return None
        return self._bodies.kept_state(txn, place, row, step)

    def page(self, txn: Transaction, owner: str, after: str, limit: int) -> list[tuple[str, Head]]:
        prefix = f"{owner}\0".encode()
        last = prefix + after.encode()
        found: list[tuple[str, Head]] = []
        damaged: list[bytes] = []
        with txn.cursor(self._heads) as cursor:
            for place in keys_from(cursor, last, prefix):
                if len(found) == limit:
                    break
                if place == last:
                    continue
                try:
                    row = decode_head(place, cursor.value())
                except StateCorrupt:
                    damaged.append(place)
                else:
                    found.append((place[len(prefix) :].decode(), row.head))
        if damaged:
            _log.warning(
                "%d damaged sessions are left out of a list; the first is %s", len(damaged), name_of(damaged[0])
            )
        return found

    def keys(self, txn: Transaction, after: bytes | None, limit: int) -> list[Key]:
        found: list[Key] = []
        with txn.cursor(self._heads) as cursor:
            for place in keys_from(cursor, after or b"", b""):
                if len(found) == limit:
                    break
                if place != after:
                    found.append(Key(*place.decode().split("\0", 1)))
        return found

    def owners(self, txn: Transaction, after: str | None, limit: int) -> list[str]:
        found: list[str] = []
        with txn.cursor(self._heads) as cursor:
            # The places of an owner begin with its name and NUL; those of the next one come after its name and \x01.
            more = cursor.first() if after is None else cursor.set_range(after.encode() + b"\x01")
            while more and len(found) < limit:
                owner = cursor.key().partition(b"\0")[0]
                found.append(owner.decode())
                more = cursor.set_range(owner + b"\x01")
        return found

    # --- writes -------------------------------------------------------------------------------------------------------

    def create(
        self, txn: Transaction, place: bytes, birth: Birth, incarnation: bytes, state: bytes, client_id: str
    ) -> Applied | Lost:
        if found := self.head(txn, place):
            return Lost(found)
        return self._begin(txn, place, birth, incarnation, state, client_id)

    def replace(
        self, txn: Transaction, place: bytes, birth: Birth, incarnation: bytes, state: bytes, client_id: str
    ) -> Applied | Lost:
        if row := self._head(txn, place):
            return Lost(row.head)
        if stone := self._tombstone(txn, place):
            self._forget(txn, place, stone)
        return self._begin(txn, place, birth, incarnation, state, client_id)

    def restore(
        self, txn: Transaction, place: bytes, snapshot: Snapshot, incarnation: bytes, over: Tombstone | None
    ) -> Applied | Lost:
        if (found := self.head(txn, place)) != over:
            return Lost(found)
        if stone := self._tombstone(txn, place):
            self._forget(txn, place, stone)
        head = restored(snapshot, incarnation, self._clock.now())
        row = HeadRow(head, self._draw(txn), crc32c(snapshot.state), head.expire_time, encode_birth(snapshot.birth))
        self._bodies.restore(txn, row, snapshot)
        return self._place(txn, place, row)

    def open(self, txn: Transaction, place: bytes, incarnation: bytes, client_id: str) -> Opened | Lost:
        row = self._head(txn, place)
        if row is None or row.head.incarnation != incarnation:
            return Lost(row.head if row else self._stone(txn, place))
        before = row.head
        after = replace(before, epoch=before.epoch + 1, last_writer=client_id, last_use_time=self._clock.now())
        self._put_head(txn, place, replace(row, head=after))
        return Opened(before, after)

    def renew(self, txn: Transaction, place: bytes, incarnation: bytes, epoch: int) -> bool:
        row = self._head(txn, place)
        if row is None or (row.head.incarnation, row.head.epoch) != (incarnation, epoch):
            return False
        self._put_head(txn, place, replace(row, head=replace(row.head, last_use_time=self._clock.now())))
        return True

    def commit(self, txn: Transaction, commits: Sequence[tuple[bytes, Commit]]) -> list[Applied | Lost | Damaged]:
        now = self._clock.now()
        with self._bodies.answers_cursor(txn) as answers:
            return [self._commit(txn, answers, place, commit, now) for place, commit in commits]

    def delete(self, txn: Transaction, place: bytes, incarnation: bytes | None) -> Deleted | Lost:
        try:
            row = self._head(txn, place)
            if row is None or incarnation not in (None, row.head.incarnation):
                return Lost(row.head if row else self._stone(txn, place))
        except StateCorrupt:
            if incarnation is not None:
                raise
            self._end_unread(txn, place)
            return Deleted(None)
        self._end(txn, place, row, expired=False, now=self._clock.now())
        return Deleted(row.head)

    def expire(self, txn: Transaction, limit: int) -> tuple[int, bool]:
        """The number of sessions that expired, and whether there may be more to look at."""
        now, expired = self._clock.now(), 0
        for _ in range(VISITS):
            with txn.cursor(self._ends) as cursor:
                if expired == limit or not cursor.first() or _END.unpack(cursor.key())[0] > now:
                    return expired, False
                key, value = cursor.item()
            expired += self._visit(txn, key, value, now)
        return expired, True

    # --- parts of them ------------------------------------------------------------------------------------------------

    def _head(self, txn: Transaction, place: bytes) -> HeadRow | None:
        data = txn.get(place, db=self._heads)
        if data is None:
            return None
        known, row = self._known.get(place, (b"", None))
        return row if row and known == data else decode_head(place, data)

    def _tombstone(self, txn: Transaction, place: bytes) -> TombstoneRow | None:
        data = txn.get(place, db=self._tombstones)
        return None if data is None else decode_tombstone(place, data)

    def _stone(self, txn: Transaction, place: bytes) -> Tombstone | None:
        row = self._tombstone(txn, place)
        return row.tombstone if row else None

    def _put_head(self, txn: Transaction, place: bytes, row: HeadRow) -> None:
        data = encode_head(place, row)
        txn.put(place, data, db=self._heads)
        if len(self._known) >= _KNOWN:
            self._known.clear()
        self._known[place] = data, row

    def _begin(
        self, txn: Transaction, place: bytes, birth: Birth, incarnation: bytes, state: bytes, client_id: str
    ) -> Applied:
        head = born(birth, incarnation, client_id, self._clock.now(), len(state))
        row = HeadRow(head, self._draw(txn), crc32c(state), head.expire_time, encode_birth(birth))
        self._bodies.begin(txn, row, state)
        return self._place(txn, place, row)

    def _place(self, txn: Transaction, place: bytes, row: HeadRow) -> Applied:
        txn.put(_END.pack(row.due, row.number), b"H" + place, db=self._ends)
        self._put_head(txn, place, row)
        return Applied(row.head)

    def _commit(
        self, txn: Transaction, answers: lmdb.Cursor[bytes], place: bytes, commit: Commit, now: float
    ) -> Applied | Lost | Damaged:
        try:
            row = self._head(txn, place)
            if row is None or not follows(commit, row.head):
                return Lost(row.head if row else self._stone(txn, place))
        except StateCorrupt as error:
            return Damaged(error)
        oldest = self._bodies.release(answers, row, commit.release_through)
        head = committed(row.head, commit, oldest, now)
        self._bodies.append(txn, answers, row, commit)
        self._put_head(txn, place, HeadRow(head, row.number, crc32c(commit.state), row.due, row.birth))
        return Applied(head)

    def _draw(self, txn: Transaction) -> int:
        number = int.from_bytes(txn.get(b"last number", b"", db=self._about), "big") + 1
        txn.put(b"last number", NUMBER.pack(number), db=self._about)
        return number

    def _end(self, txn: Transaction, place: bytes, row: HeadRow, *, expired: bool, now: float) -> None:
        txn.delete(place, db=self._heads)
        txn.delete(_END.pack(row.due, row.number), db=self._ends)
        self._bodies.drop(txn, row.number)
        stone = Tombstone(row.head.incarnation, row.head.birth.request_hash, expired, now)
        self._bury(txn, place, stone, row.number)

    def _end_unread(self, txn: Transaction, place: bytes) -> None:
        """Ends what lies at a place without reading it. Its number is found in `ends`, all of which is looked at."""
        with txn.cursor(self._ends) as cursor:
            entries = [key for key in keys_from(cursor, b"", b"") if cursor.value()[1:] == place]
        for key in entries:
            txn.delete(key, db=self._ends)
            self._bodies.drop(txn, _END.unpack(key)[1])
        txn.delete(place, db=self._heads)
        self._bury(txn, place, Tombstone(_UNKNOWN, b"", False, self._clock.now()), self._draw(txn))

    def _bury(self, txn: Transaction, place: bytes, stone: Tombstone, number: int) -> None:
        row = TombstoneRow(stone, number, stone.time + TOMBSTONE_TTL)
        txn.put(place, encode_tombstone(place, row), db=self._tombstones)
        txn.put(_END.pack(row.due, number), b"T" + place, db=self._ends)

    def _forget(self, txn: Transaction, place: bytes, stone: TombstoneRow) -> None:
        txn.delete(place, db=self._tombstones)
        txn.delete(_END.pack(stone.due, stone.number), db=self._ends)

    def _visit(self, txn: Transaction, key: bytes, value: bytes, now: float) -> int:
        """Does what is due at an entry of `ends`. Returns the number of sessions that expired: none or one."""
        number = _END.unpack(key)[1]
        place = value[1:]
        try:
            row = self._head(txn, place) if value[:1] == b"H" else None
            stone = self._tombstone(txn, place) if value[:1] == b"T" else None
        except StateCorrupt:  # its owner learns it on the next call; expiry of the others goes on
            txn.delete(key, db=self._ends)
            txn.put(_END.pack(now + _PATIENCE, number), value, db=self._ends)
            return 0
        # 1. a session that was used since, 2. one that was not, 3. a tombstone of age, 4. an entry left by damage
        if row and row.number == number and row.head.expire_time > now:
            txn.delete(key, db=self._ends)
            txn.put(_END.pack(row.head.expire_time, number), value, db=self._ends)
            self._put_head(txn, place, replace(row, due=row.head.expire_time))
        elif row and row.number == number:
            txn.delete(key, db=self._ends)
            self._end(txn, place, row, expired=True, now=now)
            failpoints.hit("expire")
            return 1
        elif stone and stone.number == number:
            txn.delete(key, db=self._ends)
            self._forget(txn, place, stone)
        else:
            txn.delete(key, db=self._ends)
        return 0
