"""The rules of resuming: what is sent, held, sent again, compared and given up. Pure: no I/O, no clock, no asyncio.

A `StepLog` is fed with what happens (`opened`, `answered`, `failed`, ...) and asked what to do (`next_to_send`); what
it decided about the caller's steps comes out of `take_outcomes`. Drivers only move messages.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tapehead.errors import (
    OverCapacity,
    ProtocolViolation,
    QuotaExceeded,
    SessionReplaced,
    StateRegressed,
    StepGap,
    StepPayloadMismatch,
    TapeheadError,
    TooLong,
    WindowFull,
)
from tapehead.resume_token import ResumeToken
from tapehead.v1.session_service_pb2 import StepResult, StreamOpened, StreamStep
from tapehead.v1.tensor_pb2 import Tensor


@dataclass(eq=False, slots=True)
class Message:
    """One step or chunk that the caller asked for, held until it is answered; a resend has the same boundaries."""

    step: int
    step_count: int  # as on the wire: 0 for a single step
    inputs: Sequence[Tensor]
    outputs: Sequence[str]
    input_hash: bytes

    @property
    def last_step(self) -> int:
        return _last(self.step, self.step_count)

    def request(self) -> StreamStep:
        return StreamStep(step=self.step, step_count=self.step_count, inputs=self.inputs, outputs=self.outputs)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a message: an answer or an error."""

    message: Message
    answer: StepResult | None = None
    error: TapeheadError | None = None


