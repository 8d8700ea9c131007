"""One stream's call tells its endings truly, and its own end is never an error of gRPC's insides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc.aio
import pytest

from tapehead.step_call import InternalError, StepCall


class EndedCall:
    """A call that the server has ended at this moment: grpc.aio raises one of these, by how far it has noticed."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def add_done_callback(self, callback: Callable[[object], None]) -> None: ...

    async def done_writing(self) -> None:
        raise self._error


@pytest.mark.parametrize(
    "error",
    [
        InternalError("Failed to execute a batch"),
        asyncio.InvalidStateError("RPC already finished."),
        grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata()),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_saying_that_no_more_comes_to_a_stream_that_has_just_ended_is_no_error(error: Exception) -> None:
    await StepCall(EndedCall(error), "here:1").finish()
