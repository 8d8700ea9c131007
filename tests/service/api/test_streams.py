"""What a stream does with each message, and every way in which it ends."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import numpy as np
import pytest

from service.errors import (
    InvalidField,
    ModelNonFinite,
    OverCapacity,
    StepGap,
)
from service.sessions.messages import StepAnswer
from service.store.base import Durability
from tapehead.v1 import session_service_pb2 as pb
from tapehead.v1.tensor_pb2 import DATA_TYPE_FLOAT32, FloatList, Tensor
from tests.service.api.conftest import MESSAGE_BYTES, Served, info_of
from tests.service.api.fakes import INCARNATION, FakeAttachment, question_model
from tests.service.api.stream_calls import OPEN, PATH, ending, numbers, step

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
