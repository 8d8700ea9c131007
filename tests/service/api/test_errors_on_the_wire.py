"""Every row of the table, and everything that grpc would answer by itself, as a real client sees it."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from structlog.testing import capture_logs

from service.api.status import row_of
from service.errors import Draining, OverCapacity, StepGap, StoreUnavailable, TapeheadError
from tapehead.v1 import model_service_pb2, question_service_pb2, server_service_pb2
from tapehead.v1 import session_service_pb2 as pb
from tests.garbage import search
from tests.service.api.conftest import MESSAGE_BYTES, Served, info_of, status_of
from tests.service.api.fakes import FakeAttachment
from tests.service.api.stream_calls import tensor
from tests.service.api.test_status import SAMPLES

UNARY = [
    "/tapehead.v1.SessionService/CreateSession",
    "/tapehead.v1.SessionService/GetSession",
    "/tapehead.v1.SessionService/ListSessions",
    "/tapehead.v1.SessionService/DeleteSession",
    "/tapehead.v1.SessionService/Step",
    "/tapehead.v1.QuestionService/Ask",
    "/tapehead.v1.QuestionService/Tell",
    "/tapehead.v1.ModelService/ListModels",
    "/tapehead.v1.ModelService/GetModel",
    "/tapehead.v1.ServerService/GetServer",
    "/tapehead.v1.ServerService/GetStatistics",
    "/grpc.health.v1.Health/Check",
]


async def failure(call: grpc.aio.UnaryUnaryCall) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: row_of(error).reason)
async def test_every_row_of_the_table_reaches_the_caller(served: Served, error: TapeheadError) -> None:
    served.calls.error = error
    row = row_of(error)
    assert row is not None
    got = await failure(served.sessions.Step(pb.StepRequest(session_id="s", step=1, inputs=[tensor(1, 2)])))
    info = info_of(got)

    assert got.code() is row.code
    assert got.details() == status_of(got).message == error.told
    assert (info.reason, info.domain, dict(info.metadata)) == (row.reason, "tapehead", error.facts)
    assert served.metrics.rejections == [row.reason]


async def test_a_bug_is_internal_and_tells_nothing(served: Served) -> None:
    served.calls.error = RuntimeError("the password is 1234")
    got = await failure(served.sessions.Step(pb.StepRequest(session_id="s", step=1, inputs=[tensor(1, 2)])))
    request_id = dict(got.trailing_metadata() or ())["tapehead-request-id"]

    assert (got.code(), info_of(got).reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert dict(info_of(got).metadata) == {"request_id": request_id}
    assert "1234" not in repr(got)


async def test_why_the_store_failed_stands_in_the_log_and_nowhere_else(served: Served) -> None:
    served.calls.error = StoreUnavailable("Redis at redis://10.0.0.7:6379/0: NOPERM")
    with capture_logs() as entries:
        got = await failure(served.sessions.Step(pb.StepRequest(session_id="s", step=1, inputs=[tensor(1, 2)])))
    request_id = dict(got.trailing_metadata() or ())["tapehead-request-id"]

    assert "10.0.0.7" not in repr(got)
    (entry,) = [entry for entry in entries if "10.0.0.7" in entry["event"]]
    assert (entry["log_level"], entry["request_id"]) == ("warning", request_id)


@pytest.mark.parametrize("path", UNARY)
async def test_bytes_that_are_no_message_are_malformed(served: Served, path: str) -> None:
    got = await failure(served.channel.unary_unary(path)(b"\xff\xff\xff"))

    assert (got.code(), info_of(got).reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE")


@pytest.mark.parametrize("path", UNARY)
async def test_a_message_over_the_limit_is_too_long(served: Served, path: str) -> None:
    """Ours is the limit that answers, not grpc's, which would not say why."""
    got = await failure(served.channel.unary_unary(path)(b"\0" * (MESSAGE_BYTES + 1)))

    assert (got.code(), info_of(got).reason) == (grpc.StatusCode.INVALID_ARGUMENT, "TOO_LONG")
    assert info_of(got).metadata["limit"] == str(MESSAGE_BYTES)


@pytest.mark.parametrize(
    "path",
    ["/tapehead.v1.SessionService/Nothing", "/tapehead.v1.Nobody/Nothing", "/unheard.of/Method", "/" + "x" * 999],
)
async def test_an_unknown_method_is_not_supported(served: Served, path: str) -> None:
    got = await failure(served.channel.unary_unary(path)(b""))

    assert (got.code(), info_of(got).reason) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_SUPPORTED")


