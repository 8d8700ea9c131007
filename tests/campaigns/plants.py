"""Bugs that are put into a server on purpose, to see that the oracle finds them. The product has none of this.

Each stands for one rule of the step protocol that somebody might leave out.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from service.engine.commits import Committer
from service.engine.work import StepWork
from service.errors import TapeheadError
from service.sessions import session as rules
from service.sessions.answers import fresh_answer
from service.sessions.live import GoAgain, Live, LiveSession
from service.sessions.session import Span
from service.store import redis_link
from service.store.base import Applied, Commit, Damaged, Head, Lost
from service.store.lmdb import LmdbStore
from service.store.lmdb_bodies import Bodies
from service.store.rows import HeadRow

SOON = 0.02  # seconds, for an answer to leave


def answer_before_commit() -> None:
    """The caller is answered, and only then is the step written."""
    commit = Committer._commit

    async def too_late(self: Committer, works: list[StepWork], commits: list[Commit]) -> None:
        for work in works:
            if not work.answer.done():
                answer = fresh_answer(work.message, work.result, committed_step=work.span.last_step)
                work.answer.set_result(answer)
        await asyncio.sleep(SOON)
        await commit(self, works, commits)

    Committer._commit = too_late  # type: ignore[method-assign]


def no_epoch_check() -> None:
    """A commit is written whoever opened the session last."""
    _rewrite_scripts("about.epoch ~= ARGV[4]", "false")


def no_incarnation_check() -> None:
    """A commit is written into whatever incarnation lies under the session's id, if the epoch is the same."""
    _rewrite_scripts(
        "reply[2] ~= ARGV[2] or not about or about.incarnation ~= ARGV[3]",
        "not about or (about.incarnation == ARGV[3] and reply[2] ~= ARGV[2])",
    )


def no_input_hash_check() -> None:
    """A number that is taken is answered, whatever the input."""

    def same(message: Span, spans: Sequence[Span]) -> Span:
        return next(span for span in spans if span.first_step <= message.first_step <= span.last_step)

    rules._same = same


def resent_commit() -> None:
    """Every tenth commit's reply is lost; the store reads the head and writes the step once more, after it."""
    commit, calls = LmdbStore.commit, 0

    async def again(self: LmdbStore, commits: Sequence[Commit]) -> list[Applied | Lost | Damaged]:
        nonlocal calls
        calls += 1
        outcomes = await commit(self, commits)
        if calls % 10:
            return outcomes
        resent = []
        for one in commits:
            head = await self.head(one.key)
            assert isinstance(head, Head)
            resent.append(replace(one, answer=replace(one.answer, first_step=head.committed_step + 1)))
        return await commit(self, resent)

    LmdbStore.commit = again  # type: ignore[method-assign]


def copy_kept_after_unknown() -> None:
    """A copy whose commit has no outcome stays in memory, and is believed. Either alone does no harm: see `Live`."""

    def keep(self: Committer, work: StepWork, error: TapeheadError) -> None:
        self._backlog.fail(work, error)

    async def believe(self: Live, session: LiveSession) -> None:
        if session.is_gone:
            raise GoAgain
        session.confirmations += 1

    Committer._unknown = keep  # type: ignore[method-assign]
    Live.confirm = believe  # type: ignore[method-assign]


def answer_from_memory_after_lost() -> None:
    """A step that lost the compare-and-set is answered with what was computed for it."""
    lost = Committer._lost

    def answered(self: Committer, work: StepWork, outcome: Lost) -> None:
        if not work.answer.done():
            work.answer.set_result(fresh_answer(work.message, work.result, committed_step=work.span.last_step))
        lost(self, work, outcome)

    Committer._lost = answered  # type: ignore[method-assign]


def stale_kept_state() -> None:
    """What is kept to go back to is the state before the step under whose number it lies."""
    append = Bodies.append

    def stale(self: Bodies, txn: Any, answers: Any, row: HeadRow, commit: Commit) -> None:
        before = self.state(txn, b"", row)
        append(self, txn, answers, row, commit)
        if commit.keep:
            self._keep(txn, row, commit.answer.last_step, before)

    Bodies.append = stale  # type: ignore[method-assign]


def _rewrite_scripts(old: str, new: str) -> None:
    begin = redis_link.Script.__init__

    def rewritten(self: redis_link.Script, name: str) -> None:
        begin(self, name)
        if name == "commit":
            assert old.encode() in self.source
            self.source = self.source.replace(old.encode(), new.encode())
            self.digest = hashlib.sha1(self.source).hexdigest()

    redis_link.Script.__init__ = rewritten  # type: ignore[method-assign]


PLANTS: dict[str, Callable[[], Any]] = {
    act.__name__: act
    for act in (
        answer_before_commit,
        no_epoch_check,
        no_incarnation_check,
        no_input_hash_check,
        resent_commit,
        copy_kept_after_unknown,
        answer_from_memory_after_lost,
        stale_kept_state,
    )
}


def plant(name: str) -> None:
    """Puts a bug into this process."""
    PLANTS[name]()
