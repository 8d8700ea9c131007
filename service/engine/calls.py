"""Unary calls: a step or a tell, and questions.

What a call is accepted for, its commit checks. Any other answer of the step table is given only when the copy was known
to be the store's head at some moment after the call came in; until then the call waits, and reads the table again.
"""

from __future__ import annotations

import asyncio

import numpy as np

from tapehead.v1.manifest_pb2 import QuestionAnswering

from .. import failpoints
from ..errors import (
    DeadlineExceeded,
    InvalidField,
    OutcomeUnknown,
    SessionReplaced,
    StateConflict,
    StepGap,
    TapeheadError,
    TooLong,
)
from ..hosting.model import Model
from ..sessions.hashing import rewind_hash
from ..sessions.identity import check_client_id, check_session_id
from ..sessions.live import GoAgain, Live, LiveSession
from ..sessions.messages import Asked, StepAnswer, StepMessage
from ..sessions.session import Accept, InFlight, Stored, Verdict
from ..sessions.standing import ENDED, require_open
from ..sessions.states import state_of
from ..store.base import Key, Store
from .commits import LostRace
from .intake import Intake, span_of
from .work import REWIND, ReadWork, StepWork

TELL = "tell"
MAX_ROUNDS = 16  # through the table, for a session that others keep moving


