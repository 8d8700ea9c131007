"""Steps through the engine: batches, order, failures that touch nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from service.engine.admission import Limits
from service.errors import (
    InvalidField,
    ModelFailed,
    ModelNonFinite,
    OverCapacity,
    StepGap,
    StepPayloadMismatch,
    TapeheadError,
    TooLong,
)
from service.hosting.model import Arrays
from service.sessions.attachment import Attachment
from service.sessions.messages import StepAnswer
from service.store.base import Key
from tests.garbage import search
from tests.service.fakes import OWNER, Accumulator, fake_model, memory_server, serving, step_message


def last(answer: StepAnswer) -> float:
    return float(answer.outputs["y"].reshape(-1)[-1])


async def test_steps_of_a_session_follow_each_other() -> None:
    server = memory_server()
    async with serving(server):
        key = await server.create("s")

        assert [await server.step(key, n, 1.0) for n in (1, 2, 3)] == [1.0, 2.0, 3.0]


async def test_a_repeat_gets_the_stored_answer_and_changes_nothing() -> None:
    server = memory_server()
    async with serving(server):
        key = await server.create("s")
        await server.step(key, 1, 5.0)
        answer, _ = await server.calls.step(key, None, step_message(1, 5.0), "c")

        assert answer.replayed
        assert last(answer) == 5.0
        assert await server.step(key, 2, 1.0) == 6.0


async def test_pipelined_steps_answer_in_order() -> None:
    server = memory_server()
    async with serving(server):
        await server.create("s")
        stream = await server.open("s")
        answers = [stream.submit(step_message(n, 1.0)) for n in range(1, 9)]

        assert [last(await answer) for answer in answers] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]


async def test_a_chunk_is_one_commit_and_equals_its_single_steps() -> None:
    server = memory_server()
    async with serving(server):
        chunked, single = await server.create("chunked"), await server.create("single")
        answer, _ = await server.calls.step(chunked, None, step_message(1, 1.0, 2.0, 3.0, count=3), "c")
        singles = [await server.step(single, n, float(n)) for n in (1, 2, 3)]

        assert answer.outputs["y"][:, 0].tolist() == singles
        assert (answer.first_step, answer.step_count, answer.committed_step) == (1, 3, 3)


async def test_sessions_share_a_batch_and_keep_apart() -> None:
    runner = Accumulator()
    server = memory_server(fake_model(runner))
    async with serving(server):
        streams = []
        for n in range(6):
            await server.create(f"s{n}")
            streams.append(await server.open(f"s{n}"))
        for step in (1, 2):
            answers = [stream.submit(step_message(step, float(n))) for n, stream in enumerate(streams)]
            assert [last(await answer) for answer in answers] == [step * float(n) for n in range(6)]

    assert runner.batches == [6, 6]


async def test_what_comes_in_within_a_few_turns_of_the_loop_shares_a_batch() -> None:
    runner = Accumulator()
    server = memory_server(fake_model(runner))

    async def later(stream: Attachment, turns: int) -> StepAnswer:
        for _ in range(turns):
            await asyncio.sleep(0)
        return await stream.submit(step_message(1, 1.0))

    async with serving(server):
        streams = []
        for n in range(6):
            await server.create(f"s{n}")
            streams.append(await server.open(f"s{n}"))
        await asyncio.gather(*(later(stream, 2 * n) for n, stream in enumerate(streams)))

    assert runner.batches == [6]


async def test_a_batch_never_exceeds_what_the_model_allows() -> None:
    runner = Accumulator()
    server = memory_server(fake_model(runner, max_batch=1))
    async with serving(server):
        streams = []
        for n in range(3):
            await server.create(f"s{n}")
            streams.append(await server.open(f"s{n}"))
        await asyncio.gather(*(stream.submit(step_message(1, 1.0)) for stream in streams))

    assert runner.batches == [1, 1, 1]


async def test_a_step_that_fails_alone_fails_none_of_its_neighbours() -> None:
    server = memory_server()
    async with serving(server):
        bad_key = await server.create("bad")
        await server.create("good")
        bad, good = await server.open("bad"), await server.open("good")
        failing, fine = bad.submit(step_message(1, 666.0)), good.submit(step_message(1, 3.0))

        assert last(await fine) == 3.0
        with pytest.raises(ModelFailed):
            await failing
        assert last(await bad.submit(step_message(1, 2.0))) == 2.0
        assert (await server.lifecycle.get(bad_key, None)).head.committed_step == 1


async def test_numbers_that_are_not_finite_fail_their_own_row() -> None:
    server = memory_server()
    async with serving(server):
        await server.create("bad")
        await server.create("good")
        bad, good = await server.open("bad"), await server.open("good")
        failing, fine = bad.submit(step_message(1, 3e38)), good.submit(step_message(1, 1.0))

        with pytest.raises(ModelNonFinite) as caught:
            await failing
        assert caught.value.facts == {"tensor": "y", "step": "1"}
        assert np.isfinite(last(await fine))


async def test_what_was_pipelined_behind_a_failure_is_a_gap_until_the_step_comes_again() -> None:
    server = memory_server()
    async with serving(server):
        await server.create("s")
        stream = await server.open("s")
        failing, behind = stream.submit(step_message(1, 666.0)), stream.submit(step_message(2, 1.0))

        with pytest.raises(ModelFailed):
            await failing
        with pytest.raises(StepGap) as caught:
            await behind
        assert caught.value.facts["expected_step"] == "1"
        assert last(await stream.submit(step_message(1, 4.0))) == 4.0
        assert last(await stream.submit(step_message(2, 1.0))) == 5.0


async def test_a_failing_chunk_changes_nothing() -> None:
    server = memory_server()
    async with serving(server):
        key = await server.create("s")
        with pytest.raises(ModelFailed):
            await server.step(key, 1, 1.0, 2.0, 666.0, count=3)

        assert await server.step(key, 1, 7.0) == 7.0


async def test_only_the_outputs_named_are_given() -> None:
    server = memory_server()
    async with serving(server):
        await server.create("s")
        stream = await server.open("s")
        message = step_message(1, 2.0)
        answer = await stream.submit(
            type(message)(1, 0, message.inputs, ("twice",), b"another hash", as_lists=True, note=b"n")
        )

        assert {name: array.tolist() for name, array in answer.outputs.items()} == {"twice": [4.0, 4.0]}
        assert (answer.as_lists, answer.note) == (True, b"n")


async def test_a_stored_answer_is_the_fresh_one_bit_for_bit() -> None:
    server = memory_server()
    async with serving(server):
        key = await server.create("s")
        message = step_message(1, 0.1, 0.2, count=2)
        fresh, _ = await server.calls.step(key, None, message, "c")
        stored, _ = await server.calls.step(key, None, message, "c")

        assert stored.outputs["y"].tobytes() == fresh.outputs["y"].tobytes()
        assert (stored.step_count, stored.input_hash) == (fresh.step_count, fresh.input_hash)


async def test_what_does_not_fit_the_line_is_refused_at_once_and_changes_nothing() -> None:
    server = memory_server(limits=Limits(waiting_steps=2))
    await server.create("s")
    stream = await server.open("s")
    accepted = [stream.submit(step_message(n, 1.0)) for n in (1, 2)]

    with pytest.raises(OverCapacity) as caught:
        await stream.submit(step_message(3, 1.0))

    assert caught.value.retry_after > 0
    async with serving(server):
        assert [last(await answer) for answer in accepted] == [1.0, 2.0]
        assert last(await stream.submit(step_message(3, 1.0))) == 3.0


async def test_a_full_line_is_told_of_before_a_new_step_is_read_and_of_no_repeat() -> None:
    server = memory_server(limits=Limits(waiting_steps=2))
    key = await server.create("s")
    stream = await server.open("s")
    accepted = [stream.submit(step_message(n, 1.0)) for n in (1, 2)]

    with pytest.raises(OverCapacity):
        server.calls.admit(key, 3, 0)
    server.calls.admit(key, 2, 0)
    server.calls.admit(Key(OWNER, "not-in-memory"), 1, 0)  # may be a repeat: the store has to say
    async with serving(server):
        for answer in accepted:
            await answer
        server.calls.admit(key, 3, 2)


async def test_a_refused_call_leaves_nothing_to_the_garbage_collector() -> None:
    server = memory_server()
    async with serving(server):
        key = await server.create("s")
        await server.step(key, 1, 1.0)
        with search() as left:
            for _ in range(3):
                with pytest.raises(StepGap):
                    await server.step(key, 7, 1.0)

    assert left == []


async def test_a_stream_that_leaves_takes_its_waiting_steps_along() -> None:
    server = memory_server()
    key = await server.create("s")
    stream = await server.open("s")
    left = stream.submit(step_message(1, 1.0))
    stream.detach()

    async with serving(server):
        with pytest.raises(TapeheadError):
            await left
        assert (await server.lifecycle.get(key, None)).head.committed_step == 0
        assert server.engine.statistics().waiting_steps == 0


async def test_a_long_run_leaves_the_event_loop_free() -> None:
    server = memory_server(fake_model(seconds=1.0))  # predicted, not taken
    async with serving(server):
        key = await server.create("s")

        assert await server.step(key, 1, 1.0) == 1.0


async def test_a_session_pushed_out_of_memory_goes_on_where_it_was() -> None:
    server = memory_server()
    server.live._limit = 2
    async with serving(server):
        keys = [await server.create(f"s{n}") for n in range(5)]
        for step in (1, 2, 3):
            assert [await server.step(key, step, 1.0) for key in keys] == [float(step)] * 5

        assert len(server.live) == 2
        assert len(server.engine.pool_of(server.repository.get("accumulator"))) == 2


async def test_the_same_number_with_another_input_is_refused() -> None:
    server = memory_server()
    async with serving(server):
        key = await server.create("s")
        await server.step(key, 1, 1.0)
        with pytest.raises(StepPayloadMismatch):
            await server.step(key, 1, 2.0)


async def test_every_slot_is_given_back() -> None:
    server = memory_server()
    async with serving(server):
        stream = None
        for n in range(3):
            await server.create(f"s{n}")
            stream = await server.open(f"s{n}")
            for step, value in [(1, 1.0), (2, 666.0), (2, 3e38), (2, 1.0)]:
                await asyncio.gather(stream.submit(step_message(step, value)), return_exceptions=True)
            await server.lifecycle.delete(Key(OWNER, f"s{n}"), None)

    assert len(server.engine.pool_of(server.repository.get("accumulator"))) == 0


async def test_a_repeat_of_a_step_in_flight_may_be_awaited_after_its_outcome() -> None:
    """A stream sends its answers in order, so it may come to a repeat long after the step was committed."""
    server = memory_server()
    async with serving(server):
        await server.create("s")
        attachment = await server.open("s")
        first = attachment.submit(step_message(1, 1.0))
        repeat = attachment.submit(step_message(1, 1.0))
        await first
        answer = await repeat

    assert answer.replayed
    assert answer.outputs["y"].tolist() == (await first).outputs["y"].tolist()


class Interrupted(Accumulator):
    """Lets something happen after each run, before anything that the engine has scheduled for later."""

    def __init__(self) -> None:
        super().__init__()
        self.interrupt: Callable[[], object] = lambda: None

    def run(self, entry: str, inputs: Arrays, state: Arrays, outputs: tuple[str, ...]) -> tuple[Arrays, Arrays]:
        asyncio.get_running_loop().call_soon(self.interrupt)
        return super().run(entry, inputs, state, outputs)


async def test_who_leaves_between_the_run_and_the_commit_does_not_disturb_the_batch() -> None:
    runner = Interrupted()
    server = memory_server(fake_model(runner))
    streams = []
    for n in range(3):
        await server.create(f"s{n}")
        streams.append(await server.open(f"s{n}"))
    runner.interrupt = streams[1].detach
    answers = [stream.submit(step_message(1, float(n))) for n, stream in enumerate(streams)]

    async with serving(server):
        assert [last(await answer) for answer in answers] == [0.0, 1.0, 2.0]  # once begun, a commit goes its way
        assert [last(await streams[n].submit(step_message(2, 1.0))) for n in (0, 2)] == [1.0, 3.0]
        assert server.engine.statistics().waiting_steps == 0


async def test_a_client_whose_name_would_not_fit_a_record_is_refused_alone() -> None:
    server = memory_server()
    async with serving(server):
        key = await server.create("s")
        with pytest.raises(InvalidField):
            await server.step(key, 1, 1.0, client_id="c" * 129)

        assert await server.step(key, 1, 1.0) == 1.0


async def test_a_chunk_that_can_never_fit_the_line_is_too_long() -> None:
    server = memory_server(limits=Limits(waiting_steps=3))
    async with serving(server):
        key = await server.create("s")
        with pytest.raises(TooLong):
            await server.step(key, 1, 1.0, 1.0, 1.0, 1.0, count=4)


async def test_a_stream_that_repeats_a_unary_step_outlives_that_calls_cancellation() -> None:
    """The stream sends what a unary call has sent before; the call is cancelled, and the stream's step runs instead."""
    server = memory_server()  # not running yet, so that steps wait
    key = await server.create("s")
    stream = await server.open("s")
    call = asyncio.create_task(server.step(key, 1, 5.0))
    while not server.engine.statistics().waiting_steps:  # noqa: ASYNC110  # turns of the loop are what is waited for
        await asyncio.sleep(0)
    repeat = asyncio.ensure_future(stream.submit(step_message(1, 5.0)))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)

    async with serving(server):
        assert last(await repeat) == 5.0
        assert not stream.ended.done()
