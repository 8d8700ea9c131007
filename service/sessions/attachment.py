"""A stream's hold on a session: it submits steps, and hears when it has lost its place."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from ..errors import SessionTakenOver, TapeheadError
from .messages import StepAnswer, StepMessage

if TYPE_CHECKING:
    from ..hosting.model import Model
    from ..store.base import Head
    from .live import LiveSession


class Stepper(Protocol):
    """Takes steps in; the engine."""

    def submit(self, live: LiveSession, message: StepMessage, origin: Attachment) -> Awaitable[StepAnswer]:
        """Decides at once, in the order of calls; the awaitable gives the answer or raises."""


class Attachment:
    """One opening of a session by one stream."""

    def __init__(
        self,
        live: LiveSession,
        stepper: Stepper,
        *,
        client_id: str,
        previous_client_id: str,
        replays: Sequence[StepAnswer],
        fingerprint_changed: bool,
    ) -> None:
        self._live = live
        self._stepper = stepper
        self.client_id = client_id
        self.previous_client_id = previous_client_id
        self.replays = replays
        self.fingerprint_changed = fingerprint_changed
        self.session_id = live.key.session_id
        self.head: Head = live.head  # as it was opened
        self.renewed_at = 0.0  # monotonic seconds; when the session's time to live last began anew by this stream
        self.on_settled: Callable[[], None] = _nothing  # called when a step that was submitted is known
        self.ended: asyncio.Future[TapeheadError] = asyncio.get_running_loop().create_future()

    @property
    def model(self) -> Model:
        return self._live.model

    @property
    def committed_step(self) -> int:
        return self._live.rules.committed_step

    def submit(self, message: StepMessage) -> Awaitable[StepAnswer]:
        """Takes a step in, in the order of calls. Awaiting the result gives its answer or raises what became of it."""
        if self.ended.done():
            return refusal(self.ended.result())
        return self._stepper.submit(self._live, message, self)

    def taken_over_by(self, writer: str) -> SessionTakenOver:
        """The error that tells this stream of a newer writer; only a client's own ghost lets it come back by itself."""
        same = bool(writer) and writer in (self.client_id, self.previous_client_id)
        return SessionTakenOver(self.session_id, same_client=same)

    def end(self, error: TapeheadError) -> None:
        """Ends the stream with this error, and takes out what it submitted and whose commit has not begun."""
        if not self.ended.done():
            self.ended.set_result(error)
        if self._live.attachment is self:
            self._live.attachment = None
        self._live.abandon_works(self, error)

    def detach(self) -> None:
        """Lets the session go; called once the stream is over, whatever ended it."""
        self.end(SessionTakenOver(self.session_id, same_client=False))


def _nothing() -> None:
    pass


async def refusal(error: TapeheadError) -> StepAnswer:
    """What a step that is refused at once comes to, for whoever awaits its answer."""
    raise error
