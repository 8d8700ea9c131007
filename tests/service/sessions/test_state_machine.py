"""The rules of a session against the step table, read again from a plain list of what happened.

The model keeps every message that was ever accepted, and answers each arriving one by looking through them all. What
arrives is drawn around the interesting numbers: the committed step, the last accepted one, the edges of the window.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from service.errors import AnswerReleased, OverCapacity, StepGap, StepPayloadMismatch, TapeheadError, TooLong
from service.sessions.session import Accept, InFlight, Session, Span, Stored, Verdict

CONTENTS = st.sampled_from([b"x", b"y"])


@dataclass(eq=False)
class Message:
    """What the model knows of one message: `outcome` is None while it is in flight."""

    span: Span
    is_committed: bool = False
    is_released: bool = False


class StepTable(RuleBasedStateMachine):
    """One session, messages that arrive at any number, commits, failures, reloads from the store."""

    @initialize(window=st.integers(1, 6), origin=st.integers(0, 3))
    def begin(self, window: int, origin: int) -> None:
        self.window, self.origin = window, origin
        self.session = Session(window, origin)
        self.log: list[Message] = []  # in order, without a hole
        self.released_through = origin

    # --- what the model says ------------------------------------------------------------------------------------------

    @property
    def committed(self) -> int:
        return max((m.span.last_step for m in self.log if m.is_committed), default=self.origin)

    @property
    def accepted(self) -> int:
        return max((m.span.last_step for m in self.log), default=self.origin)

    def expected(self, arriving: Span) -> type[TapeheadError] | Accept | Stored | InFlight:
        """The step table of docs/design.md, row by row."""
        if arriving.step_count > self.window:
            return TooLong
        if arriving.first_step > self.accepted + 1:
            return StepGap
        if arriving.first_step == self.accepted + 1:
            fits = arriving.last_step <= self.committed + self.window
            return Accept() if fits else OverCapacity
        there = next((m for m in self.log if m.span.first_step <= arriving.first_step <= m.span.last_step), None)
        if there is None or there.is_released:
            return AnswerReleased
        if there.span != arriving:
            return StepPayloadMismatch
        return Stored(there.span) if there.is_committed else InFlight(there.span)

    # --- what happens -------------------------------------------------------------------------------------------------

    @rule(offset=st.integers(-9, 4), count=st.integers(1, 7), content=CONTENTS, near=st.booleans())
    def arrives(self, offset: int, count: int, content: bytes, near: bool) -> None:
        first = max(1, (self.accepted if near else self.committed) + offset)
        self._arrive(Span(first, count, content))

    @rule(count=st.integers(1, 3), content=CONTENTS)
    def next_arrives(self, count: int, content: bytes) -> None:
        self._arrive(Span(self.accepted + 1, count, content))

    @precondition(lambda self: self.log)
    @rule(data=st.data())
    def repeated(self, data: st.DataObject) -> None:
        self._arrive(data.draw(st.sampled_from(self.log)).span)

    @precondition(lambda self: self.accepted > self.committed)
    @rule(acknowledged=st.integers(0, 30))
    def oldest_is_committed(self, acknowledged: int) -> None:
        message = next(m for m in self.log if not m.is_committed)
        through = self.session.release_through(message.span, acknowledged)
        assert through == max(message.span.last_step - self.window, min(acknowledged, self.committed))
        message.is_committed = True
        for other in self.log:  # as every store does it: whole messages, earlier ones alone
            other.is_released |= other.is_committed and other is not message and other.span.last_step <= through
        self.session.commit(self.session.in_flight[0], self._oldest_kept())

    @precondition(lambda self: self.accepted > self.committed)
    @rule(data=st.data())
    def one_fails(self, data: st.DataObject) -> None:
        """With it goes what was accepted behind it."""
        at = data.draw(st.sampled_from([n for n, m in enumerate(self.log) if not m.is_committed]))
        self.session.fail(self.session.in_flight[at - sum(m.is_committed for m in self.log)])
        del self.log[at:]

    @rule()
    def reloaded(self) -> None:
        """The copy is dropped with what was in flight, and made again from the store."""
        self.log = [m for m in self.log if m.is_committed]
        kept = [m.span for m in self.log if not m.is_released]
        self.session = Session(self.window, self.committed, kept=type(self.session.kept)(kept))

    # --- what is always so --------------------------------------------------------------------------------------------

    @invariant()
    def numbers_agree(self) -> None:
        if hasattr(self, "session"):
            assert self.session.committed_step == self.committed
            assert self.session.accepted_step == self.accepted
            assert self.session.oldest_kept_answer == self._oldest_kept()

    @invariant()
    def a_windows_worth_of_answers_is_kept_unless_acknowledged(self) -> None:
        if hasattr(self, "session"):
            assert self.session.accepted_step <= self.session.committed_step + self.window

    def _oldest_kept(self) -> int:
        kept = [m.span.first_step for m in self.log if m.is_committed and not m.is_released]
        return min(kept, default=self.committed + 1)

    def _arrive(self, arriving: Span) -> None:
        expected, verdict = self.expected(arriving), self._judged(arriving)
        if isinstance(verdict, TapeheadError):
            assert type(verdict) is expected
            assert not isinstance(verdict, StepGap) or verdict.facts["expected_step"] == str(self.accepted + 1)
            return
        assert verdict == expected
        if isinstance(verdict, Accept):
            self.session.accept(arriving)
            self.log.append(Message(arriving))

    def _judged(self, arriving: Span) -> Verdict | TapeheadError:
        try:
            return self.session.judge(arriving)
        except TapeheadError as error:
            return error


StepTable.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None, print_blob=True)
TestStepTable = StepTable.TestCase
