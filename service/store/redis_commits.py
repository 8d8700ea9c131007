"""How commits are carried out in Redis, many in one round trip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from crc32c import crc32c

from ..errors import StateCorrupt, StoreFull, StoreUnavailable, TapeheadError
from .base import Applied, Commit, Damaged, Head, Lost
from .heads import committed, follows
from .redis_link import Command, Link, Script, Word
from .redis_rows import Found, Place, decode_found, decode_mark, encode_still, moved_by, place_of
from .rows import HeadRow, KeptRow, encode_answer, encode_kept

_KNOWN = 8192  # rows, a kilobyte each
_TRIES = 3  # how often a session may change between two looks at it


class KnownRows:
    """The last head rows seen here, by session; a script takes one for the session's only if it is, byte by byte."""

    def __init__(self) -> None:
        self._rows: dict[bytes, tuple[bytes, HeadRow]] = {}

    def get(self, place: Place) -> tuple[bytes, HeadRow] | None:
        return self._rows.get(place.session)

    def put(self, place: Place, data: bytes, row: HeadRow) -> None:
        if len(self._rows) >= _KNOWN:
            self._rows.clear()
        self._rows[place.session] = data, row

    def see(self, place: Place, found: Found) -> None:
        """Takes what was found as the last."""
        if found.row is None:
            self._rows.pop(place.session, None)
        else:
            self.put(place, found.data, found.row)


@dataclass(frozen=True, slots=True)
class _Try:
    """One attempt: a commit, with the head and the row after it, or a look at a session whose row is not known."""

    commit: Commit
    place: Place
    command: Command
    head: Head | None = None
    data: bytes = b""
    row: HeadRow | None = None


class Commits:
    """Carries out commits, each for itself."""

    def __init__(
        self, link: Link, read: Script, commit: Script, words: Callable[..., tuple[Word, ...]], known: KnownRows
    ) -> None:
        self._link = link
        self._read = read
        self._commit = commit
        self._words = words
        self._known = known

    async def carry_out(self, commits: Sequence[Commit]) -> list[Applied | Lost | Damaged]:
        outcomes: dict[int, Applied | Lost | Damaged] = {}
        left = dict(enumerate(commits))
        for _ in range(_TRIES):
            tries = {number: self._prepared(commit) for number, commit in left.items()}
            replies = await self._link.send([each.command for each in tries.values()])
            _raise_errors(replies, wrote=any(isinstance(each, Applied) for each in outcomes.values()))
            for (number, attempt), reply in zip(tries.items(), replies, strict=True):
                outcome = self._outcome(attempt, reply)
                if outcome is not None:
                    outcomes[number] = outcome
                    del left[number]
            if not left:
                return [outcomes[number] for number in range(len(commits))]
        raise StoreUnavailable("a session changed again and again while it was looked at")

    def _prepared(self, commit: Commit) -> _Try:
        place, known, answer = place_of(commit.key), self._known.get(place_of(commit.key)), commit.answer
        before = known[1].head if known else None
        # No row says the epoch; the script compares it.
        if (
            known is None
            or before is None
            or before.incarnation != commit.incarnation
            or before.committed_step + 1 != answer.first_step
        ):
            return _Try(commit, place, self._read.on(place.keys, *self._words("head", 0)))
        head = committed(before, commit, 0, 0.0)
        data, row = encode_still(place, head, crc32c(commit.state), known[1].birth)
        kept = b""
        if commit.keep:
            kept = encode_kept(place.kept_row(answer.last_step), KeptRow(commit.incarnation, commit.state))
        words = self._words(
            known[0],
            commit.incarnation.hex(),
            commit.epoch,
            data,
            commit.state,
            answer.last_step,
            encode_answer(place.answer_row(answer.last_step), answer),
            min(commit.release_through, answer.first_step - 1),
            commit.client_id,
            kept,
            *(step for step in commit.drop_kept if step in before.kept_steps),
        )
        return _Try(commit, place, self._commit.on(place.keys, *words), head, data, row)

    def _outcome(self, attempt: _Try, reply: Any) -> Applied | Lost | Damaged | None:
        """None if nothing was written only because the session's row was not the one known here."""
        place, head, row = attempt.place, attempt.head, attempt.row
        if isinstance(reply, StateCorrupt):
            return Damaged(reply)
        try:
            if reply[0] == 1:
                assert head is not None
                assert row is not None
                self._known.put(place, attempt.data, row)
                mark = decode_mark(place, reply[1])
                return Applied(moved_by(head, mark))
            found = decode_found(place, reply[1:4])
        except StateCorrupt as error:
            return Damaged(error)
        self._known.see(place, found)
        return None if found.head and follows(attempt.commit, found.head) else Lost(found.thing)


def _raise_errors(replies: Sequence[Any], *, wrote: bool) -> None:
    """A full store that took nothing of a group says so; if it took a part, the whole is not known.

    A damaged session is none of its neighbours' business.
    """
    errors = [reply for reply in replies if isinstance(reply, TapeheadError) and not isinstance(reply, StateCorrupt)]
    if not errors:
        return
    wrote = wrote or any(isinstance(reply, list) and reply[0] == 1 for reply in replies)
    if not wrote and all(isinstance(error, StoreFull) for error in errors):
        raise errors[0]
    raise next((error for error in errors if isinstance(error, StoreUnavailable)), StoreUnavailable(errors[0].message))
