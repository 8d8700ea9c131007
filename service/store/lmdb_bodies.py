"""What an LMDB store keeps of a session besides its head, under the number that the head names.

states   number             -> state
answers  number, last step  -> answer row, in the order of steps
kept     number, step       -> kept row, one for each of the head's kept steps
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from crc32c import crc32c

from .. import failpoints
from ..errors import StateCorrupt
from .base import Answer, Commit, Snapshot
from .rows import HeadRow, KeptRow, decode_answer, decode_kept, encode_answer, encode_kept

if TYPE_CHECKING:
    import lmdb

    Transaction = lmdb.Transaction[bytes]

NUMBER = struct.Struct(">Q")
_STEP = struct.Struct(">QQ")  # number, step


class Bodies:
    """Reads and writes states, answers and kept states. `place` is for messages: the key of the session's head."""

    def __init__(self, environment: lmdb.Environment) -> None:
        self._states = environment.open_db(b"states")
        self._answers = environment.open_db(b"answers")
        self._kept = environment.open_db(b"kept")

    # --- reads --------------------------------------------------------------------------------------------------------

    def state(self, txn: Transaction, place: bytes, row: HeadRow) -> bytes:
        state = txn.get(NUMBER.pack(row.number), db=self._states)
        if state is None or crc32c(state) != row.state_checksum:
            raise StateCorrupt(f"the state of {name_of(place)} is not the one that its head names")
        return state

    def kept_state(self, txn: Transaction, place: bytes, row: HeadRow, step: int) -> bytes:
        """Of one of the head's kept steps."""
        key = _STEP.pack(row.number, step)
        data = txn.get(key, db=self._kept)
        if data is None:
            raise StateCorrupt(f"the kept state of step {step} of {name_of(place)} is missing")
        kept = decode_kept(key, data)
        if kept.incarnation != row.head.incarnation:
            raise StateCorrupt(f"the kept state of step {step} of {name_of(place)} is another incarnation's")
        return kept.state

    def answers(self, txn: Transaction, place: bytes, row: HeadRow, from_step: int) -> list[Answer]:
        first = _STEP.pack(row.number, max(from_step, 0))
        with txn.cursor(self._answers) as cursor:
            kept = [decode_answer(key, cursor.value()) for key in keys_from(cursor, first, first[:8])]
        expected = max(from_step, row.head.oldest_kept_answer)
        for answer in kept:
            if answer.first_step > expected:
                break
            expected = answer.last_step + 1
        if expected <= row.head.committed_step:
            raise StateCorrupt(f"the answer of step {expected} of {name_of(place)} is missing")
        return kept

    def answer(self, txn: Transaction, row: HeadRow, step: int) -> Answer | None:
        first = _STEP.pack(row.number, step)
        with txn.cursor(self._answers) as cursor:
            for key in keys_from(cursor, first, first[:8]):
                found = decode_answer(key, cursor.value())
                return found if found.first_step <= step else None
        return None

    # --- writes -------------------------------------------------------------------------------------------------------

    def answers_cursor(self, txn: Transaction) -> lmdb.Cursor[bytes]:
        """For `append`; one serves a whole group."""
        return txn.cursor(self._answers)

    def begin(self, txn: Transaction, row: HeadRow, state: bytes) -> None:
        """Writes what a session begins with."""
        txn.put(NUMBER.pack(row.number), state, db=self._states)
        for step in row.head.kept_steps:
            self._keep(txn, row, step, state)

    def restore(self, txn: Transaction, row: HeadRow, snapshot: Snapshot) -> None:
        """Writes what a session comes with."""
        txn.put(NUMBER.pack(row.number), snapshot.state, db=self._states)
        for answer in snapshot.answers:
            key = _STEP.pack(row.number, answer.last_step)
            txn.put(key, encode_answer(key, answer), db=self._answers)
        for step, state in snapshot.kept_states.items():
            self._keep(txn, row, step, state)

    def append(self, txn: Transaction, answers: lmdb.Cursor[bytes], row: HeadRow, commit: Commit) -> None:
        """Writes and drops what a commit says, but for the answers that it releases. The row is the one before."""
        key = _STEP.pack(row.number, commit.answer.last_step)
        answers.put(key, encode_answer(key, commit.answer))
        txn.put(NUMBER.pack(row.number), commit.state, db=self._states)
        for step in commit.drop_kept:
            if step in row.head.kept_steps:
                txn.delete(_STEP.pack(row.number, step), db=self._kept)
        if commit.keep:
            self._keep(txn, row, commit.answer.last_step, commit.state)

    def release(self, answers: lmdb.Cursor[bytes], row: HeadRow, through: int) -> int:
        """Drops the answers that end there or before. Returns the step at which the rest begins."""
        oldest = row.head.oldest_kept_answer
        if oldest > through:
            return oldest
        first = _STEP.pack(row.number, oldest)
        found = answers.set_range(first)
        while found and (key := answers.key())[:8] == first[:8]:
            last_step = _STEP.unpack(key)[1]
            if last_step > through:
                break
            answers.delete()  # and go to the next
            failpoints.hit("commit.release")
            oldest, found = last_step + 1, bool(answers.key())
        return oldest

    def drop(self, txn: Transaction, number: int) -> None:
        """Drops all that lies under the number, whatever it is."""
        prefix = NUMBER.pack(number)
        txn.delete(prefix, db=self._states)
        for table in (self._answers, self._kept):
            with txn.cursor(table) as cursor:
                found = cursor.set_range(prefix)
                while found and cursor.key()[:8] == prefix:
                    cursor.delete()
                    found = bool(cursor.key())

    def _keep(self, txn: Transaction, row: HeadRow, step: int, state: bytes) -> None:
        key = _STEP.pack(row.number, step)
        txn.put(key, encode_kept(key, KeptRow(row.head.incarnation, state)), db=self._kept)


def name_of(place: bytes) -> str:
    return f"session '{place.partition(bytes(1))[2].decode(errors='replace')}'"


def keys_from(cursor: lmdb.Cursor[bytes], first: bytes, prefix: bytes) -> Iterator[bytes]:
    """Moves the cursor from `first` on through the keys that begin with the prefix."""
    found = cursor.set_range(first)
    while found and (key := cursor.key()).startswith(prefix):
        yield key
        found = cursor.next()
