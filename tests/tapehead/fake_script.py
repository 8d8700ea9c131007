"""What a scripted server does wrong, and how its calls end."""

from __future__ import annotations

from dataclasses import dataclass, field

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from tapehead.v1.session_service_pb2 import StepError, StepResult


@dataclass
class Status(Exception):
    """How a call ends."""

    code: grpc.StatusCode
    reason: str
    metadata: dict[str, str] = field(default_factory=dict)
    retry_after: float | None = None


DRAINING = Status(grpc.StatusCode.UNAVAILABLE, "DRAINING", retry_after=0.01)


@dataclass
class Script:
    """What goes wrong on one stream. The numbers are steps; a cut ends the stream with `status`."""

    refuse_open: Status | None = None
    lose_opened: bool = False  # the session is opened, the reply lost
    cut_before_commit_of: int | None = None
    cut_after_commit_of: int | None = None  # the answer is lost
    cut_after_answer_to: int | None = None
    end_after_answer_to: int | None = None  # with the status OK
    drain_after_answer_to: int | None = None
    overload: dict[int, int] = field(default_factory=dict)  # how often a step finds no room before it is taken
    fail: dict[int, StepError] = field(default_factory=dict)
    forge: dict[int, StepResult] = field(default_factory=dict)  # sent instead of the answer
    status: Status = field(default_factory=lambda: DRAINING)


def overload(step: int) -> StepError:
    return StepError(
        step=step,
        code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0],
        reason="OVER_CAPACITY",
        message="full",
        metadata={"retry_after_seconds": "0.010"},
    )


async def abort(context: grpc.aio.ServicerContext, status: Status) -> None:
    info = error_details_pb2.ErrorInfo(reason=status.reason, domain="tapehead", metadata=status.metadata)
    details = [Any(), Any()]
    details[0].Pack(info)
    details[1].Pack(error_details_pb2.RetryInfo(retry_delay=Duration(nanos=int((status.retry_after or 0) * 1e9))))
    message = status_pb2.Status(
        code=status.code.value[0],
        message=f"{status.reason.lower().replace('_', ' ')}: by the script",
        details=details if status.retry_after else details[:1],
    )
    await context.abort_with_status(rpc_status.to_status(message))
