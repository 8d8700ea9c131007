"""Sessions over real sockets, against a server that breaks where it is told to."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from tapehead import aio, errors
from tapehead.v1.session_service_pb2 import StepResult
from tests.tapehead.adding import ROWS, SUMS, collect, refusal
from tests.tapehead.fake_script import Script
from tests.tapehead.fake_server import FakeServer


class TestSteps:
    async def test_a_step_takes_a_plain_list_and_gives_arrays(self, client: aio.Client):
        async with client.session("adder", "s") as session:
            result = await session.step([1, 2])

        assert (result.step, result.step_count, result.last_step) == (1, 0, 1)
        np.testing.assert_array_equal(result.output, np.array([1, 2], np.float32))

    async def test_outputs_are_named_for_one_step_or_for_the_session(self, client: aio.Client):
        async with client.session("adder", outputs=["tape"]) as session:
            assert list((await session.step([1, 2])).outputs) == ["tape"]
            assert list((await session.step({"x": [1, 2]}, outputs=["y", "tape"])).outputs) == ["y", "tape"]

    async def test_a_chunk_is_one_message_with_all_its_steps(self, server: FakeServer, client: aio.Client):
        async with client.session("adder", "s") as session:
            result = await session.chunk(ROWS)
            following = await session.step([0, 0])

        assert (result.step, result.step_count, following.step) == (1, 20, 21)
        np.testing.assert_array_equal(result.output, SUMS)
        assert server.received == [1, 21]

    async def test_a_stream_gives_every_answer_in_order(self, client: aio.Client):
        async with client.session("adder", window=3) as session:
            np.testing.assert_array_equal(await collect(session), SUMS)
            assert session.next_step == 21

    async def test_a_stream_takes_chunks_and_asynchronous_sources(self, server: FakeServer, client: aio.Client):
        async def chunks():
            for begin in range(0, 20, 5):
                yield ROWS[begin : begin + 5]

        async with client.session("adder", "s") as session:
            outputs = [result.output async for result in session.stream(chunks(), chunked=True)]

        np.testing.assert_array_equal(np.concatenate(outputs), SUMS)
        assert server.received == [1, 6, 11, 16]

    async def test_at_most_a_window_is_in_flight(self, server: FakeServer, client: aio.Client):
        server.hold.clear()
        async with client.session("adder", "s", window=3) as session:
            steps = asyncio.gather(*(session.step(row) for row in ROWS))
            await server.has_read.wait()
            assert session.next_step == 4
            server.hold.set()
            await steps

        assert server.received == list(range(1, 21))

    async def test_a_slow_source_does_not_hold_answers_back(self, client: aio.Client):
        more = asyncio.Event()

        async def source():
            yield ROWS[0]
            await more.wait()
            yield ROWS[1]

        async with client.session("adder") as session:
            results = session.stream(source())
            assert (await anext(results)).step == 1
            more.set()
            assert (await anext(results)).step == 2
            await results.aclose()

    async def test_a_failing_source_raises_after_the_answers_before_it(self, client: aio.Client):
        def source():
            yield ROWS[0]
            raise OSError("the microphone is gone")

        async with client.session("adder") as session:
            results = session.stream(source())
            assert (await anext(results)).step == 1
            with pytest.raises(OSError, match="microphone"):
                await anext(results)
            assert (await session.step(ROWS[1])).step == 2

    @pytest.mark.parametrize(
        ("inputs", "message"),
        [
            ({"z": [1, 2]}, "takes the inputs x; got z"),
            ({}, "got nothing"),
            ("text", "expected numbers that fit float32"),
            ([1j, 2j], "expected numbers that fit float32"),
        ],
    )
    async def test_what_cannot_be_an_input_is_refused_before_it_is_sent(
        self, server: FakeServer, client: aio.Client, inputs: object, message: str
    ):
        async with client.session("adder") as session:
            with pytest.raises(errors.TensorMismatch, match=message):
                await session.step(inputs)

        assert server.received == []

    async def test_a_chunk_needs_one_length(self, client: aio.Client):
        async with client.session("adder", window=4) as session:
            with pytest.raises(errors.TensorMismatch, match="leading axis"):
                await session.chunk(3.0)
            with pytest.raises(errors.TensorMismatch, match="at least 1"):
                await session.chunk(np.zeros((0, 2)))
            with pytest.raises(errors.TooLong, match="longer than the session's window of 4"):
                await session.chunk(ROWS[:5])


class TestFailedSteps:
    async def test_a_refused_step_raises_and_the_session_goes_on_with_its_number(
        self, server: FakeServer, client: aio.Client
    ):
        server.scripts.append(Script(fail={2: refusal(2)}))
        async with client.session("adder") as session:
            await session.step(ROWS[0])
            with pytest.raises(errors.ModelNonFinite) as caught:
                await session.step(ROWS[1])
            result = await session.step(ROWS[1])

        assert caught.value.metadata == {"output": "y"}
        assert (result.step, len(server.opens)) == (2, 1)
        np.testing.assert_array_equal(result.output, SUMS[1])

    @pytest.mark.parametrize("window", [1, 2, 4, 64])
    async def test_nothing_that_comes_behind_it_takes_its_number(
        self, server: FakeServer, client: aio.Client, window: int
    ):
        server.scripts.append(Script(fail={3: refusal(3)}))
        async with client.session("adder", "s", window=window) as session:
            outputs: list[np.ndarray] = []
            with pytest.raises(errors.ModelNonFinite):
                await collect(session, into=outputs)
            await collect(session, ROWS[2:], into=outputs)

        np.testing.assert_array_equal(outputs, SUMS)
        assert len(server.opens) == 1

    async def test_a_stream_whose_reader_is_slow_sends_nothing_behind_it(self, server: FakeServer, client: aio.Client):
        server.scripts.append(Script(fail={3: refusal(3)}))
        async with client.session("adder", "s", window=4) as session:
            results = session.stream(ROWS)
            for _ in range(2):
                await anext(results)
                for _ in range(5):  # the refusal arrives while the reader does something else
                    await client.server()
            with pytest.raises(errors.ModelNonFinite):
                await anext(results)
            assert session.next_step == 3

        assert len(server.sessions["s"].inputs) == 2

    @pytest.mark.parametrize("window", [1, 2, 64])
    async def test_steps_that_wait_for_room_behind_it_are_not_taken_either(
        self, server: FakeServer, client: aio.Client, window: int
    ):
        server.scripts.append(Script(fail={1: refusal(1)}))
        async with client.session("adder", "s", window=window) as session:
            ends = await asyncio.gather(*(session.step(row) for row in ROWS[:5]), return_exceptions=True)
            assert session.next_step == 1

        assert [type(end) for end in ends] == [errors.ModelNonFinite] + [errors.StepGap] * 4
        assert server.sessions["s"].inputs == []

    async def test_an_answer_to_another_input_is_never_given(self, server: FakeServer, client: aio.Client):
        server.scripts.append(Script(forge={1: StepResult(step=1, input_hash=b"somebody else's")}))
        async with client.session("adder") as session:
            with pytest.raises(errors.StepPayloadMismatch):
                await session.step(ROWS[0])

    async def test_a_cancelled_step_is_taken_and_the_next_one_follows_it(self, server: FakeServer, client: aio.Client):
        server.hold.clear()
        async with client.session("adder") as session:
            step = asyncio.create_task(session.step(ROWS[0]))
            await server.has_read.wait()
            step.cancel()
            server.hold.set()
            result = await session.step(ROWS[1])

        assert result.step == 2
        np.testing.assert_array_equal(result.output, SUMS[1])


class TestEndings:
    async def test_a_finished_session_ends_its_stream_in_peace(self, server: FakeServer, client: aio.Client):
        async with client.session("adder") as session:
            await session.step(ROWS[0])

        assert server.ended == ["done"]

    async def test_steps_that_are_left_behind_are_cancelled(self, server: FakeServer, client: aio.Client):
        server.hold.clear()
        async with client.session("adder") as session:
            step = asyncio.create_task(session.step(ROWS[0]))
            await server.has_read.wait()
        with pytest.raises(errors.SessionClosed):
            await step
        with pytest.raises(errors.SessionClosed):
            await session.step(ROWS[0])

    async def test_a_closed_client_closes_its_sessions(self, server: FakeServer):
        client = aio.connect(server.address)
        session = await client.session("adder").__aenter__()
        await client.close()

        with pytest.raises(errors.SessionClosed):
            await session.step(ROWS[0])

    async def test_a_session_that_does_not_exist_is_not_created_unasked(self, server: FakeServer, client: aio.Client):
        with pytest.raises(errors.SessionNotFound) as caught:
            async with client.session("adder", "nowhere", create=False):
                pass

        assert caught.value.metadata == {"session_id": "nowhere"}
        assert server.sessions == {}

    async def test_a_model_of_questions_is_not_stepped(self, client: aio.Client):
        with pytest.raises(errors.NotSupported, match="stories and questions"):
            async with client.session("echo-qa"):
                pass

    async def test_session_calls_carry_the_affinity_hint_and_the_token(self, server: FakeServer):
        client = aio.connect(server.address, token="secret")
        async with client, client.session("adder", "s"):
            pass

        assert server.metadata[0]["tapehead-session-id"] == "s"
        assert server.metadata[0]["authorization"] == "Bearer secret"
