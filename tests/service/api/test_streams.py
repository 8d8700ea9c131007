"""What a stream does with each message, and every way in which it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import numpy as np
import pytest

from service.errors import (
    InvalidField,
    ModelNonFinite,
    OverCapacity,
    SessionTakenOver,
    StateCorrupt,
    StepGap,
    StoreUnavailable,
)
from service.sessions.messages import StepAnswer
from service.store.base import Durability
from tapehead.v1 import session_service_pb2 as pb
from tapehead.v1.session_service_pb2_grpc import SessionServiceStub
from tapehead.v1.tensor_pb2 import DATA_TYPE_FLOAT32, FloatList, Tensor
from tests.service.api.conftest import MESSAGE_BYTES, Served, info_of
from tests.service.api.fakes import INCARNATION, FakeAttachment, head, question_model

OPEN = pb.StreamStepsRequest(open=pb.StreamOpen(session_id="s", client_id="me"))
PATH = "/tapehead.v1.SessionService/StreamSteps"


def tensor(*values: float) -> Tensor:
    array = np.array(values, np.float32)
    return Tensor(name="x", dtype=DATA_TYPE_FLOAT32, shape=array.shape, raw=array.tobytes())


def step(number: int, *values: float) -> pb.StreamStepsRequest:
    return pb.StreamStepsRequest(step=pb.StreamStep(step=number, inputs=[tensor(*(values or (1.0, 2.0)))]))


def numbers(result: pb.StepResult, output: int = 0) -> list[float]:
    return np.frombuffer(result.outputs[output].raw, np.float32).tolist()


@pytest.fixture
async def attachment(served: Served) -> FakeAttachment:
    served.lifecycle.attachment = FakeAttachment()
    return served.lifecycle.attachment


@pytest.fixture
async def stream(served: Served, attachment: FakeAttachment) -> AsyncIterator[grpc.aio.StreamStreamCall]:
    """An opened stream."""
    call = served.sessions.StreamSteps()
    await call.write(OPEN)
    assert (await call.read()).WhichOneof("message") == "opened"
    yield call
    call.cancel()


async def rest(call: grpc.aio.StreamStreamCall) -> list[pb.StreamStepsResponse]:
    """The replies until the call ends; raises the error with which it does."""
    replies = []
    while (reply := await call.read()) is not grpc.aio.EOF:
        replies.append(reply)
    return replies


async def ending(call: grpc.aio.StreamStreamCall) -> grpc.aio.AioRpcError:
    """The error with which a call ends; replies on the way are passed over."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rest(call)
    return caught.value


# --- the beginning ----------------------------------------------------------------------------------------------------


async def test_the_first_reply_says_what_was_opened(served: Served) -> None:
    call = served.sessions.StreamSteps()
    await call.write(
        pb.StreamStepsRequest(
            open=pb.StreamOpen(
                session_id="s",
                incarnation=INCARNATION.hex(),
                last_received_step=0,
                client_id="a",
                previous_client_id="b",
            )
        )
    )
    opened = (await call.read()).opened

    assert (opened.epoch, opened.committed_step, opened.window, opened.fingerprint) == (1, 0, 4, "f1")
    assert (opened.durability, opened.session.session_id) == (Durability.DISK, "s")
    spec = served.lifecycle.opened[0]
    assert (spec.incarnation, spec.last_received_step, spec.client_id, spec.previous_client_id) == (
        INCARNATION,
        0,
        "a",
        "b",
    )
    call.cancel()


async def test_an_unset_last_received_step_is_not_zero(served: Served, stream: grpc.aio.StreamStreamCall) -> None:
    """Zero asks for every stored answer; unset asks for none."""
    assert served.lifecycle.opened[0].last_received_step is None
    assert served.lifecycle.opened[0].create is None


async def test_an_open_may_say_how_to_create(served: Served) -> None:
    call = served.sessions.StreamSteps()
    create = pb.CreateSessionRequest(model_id="sum", window=8)
    await call.write(pb.StreamStepsRequest(open=pb.StreamOpen(create=create)))
    await call.read()
    call.cancel()
    spec = served.lifecycle.opened[0].create

    assert spec is not None
    assert (spec.model_id, spec.window) == ("sum", 8)


