"""From what gRPC reports to this package's errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # ships no types

from tapehead.errors import ServerUnreachable, TapeheadError, error_class
from tapehead.v1 import session_service_pb2

_CODES = {code.value[0]: code for code in grpc.StatusCode}
DOMAIN = "tapehead"

M = TypeVar("M", bound=Message)


def from_rpc_error(error: grpc.aio.AioRpcError, server: str) -> TapeheadError:
    """The error that a call's status stands for; `server` is the address, for the sentence."""
    status = _details(error)
    info = _detail(status.details, error_details_pb2.ErrorInfo())
    if info is None or info.domain != DOMAIN:
        return _without_reason(error, server)
    retry = _detail(status.details, error_details_pb2.RetryInfo())
    return error_class(info.reason)(
        status.message or error.details() or info.reason,
        code=_CODES.get(status.code, error.code()),  # the server's own: a proxy may reset a stream that has just ended
        reason=info.reason,
        metadata=info.metadata,
        retry_after=None if retry is None else retry.retry_delay.ToTimedelta().total_seconds(),
    )


def from_step_error(error: session_service_pb2.StepError) -> TapeheadError:
    """The error that a stream reported for one step."""
    return error_class(error.reason)(
        error.message or error.reason,
        code=_CODES.get(error.code, grpc.StatusCode.UNKNOWN),
        reason=error.reason,
        metadata=error.metadata,
        retry_after=_seconds(error.metadata.get("retry_after_seconds")),
    )


def _without_reason(error: grpc.aio.AioRpcError, server: str) -> TapeheadError:
    """What gRPC itself, or something on the way, had to say."""
    text = error.details() or "no details"
    if error.code() == grpc.StatusCode.UNAVAILABLE:
        return ServerUnreachable(f"the server at {server} cannot be reached: {text.rpartition(': ')[2]}")
    if error.code() == grpc.StatusCode.UNIMPLEMENTED:
        return TapeheadError(f"the server at {server} does not offer this call: {text}", code=error.code())
    if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
        return TapeheadError(f"the server at {server} did not answer in time", code=error.code())
    return TapeheadError(f"the call to {server} ended with {error.code().name}: {text}", code=error.code())


def _details(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """The google.rpc.Status of the trailers; an empty one if there is none, or none that can be read."""
    trailers = cast(Iterable[tuple[str, bytes]], error.trailing_metadata() or ())
    for key, value in trailers:
        if key == "grpc-status-details-bin":
            with contextlib.suppress(DecodeError):
                return status_pb2.Status.FromString(value)
    return status_pb2.Status()


def _detail(details: Iterable[AnyMessage], message: M) -> M | None:
    """Fills `message` with the detail of its type; None if there is none."""
    return message if any(detail.Unpack(message) for detail in details) else None


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
