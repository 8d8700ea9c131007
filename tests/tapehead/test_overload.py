"""A server that has no room for a step, for a while: nobody notices, until it lasts too long."""

from __future__ import annotations

import asyncio
import urllib.request
from pathlib import Path

import grpc
import numpy as np
import pytest

from tapehead import aio, errors
from tapehead.errors import ModelNonFinite, OverCapacity, StepGap
from tests.end_to_end.server_process import ServerProcess
from tests.tapehead.adding import ROWS, SUMS, collect, refusal
from tests.tapehead.fake_script import Script, Status
from tests.tapehead.fake_server import FakeServer
from tests.tapehead.step_logs import add, answer, fresh, opened, results, sent

FOR_EVER = 1 << 30  # refusals


class TestRules:
    def test_nothing_is_sent_until_it_is_waited_out_and_then_everything_again(self):
        log = fresh()
        for content in "abc":
            add(log, content)
        sent(log)

        log.failed(1, OverCapacity("full", retry_after=0.5))

        assert log.overload is not None
        assert log.overload.retry_after == 0.5
        assert (sent(log), results(log)) == ([], [])
        add(log, "d")
        log.failed(2, StepGap("ahead")), log.failed(3, StepGap("ahead"))
        log.resend()
        assert (sent(log), results(log), log.overload) == ([1, 2, 3, 4], [], None)
        for step, content in enumerate("abcd", start=1):
            log.answered(answer(step, content))
        assert results(log) == [(step, "answer") for step in (1, 2, 3, 4)]

    def test_the_refusals_behind_it_may_come_after_the_resend(self):
        log = fresh()
        for content in "ab":
            add(log, content)
        sent(log)
        log.failed(1, OverCapacity("full"))
        log.resend()
        assert sent(log) == [1, 2]

        log.failed(2, StepGap("ahead"))
        log.failed(1, OverCapacity("still full"))
        log.resend()
        assert sent(log) == [1, 2]
        log.failed(2, StepGap("ahead"))
        log.answered(answer(1, "a")), log.answered(answer(2, "b"))

        assert results(log) == [(1, "answer"), (2, "answer")]

    def test_what_is_before_it_is_not_sent_again(self):
        log = fresh()
        for content in "abc":
            add(log, content)
        sent(log)
        log.answered(answer(1, "a"))
        log.failed(2, OverCapacity("full"))
        log.failed(3, StepGap("ahead"))

        log.resend()

        assert sent(log) == [2, 3]
        assert results(log) == [(1, "answer")]

    def test_chunks_keep_their_boundaries(self):
        log = fresh()
        add(log, "a", 3), add(log, "b", 2)
        sent(log)
        log.failed(1, OverCapacity("full")), log.failed(4, StepGap("ahead"))
        log.resend()

        assert sent(log) == [1, 4]

    def test_given_up_it_is_the_outcome_and_the_numbers_are_free_again(self):
        log = fresh()
        for content in "abc":
            add(log, content)
        sent(log)
        log.failed(1, OverCapacity("full"))
        log.failed(2, StepGap("ahead"))

        log.give_up()

        assert results(log) == [(1, "OverCapacity"), (2, "StepGap"), (3, "StepGap")]
        assert (log.next_step, log.given_up_count, log.overload) == (1, 1, None)
        add(log, "a"), sent(log)
        log.failed(3, StepGap("ahead"))  # the last refusal of what was pipelined
        log.answered(answer(1, "a"))
        assert results(log) == [(1, "answer")]

    def test_there_may_be_nothing_to_give_up(self):
        log = fresh()
        add(log, "a"), sent(log)

        log.give_up()

        assert results(log) == []

    def test_a_new_stream_does_not_wait(self):
        log = fresh()
        add(log, "a"), add(log, "b"), sent(log)
        log.failed(1, OverCapacity("full"))

        log.stop_sending()
        log.opened(opened(0))

        assert sent(log) == [1, 2]
        log.answered(answer(1, "a")), log.answered(answer(2, "b"))
        assert results(log) == [(1, "answer"), (2, "answer")]

    def test_another_failure_behind_it_ends_it(self):
        log = fresh()
        add(log, "a"), add(log, "b"), sent(log)
        log.failed(1, OverCapacity("full")), log.failed(2, StepGap("ahead"))
        log.resend()
        sent(log)
        log.failed(1, ModelNonFinite("nan"))

        assert results(log) == [(1, "ModelNonFinite"), (2, "StepGap")]


