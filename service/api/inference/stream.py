"""ModelStreamInfer: requests of any sequences over one stream.

The requests of one sequence are carried out one after the other, in the order in which they came; those of different
sequences side by side, so that their answers may overtake each other. An error is an item of its own and the stream
goes on, unless the caller asked for statuses (`triton_grpc_error: true`).
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import structlog

from ...errors import Draining, TapeheadError, TokenInvalid
from ...sessions.owners import Owners
from ..call import EOF, Call
from ..interceptors.draining import Drain
from ..registration import Unreadable
from ..status import status_of
from .infer import Inference
from .messages import pb

MOST_AT_ONCE = 256  # requests of one stream that are read and not answered; then flow control holds its client back

_log = structlog.get_logger("tapehead.edge")


class InferStream:
    """Serves one stream."""

    def __init__(self, call: Call, inference: Inference, drain: Drain, owners: Owners) -> None:
        self._call = call
        self._inference = inference
        self._drain = drain
        self._owners = owners
        self._wants_status = _asks_for_status(call)
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_of: dict[str, asyncio.Task[None]] = {}  # by sequence
        self._room = asyncio.Semaphore(MOST_AT_ONCE)
        self._pen = asyncio.Lock()  # one writes at a time
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Returns when everything that the client sent is answered; raises what ends the stream before."""
        reader = asyncio.create_task(self._read())
        try:
            with self._drain.watched() as draining:
                await asyncio.wait({reader, draining, self._failure}, return_when=asyncio.FIRST_COMPLETED)
            if self._failure.done():
                self._failure.result()
            if not reader.done():
                reader.cancel()
                await self._answer_rest(self._drain.seconds_left())
                raise Draining
            reader.result()
            await self._answer_rest(None)
        finally:
            for task in (reader, *self._tasks):
                task.cancel()
            await asyncio.gather(reader, *self._tasks, return_exceptions=True)
            if not self._failure.done():
                self._failure.cancel()
            elif not self._failure.cancelled():
                self._failure.exception()

    async def _answer_rest(self, seconds: float | None) -> None:
        if self._tasks:
            pending: set[asyncio.Future[Any]] = {asyncio.gather(*self._tasks), self._failure}
            await asyncio.wait(pending, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if self._failure.done():
            self._failure.result()

    async def _read(self) -> None:
        while True:
            await self._room.acquire()
            message = await self._call.read()
            if message is EOF:
                return
            sequence = _sequence_of(message)
            before = self._last_of.get(sequence) if sequence else None
            task = asyncio.create_task(self._answer(message, before))
            self._tasks.add(task)
            if sequence:
                self._last_of[sequence] = task
            task.add_done_callback(partial(self._forget, sequence))

    def _forget(self, sequence: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._last_of.get(sequence) is task:
            del self._last_of[sequence]
        self._room.release()

    async def _answer(self, message: pb.ModelInferRequest | Unreadable, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        try:
            reply = await self._reply(message)
            async with self._pen:
                await self._call.write(reply)
        except Exception as error:
            if not self._failure.done():
                self._failure.set_exception(error)

    async def _reply(self, message: pb.ModelInferRequest | Unreadable) -> pb.ModelStreamInferResponse:
        try:
            if isinstance(message, Unreadable):
                raise message.error
            if not self._owners.is_current(self._call.caller):
                raise TokenInvalid("one that is no longer known")
            answer = await self._inference.infer(message, self._call)
        except TokenInvalid:
            raise
        except Exception as error:
            if self._wants_status:
                raise
            return self._refusal(message, error)
        answer.parameters["triton_final_response"].bool_param = True  # the only one of its request
        return pb.ModelStreamInferResponse(infer_response=answer)

    def _refusal(self, message: pb.ModelInferRequest | Unreadable, error: Exception) -> pb.ModelStreamInferResponse:
        """An error as an item. The response beside it, empty but for the id, tells which request it is about."""
        if not isinstance(error, TapeheadError):
            _log.error("internal error", rpc="ModelStreamInfer", request_id=self._call.request_id, exc_info=error)
        elif error.told != error.message:
            _log.warning(error.message, rpc="ModelStreamInfer", request_id=self._call.request_id)
        status = status_of(error, self._call.request_id)
        reply = pb.ModelStreamInferResponse(error_message=status.message)
        if not isinstance(message, Unreadable):
            reply.infer_response.id = message.id
            reply.infer_response.model_name = message.model_name
        parameters = reply.infer_response.parameters
        for name, value in {**status.metadata, "reason": status.reason, "code": status.code.name}.items():
            parameters[name].string_param = value
        if status.retry_after is not None:
            parameters["retry_after_seconds"].double_param = status.retry_after
        return reply


def _sequence_of(message: pb.ModelInferRequest | Unreadable) -> str:
    """Names the sequence of a request, as far as the order of answers goes; empty for one of none."""
    if isinstance(message, Unreadable) or "sequence_id" not in message.parameters:
        return ""
    value = message.parameters["sequence_id"]
    return f"{message.model_name}/{value.string_param or value.int64_param}"


def _asks_for_status(call: Call) -> bool:
    metadata = call.context.invocation_metadata() or ()
    return any(name == "triton_grpc_error" and str(value).lower() == "true" for name, value in metadata)
