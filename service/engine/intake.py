"""Takes work in: reads the step table, admits, and finds the answers of what was sent before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np

from .. import failpoints
from ..clock import Clock
from ..errors import AnswerReleased, TapeheadError
from ..hosting.model import Model
from ..sessions.answers import decode_answer
from ..sessions.attachment import Attachment, refusal
from ..sessions.constants import Constants
from ..sessions.live import GoAgain, LiveSession, PendingWork
from ..sessions.messages import Arrays, StepAnswer, StepMessage
from ..sessions.session import Accept, InFlight, Span, Stored
from ..store.base import Store
from .admission import Limits, Share, admit
from .backlog import Backlog
from .observer import Observer
from .rate import Rate
from .work import ReadWork, StartWork, StepWork


class Intake:
    """The engine's front: decides at once, without waiting, what becomes of a message."""

    def __init__(
        self,
        backlog: Backlog,
        store: Store,
        rate: Rate,
        observer: Observer,
        clock: Clock,
        limits: Limits,
        quota_of: Callable[[str], int],
    ) -> None:
        """`quota_of` gives the most steps that an owner may have waiting; 0 is no bound."""
        self._backlog = backlog
        self._store = store
        self._rate = rate
        self._observer = observer
        self._clock = clock
        self._limits = limits
        self._quota_of = quota_of
        self.replayed_answers = 0

    def submit(self, live: LiveSession, message: StepMessage, origin: Attachment) -> Awaitable[StepAnswer]:
        """Reads the step table for a stream, in the order of calls. Awaiting gives the answer, or raises."""
        span = span_of(message)
        try:
            verdict = live.rules.judge(span)
            if isinstance(verdict, Accept):
                return self.accept(live, message, span, origin=origin, client_id=origin.client_id).answer
        except TapeheadError as error:
            return refusal(error)
        if isinstance(verdict, InFlight):
            original = next(work for work in live.works if work.span is verdict.span)
            return self._repeat_on_stream(live, message, origin, original)
        return self._stored_on_stream(live, verdict, origin)

    def accept(
        self, live: LiveSession, message: StepMessage, span: Span, *, origin: Attachment | None, client_id: str
    ) -> StepWork:
        """Takes in what the table accepted. Raises OverCapacity, QuotaExceeded, changing nothing."""
        self.admit(live.key.owner, message.length)
        live.rules.accept(span)
        work = StepWork(
            live,
            message,
            span,
            origin=origin,
            client_id=client_id,
            now=self._clock.monotonic(),
            max_batch=self._limits.max_batch,
            abandon=self._backlog.abandon,
        )
        live.works.append(work)
        self._backlog.add(work)
        if live.works[0] is work:
            self._backlog.schedule(work)
        return work

    def read(self, model: Model, entry: str, inputs: Arrays, live: LiveSession | None, *, owner: str = "") -> ReadWork:
        """Takes in a question, about a session's committed state or, of `owner`, about its inputs alone.

        Raises OverCapacity, QuotaExceeded.
        """
        self.admit(owner if live is None else live.key.owner, 1)
        work = ReadWork(
            model,
            entry,
            {name: array[np.newaxis] for name, array in inputs.items()},
            model.default_outputs(entry),
            now=self._clock.monotonic(),
            max_batch=self._limits.max_batch,
            live=live,
            owner=owner,
        )
        self._backlog.add(work)
        self._backlog.schedule(work)
        return work

    def admit(self, owner: str, steps: int) -> None:
        """Raises OverCapacity, QuotaExceeded or TooLong for steps that the line has no room for.

        Owners without a name are everybody, where nobody has to say who they are: there is nobody to share with.
        """
        share = Share(self._backlog.steps_of(owner), self._quota_of(owner)) if owner else None
        admit(self._backlog.steps, steps, self._rate.per_second(), self._limits, share)

    async def begin(self, model: Model, inputs: Arrays, constants: Constants, *, owner: str) -> Arrays:
        """Runs the entry `start` for a session that is not there yet; returns its first state, without batch axis.

        Raises OverCapacity, QuotaExceeded, and ModelFailed or ModelNonFinite at step 0.
        """
        self.admit(owner, 1)
        rows = {name: array[np.newaxis] for name, array in inputs.items()}
        work = StartWork(
            model, rows, constants, now=self._clock.monotonic(), max_batch=self._limits.max_batch, owner=owner
        )
        self._backlog.add(work)
        self._backlog.schedule(work)
        try:
            return await asyncio.shield(work.answer)
        except asyncio.CancelledError:
            self.withdraw(work)
            raise

    def withdraw(self, work: ReadWork | StartWork) -> None:
        """Takes out what nobody waits for any more."""
        self._backlog.abandon(work, GoAgain())

    async def repeat_in_flight(self, model: Model, original: PendingWork) -> StepAnswer:
        """Waits for the outcome of a message that was sent before, which may be known by the time this is awaited."""
        answer = await asyncio.shield(original.answer)
        self._count_replay(model, original.span)
        return answer._replace(replayed=True)

    async def _repeat_on_stream(
        self, live: LiveSession, message: StepMessage, origin: Attachment, original: PendingWork
    ) -> StepAnswer:
        """As `repeat_in_flight`; the table is read again if the caller who sent the original took it out."""
        try:
            return await self.repeat_in_flight(live.model, original)
        except GoAgain:
            if origin.ended.done():
                raise origin.ended.result() from None
            return await self.submit(live, message, origin)

    async def stored_answer(self, live: LiveSession, verdict: Stored) -> StepAnswer:
        """Reads the stored answer of a message that was committed before: from the store and nowhere else.

        Raises GoAgain if it was released, or the session replaced, since the copy was made.
        """
        step = verdict.span.first_step
        found = await self._store.answer(live.key, live.head.incarnation, step)
        if found is None or found.first_step != step:
            raise GoAgain
        failpoints.hit("replay")
        self._count_replay(live.model, verdict.span)
        return decode_answer(found, committed_step=live.rules.committed_step)

    async def _stored_on_stream(self, live: LiveSession, verdict: Stored, origin: Attachment) -> StepAnswer:
        """As `stored_answer`; a stream whose answer is gone has lost its place, or the answer was released."""
        try:
            return await self.stored_answer(live, verdict)
        except GoAgain:
            if origin.ended.done():
                raise origin.ended.result() from None
            rules = live.rules
            raise AnswerReleased(verdict.span.first_step, rules.committed_step, rules.oldest_kept_answer) from None

    def _count_replay(self, model: Model, span: Span) -> None:
        self.replayed_answers += 1
        self._observer.replayed(model.model_id, span.step_count)


def span_of(message: StepMessage) -> Span:
    """What the session's rules need to know of a message."""
    return Span(message.first_step, message.length, message.input_hash)