class TestSessions:
    @pytest.mark.parametrize("times", [1, 3])
    async def test_a_step_is_taken_once_there_is_room(self, server: FakeServer, client: aio.Client, times: int):
        server.scripts.append(Script(overload={1: times}))
        async with client.session("adder", "s") as session:
            results = [await session.step(row) for row in ROWS[:2]]

        np.testing.assert_array_equal([result.output for result in results], SUMS[:2])
        assert server.received == [1] * times + [1, 2]
        assert len(server.opens) == 1

    @pytest.mark.parametrize("window", [1, 2, 5, 64])
    async def test_a_stream_gives_every_output_once_and_in_order(
        self, server: FakeServer, client: aio.Client, window: int
    ):
        server.scripts.append(Script(overload={1: 1, 4: 2, 5: 1, 20: 1}))
        async with client.session("adder", "s", window=window) as session:
            steps = [(result.step, result.output) async for result in session.stream(ROWS)]

        assert [step for step, _ in steps] == list(range(1, 21))
        np.testing.assert_array_equal([output for _, output in steps], SUMS)
        np.testing.assert_array_equal(server.sessions["s"].inputs, np.array(ROWS, np.float32))

    async def test_chunks_are_sent_again_as_they_were(self, server: FakeServer, client: aio.Client):
        server.scripts.append(Script(overload={1: 1, 9: 2}))
        async with client.session("adder", "s", window=12) as session:
            chunks = [ROWS[begin : begin + 4] for begin in range(0, 20, 4)]
            answers = [(result.step, result.output) async for result in session.stream(chunks, chunked=True)]

        assert [step for step, _ in answers] == [1, 5, 9, 13, 17]
        np.testing.assert_array_equal(np.concatenate([output for _, output in answers]), SUMS)

    async def test_steps_of_several_tasks_keep_their_order(self, server: FakeServer, client: aio.Client):
        server.scripts.append(Script(overload={2: 2}))
        async with client.session("adder", window=2) as session:
            results = await asyncio.gather(*(session.step(row) for row in ROWS[:5]))

        np.testing.assert_array_equal([result.output for result in results], SUMS[:5])

    async def test_a_stream_that_breaks_meanwhile_goes_on(self, server: FakeServer, client: aio.Client):
        server.scripts += [Script(overload={3: 1}, cut_after_commit_of=3), Script(overload={4: 1})]
        async with client.session("adder") as session:
            np.testing.assert_array_equal(await collect(session), SUMS)
            assert session.reconnect_count == 1

    async def test_an_overload_that_never_ends_is_raised_after_what_came_before(self, server: FakeServer):
        server.scripts.append(Script(overload={3: FOR_EVER}))
        async with (
            aio.connect(server.address, reconnect_timeout=1.0) as client,
            client.session("adder", "s") as session,
        ):
            outputs: list[np.ndarray] = []
            with pytest.raises(OverCapacity) as caught:
                await collect(session, into=outputs)

            np.testing.assert_array_equal(outputs, SUMS[:2])
            assert (caught.value.retry_after, session.next_step) == (0.01, 3)
            sent_count = server.received.count(3)
            with pytest.raises(OverCapacity):
                await session.step(ROWS[2])
            assert server.received.count(3) > sent_count + 1 > 2, "a later attempt is waited for as the first was"

    async def test_patience_begins_anew_with_every_answer(self, server: FakeServer):
        """Twenty waits of 50 ms or more, which are longer together than it lasts."""
        server.scripts.append(Script(overload=dict.fromkeys(range(1, 21), 1)))
        async with aio.connect(server.address, reconnect_timeout=0.9) as client, client.session("adder") as session:
            np.testing.assert_array_equal(await collect(session), SUMS)

    async def test_a_step_that_was_given_up_can_be_taken_later(self, server: FakeServer):
        script = Script(overload={3: FOR_EVER})
        server.scripts.append(script)
        async with aio.connect(server.address, reconnect_timeout=0.2) as client, client.session("adder") as session:
            outputs: list[np.ndarray] = []
            with pytest.raises(OverCapacity):
                await collect(session, into=outputs)
            script.overload.clear()
            await collect(session, ROWS[2:], into=outputs)

        np.testing.assert_array_equal(outputs, SUMS)

    async def test_without_patience_it_is_raised_at_once(self, server: FakeServer):
        server.scripts.append(Script(overload={1: FOR_EVER}))
        async with aio.connect(server.address, reconnect_timeout=0) as client, client.session("adder") as session:
            with pytest.raises(OverCapacity):
                await session.step(ROWS[0])

        assert server.received == [1]

    async def test_another_failure_after_the_wait_is_raised(self, server: FakeServer, client: aio.Client):
        server.scripts.append(Script(overload={2: 1}, fail={2: refusal(2)}))
        async with client.session("adder") as session:
            outputs: list[np.ndarray] = []
            with pytest.raises(ModelNonFinite):
                await collect(session, into=outputs)
            await collect(session, ROWS[1:], into=outputs)

        np.testing.assert_array_equal(outputs, SUMS)

    async def test_a_session_that_was_open_waits_for_a_place(self, server: FakeServer, client: aio.Client):
        full = Status(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVER_CAPACITY", retry_after=0.01)
        server.scripts += [Script(cut_after_answer_to=2), Script(refuse_open=full), Script(refuse_open=full)]
        async with client.session("adder") as session:
            np.testing.assert_array_equal(await collect(session), SUMS)

    async def test_one_that_was_not_is_told_at_once(self, server: FakeServer, client: aio.Client):
        full = Status(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVER_CAPACITY", retry_after=0.01)
        server.scripts.append(Script(refuse_open=full))

        with pytest.raises(errors.OverCapacity):
            async with client.session("adder"):
                pass

    async def test_a_session_is_closed_without_waiting_for_room(self, server: FakeServer, client: aio.Client):
        server.scripts.append(Script(overload={1: FOR_EVER}))
        async with client.session("adder") as session:
            step = asyncio.create_task(session.step(ROWS[0]))
            await server.has_read.wait()

        with pytest.raises(errors.SessionClosed):
            await step


def page(address: str) -> str:
    with urllib.request.urlopen(address) as reply:
        return reply.read().decode()


@pytest.mark.end_to_end
async def test_sessions_that_outnumber_the_places_of_a_real_server_all_finish(tmp_path: Path) -> None:
    """Each gets the answers that it gets alone, although the server refused steps of most of them."""
    rows = np.zeros((12, 9), np.float32)
    rows[:, :8] = np.random.default_rng(3).integers(0, 2, (12, 8))

    with ServerProcess(tmp_path, "--max-waiting-steps", "3", store="memory:", shipped=("ntm-copy",)) as server:
        async with aio.connect(server.grpc) as client:

            async def streamed() -> list[np.ndarray]:
                async with client.session("ntm-copy") as session:
                    return [result.output async for result in session.stream(rows)]

            async with client.session("ntm-copy") as session:
                alone = [(await session.step(row)).output for row in rows]
            together = await asyncio.gather(*(streamed() for _ in range(6)))
        metrics = await asyncio.to_thread(page, f"http://{server.metrics}/metrics")

    for outputs in together:
        np.testing.assert_array_equal(outputs, alone)
    assert 'tapehead_rejections_total{reason="OVER_CAPACITY"}' in metrics