@pytest.mark.parametrize(
    ("service", "method", "request_message"),
    [
        ("sessions", "ListSessions", pb.ListSessionsRequest(page_size=-1)),
        ("sessions", "ListSessions", pb.ListSessionsRequest(state=9)),  # type: ignore[arg-type]
        ("sessions", "GetSession", pb.GetSessionRequest(session_id="s", incarnation="xyz")),
        ("sessions", "CreateSession", pb.CreateSessionRequest(model_id="sum", durability=9)),  # type: ignore[arg-type]
        ("sessions", "Step", pb.StepRequest(session_id="s", step=0, inputs=[tensor(1, 2)])),
        ("sessions", "Step", pb.StepRequest(session_id="s", step=1, step_count=-1, inputs=[tensor(1, 2)])),
        ("sessions", "Step", pb.StepRequest(session_id="s", step=1, inputs=[tensor(1, 2)], acknowledged_step=-1)),
        ("sessions", "Step", pb.StepRequest(session_id="s", step=1, inputs=[tensor(1, 2)], outputs=["z"])),
        ("sessions", "Step", pb.StepRequest(session_id="s", step=1)),
        ("questions", "Ask", question_service_pb2.AskRequest(question="where is mary")),
        ("questions", "Ask", question_service_pb2.AskRequest(session_id="s", answer_count=-1)),
        ("questions", "Ask", question_service_pb2.AskRequest(session_id="s", answer_count=101)),
        ("questions", "Ask", question_service_pb2.AskRequest(session_id="s", minimum_step=-1)),
        ("questions", "Ask", question_service_pb2.AskRequest(story=question_service_pb2.Story(sentences=["mary"]))),
        ("questions", "Tell", question_service_pb2.TellRequest(session_id="s", sentences=["mary"])),
        ("models", "GetModel", model_service_pb2.GetModelRequest(model_id="sum", version=-1)),
    ],
    ids=lambda value: " ".join(str(value).split()) if isinstance(value, Message) else value,
)
async def test_a_field_out_of_its_range_is_named(
    served: Served, service: str, method: str, request_message: Message
) -> None:
    got = await failure(getattr(getattr(served, service), method)(request_message))

    assert (got.code(), info_of(got).reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert info_of(got).metadata["field"]


async def test_every_call_carries_its_request_id(served: Served) -> None:
    call = served.server.GetServer(server_service_pb2.GetServerRequest())
    await call
    first = dict(await call.trailing_metadata())["tapehead-request-id"]
    call = served.server.GetServer(server_service_pb2.GetServerRequest())
    await call

    assert len(first) == 16
    assert dict(await call.trailing_metadata())["tapehead-request-id"] != first


async def test_new_calls_are_refused_while_draining(served: Served) -> None:
    served.drain.begin(5.0)
    got = await failure(served.models.ListModels(model_service_pb2.ListModelsRequest()))

    assert (got.code(), info_of(got).reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    assert got.details() == Draining().message


async def test_the_call_beyond_the_last_place_is_told_at_once(served: Served) -> None:
    """Two places; whoever asks for the health of a busy server still hears it."""
    served.calls.stepper = FakeAttachment()
    served.calls.stepper.held = {1: asyncio.Event()}
    request = pb.StepRequest(session_id="s", step=1, inputs=[tensor(1, 2)])
    waiting = [served.sessions.Step(request) for _ in range(2)]
    await served.calls.stepper.wait_submitted(2)
    got = await failure(served.sessions.Step(request))
    health = await HealthStub(served.channel).Check(health_pb2.HealthCheckRequest())
    served.calls.stepper.held[1].set()

    assert (got.code(), info_of(got).reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVER_CAPACITY")
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert [(await call).result.step for call in waiting] == [1, 1]
    assert (await served.sessions.Step(request)).result.step == 1


async def test_a_refusal_for_want_of_room_comes_before_the_inputs_are_read(served: Served) -> None:
    served.calls.refusal = OverCapacity("steps waiting on this server", 1, retry_after=1.0)
    got = await failure(served.sessions.Step(pb.StepRequest(session_id="s", step=1)))

    assert info_of(got).reason == "OVER_CAPACITY"
    assert not served.calls.messages


async def test_failed_calls_leave_nothing_to_the_garbage_collector(served: Served) -> None:
    served.calls.error = StepGap(7, 1)
    step = pb.StepRequest(session_id="s", step=7, inputs=[tensor(1, 2)])
    await failure(served.sessions.Step(step))
    with search() as left:
        for _ in range(3):
            await failure(served.sessions.Step(step))
            await failure(served.sessions.StreamSteps(iter([pb.StreamStepsRequest()])).read())

    assert left == []


async def test_calls_are_counted_by_code(served: Served) -> None:
    await served.models.ListModels(model_service_pb2.ListModelsRequest())
    await failure(served.models.GetModel(model_service_pb2.GetModelRequest(model_id="none")))

    assert served.metrics.ended == ["OK", "NotFound"]
    assert (served.metrics.received, served.metrics.sent) == (2, 1)
