"""Short traces, each of which goes wrong without one rule of the step protocol.

Two servers share a store here, clients are calls and streams, and gates hold a commit where a crash or a lost message
would. The names say what happens; docs/promises.md says which promise it would break.
"""

from __future__ import annotations

import asyncio

import pytest

from service.errors import (
    AnswerReleased,
    DeadlineExceeded,
    OutcomeUnknown,
    SessionReplaced,
    SessionTakenOver,
    StateRegressed,
    StepGap,
    StepPayloadMismatch,
    StoreFull,
    StoreUnavailable,
)
from service.store.base import Key
from tests.service.fakes import OWNER, serving, step_message
from tests.service.two_servers import committed_step, two_servers, until, value


async def test_a_step_at_a_stale_server_is_never_taken_for_one_already_there() -> None:
    """z at S0, z at S1, z at S0, whose copy is stale: the third is step 3, because only an applied commit counts."""
    s0, s1, _ = two_servers()
    async with serving(s0, s1):
        key = await s0.create("s")

        assert [await s0.step(key, 1, 1.0), await s1.step(key, 2, 1.0), await s0.step(key, 3, 1.0)] == [1.0, 2.0, 3.0]


async def test_a_commit_whose_reply_is_lost_is_unknown_and_is_settled_by_a_repeat() -> None:
    s0, _, store = two_servers()
    async with serving(s0):
        key = await s0.create("s")
        store.lose_reply("commit")
        with pytest.raises(OutcomeUnknown):
            await s0.step(key, 1, 5.0)

        answer, _ = await s0.calls.step(key, None, step_message(1, 5.0), "c")
        assert (answer.replayed, value(answer)) == (True, 5.0)
        assert store.calls["commit"] == 1  # never resent by the server
        assert await s0.step(key, 2, 1.0) == 6.0


async def test_a_commit_that_was_not_carried_out_is_unknown_too_and_a_repeat_carries_it_out() -> None:
    s0, _, store = two_servers()
    async with serving(s0):
        key = await s0.create("s")
        store.fail("commit")
        with pytest.raises(OutcomeUnknown):
            await s0.step(key, 1, 5.0)

        assert await s0.step(key, 1, 5.0) == 5.0


async def test_a_stream_whose_commit_is_unknown_ends_and_the_copy_is_forgotten() -> None:
    s0, _, store = two_servers()
    async with serving(s0):
        key = await s0.create("s")
        stream = await s0.open("s")
        store.lose_reply("commit")
        first, second = stream.submit(step_message(1, 1.0)), stream.submit(step_message(2, 1.0))

        with pytest.raises(StoreUnavailable):
            await first
        with pytest.raises(StoreUnavailable):
            await second
        assert isinstance(stream.ended.result(), StoreUnavailable)
        assert await s0.step(key, 2, 1.0) == 2.0  # the committed first step is found


async def test_another_input_under_a_number_in_flight_is_a_mismatch_and_not_that_steps_answer() -> None:
    """1 = x in flight on a stream, 1 = y by a unary call to the same server."""
    s0, _, store = two_servers()
    async with serving(s0):
        key = await s0.create("s")
        stream = await s0.open("s")
        gate = store.hold("commit")
        x = stream.submit(step_message(1, 1.0))
        await gate.wait_reached()
        y = asyncio.create_task(s0.step(key, 1, 2.0))
        await asyncio.sleep(0)
        gate.release()

        assert value(await x) == 1.0
        with pytest.raises(StepPayloadMismatch):
            await y


async def test_a_stale_copy_answers_no_gap() -> None:
    """Unary 1 at S0, 2 at S1, 3 at S0: the copy is made the head before any row but `accepted` is answered."""
    s0, s1, _ = two_servers()
    async with serving(s0, s1):
        key = await s0.create("s")
        await s0.step(key, 1, 1.0)
        await s1.step(key, 2, 1.0)
        await s1.step(key, 3, 1.0)

        assert await s0.step(key, 4, 1.0) == 4.0
        with pytest.raises(StepGap) as caught:
            await s0.step(key, 9, 1.0)
        assert caught.value.facts["expected_step"] == "5"


async def test_a_late_step_is_not_committed_into_a_session_that_was_created_again() -> None:
    s0, s1, _ = two_servers()
    async with serving(s0, s1):
        key = await s0.create("s")
        incarnation = (await s0.lifecycle.get(key, None)).head.incarnation
        await s0.calls.model_of(key, incarnation)  # S0 has a copy
        await s1.lifecycle.delete(key, None)
        await s1.create("s")

        with pytest.raises(SessionReplaced):
            await s0.calls.step(key, incarnation, step_message(1, 1.0), "c")
        assert await committed_step(s1, key) == 0


async def test_a_second_step_under_a_number_in_flight_mismatches_while_the_next_fails() -> None:
    """W = 3: 1 accepted, a bad message is not taken in, another 1 mismatches, and 2 is still the next."""
    s0, _, store = two_servers()
    async with serving(s0):
        await s0.create("s", window=3)
        stream = await s0.open("s")
        gate = store.hold("commit")
        first = stream.submit(step_message(1, 1.0))
        await gate.wait_reached()

        with pytest.raises(StepPayloadMismatch):
            await stream.submit(step_message(1, 2.0))
        with pytest.raises(StepGap) as caught:
            await stream.submit(step_message(3, 1.0))
        assert caught.value.facts["expected_step"] == "2"
        gate.release()
        assert value(await first) == 1.0


