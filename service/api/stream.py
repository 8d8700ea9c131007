"""One opened stream: a task reads, a task writes, and replies leave in the order of their requests.

It ends in one of these ways:
1. The client says that it has no more: everything read is answered, and the call ends OK.
2. A message breaks the protocol: what came before it is answered, then MALFORMED_MESSAGE.
3. The session is lost (a newer writer, the store): what was answered before is sent, then that error.
4. The server drains: a notice, no more reading, what was read is answered, then DRAINING.
5. The client goes away: grpc cancels the call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple, Protocol

from tapehead.v1 import session_service_pb2 as pb

from .. import failpoints
from ..errors import Draining, MalformedMessage, TapeheadError
from ..sessions.attachment import Attachment
from ..sessions.messages import StepAnswer
from .call import EOF, Call
from .interceptors.draining import Drain
from .registration import Unreadable
from .replies import ReplyLine
from .status import is_in_band, step_error
from .steps import StepCodec, fill_result

FLUSH_SECONDS = 1.0  # for sending what was answered before a session was lost
LINE_MARGIN = 16  # replies that may wait beyond two windows; then the transport's flow control holds the client back


class StreamObserver(Protocol):
    """Hears what happens on streams."""

    def answer_sent(self, model_id: str, seconds: float) -> None:
        """The transport took an answer after so many seconds."""

    def answers_replayed(self, model_id: str, count: int) -> None:
        """A stream was opened with so many stored answers."""

    def fingerprint_changed(self, model_id: str) -> None:
        """A session goes on under another compute fingerprint than its last."""

    def rejected(self, reason: str) -> None:
        """A step failed in-band, with this reason."""


class Pending(NamedTuple):
    """A step that was submitted; its answer will come."""

    step: int
    answer: Awaitable[StepAnswer]
    weight: int = 1  # steps


@dataclass(frozen=True, slots=True)
class Failed:
    """A step that got no further than this, or the end of the stream."""

    step: int
    error: TapeheadError
    ends_stream: bool = False


Reply = Pending | Failed | StepAnswer | pb.StreamStepsResponse


class StepStream:
    """Serves the steps of one attachment over one call."""

    def __init__(
        self,
        call: Call,
        attachment: Attachment,
        codec: StepCodec,
        drain: Drain,
        observer: StreamObserver,
        heartbeat: float,
    ) -> None:
        """`heartbeat` is the longest silence, in seconds."""
        self._call = call
        self._attachment = attachment
        self._codec = codec
        self._drain = drain
        self._observer = observer
        self._heartbeat = heartbeat
        self._model_id = attachment.model.model_id
        self._line: ReplyLine[Reply] = ReplyLine(2 * attachment.head.birth.window + LINE_MARGIN, _is_known)
        attachment.on_settled = self._line.look
        self._last_sent = perf_counter()

    async def run(self, greeting: Iterable[Reply]) -> None:
        """Sends the greeting, then serves; returns, or raises, when the stream is over."""
        for reply in greeting:
            self._line.put(reply)
        reader = asyncio.create_task(self._read())
        writer = asyncio.create_task(self._write())
        self._beat()
        try:
            with self._drain.watched() as draining:
                await self._until_over(reader, writer, draining)
        finally:
            self._pulse.cancel()
            for task in (reader, writer):
                task.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)
            _forget(self._line.drop_all())

    async def _until_over(
        self, reader: asyncio.Task[None], writer: asyncio.Task[None], draining: asyncio.Future[None]
    ) -> None:
        ended = self._attachment.ended
        watched: set[asyncio.Future[Any]] = {reader, writer, ended, draining}
        while True:
            done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            if writer in done:
                return writer.result()
            if ended in done:
                await self._finish(reader, writer, FLUSH_SECONDS)
                raise ended.result()
            if draining in done:
                self._line.put_first(_draining(self._attachment.committed_step))
                await self._finish(reader, writer, self._drain.seconds_left())
                raise Draining
            reader.result()
            watched.discard(reader)

    async def _finish(self, reader: asyncio.Task[None], writer: asyncio.Task[None], seconds: float) -> None:
        """Stops reading and lets the writer send what is in the line, for so long. Raises what the writer met."""
        reader.cancel()
        self._line.close()
        await asyncio.wait({writer}, timeout=seconds)
        if writer.done():
            writer.result()

    # --- reading ------------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        call, line = self._call, self._line
        while (message := await call.read()) is not EOF:
            failpoints.hit("received")
            reply = self._take(message)
            line.put(reply, reply.weight if type(reply) is Pending else 1)
            if type(reply) is Failed and reply.ends_stream:
                break
            if line.is_full:
                await line.wait_room()
        line.close()

    def _take(self, message: pb.StreamStepsRequest | Unreadable) -> Reply:
        """Submits the message's step, and returns the place that its answer will have in the line."""
        if type(message) is Unreadable:
            return Failed(0, message.error)
        assert isinstance(message, pb.StreamStepsRequest)
        if message.WhichOneof("message") != "step":
            return Failed(0, MalformedMessage("expected `step`: a stream is opened once, by its first message"), True)
        step = message.step
        try:
            return Pending(step.step, self._attachment.submit(self._codec.decode(step)), max(1, step.step_count))
        except TapeheadError as error:
            return Failed(step.step, error)

    # --- writing ------------------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        call, line = self._call, self._line
        while (reply := await line.get()) is not None:
            response = await self._response(reply)
            start = perf_counter()
            await call.write(response)
            failpoints.hit("sent")
            self._last_sent = perf_counter()
            self._observer.answer_sent(self._model_id, self._last_sent - start)

    async def _response(self, reply: Reply) -> pb.StreamStepsResponse:
        """Returns the message for a reply, once it is known. Raises the error that ends the stream."""
        if type(reply) is Pending:
            try:
                return answer_response(await reply.answer)
            except TapeheadError as error:
                reply = Failed(reply.step, error, not is_in_band(error))
        if type(reply) is Failed:
            if reply.ends_stream:
                raise reply.error
            error_message = step_error(reply.error, reply.step, self._attachment.committed_step)
            self._observer.rejected(error_message.reason)
            return pb.StreamStepsResponse(error=error_message)
        return answer_response(reply) if type(reply) is StepAnswer else reply  # type: ignore[return-value]

    def _beat(self) -> None:
        """Breaks a silence before a proxy takes it for death. A timer and no task: most streams are idle."""
        quiet = perf_counter() - self._last_sent
        if quiet >= self._heartbeat:
            quiet = 0.0
            if self._line.is_awaited:
                heartbeat = pb.StreamHeartbeat(committed_step=self._attachment.committed_step)
                self._line.put(pb.StreamStepsResponse(heartbeat=heartbeat))
        self._pulse = asyncio.get_running_loop().call_later(self._heartbeat - quiet, self._beat)


def _is_known(reply: Reply) -> bool:
    """Tells whether a reply need not be waited for, or nobody but who waits for it could know it."""
    return type(reply) is not Pending or not isinstance(reply.answer, asyncio.Future) or reply.answer.done()


def answer_response(answer: StepAnswer) -> pb.StreamStepsResponse:
    response = pb.StreamStepsResponse()
    fill_result(response.result, answer)
    return response


def _draining(committed_step: int) -> pb.StreamStepsResponse:
    return pb.StreamStepsResponse(draining=pb.StreamDraining(committed_step=committed_step))


def _forget(replies: list[Reply]) -> None:
    """Takes leave of answers that nobody will read, without a warning that nobody did."""
    for reply in replies:
        if type(reply) is Pending:
            if asyncio.iscoroutine(reply.answer):
                reply.answer.close()
            elif isinstance(reply.answer, asyncio.Future):
                reply.answer.add_done_callback(_ignore)


def _ignore(future: asyncio.Future[StepAnswer]) -> None:
    if not future.cancelled():
        future.exception()
