"""What each operation of the LMDB store does inside one transaction.

Six tables. The small head lies apart from the large state, so that an open or a renewal does not write the state again:

    heads       owner NUL session id       -> head row; live sessions alone, in the order of `list`
    tombstones  owner NUL session id       -> tombstone row
    states      number                     -> state
    answers     number, last step          -> answer row, in the order of steps
    ends        time, number               -> H or T, then owner NUL session id
    about       "format", "last number"

The number, 8 bytes, is drawn when a session is created and never again: what was one session's is never taken for
another's. `ends` lists each session and tombstone once, under a time at or before its end. A commit leaves it alone;
when the time has come, `expire` ends the session or moves the entry to the new end. So each session costs expiry one
look per time to live, however many there are and however often they commit.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from crc32c import crc32c

from ..clock import Clock
from ..errors import StateCorrupt
from .base import (
    TOMBSTONE_TTL,
    Answer,
    Applied,
    Birth,
    Commit,
    Damaged,
    Head,
    Key,
    Lost,
    Opened,
    Record,
    Tombstone,
)
from .heads import born, committed, follows
from .rows import (
    HeadRow,
    TombstoneRow,
    decode_answer,
    decode_head,
    decode_tombstone,
    encode_answer,
    encode_birth,
    encode_head,
    encode_tombstone,
)

if TYPE_CHECKING:
    import lmdb

    Transaction = lmdb.Transaction[bytes]

FORMAT = b"1"
TABLES = 6
VISITS = 256  # entries of `ends` that one transaction looks at, so that commits do not wait for long
_LONGEST_KEY = 511  # bytes; fixed in LMDB
_KNOWN = 8192  # rows, a kilobyte each
_PATIENCE = 24 * 3600.0  # seconds until `expire` tries again to read a damaged head

_NUMBER = struct.Struct(">Q")
_ANSWER = struct.Struct(">QQ")
_END = struct.Struct(">dQ")  # times are positive, and such floats sort as their bytes do


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
        self._states = environment.open_db(b"states")
        self._answers = environment.open_db(b"answers")
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
        state = txn.get(_NUMBER.pack(row.number), db=self._states)
        if state is None or crc32c(state) != row.state_checksum:
            raise StateCorrupt(f"the state of {_name(place)} is not the one that its head names")
        return Record(row.head, state)

    def answers(self, txn: Transaction, place: bytes, incarnation: bytes, from_step: int) -> list[Answer]:
        row = self._head(txn, place)
        if row is None or row.head.incarnation != incarnation:
            return []
        first = _ANSWER.pack(row.number, max(from_step, 0))
        with txn.cursor(self._answers) as cursor:
            kept = [decode_answer(key, cursor.value()) for key in _keys(cursor, first, first[:8])]
        expected = max(from_step, row.head.oldest_kept_answer)
        for answer in kept:
            if answer.first_step > expected:
                break
            expected = answer.last_step + 1
        if expected <= row.head.committed_step:
            raise StateCorrupt(f"the answer of step {expected} of {_name(place)} is missing")
        return kept

    def page(self, txn: Transaction, owner: str, after: str, limit: int) -> list[tuple[str, Head]]:
        prefix = f"{owner}\0".encode()
        last = prefix + after.encode()
        found: list[tuple[str, Head]] = []
        with txn.cursor(self._heads) as cursor:
            for place in _keys(cursor, last, prefix):
                if len(found) == limit:
                    break
                if place == last:
                    continue
                try:
                    row = decode_head(place, cursor.value())
                except StateCorrupt as error:
                    raise StateCorrupt(f"{_name(place)}, {error.message}") from error
                found.append((place[len(prefix) :].decode(), row.head))
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
        with txn.cursor(self._answers) as answers:
            return [self._commit(txn, answers, place, commit, now) for place, commit in commits]

    def delete(self, txn: Transaction, place: bytes, incarnation: bytes | None) -> Applied | Lost:
        row = self._head(txn, place)
        if row is None or incarnation not in (None, row.head.incarnation):
            return Lost(row.head if row else self._stone(txn, place))
        self._end(txn, place, row, expired=False, now=self._clock.now())
        return Applied(row.head)

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
        number = int.from_bytes(txn.get(b"last number", b"", db=self._about), "big") + 1
        row = HeadRow(head, number, crc32c(state), head.expire_time, encode_birth(birth))
        txn.put(b"last number", _NUMBER.pack(number), db=self._about)
        txn.put(_NUMBER.pack(number), state, db=self._states)
        txn.put(_END.pack(row.due, number), b"H" + place, db=self._ends)
        self._put_head(txn, place, row)
        return Applied(head)

    def _commit(
        self, txn: Transaction, answers: lmdb.Cursor[bytes], place: bytes, commit: Commit, now: float
    ) -> Applied | Lost | Damaged:
        try:
            row = self._head(txn, place)
            if row is None or not follows(commit, row.head):
                return Lost(row.head if row else self._stone(txn, place))
        except StateCorrupt as error:
            return Damaged(error)
        oldest = self._release(answers, row, commit.release_through)
        head = committed(row.head, commit, oldest, now)
        key = _ANSWER.pack(row.number, head.committed_step)
        answers.put(key, encode_answer(key, commit.answer))
        txn.put(_NUMBER.pack(row.number), commit.state, db=self._states)
        self._put_head(txn, place, HeadRow(head, row.number, crc32c(commit.state), row.due, row.birth))
        return Applied(head)

    def _release(self, answers: lmdb.Cursor[bytes], row: HeadRow, through: int) -> int:
        """Drops the answers that end there or before. Returns the step at which the rest begins."""
        oldest = row.head.oldest_kept_answer
        if oldest > through:
            return oldest
        first = _ANSWER.pack(row.number, oldest)
        found = answers.set_range(first)
        while found and (key := answers.key())[:8] == first[:8]:
            last_step = _ANSWER.unpack(key)[1]
            if last_step > through:
                break
            answers.delete()  # and go to the next
            oldest, found = last_step + 1, bool(answers.key())
        return oldest

    def _end(self, txn: Transaction, place: bytes, row: HeadRow, *, expired: bool, now: float) -> None:
        number = _NUMBER.pack(row.number)
        txn.delete(place, db=self._heads)
        txn.delete(number, db=self._states)
        txn.delete(_END.pack(row.due, row.number), db=self._ends)
        with txn.cursor(self._answers) as cursor:
            found = cursor.set_range(number)
            while found and cursor.key()[:8] == number:
                cursor.delete()
                found = bool(cursor.key())
        stone = Tombstone(row.head.incarnation, row.head.birth.request_hash, expired, now)
        stone_row = TombstoneRow(stone, row.number, now + TOMBSTONE_TTL)
        txn.put(place, encode_tombstone(place, stone_row), db=self._tombstones)
        txn.put(_END.pack(stone_row.due, row.number), b"T" + place, db=self._ends)

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
            return 1
        elif stone and stone.number == number:
            txn.delete(key, db=self._ends)
            self._forget(txn, place, stone)
        else:
            txn.delete(key, db=self._ends)
        return 0


def _keys(cursor: lmdb.Cursor[bytes], first: bytes, prefix: bytes) -> Iterator[bytes]:
    """Moves the cursor from `first` on through the keys that begin with the prefix."""
    found = cursor.set_range(first)
    while found and (key := cursor.key()).startswith(prefix):
        yield key
        found = cursor.next()


def _name(place: bytes) -> str:
    return f"session '{place.partition(bytes(1))[2].decode(errors='replace')}'"
