"""Every way in which a stream ends, and what is answered before it does."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest

from service.errors import (
    SessionTakenOver,
    StateCorrupt,
    StoreUnavailable,
)
from tapehead.v1.session_service_pb2_grpc import SessionServiceStub
from tests.service.api.conftest import Served, info_of
from tests.service.api.fakes import FakeAttachment, head
from tests.service.api.stream_calls import OPEN, ending, rest, step


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
