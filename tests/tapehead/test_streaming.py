"""What a stream may say besides answers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tapehead import ResumeToken, aio, errors
from tapehead.v1.session_service_pb2 import StreamStepsRequest, StreamStepsResponse
from tests.tapehead.fake_script import Script
from tests.tapehead.fake_server import FakeServer


class OddServer(FakeServer):
    """Says `before` ahead of everything else on its first stream, and `between` after the opening of every stream."""

    def __init__(self, before: list[StreamStepsResponse], between: list[StreamStepsResponse]) -> None:
        super().__init__()
        self.before, self.between = before, between

    async def _stream(
        self, requests: AsyncIterator[StreamStepsRequest], script: Script
    ) -> AsyncIterator[StreamStepsResponse]:
        while self.before:
            yield self.before.pop(0)
        async for reply in super()._stream(requests, script):
            yield reply
            if reply.WhichOneof("message") == "opened":
                for odd in self.between:
                    yield odd


async def first_step(server: FakeServer) -> int:
    async with server, aio.connect(server.address) as client, client.session("adder") as session:
        return (await session.step([1, 2])).step


async def test_heartbeats_are_only_signs_of_life():
    assert await first_step(OddServer([], [StreamStepsResponse(heartbeat={"committed_step": 0})] * 3)) == 1


async def test_the_first_reply_must_be_the_opening():
    with pytest.raises(errors.ProtocolViolation, match="first reply"):
        await first_step(OddServer([StreamStepsResponse(heartbeat={})], []))


@pytest.mark.parametrize(
    "odd",
    [
        StreamStepsResponse(),
        StreamStepsResponse(result={"step": 9}),
        StreamStepsResponse(error={"step": 9, "code": 3, "reason": "TOO_LONG"}),
    ],
    ids=["of no kind", "an answer to nothing", "an error of nothing"],
)
async def test_what_the_contract_does_not_allow_ends_the_session(odd: StreamStepsResponse):
    with pytest.raises(errors.ProtocolViolation):
        await first_step(OddServer([], [odd]))


async def test_a_stream_that_the_server_just_ends_is_opened_again(server: FakeServer, client: aio.Client):
    server.scripts.append(Script(end_after_answer_to=1))
    async with client.session("adder", "s") as session:
        assert (await session.step([1, 2])).step == 1
        assert (await session.step([1, 2])).step == 2
        assert session.reconnect_count == 1


async def test_an_answer_that_cannot_be_read_fails_its_step(server: FakeServer, client: aio.Client):
    async with client.session("adder", "s") as session:
        await session.step([1, 2])
        unreadable = server.sessions["s"].answers[1]
    unreadable.outputs[0].raw = b"123"

    async with client.session(resume=ResumeToken("s", session.incarnation, 0, "c")) as session:
        with pytest.raises(errors.ProtocolViolation, match="tensor 'y' that cannot be read"):
            await session.step([1, 2])