async def test_stored_answers_come_before_live_ones(served: Served, attachment: FakeAttachment) -> None:
    attachment.replays = [StepAnswer(n, 0, {"y": np.full(2, n, np.float32)}, b"h", 2, True, False, b"") for n in (1, 2)]
    call = served.sessions.StreamSteps()
    await call.write(OPEN)
    await call.write(step(3))
    replies = [await call.read() for _ in range(4)]
    call.cancel()

    assert [reply.WhichOneof("message") for reply in replies] == ["opened", "result", "result", "result"]
    assert [(r.result.step, r.result.replayed) for r in replies[1:]] == [(1, True), (2, True), (3, False)]
    assert served.metrics.replayed == 2


@pytest.mark.parametrize("changed", [True, False])
async def test_another_fingerprint_is_told_and_counted(
    served: Served, attachment: FakeAttachment, changed: bool
) -> None:
    attachment.fingerprint_changed = changed
    call = served.sessions.StreamSteps()
    await call.write(OPEN)
    opened = (await call.read()).opened
    call.cancel()

    assert opened.fingerprint_changed is changed
    assert served.metrics.changed_fingerprints == ([attachment.model.model_id] if changed else [])


@pytest.mark.parametrize("first", [step(1), pb.StreamStepsRequest()], ids=["step", "nothing in it"])
async def test_a_stream_begins_with_open(served: Served, first: pb.StreamStepsRequest) -> None:
    call = served.sessions.StreamSteps()
    await call.write(first)

    assert info_of(await ending(call)).reason == "MALFORMED_MESSAGE"


async def test_a_stream_without_a_message_is_malformed(served: Served) -> None:
    call = served.sessions.StreamSteps()
    await call.done_writing()

    assert info_of(await ending(call)).reason == "MALFORMED_MESSAGE"


