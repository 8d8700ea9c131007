"""Commits what has run, and settles it by what the store says.

A commit is sent once. Applied: the new state is the session's, and only now is the caller answered. Lost: the copy is
dropped and the store's head decides what the caller hears. Unknown: the session leaves memory, and nobody guesses.
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine

import numpy as np

from .. import failpoints
from ..clock import Clock
from ..errors import OutcomeUnknown, StoreFull, StoreUnavailable, TapeheadError
from ..sessions.answers import encode_answer, fresh_answer
from ..sessions.live import GoAgain
from ..sessions.messages import Arrays
from ..sessions.retention import retain
from ..store.base import Applied, Commit, Head, Lost, Store
from .backlog import Backlog
from .observer import Observer
from .rate import Rate
from .work import Stage, StepWork

log = logging.getLogger(__name__)


class LostRace(GoAgain):
    """Another writer of the same epoch committed first."""


class Committer:
    """Writes finished messages and answers their callers."""

    def __init__(self, backlog: Backlog, store: Store, rate: Rate, observer: Observer, clock: Clock) -> None:
        self._backlog = backlog
        self._store = store
        self._rate = rate
        self._observer = observer
        self._clock = clock
        self.committed_steps = 0

    def begin(self, works: list[StepWork], states: Arrays) -> Coroutine[None, None, None]:
        """Commits messages of different sessions of one model together; each has an outcome of its own.

        Row by row, `states` are those after them. They are written down here, and may be overwritten afterwards.
        From here on, before anything is awaited, the outcome is the store's to tell: nobody can take the works out.
        """
        layout, tensors = works[0].session.layout, works[0].model.state
        records = layout.encode_rows(len(works), [states[tensor.name] for tensor in tensors])
        commits = [self._commit_of(work, record) for work, record in zip(works, records, strict=True)]
        for work in works:
            work.stage = Stage.COMMITTING
        return self._commit(works, commits)

    async def _commit(self, works: list[StepWork], commits: list[Commit]) -> None:
        started = self._clock.monotonic()
        try:
            failpoints.hit("commit.before")
            outcomes = await self._store.commit(commits)
            failpoints.hit("commit.after")
        except StoreFull as error:
            for work in works:
                self._not_stored(work, error)
        except TapeheadError as error:
            for work in works:
                self._unknown(work, error)
        except Exception:
            log.exception("the store failed in a commit")
            for work in works:
                self._unknown(work, StoreUnavailable("it failed"))
        else:
            self._count(
                [work for work, outcome in zip(works, outcomes, strict=True) if type(outcome) is Applied], started
            )
            for work, outcome in zip(works, outcomes, strict=True):
                if isinstance(outcome, Applied):
                    self._applied(work, outcome.head)
                elif isinstance(outcome, Lost):
                    self._lost(work, outcome)
                else:
                    self._damaged(work, outcome.error)

    def _commit_of(self, work: StepWork, state: bytes) -> Commit:
        live, head = work.session, work.session.head
        birth = head.birth
        work.result = _joined(work.collected)
        retention = retain(
            head.committed_step,
            work.span.last_step,
            head.kept_steps,
            origin_step=birth.origin_step,
            every=birth.keep_every,
            most=birth.keep_most,
        )
        return Commit(
            key=live.key,
            incarnation=head.incarnation,
            epoch=head.epoch,
            answer=encode_answer(work.message, work.result),
            state=state,
            fingerprint=work.model.fingerprint,
            client_id=work.client_id,
            release_through=live.rules.release_through(work.span, work.message.acknowledged_step),
            keep=retention.keep,
            drop_kept=retention.drop,
        )

    def _applied(self, work: StepWork, head: Head) -> None:
        live = work.session
        live.works.pop(0)
        live.rules.commit(work.span, head.oldest_kept_answer)
        live.head = head
        live.confirmations += 1
        if not live.is_gone:
            assert work.scratch is not None
            live.slot, work.scratch = work.scratch, live.slot
        self._backlog.settle(work)
        work.reply(fresh_answer(work.message, work.result, committed_step=head.committed_step))
        attachment = live.attachment
        if attachment is not None and attachment is not work.origin:
            attachment.end(attachment.taken_over_by(work.client_id))
        if not live.is_gone:
            self._backlog.schedule_next(live)

    def _lost(self, work: StepWork, outcome: Lost) -> None:
        live, found = work.session, outcome.found
        error = live.lost_to(found, work.origin, work.client_id)
        is_race = work.origin is None and isinstance(found, Head) and live.is_opening_of(found)
        live.drop(live.lost_to(found, live.attachment, ""))  # whose stream ends is told of its own part in it
        self._backlog.fail(work, LostRace() if is_race else error)

    def _not_stored(self, work: StepWork, error: TapeheadError) -> None:
        """The store took nothing: the session is as it was. A stream ends: its next step would fare no better."""
        if work.origin is not None:
            work.origin.end(error)
        self._backlog.fail(work, error)

    def _damaged(self, work: StepWork, error: TapeheadError) -> None:
        work.session.drop(error)
        self._backlog.fail(work, error)

    def _unknown(self, work: StepWork, error: TapeheadError) -> None:
        live = work.session
        live.drop(error)
        unary = OutcomeUnknown(live.key.session_id, work.span.first_step, "store")
        self._backlog.fail(work, error if work.origin is not None else unary)

    def _count(self, works: list[StepWork], started: float) -> None:
        """Tells of messages of one model that were committed together; that began at `started`."""
        steps = sum(work.length for work in works)
        self.committed_steps += steps
        self._rate.add(steps)
        if works:
            waited = [work.started_at - work.submitted_at for work in works]
            ran = [work.infer_seconds for work in works]
            self._observer.messages_done(works[0].model.model_id, steps, waited, ran, self._clock.monotonic() - started)


def _joined(runs: list[Arrays]) -> Arrays:
    """The outputs of all runs along one time axis."""
    if len(runs) == 1:
        return runs[0]
    return {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}