class StepLog:
    """What one session object has sent and received.

    Its state is four numbers (next_step, received_step, delivered_step, covered_step), the messages held for
    resending, and the stored answers that nobody has asked for yet.
    """

    def __init__(self, *, token: ResumeToken | None = None, durable_token: bool = False) -> None:
        start = token.last_received_step if token else 0
        self.session_id = token.session_id if token else ""
        self.incarnation = token.incarnation if token else ""
        self.window = 0
        self.committed_step = 0
        self.next_step = start + 1  # the number of the next new message
        self.received_step = start  # the last step whose answer came over the wire
        self.delivered_step = start  # the last step whose answer the caller was given
        self.given_up_count = 0  # how often a step failed and took those behind it along
        self.overload: OverCapacity | QuotaExceeded | None = None  # why nothing is sent for the moment
        self.durable_token = durable_token
        self._saved_step = start
        self._resumes = token is not None
        self._held: deque[Message] = deque()  # neither answered nor failed, in the order of their numbers
        self._stored: deque[StepResult] = deque()  # replayed answers that no message of ours has asked for
        self._outcomes: deque[Outcome] = deque()
        self._stored_until = 0  # this opening's committed step: answers up to it come as replays
        self._sent_step = 0  # the last step sent on this stream
        self._refused = 0  # messages in flight behind a failed one; each will be refused
        self._sending = False

    def __repr__(self) -> str:
        return (
            f"<StepLog next {self.next_step} | received {self.received_step} | delivered {self.delivered_step} | "
            f"held {len(self._held)} | stored {len(self._stored)}>"
        )

    # --- questions ----------------------------------------------------------------------------------------------------

    @property
    def last_received_step(self) -> int | None:
        """What an open names, so that the answers after it come again; None before the first open."""
        return self.received_step if self._resumes else None

    @property
    def covered_step(self) -> int:
        """The step that this client would resume from."""
        return self._saved_step if self.durable_token else self.received_step

    @property
    def is_owed(self) -> bool:
        """Whether any answer is still to come."""
        return bool(self._held) or self.is_replaying

    @property
    def is_replaying(self) -> bool:
        """Whether stored answers are still to come on this stream."""
        return self._arrived_step < self._stored_until

    @property
    def _arrived_step(self) -> int:
        """The last step whose answer is here, asked for or not."""
        return _last(self._stored[-1].step, self._stored[-1].step_count) if self._stored else self.received_step

    def has_room(self, steps: int) -> bool:
        """Whether `steps` more may be in flight now; raises TooLong if they never may."""
        if steps > self.window:
            raise TooLong(
                f"a chunk of {steps} steps is longer than the session's window of {self.window}",
                metadata={"limit": str(self.window), "got": str(steps)},
            )
        return self.next_step + steps - 1 <= self.covered_step + self.window

    def window_error(self) -> WindowFull:
        return WindowFull(
            f"step {self.next_step} would be {self.next_step - self.covered_step} steps behind the last saved token "
            f"(step {self.covered_step}), and the window is {self.window}: save the token and tell the session, "
            "session.saved(token), before going on"
        )

    def gap(self, step: int, cause: str) -> StepGap:
        return StepGap(f"step {step} was not taken, because {cause}", metadata={"expected_step": str(self.next_step)})

    # --- the caller ---------------------------------------------------------------------------------------------------

    def add(self, step_count: int, inputs: Sequence[Tensor], outputs: Sequence[str], input_hash: bytes) -> Message:
        """Numbers a new message and holds it. Its outcome may be there at once, if its answer is stored."""
        message = Message(self.next_step, step_count, inputs, outputs, input_hash)
        self._held.append(message)
        self.next_step = message.last_step + 1
        self._match_stored()
        return message

    def take_stored(self) -> list[StepResult]:
        """Takes the answers that were committed before, and that no message asked for; goes on after them."""
        taken = list(self._stored)
        self._stored.clear()
        if taken:
            self.received_step = _last(taken[-1].step, taken[-1].step_count)
            self.next_step = self.received_step + 1
            self.delivered_step = self.received_step
        return taken

    def delivered(self, last_step: int) -> None:
        """The caller was given the answers up to `last_step`."""
        self.delivered_step = max(self.delivered_step, last_step)

    def saved(self, token: ResumeToken) -> None:
        """The caller has put `token` where it survives; the window counts from it."""
        if token.session_id != self.session_id or token.incarnation != self.incarnation:
            raise ValueError(f"expected a token of session '{self.session_id}', got one of '{token.session_id}'")
        self._saved_step = max(self._saved_step, token.last_received_step)

    # --- the stream ---------------------------------------------------------------------------------------------------

    def opened(self, opened: StreamOpened) -> None:
        """A stream is open: decides where to go on, and what to send again on it."""
        session, committed = opened.session, opened.committed_step
        if self.incarnation and session.incarnation != self.incarnation:
            raise SessionReplaced(f"the session '{self.session_id}' was deleted and created again")
        if committed < self.received_step:
            raise StateRegressed(
                f"the session '{self.session_id}' is at step {committed}, but this client has received the answer of "
                f"step {self.received_step}: the store went back in time",
                metadata={"committed_step": str(committed), "seen_step": str(self.received_step)},
            )
        if not self._resumes:
            self.next_step = committed + 1
            self.received_step = self.delivered_step = self._saved_step = committed
        self._resumes = True
        self.session_id, self.incarnation = session.session_id, session.incarnation
        self.window, self.committed_step = opened.window, committed
        self._stored.clear()  # they come again
        self._stored_until = self._sent_step = committed
        self._refused = 0
        self.overload = None  # steps of another stream, or of another server, may find room
        self._sending = True

    def next_to_send(self) -> Message | None:
        """The next message to write. None while stored answers are still to be compared: what follows them must not
        be committed on top of somebody else's steps; none while an overload is waited out."""
        if not self._sending or self.is_replaying or self.overload is not None:
            return None
        message = next((held for held in self._held if held.step > self._sent_step), None)
        if message is not None:
            self._sent_step = message.last_step
        return message

    def stop_sending(self) -> None:
        """The server reads no more on this stream; what is held goes out on the next."""
        self._sending = False

    def answered(self, answer: StepResult) -> None:
        """An answer came: a repeat, a stored one, or that of the oldest message in flight."""
        last = _last(answer.step, answer.step_count)
        self.committed_step = max(self.committed_step, answer.committed_step)
        # 1. It came before, on an earlier stream.
        if last <= self._arrived_step:
            return
        # 2. It was committed before this stream was opened.
        if last <= self._stored_until and answer.step <= self._arrived_step + 1:
            self._stored.append(answer)
            self._match_stored()
            return
        # 3. It answers the oldest message in flight.
        if not self._held or self._held[0].step != answer.step or self._sent_step < last or self._refused:
            raise ProtocolViolation(f"the server answered step {answer.step}, which was not asked for: {self!r}")
        if not self._compare(answer):
            self._stored.append(answer)

    def failed(self, step: int, error: TapeheadError) -> None:
        """A step failed in-band and changed nothing; 0 stands for the oldest message in flight.

        Where the server has no room for it now, it is held, with all that was sent behind it, until `resend` or
        `give_up` is called.
        """
        if self._refused:  # one that was sent behind an earlier failure, and is taken back already
            self._refused -= 1
            return
        first = self._held[0] if self._held else None
        if first is None or self._sent_step < first.step or step not in (0, first.step):
            raise ProtocolViolation(f"the server refused step {step}, which was not asked for: {error}")
        if isinstance(error, (OverCapacity, QuotaExceeded)):
            self.overload = error
            self._take_back(first.step, behind=list(self._held)[1:])
        else:
            self._give_up(error)

    def resend(self) -> None:
        """There may be room again: what was held back goes out, in order and under its own numbers."""
        self.overload = None

    def give_up(self) -> None:
        """The overload lasts too long: it is the outcome of the step that met it."""
        if self.overload is not None:
            overload, self.overload = self.overload, None
            self._give_up(overload)

    def take_outcomes(self) -> list[Outcome]:
        taken = list(self._outcomes)
        self._outcomes.clear()
        return taken

    # --- decisions ----------------------------------------------------------------------------------------------------

    def _match_stored(self) -> None:
        while self._held and self._stored and self._compare(self._stored[0]):
            self._stored.popleft()

    def _compare(self, answer: StepResult) -> bool:
        """Whether `answer` is that of the oldest message; if it is somebody else's, that message fails."""
        message = self._held[0]
        ours = (message.step, message.step_count, message.input_hash)
        if ours == (answer.step, answer.step_count, answer.input_hash):
            self.received_step = message.last_step
            self._outcomes.append(Outcome(self._held.popleft(), answer=answer))
            return True
        error = StepPayloadMismatch(
            f"step {message.step} of the session '{self.session_id}' was committed with another input, first number or "
            f"count: it belongs to the {max(1, answer.step_count)} step(s) from {answer.step}",
            metadata={"first_step": str(answer.step), "step_count": str(max(1, answer.step_count))},
        )
        self._give_up(error)
        return False

    def _give_up(self, error: TapeheadError) -> None:
        """The oldest message failed with `error`, so those behind it cannot be taken; their numbers are free again."""
        failed = self._held.popleft()
        self.given_up_count += 1
        self.next_step = failed.step
        self._outcomes.append(Outcome(failed, error=error))
        self._take_back(failed.step, self._held)
        for behind in self._held:
            gap = self.gap(behind.step, f"step {failed.step} before it failed: {error}")
            self._outcomes.append(Outcome(behind, error=gap))
        self._held.clear()

    def _take_back(self, step: int, behind: Iterable[Message]) -> None:
        """The server did not take `step`: it will refuse what was sent behind it, and `step` is the next to send."""
        self._refused += sum(message.last_step <= self._sent_step for message in behind)
        self._sent_step = max(self._stored_until, step - 1)


def _last(step: int, step_count: int) -> int:
    return step + max(1, step_count) - 1