async def test_an_unreadable_first_message_ends_the_stream(served: Served) -> None:
    call = served.channel.stream_stream(PATH)()
    await call.write(b"\xff\xff\xff")
    error = await ending(call)

    assert (error.code(), info_of(error).reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE")


async def test_a_second_open_ends_the_stream_after_what_came_before(
    stream: grpc.aio.StreamStreamCall, attachment: FakeAttachment
) -> None:
    await stream.write(step(1))
    await stream.write(OPEN)

    assert (await stream.read()).result.step == 1
    assert info_of(await ending(stream)).reason == "MALFORMED_MESSAGE"
    await attachment.detached.wait()


async def test_a_refused_open_is_the_streams_status(served: Served) -> None:
    served.lifecycle.error = InvalidField("session_id", "an id", "")
    call = served.sessions.StreamSteps()
    await call.write(OPEN)

    assert info_of(await ending(call)).reason == "INVALID_FIELD"


async def test_sessions_of_question_models_take_no_steps(served: Served) -> None:
    served.lifecycle.attachment = FakeAttachment(question_model())
    call = served.sessions.StreamSteps()
    await call.write(OPEN)
    error = await ending(call)

    assert (error.code(), info_of(error).reason) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_SUPPORTED")
    await served.lifecycle.attachment.detached.wait()


async def test_the_stream_beyond_the_last_place_is_told_at_once(served: Served) -> None:
    """Three places; the fourth stream hears it even without having said anything."""
    calls = [served.sessions.StreamSteps() for _ in range(3)]
    for call in calls:
        await call.write(OPEN)
        await call.read()
    error = await ending(served.sessions.StreamSteps())

    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert info_of(error).reason == "OVER_CAPACITY"
    for call in calls:
        call.cancel()


# --- steps ------------------------------------------------------------------------------------------------------------


async def test_steps_are_answered_in_the_order_of_their_requests(
    stream: grpc.aio.StreamStreamCall, attachment: FakeAttachment
) -> None:
    """The first answer is the last to be known, and still the first to be sent."""
    attachment.held[1] = asyncio.Event()
    for number in (1, 2, 3):
        await stream.write(step(number))
    await attachment.wait_submitted(3)
    attachment.held[1].set()

    assert [(await stream.read()).result.step for _ in range(3)] == [1, 2, 3]


async def test_a_chunk_has_one_answer_with_a_time_axis(
    stream: grpc.aio.StreamStreamCall, attachment: FakeAttachment
) -> None:
    inputs = np.ones((3, 2), np.float32)
    x = Tensor(name="x", dtype=DATA_TYPE_FLOAT32, shape=inputs.shape, raw=inputs.tobytes())
    await stream.write(pb.StreamStepsRequest(step=pb.StreamStep(step=1, step_count=3, inputs=[x])))
    result = (await stream.read()).result

    assert (result.step, result.step_count, result.committed_step) == (1, 3, 3)
    assert list(result.outputs[0].shape) == [3, 2]
    assert numbers(result) == [1, 1, 2, 2, 3, 3]


async def test_an_answer_comes_in_the_kind_that_was_asked_with(stream: grpc.aio.StreamStreamCall) -> None:
    x = Tensor(name="x", dtype=DATA_TYPE_FLOAT32, shape=[2], floats=FloatList(values=[0.5, 0.1]))
    await stream.write(pb.StreamStepsRequest(step=pb.StreamStep(step=1, inputs=[x])))
    result = (await stream.read()).result

    assert list(result.outputs[0].floats.values) == [0.5, float(np.float32(0.1))]


async def test_outputs_are_the_steps_own_else_the_streams(served: Served, attachment: FakeAttachment) -> None:
    call = served.sessions.StreamSteps()
    await call.write(pb.StreamStepsRequest(open=pb.StreamOpen(session_id="s", outputs=["tape"])))
    await call.read()
    await call.write(step(1))
    own = step(2)
    own.step.outputs.extend(["y", "tape"])
    await call.write(own)
    results = [(await call.read()).result for _ in range(2)]
    call.cancel()

    assert [[t.name for t in result.outputs] for result in results] == [["tape"], ["y", "tape"]]


async def test_an_unknown_output_of_the_stream_is_refused(served: Served) -> None:
    call = served.sessions.StreamSteps()
    await call.write(pb.StreamStepsRequest(open=pb.StreamOpen(session_id="s", outputs=["nonsense"])))

    assert info_of(await ending(call)).reason == "INVALID_FIELD"


@pytest.mark.parametrize(
    "error",
    [StepGap(2, 1), ModelNonFinite("y", 1), OverCapacity("steps", 4, retry_after=0.1)],
    ids=lambda error: type(error).__name__,
)
async def test_a_steps_own_failure_is_in_band(
    served: Served, stream: grpc.aio.StreamStreamCall, attachment: FakeAttachment, error: Exception
) -> None:
    """One reply, in its place, with the reason; then the stream goes on."""
    attachment.errors[1] = error
    await stream.write(step(1))
    await stream.write(step(2))
    failed, answered = await stream.read(), await stream.read()

    assert failed.error.step == 1
    assert served.metrics.rejections == [failed.error.reason]
    assert answered.result.step == 2


async def test_an_invalid_input_is_in_band_and_submits_nothing(
    stream: grpc.aio.StreamStreamCall, attachment: FakeAttachment
) -> None:
    await stream.write(step(1, 1.0, 2.0, 3.0))
    await stream.write(step(1))
    failed, answered = await stream.read(), await stream.read()

    assert (failed.error.reason, failed.error.step) == ("SHAPE_MISMATCH", 1)
    assert dict(failed.error.metadata) == {"tensor": "x", "expected": "[2]", "got": "[3]"}
    assert answered.result.step == 1
    assert len(attachment.submitted) == 1


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\0" * (MESSAGE_BYTES + 1)], ids=["no message", "too long"])
async def test_an_unreadable_later_message_is_in_band(served: Served, attachment: FakeAttachment, data: bytes) -> None:
    call = served.channel.stream_stream(PATH, response_deserializer=pb.StreamStepsResponse.FromString)()
    await call.write(OPEN.SerializeToString())
    await call.write(data)
    await call.write(step(1).SerializeToString())
    _, failed, answered = [await call.read() for _ in range(3)]
    call.cancel()

    assert failed.error.step == 0
    assert failed.error.reason in ("MALFORMED_MESSAGE", "TOO_LONG")
    assert answered.result.step == 1


# --- the end ----------------------------------------------------------------------------------------------------------


async def test_a_client_that_has_no_more_is_answered_to_the_end(
    served: Served, stream: grpc.aio.StreamStreamCall, attachment: FakeAttachment
) -> None:
    for number in (1, 2):
        await stream.write(step(number))
    await stream.done_writing()
    replies = await rest(stream)

    assert [reply.result.step for reply in replies] == [1, 2]
    assert await stream.code() is grpc.StatusCode.OK
    await attachment.detached.wait()


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (SessionTakenOver("s", same_client=False), grpc.StatusCode.ABORTED, "SESSION_TAKEN_OVER"),
        (StoreUnavailable("away"), grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"),
        (StateCorrupt("record"), grpc.StatusCode.DATA_LOSS, "STATE_CORRUPT"),
        (RuntimeError("secret"), grpc.StatusCode.INTERNAL, "INTERNAL"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_any_other_failure_of_a_step_ends_the_stream(
    stream: grpc.aio.StreamStreamCall,
    attachment: FakeAttachment,
    error: Exception,
    code: grpc.StatusCode,
    reason: str,
) -> None:
    attachment.errors[2] = error
    await stream.write(step(1))
    await stream.write(step(2))

    assert (await stream.read()).result.step == 1
    ended = await ending(stream)
    assert (ended.code(), info_of(ended).reason) == (code, reason)
    assert "secret" not in str(ended)
    await attachment.detached.wait()


async def test_a_lost_session_ends_an_idle_stream(
    stream: grpc.aio.StreamStreamCall, attachment: FakeAttachment
) -> None:
    attachment.end(SessionTakenOver("s", same_client=True))
    error = await ending(stream)

    assert (error.code(), info_of(error).reason) == (grpc.StatusCode.ABORTED, "SESSION_TAKEN_OVER")
    assert info_of(error).metadata["same_client"] == "true"


async def test_what_was_answered_before_the_session_was_lost_is_sent(
    stream: grpc.aio.StreamStreamCall, attachment: FakeAttachment
) -> None:
    lost = SessionTakenOver("s", same_client=False)
    attachment.held[1] = asyncio.Event()
    attachment.errors[2] = lost
    await stream.write(step(1))
    await stream.write(step(2))
    await attachment.wait_submitted(2)
    attachment.end(lost)
    attachment.held[1].set()

    assert (await stream.read()).result.step == 1
    assert info_of(await ending(stream)).reason == "SESSION_TAKEN_OVER"


async def test_draining_answers_what_was_read_and_says_so(
    served: Served, stream: grpc.aio.StreamStreamCall, attachment: FakeAttachment
) -> None:
    """A notice first, then the answers of what was read, then UNAVAILABLE."""
    attachment.held[1] = asyncio.Event()
    await stream.write(step(1))
    await stream.write(step(2))
    await attachment.wait_submitted(2)
    draining = asyncio.create_task(served.edge.drain(5.0))
    await asyncio.sleep(0)
    attachment.held[1].set()
    kinds = [(await stream.read()).WhichOneof("message") for _ in range(3)]
    error = await ending(stream)

    assert sorted(kinds) == ["draining", "result", "result"]
    assert kinds[-1] == "result"
    assert (error.code(), info_of(error).reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    assert await draining == 0


async def test_draining_does_not_wait_for_ever(
    served: Served, stream: grpc.aio.StreamStreamCall, attachment: FakeAttachment
) -> None:
    attachment.held[1] = asyncio.Event()
    await stream.write(step(1))
    await attachment.wait_submitted(1)
    left = await served.edge.drain(0.05)

    assert info_of(await ending(stream)).reason == "DRAINING"
    assert left == 0


async def test_a_stream_that_was_never_opened_does_not_hold_up_the_end(served: Served) -> None:
    call = served.sessions.StreamSteps()
    await served.metrics.has_started.wait()
    await asyncio.sleep(0)

    assert await served.edge.drain(5.0) == 0
    assert info_of(await ending(call)).reason == "DRAINING"


async def test_a_client_that_goes_away_lets_its_session_go(
    served: Served, stream: grpc.aio.StreamStreamCall, attachment: FakeAttachment
) -> None:
    attachment.held[1] = asyncio.Event()
    await stream.write(step(1))
    await attachment.wait_submitted(1)
    stream.cancel()
    await attachment.detached.wait()

    assert await served.drain.wait_idle(5.0) == 0
    assert served.metrics.ended == ["Cancelled"]


@pytest.mark.parametrize("heartbeat", [0.02])
async def test_a_silent_stream_carries_heartbeats(stream: grpc.aio.StreamStreamCall) -> None:
    replies = [await stream.read() for _ in range(2)]

    assert [reply.WhichOneof("message") for reply in replies] == ["heartbeat", "heartbeat"]


async def test_a_reader_that_does_not_read_is_held_back(served: Served, attachment: FakeAttachment) -> None:
    """The server stops reading when two windows of answers, and a margin, wait to be sent; memory stays bounded."""
    async with grpc.aio.insecure_channel(served.target, options=[("grpc.http2.bdp_probe", 0)]) as channel:
        call = SessionServiceStub(channel).StreamSteps()
        await call.write(OPEN)
        await call.read()
        attachment.held[1] = asyncio.Event()  # nothing can be answered

        async def flood() -> None:
            for number in range(1, 100_000):
                await call.write(step(number))

        flooding = asyncio.create_task(flood())
        done, _ = await asyncio.wait({flooding}, timeout=1.0)
        flooding.cancel()
        call.cancel()

    assert not done, "every message was taken"
    assert len(attachment.submitted) <= 2 * head().birth.window + 16 + 2
