"""One StreamSteps call, with its endings told apart and told truly."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, TypeVar

import grpc
import grpc.aio

from tapehead.errors import ServerUnreachable, TapeheadError
from tapehead.status import from_rpc_error
from tapehead.v1.session_service_pb2 import StreamStepsRequest, StreamStepsResponse

# What grpc.aio reports when a write meets a stream that the server has just ended. It takes the place of the status
# that ended it, or is replaced by it a moment later; that status is what matters.
_SHADOW = "Internal error from Core"
_STATUS_TIMEOUT = 1.0  # seconds

InternalError: type[Exception] = grpc.aio.InternalError

T = TypeVar("T")


class StepCall:
    """A stream of which either side may see the end first."""

    def __init__(self, call: Any, server: str) -> None:
        self._call = call
        self._server = server
        self._status: asyncio.Future[grpc.aio.AioRpcError | None] = asyncio.get_running_loop().create_future()
        call.add_done_callback(self._note_status)

    async def write(self, request: StreamStepsRequest) -> None:
        """Writes; if the stream is over, the reader hears why."""
        with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
            await self._call.write(request)

    async def read(self) -> StreamStepsResponse:
        """The next reply; raises what ended the stream."""
        try:
            reply = await self._call.read()
        except grpc.aio.AioRpcError:
            raise await self._ending() from None
        if reply is grpc.aio.EOF:  # type: ignore[attr-defined]  # the published types lack it
            raise self._ended()
        assert isinstance(reply, StreamStepsResponse)
        return reply

    async def finish(self) -> None:
        """Says that nothing more will be written; if the stream is over, that is so already."""
        with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError, InternalError):
            await self._call.done_writing()

    def cancel(self) -> None:
        self._call.cancel()

    def _note_status(self, _: object) -> None:
        """Called for every status that the call gets, of which there may be two."""
        details = _now(self._call.details())
        if details == _SHADOW or self._status.done():
            return
        code, trailers = _now(self._call.code()), _now(self._call.trailing_metadata())
        is_ok = code is grpc.StatusCode.OK
        self._status.set_result(None if is_ok else _rpc_error(code, trailers, details))

    async def _ending(self) -> TapeheadError:
        await asyncio.wait([self._status], timeout=_STATUS_TIMEOUT)
        error = self._status.result() if self._status.done() else None
        return self._ended() if error is None else from_rpc_error(error, self._server)

    def _ended(self) -> ServerUnreachable:
        return ServerUnreachable(f"the server at {self._server} ended the stream")


def _rpc_error(code: grpc.StatusCode, trailers: Any, details: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, details, "")


def _now(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("the status was to be there")
