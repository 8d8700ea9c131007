"""A session over one stream after another: moves messages between the caller, the step log and gRPC."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from tapehead.connection import Connection
from tapehead.errors import Exhausted, ProtocolViolation, ServerUnreachable, SessionClosed, TapeheadError
from tapehead.opening import Opening
from tapehead.reconnect import Patience, may_reopen
from tapehead.results import StepResult
from tapehead.resume import Message, Outcome, StepLog
from tapehead.resume_token import ResumeToken
from tapehead.status import from_step_error
from tapehead.step_call import StepCall
from tapehead.v1.session_service_pb2 import StreamOpened, StreamStepsRequest, StreamStepsResponse
from tapehead.v1.tensor_pb2 import Tensor

OPEN_TIMEOUT = 15.0  # seconds until a stream that says nothing is given up; an open waits for a commit in flight
GOODBYE_TIMEOUT = 1.0  # seconds that the server has to end a stream of which everything is answered


class StepStream:
    """Keeps a stream open for a session and answers each message exactly once, whatever breaks underneath.

    One task reads, connects again and decides; one task a stream writes. Both only ask the log.
    """

    def __init__(self, connection: Connection, opening: Opening) -> None:
        self.log = StepLog(token=opening.resume, durable_token=opening.durable_token)
        self.reconnect_count = 0
        self.latest_open: StreamOpened | None = None
        self._connection = connection
        self._opening = opening
        self._overloaded = Patience(connection.reconnect_timeout)  # with a server that refuses a step for want of room
        self._answers: dict[Message, asyncio.Future[StepResult]] = {}
        self._failure: TapeheadError | None = None
        self._work = asyncio.Event()  # there may be something to write
        self._changed = asyncio.Event()  # something came in, or everything failed
        self._adding = asyncio.Lock()  # keeps callers that wait for room in order
        self._task: asyncio.Task[None] | None = None
        self._call: StepCall | None = None
        self._file = opening.file
        self._settled_step = opening.resume.last_received_step if opening.resume else 0  # in the file, synced or not
        self.sent_again: list[asyncio.Future[StepResult]] = []  # of inputs that an earlier object had sent
        self.is_at_work = False  # the application has not come back from an answer that `stream` handed to it

    @property
    def client_id(self) -> str:
        return self._opening.client_id

    async def open(self) -> None:
        """Returns once the session is open; raises what refused it."""
        self._send_again()
        self._task = asyncio.create_task(self._keep_open(), name="tapehead-stream")
        try:
            await self._wait_until(lambda: self.latest_open is not None)
        except BaseException:
            await self.close()
            raise

    async def submit(
        self,
        step_count: int,
        inputs: Sequence[Tensor],
        outputs: Sequence[str],
        input_hash: bytes,
        *,
        wait: bool,
        given_up_count: int,
    ) -> asyncio.Future[StepResult]:
        """Numbers a step, as soon as the window has room, and returns its answer to come.

        Where only a newer saved token makes room, `wait` says whether to wait for it or to raise WindowFull.
        `given_up_count` is the log's when the caller decided to take this step. If one before it has failed since, it
        must not get that one's number: StepGap.
        """
        steps = max(1, step_count)
        async with self._adding:
            if self.log.durable_token and not wait and self._file is None and not self.log.has_room(steps):
                raise self.log.window_error()
            await self._wait_until(lambda: self.log.given_up_count != given_up_count or self._has_room(steps, wait))
            if self.log.given_up_count != given_up_count:
                raise self.log.gap(self.log.next_step, "a step that was to come before it failed")
            if self._file is not None:  # before anybody else knows of it; another object may have other outputs
                effective = outputs or self._opening.outputs
                self._file.add(Message(self.log.next_step, step_count, inputs, effective, input_hash))
            message = self.log.add(step_count, inputs, outputs, input_hash)
            answer = self._answers[message] = asyncio.get_running_loop().create_future()
            self._settle()
            self._work.set()
            return answer

    def settle_delivered(self, step: int) -> None:
        """The application has done with the answers up to `step`: a later object begins after them."""
        if self._file is not None and step > max(self._settled_step, self.log.covered_step):
            self._file.settle(step)
            self._settled_step = step
            self.notify()

    async def earlier_answers(self) -> list[StepResult]:
        """Waits for the answers to the inputs that an earlier object had sent; none the second time."""
        taken: list[StepResult] = []
        while self.sent_again:
            try:
                taken.append(await self.sent_again[0])
            except TapeheadError:
                self.sent_again.clear()  # what came behind it failed with it
                raise
            self.sent_again.pop(0)
        return taken

    async def stored_answers(self) -> list[StepResult]:
        """Takes the answers of the steps that were committed before this object asked for them."""
        await self._wait_until(lambda: not self.log.is_replaying)
        return [StepResult.from_message(answer) for answer in self.log.take_stored()]

    def notify(self) -> None:
        """Wakes whoever waits for room; called when the log was told something."""
        self._changed.set()

    async def close(self) -> None:
        """Ends the stream; steps that are not answered may or may not have been taken."""
        self._fail(SessionClosed(f"the session '{self.log.session_id}' was closed"))
        if self._task is None:
            return
        if self._call is not None and not self.log.is_owed:
            await self._say_goodbye(self._call)
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    # --- one stream after another -------------------------------------------------------------------------------------

    async def _keep_open(self) -> None:
        try:
            await self._reopen_until_final()
        except OSError as error:  # what is not in the file must not be relied on
            self._fail(SessionClosed(f"the stream of the session '{self.log.session_id}' is over: {error}"))
        finally:  # however it ends, nobody waits for ever
            self._fail(SessionClosed(f"the stream of the session '{self.log.session_id}' is over"))

    async def _reopen_until_final(self) -> None:
        patience = self._connection.patience()
        while True:
            error = await self._run_stream(patience)
            if self.latest_open is not None:
                patience.limit = self._connection.reconnect_timeout
            now = asyncio.get_running_loop().time()
            may = may_reopen(error, was_open=self.latest_open is not None) or self._connection.has_newer_token(error)
            delay = patience.next_delay(now, error.retry_after) if may else None
            if self._failure is not None or delay is None:
                self._fail(error)
                return
            self._connection.tell_of_wait(patience, error)
            await asyncio.sleep(delay)

    async def _run_stream(self, patience: Patience) -> TapeheadError:
        """Opens a stream and reads it to its end; returns why it ended."""
        writer: asyncio.Task[None] | None = None
        try:
            self._call = call = self._connection.stream_steps(self.log.session_id or self._opening.session_id)
        except TapeheadError as error:
            return error
        try:
            await call.write(StreamStepsRequest(open=self._opening.message(self.log)))
            await self._receive_opened(call)
            writer = asyncio.create_task(self._write_steps(call), name="tapehead-writer")
            if not self.log.is_owed:
                patience.reset()
            while True:
                self._receive(await call.read())
                patience.reset()
        except TapeheadError as error:
            return error
        finally:
            self.log.stop_sending()
            if writer is not None:
                writer.cancel()
            call.cancel()
            self._call = None

    async def _receive_opened(self, call: StepCall) -> None:
        try:
            reply = await asyncio.wait_for(call.read(), OPEN_TIMEOUT)
        except TimeoutError:
            raise ServerUnreachable(f"the server at {self._connection.server} did not open the session") from None
        if reply.WhichOneof("message") != "opened":
            raise ProtocolViolation("the server's first reply on a stream was not 'opened'")
        self._connection.reached()
        self.log.opened(reply.opened)
        self.reconnect_count += self.latest_open is not None
        self.latest_open = reply.opened
        if self._file is not None:
            step = max(self._settled_step, self.log.covered_step)
            self._file.opened(ResumeToken(self.log.session_id, self.log.incarnation, step, self.client_id))
        self.notify()

    def _receive(self, reply: StreamStepsResponse) -> None:
        match reply.WhichOneof("message"):
            case "result":
                self.log.answered(reply.result)
            case "error":
                self.log.failed(reply.error.step, from_step_error(reply.error))
            case "draining":
                self.log.stop_sending()
            case "heartbeat":
                return
            case other:
                raise ProtocolViolation(f"the server sent a message that this client does not know: {other}")
        self._settle()
        self._work.set()
        self.notify()

    async def _write_steps(self, call: StepCall) -> None:
        try:
            while True:
                self._work.clear()
                if self.log.overload is not None:
                    await self._wait_for_room(self.log.overload)
                while (message := self.log.next_to_send()) is not None:
                    await call.write(StreamStepsRequest(step=message.request()))
                await self._work.wait()
        finally:  # where nothing is written, nothing is to be waited for
            call.cancel()

    async def _wait_for_room(self, overload: Exhausted) -> None:
        delay = self._overloaded.next_delay(asyncio.get_running_loop().time(), overload.retry_after)
        if delay is not None:
            await asyncio.sleep(delay)
            self.log.resend()
            return
        self.log.give_up()
        self._settle()
        self.notify()

    async def _say_goodbye(self, call: StepCall) -> None:
        """Ends the stream from this side, so that the server counts it as done rather than as cancelled."""
        assert self._task is not None
        await call.finish()
        await asyncio.wait([self._task], timeout=GOODBYE_TIMEOUT)

    # --- outcomes -----------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        for outcome in self.log.take_outcomes():
            self._overloaded.reset()  # whatever it is, the line has moved
            if outcome.error is not None and self._file is not None:
                self._file.take_back(outcome.message.step)  # if it cannot be, nothing goes on: see _keep_open
            future = self._answers.pop(outcome.message)
            if future.done():  # the caller no longer waits for it
                continue
            try:
                future.set_result(_result(outcome))
            except TapeheadError as error:
                _set_error(future, error)

    def _send_again(self) -> None:
        """Takes up the inputs that an earlier object had sent, under their numbers."""
        for earlier in self._file.held if self._file is not None else ():
            message = self.log.add(earlier.step_count, earlier.inputs, earlier.outputs, earlier.input_hash)
            answer = self._answers[message] = asyncio.get_running_loop().create_future()
            self.sent_again.append(answer)

    def _has_room(self, steps: int, wait: bool) -> bool:
        """Whether a step may be sent. Who asks for it, with nothing in flight, has done with what was answered.

        What `stream` sends ahead (`wait`) is asked for by nobody: it has to wait for the application to come back.
        """
        if self.log.has_room(steps):
            return True
        if self._file is not None and not self.log.is_owed and not (wait and self.is_at_work):
            self.settle_delivered(self.log.delivered_step)
        if self._file is not None and self._settled_step > self.log.covered_step:  # once a window, for it takes long
            self._file.sync()
            self.log.saved(ResumeToken(self.log.session_id, self.log.incarnation, self._settled_step, self.client_id))
        return self.log.has_room(steps)

    def _fail(self, error: TapeheadError) -> None:
        """Nothing more will be answered; the first reason stays."""
        self._failure = self._failure or error
        for future in self._answers.values():
            if not future.done():
                _set_error(future, self._failure)
        self._answers.clear()
        self.notify()

    async def _wait_until(self, condition: Callable[[], bool]) -> None:
        while self._failure is None and not condition():
            self._changed.clear()
            await self._changed.wait()
        if self._failure is not None:
            raise self._failure


def _result(outcome: Outcome) -> StepResult:
    if outcome.answer is None:
        raise outcome.error or ProtocolViolation(f"step {outcome.message.step} ended without an outcome")
    return StepResult.from_message(outcome.answer)


def _set_error(future: asyncio.Future[StepResult], error: TapeheadError) -> None:
    future.set_exception(error)
    future.exception()  # whoever no longer waits need not be warned about it