class Calls:
    """Carries out unary calls on sessions, and questions on whole stories."""

    def __init__(self, live: Live, intake: Intake, store: Store) -> None:
        self._live = live
        self._intake = intake
        self._store = store

    async def model_of(self, key: Key, incarnation: bytes | None) -> Model:
        """The model of a session. Raises SessionNotFound, SessionExpired, SessionReplaced, StateCorrupt."""
        return (await self._fetch(key, incarnation)).model

    def admit(self, key: Key, first_step: int, step_count: int) -> None:
        """Raises OverCapacity, QuotaExceeded or TooLong for a step that is known to be new and finds no room: refusals
        have to stay cheap when there are many, so they come before the inputs are looked at."""
        live = self._live.peek(key)
        if live is not None and first_step > live.rules.accepted_step:
            self._intake.admit(key.owner, max(1, step_count))

    async def step(
        self,
        key: Key,
        incarnation: bytes | None,
        message: StepMessage,
        client_id: str,
        *,
        deadline: float | None = None,
        numbered: bool = True,
    ) -> tuple[StepAnswer, bytes]:
        """Advances a session by one message; returns the answer and the session's incarnation.

        `deadline` is in seconds from now. When it passes, or the call is cancelled, before the commit has begun,
        nothing was changed; afterwards the outcome is unknown to the caller, and the step goes its way.

        A message that is not numbered takes the next number there is, whatever it says. A commit of it that was lost
        was not applied, so it is tried under the number after; one whose outcome is unknown never is.
        """
        check_client_id(client_id, "client_id")
        failpoints.hit("received")
        work: list[StepWork] = []  # the one that is accepted, if any
        try:
            async with asyncio.timeout(deadline):
                return await self._step(key, incarnation, message, client_id, work, numbered)
        except TimeoutError:
            if not work or work[-1].abandon(GoAgain()):
                raise DeadlineExceeded(key.session_id, message.first_step) from None
            raise OutcomeUnknown(key.session_id, work[-1].span.first_step, "deadline") from None
        except asyncio.CancelledError:
            if work:
                work[-1].abandon(GoAgain())
            raise

    async def rewind(
        self,
        key: Key,
        incarnation: bytes | None,
        step: int,
        to_step: int,
        client_id: str,
        *,
        deadline: float | None = None,
    ) -> tuple[StepAnswer, bytes]:
        """Commits step number `step`, whose next state is that after `to_step`. Repeatable like any step.

        Raises StepNotKept, unless the step was committed before.
        """
        live = await self._fetch(key, incarnation)
        message = StepMessage(step, 0, {}, (), rewind_hash(to_step), entry=REWIND, next_state=())
        if step > live.rules.committed_step:
            record = await state_of(self._store, key, live.head.incarnation, to_step, live.model)
            message = message._replace(next_state=tuple(live.layout.decode(record.state)))
            failpoints.hit("rewind")
        return await self.step(key, live.head.incarnation, message, client_id, deadline=deadline)

    async def ask_session(
        self, key: Key, incarnation: bytes | None, question: np.ndarray, *, minimum_step: int = 0
    ) -> Asked:
        """Asks about a session's story; `question` holds word ids. Raises StepGap below `minimum_step`."""
        for _ in range(MAX_ROUNDS):
            live = await self._fetch(key, incarnation)
            try:
                await self._live.confirm(live)
                if live.rules.committed_step < minimum_step:
                    raise StepGap(minimum_step, live.rules.committed_step + 1)
                if live.model.manifest.question_answering.length_state and not live.told:
                    raise InvalidField("story", "a session that was told at least one sentence", "none")
                return await self._answer(self._intake.read(live.model, "ask", {"question": question}, live))
            except GoAgain:
                continue
        raise StateConflict(key.session_id)

    async def ask_story(self, model: Model, story: np.ndarray, question: np.ndarray, *, owner: str = "") -> Asked:
        """Asks about a whole story: word ids [sentences, words] and [words]."""
        inputs = {"story": story, "question": question}
        return await self._answer(self._intake.read(model, "answer", inputs, None, owner=owner))

    async def _step(
        self,
        key: Key,
        incarnation: bytes | None,
        message: StepMessage,
        client_id: str,
        accepted: list[StepWork],
        numbered: bool,
    ) -> tuple[StepAnswer, bytes]:
        races = 0
        for _ in range(MAX_ROUNDS):
            live = await self._fetch(key, incarnation)
            try:
                verdict: Accept | Stored
                if numbered:
                    verdict = await self._verdict(live, message)
                else:
                    message, verdict = _next(live, message), Accept()
                if isinstance(verdict, Stored):
                    answer = await self._intake.stored_answer(live, verdict)
                else:
                    require_open(key.session_id, live.head)
                    if live.works and live.works[-1].client_id == ENDED:  # what comes behind the end finds out
                        await live.wait_settled()
                        continue
                    if _is_bounded_story(live, message):
                        if live.works:  # a rewind among them may change how long the story is
                            await live.wait_settled()
                            continue
                        _check_room(live, message)
                    work = self._intake.accept(live, message, span_of(message), origin=None, client_id=client_id)
                    accepted.append(work)
                    answer = await asyncio.shield(work.answer)
                return answer, live.head.incarnation
            except LostRace:
                accepted.clear()
                races += numbered
                if races == 2:
                    break
            except StepGap:
                if numbered or not accepted:
                    raise
                accepted.clear()  # what it was behind has failed, which is no concern of a message without a number
            except GoAgain:
                accepted.clear()
        raise StateConflict(key.session_id)

    async def _verdict(self, live: LiveSession, message: StepMessage) -> Accept | Stored:
        """What the table says, once it may be said. Returns without anything awaited after the last reading."""
        seen = live.confirmations
        for is_last_round in [False] * MAX_ROUNDS + [True]:
            if live.is_gone or live.is_opening:
                raise GoAgain
            verdict = self._judge(live, message)
            if isinstance(verdict, Accept):
                return verdict
            is_confirmed = live.confirmations > seen and (isinstance(verdict, Stored) or not live.works)
            if not isinstance(verdict, InFlight) and (is_confirmed or is_last_round):
                if isinstance(verdict, TapeheadError):
                    try:
                        raise verdict
                    finally:
                        del verdict  # or the error would keep this frame, and this frame the error
                return verdict
            if live.works:
                await live.wait_settled()
            else:
                await self._live.confirm(live)
        raise GoAgain

    def _judge(self, live: LiveSession, message: StepMessage) -> Verdict | TapeheadError:
        try:
            return live.rules.judge(span_of(message))
        except TapeheadError as error:
            return error

    async def _fetch(self, key: Key, incarnation: bytes | None) -> LiveSession:
        check_session_id(key.session_id)
        for _ in range(MAX_ROUNDS):
            live = await self._live.fetch(key)
            if incarnation is None or live.head.incarnation == incarnation:
                return live
            try:
                await self._live.confirm(live)
            except GoAgain:
                continue
            raise SessionReplaced(key.session_id)
        raise StateConflict(key.session_id)

    async def _answer(self, work: ReadWork) -> Asked:
        try:
            return await asyncio.shield(work.answer)
        except asyncio.CancelledError:
            self._intake.withdraw(work)
            raise


def _next(live: LiveSession, message: StepMessage) -> StepMessage:
    """The message under the number after the last accepted one. Raises TooLong, OverCapacity, GoAgain."""
    if live.is_gone or live.is_opening:
        raise GoAgain
    message = message._replace(first_step=live.rules.accepted_step + 1)
    live.rules.judge(span_of(message))
    return message


def _is_bounded_story(live: LiveSession, message: StepMessage) -> bool:
    """Whether these are sentences for a model that forgets nothing, and so has room for only so many."""
    overflow = live.model.manifest.question_answering.story_overflow
    return message.entry == TELL and overflow not in (
        QuestionAnswering.STORY_OVERFLOW_FORGET_OLDEST,
        QuestionAnswering.STORY_OVERFLOW_ABSORB,
    )


def _check_room(live: LiveSession, message: StepMessage) -> None:
    """Raises TooLong for sentences that the model has no room for."""
    room = live.model.manifest.question_answering.memory_sentences
    if live.told + message.length > room:
        raise TooLong("sentences of the story, for this model's memory", room, live.told + message.length)
