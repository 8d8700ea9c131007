"""The rules of one session: what an arriving step means, and what a commit, a failure or a newer writer does to it.

Pure: no await, no clock, no numbers of a model. c is the committed step, q the last accepted one, W the window.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ..errors import AnswerReleased, OverCapacity, StepGap, StepPayloadMismatch, TooLong

WINDOW_RETRY_AFTER = 0.05  # seconds; a window moves as soon as a commit is done


class Span(NamedTuple):
    """The steps of one message: one step, or a chunk."""

    first_step: int
    step_count: int
    input_hash: bytes

    @property
    def last_step(self) -> int:
        return self.first_step + self.step_count - 1


@dataclass(frozen=True, slots=True)
class Accept:
    """The message is the next one, and may run."""


ACCEPT = Accept()


@dataclass(frozen=True, slots=True)
class Stored:
    """The message was committed before, and its answer is kept."""

    span: Span


@dataclass(frozen=True, slots=True)
class InFlight:
    """The message was accepted before, and its outcome is not known yet."""

    span: Span


Verdict = Accept | Stored | InFlight


@dataclass(slots=True)
class Session:
    """One copy of a session's numbers, as of the store's head that it was made from.

    Its queues are lists: they are short, and an empty deque takes 700 bytes of every session.
    """

    window: int
    committed_step: int
    kept: list[Span] = field(default_factory=list)  # committed, answer kept; in order
    in_flight: list[Span] = field(default_factory=list)  # accepted, not committed; in order

    @property
    def accepted_step(self) -> int:
        return self.in_flight[-1].last_step if self.in_flight else self.committed_step

    @property
    def oldest_kept_answer(self) -> int:
        return self.kept[0].first_step if self.kept else self.committed_step + 1

    def judge(self, message: Span) -> Verdict:
        """Reads the step table.

        Raises: TooLong, AnswerReleased, StepPayloadMismatch, OverCapacity, StepGap. Changes nothing.
        """
        step, steps, _ = message
        if steps > self.window:
            raise TooLong("steps of a chunk, which must fit the session's window", self.window, steps)
        expected = self.accepted_step + 1
        if step > expected:
            raise StepGap(step, expected)
        if step == expected:
            if step + steps - 1 > self.committed_step + self.window:
                raise OverCapacity(
                    "steps in flight in the session's window", self.window, retry_after=WINDOW_RETRY_AFTER
                )
            return ACCEPT
        if step > self.committed_step:
            return InFlight(_same(message, self.in_flight))
        if step < self.oldest_kept_answer:
            raise AnswerReleased(step, self.committed_step, self.oldest_kept_answer)
        return Stored(_same(message, self.kept))

    def accept(self, message: Span) -> None:
        """Takes the next message in; `judge` must have said so without anything between."""
        assert message.first_step == self.accepted_step + 1
        self.in_flight.append(message)

    def commit(self, message: Span, oldest_kept_answer: int) -> None:
        """Notes that the oldest message in flight was committed, and which answers the store still keeps."""
        first = self.in_flight.pop(0)
        assert first is message
        self.committed_step = message.last_step
        self.kept.append(message)
        while self.kept and self.kept[0].first_step < oldest_kept_answer:
            self.kept.pop(0)

    def fail(self, message: Span) -> None:
        """Takes a message out, so that its number is the next again, with all that was pipelined behind it."""
        while self.in_flight.pop() is not message:
            pass

    def release_through(self, message: Span, acknowledged_step: int) -> int:
        """The last step whose answer a commit of this message frees: beyond the window, or acknowledged."""
        return max(message.last_step - self.window, min(acknowledged_step, self.committed_step))


def _same(message: Span, spans: list[Span]) -> Span:
    for span in spans:
        if span.first_step <= message.first_step <= span.last_step:
            if (span.first_step, span.step_count, span.input_hash) == (
                message.first_step,
                message.step_count,
                message.input_hash,
            ):
                return span
            raise StepPayloadMismatch(message.first_step, span.first_step, span.step_count)
    raise AssertionError("the spans of a session leave no hole")