async def test_two_clients_share_one_window() -> None:
    s0, _, _ = two_servers()
    async with serving(s0):
        key = await s0.create("s", window=2)
        for step in (1, 2, 3):
            await s0.step(key, step, 1.0, client_id=f"c{step % 2}")

        with pytest.raises(AnswerReleased):
            await s0.step(key, 1, 1.0, client_id="c1")


async def test_a_late_delete_spares_the_next_incarnation() -> None:
    s0, s1, _ = two_servers()
    key = await s0.create("s")
    incarnation = (await s0.lifecycle.get(key, None)).head.incarnation
    await s1.lifecycle.delete(key, incarnation)
    await s1.create("s")

    with pytest.raises(SessionReplaced):
        await s0.lifecycle.delete(key, incarnation)


async def test_a_deadline_after_the_commit_began_leaves_the_step_in_flight() -> None:
    s0, _, store = two_servers()
    async with serving(s0):
        key = await s0.create("s")
        gate = store.hold("commit")
        call = asyncio.create_task(s0.calls.step(key, None, step_message(1, 5.0), "c", deadline=1.0))
        await gate.wait_reached()
        with pytest.raises(OutcomeUnknown) as caught:
            await call
        assert caught.value.cause == "deadline"
        repeat = asyncio.create_task(s0.calls.step(key, None, step_message(1, 5.0), "c"))
        await asyncio.sleep(0)
        gate.release()
        answer, _ = await repeat

        assert (value(answer), store.calls["commit"]) == (5.0, 1)


async def test_a_deadline_before_the_commit_began_changes_nothing() -> None:
    s0, _, _ = two_servers()
    key = await s0.create("s")  # the engine does not run yet, so the step waits
    with pytest.raises(DeadlineExceeded):
        await s0.calls.step(key, None, step_message(1, 5.0), "c", deadline=0.01)

    async with serving(s0):
        assert await s0.step(key, 1, 2.0) == 2.0


async def test_a_cancelled_call_takes_its_waiting_step_along() -> None:
    s0, _, _ = two_servers()
    key = await s0.create("s")
    call = asyncio.create_task(s0.calls.step(key, None, step_message(1, 5.0), "c"))
    await until(lambda: s0.engine.statistics().waiting_steps == 1)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)

    assert s0.engine.statistics().waiting_steps == 0
    async with serving(s0):
        assert await s0.step(key, 1, 2.0) == 2.0


async def test_a_unary_step_queues_behind_a_stream_and_then_ends_it() -> None:
    s0, _, store = two_servers()
    async with serving(s0):
        key = await s0.create("s")
        stream = await s0.open("s", "c0")
        gate = store.hold("commit")
        streamed = stream.submit(step_message(1, 1.0))
        await gate.wait_reached()
        unary = asyncio.create_task(s0.step(key, 2, 1.0, client_id="c1"))
        await until(lambda: s0.engine.statistics().waiting_steps == 2)
        gate.release()

        assert (value(await streamed), await unary) == (1.0, 2.0)
        assert isinstance(stream.ended.result(), SessionTakenOver)


async def test_a_unary_race_at_two_servers_has_one_winner_and_the_loser_reads_the_table_again() -> None:
    s0, s1, store = two_servers()
    async with serving(s0, s1):
        key = await s0.create("s")
        gate = store.hold("commit")
        slow = asyncio.create_task(s0.step(key, 1, 1.0))
        await gate.wait_reached()
        assert await s1.step(key, 1, 2.0) == 2.0
        gate.release()

        with pytest.raises(StepPayloadMismatch):
            await slow


async def test_the_same_step_at_two_servers_is_committed_once_and_answered_twice() -> None:
    s0, s1, store = two_servers()
    async with serving(s0, s1):
        key = await s0.create("s")
        gate = store.hold("commit")
        slow = asyncio.create_task(s0.step(key, 1, 2.0))
        await gate.wait_reached()
        fast = await s1.step(key, 1, 2.0)
        gate.release()

        assert (fast, await slow) == (2.0, 2.0)
        assert await committed_step(s0, key) == 1


async def test_a_full_store_takes_nothing_and_says_so() -> None:
    s0, _, store = two_servers()
    async with serving(s0):
        key = await s0.create("s")
        store.fail("commit", error=StoreFull("no space"))
        with pytest.raises(StoreFull):
            await s0.step(key, 1, 1.0)

        assert await s0.step(key, 1, 1.0) == 1.0


async def test_a_store_that_went_back_in_time_is_noticed_at_the_next_commit() -> None:
    s0, s1, _ = two_servers()
    async with serving(s0, s1):
        await s0.create("s")
        await s1.open("s")
        stream = await s0.open("s")
        live = s0.live.peek(Key(OWNER, "s"))
        assert live is not None
        live.head = type(live.head)(
            **{name: getattr(live.head, name) for name in live.head.__slots__} | {"epoch": live.head.epoch + 1}
        )

        with pytest.raises(StateRegressed):
            await stream.submit(step_message(1, 1.0))
