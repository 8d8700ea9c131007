"""Short traces, each of which goes wrong without one rule of the step protocol.

Two servers share a store here, clients are calls and streams, and gates hold a commit where a crash or a lost message
would. The names say what happens; docs/promises.md says which promise it would break.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from service.errors import (
    AnswerReleased,
    DeadlineExceeded,
    OutcomeUnknown,
    SessionNotFound,
    SessionReplaced,
    SessionTakenOver,
    StateRegressed,
    StepGap,
    StepPayloadMismatch,
    StoreFull,
    StoreUnavailable,
)
from service.sessions.lifecycle import CreateSpec
from service.sessions.messages import StepAnswer
from service.store.base import Key
from service.store.failing import FailingStore
from service.store.memory import MemoryStore
from tests.service.fakes import OWNER, Server, serving, step_message


def value(answer: StepAnswer) -> float:
    return float(answer.outputs["y"].reshape(-1)[-1])


def two_servers() -> tuple[Server, Server, FailingStore]:
    """Two servers on one store, of which the first sees the faults."""
    inner = MemoryStore()
    failing = FailingStore(inner)
    return Server(failing), Server(inner), failing


async def until(condition: Callable[[], bool]) -> None:
    """Lets the event loop turn until something in it has happened."""
    while not condition():  # noqa: ASYNC110  # it is the loop's turns that are waited for
        await asyncio.sleep(0)


async def committed_step(server: Server, key: Key) -> int:
    return (await server.lifecycle.get(key, None)).head.committed_step


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


async def test_opens_at_two_servers_never_share_an_epoch_and_commits_do_not_starve_them() -> None:
    s0, s1, _ = two_servers()
    async with serving(s0, s1):
        await s0.create("s")
        old = await s0.open("s", "c0")

        async def keep_committing() -> None:
            step = 0
            while not old.ended.done():
                step += 1
                await asyncio.gather(old.submit(step_message(step, 1.0)), return_exceptions=True)

        busy = asyncio.create_task(keep_committing())
        async with asyncio.timeout(20):
            streams = await asyncio.gather(s0.open("s", "c1"), s1.open("s", "c2"))
            await busy

        assert len({stream.head.epoch for stream in streams}) == 2


async def test_a_stream_that_was_overtaken_elsewhere_cannot_write() -> None:
    s0, s1, _ = two_servers()
    async with serving(s0, s1):
        key = await s0.create("s")
        old = await s0.open("s", "c0")
        new = await s1.open("s", "c1")

        with pytest.raises(SessionTakenOver):
            await old.submit(step_message(1, 1.0))
        assert await committed_step(s1, key) == 0
        assert value(await new.submit(step_message(1, 2.0))) == 2.0


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


async def test_an_open_waits_for_the_commit_in_flight_and_the_resend_is_answered() -> None:
    s0, _, store = two_servers()
    async with serving(s0):
        await s0.create("s")
        first = await s0.open("s", "c")
        gate = store.hold("commit")
        first.submit(step_message(1, 1.0))
        await gate.wait_reached()
        opening = asyncio.create_task(s0.open("s", "c", last_received_step=0))
        await until(first.ended.done)
        assert not opening.done()
        gate.release()
        second = await opening

        assert second.committed_step == 1
        assert [value(answer) for answer in second.replays] == [1.0]
        assert value(await second.submit(step_message(1, 1.0))) == 1.0


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


async def test_a_resumed_client_can_tell_anothers_step_from_its_own() -> None:
    """C0's 1 = x is lost, C1 commits 1 = y: the stored answer carries y's hash."""
    s0, _, _ = two_servers()
    async with serving(s0):
        key = await s0.create("s")
        await s0.step(key, 1, 2.0)
        stream = await s0.open("s", last_received_step=0)

        assert stream.replays[0].input_hash == step_message(1, 2.0).input_hash
        assert stream.replays[0].input_hash != step_message(1, 1.0).input_hash


async def test_a_token_older_than_the_window_is_refused_before_anybody_is_fenced() -> None:
    """W = 1: answer 1 received, token not saved, 2 committed; the application restarts from the token."""
    s0, _, _ = two_servers()
    async with serving(s0):
        key = await s0.create("s", window=1)
        stream = await s0.open("s")
        for step in (1, 2):
            await stream.submit(step_message(step, 1.0))
        with pytest.raises(AnswerReleased):
            await s0.open("s", last_received_step=0)

        assert (await s0.lifecycle.get(key, None)).head.epoch == 1
        assert value(await stream.submit(step_message(3, 1.0))) == 3.0


async def test_a_zombie_process_stops_and_its_successor_comes_back() -> None:
    s0, s1, _ = two_servers()
    async with serving(s0, s1):
        await s0.create("s")
        zombie = await s0.open("s", "a")
        successor = await s1.open("s", "b", previous_client_id="a")
        with pytest.raises(SessionTakenOver) as stopped:
            await zombie.submit(step_message(1, 1.0))
        await s0.open("s", "a")  # a late open of the zombie
        with pytest.raises(SessionTakenOver) as comes_back:
            await successor.submit(step_message(1, 1.0))

        assert (stopped.value.same_client, comes_back.value.same_client) == (False, True)


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


async def test_a_fenced_stream_does_not_write_into_the_next_incarnation_of_the_same_epoch() -> None:
    """Both incarnations are at epoch 1 and step 0: only the incarnation tells them apart."""
    s0, s1, _ = two_servers()
    async with serving(s0, s1):
        key = await s0.create("s")
        old = await s0.open("s", "c0")
        await s1.lifecycle.delete(key, None)
        await s1.create("s")
        await s1.open("s", "c1")

        with pytest.raises(SessionReplaced):
            await old.submit(step_message(1, 1.0))
        assert await committed_step(s1, key) == 0


async def test_a_deadline_after_the_commit_began_leaves_the_step_in_flight() -> None:
    s0, _, store = two_servers()
    async with serving(s0):
        key = await s0.create("s")
        gate = store.hold("commit")
        call = asyncio.create_task(s0.calls.step(key, None, step_message(1, 5.0), "c", deadline=0.02))
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


async def test_an_open_that_lost_its_reply_may_simply_be_sent_again() -> None:
    s0, _, store = two_servers()
    async with serving(s0):
        await s0.create("s")
        store.lose_reply("open")
        with pytest.raises(StoreUnavailable):
            await s0.open("s", "c")
        stream = await s0.open("s", "c")

        assert stream.head.epoch == 2
        assert value(await stream.submit(step_message(1, 1.0))) == 1.0


async def test_calls_that_come_during_an_open_wait_for_it() -> None:
    s0, _, store = two_servers()
    async with serving(s0):
        key = await s0.create("s")
        await s0.step(key, 1, 1.0)
        gate = store.hold("open")
        opening = asyncio.create_task(s0.open("s", "c"))
        await gate.wait_reached()
        call = asyncio.create_task(s0.step(key, 2, 1.0))
        await asyncio.sleep(0)
        gate.release()
        await opening

        assert await call == 2.0


async def test_an_open_does_not_reuse_a_copy_that_others_have_moved_past() -> None:
    s0, s1, _ = two_servers()
    async with serving(s0, s1):
        key = await s0.create("s")
        await s0.step(key, 1, 1.0)  # S0 has a copy at step 1
        await s1.step(key, 2, 1.0)
        stream = await s0.open("s")

        assert stream.committed_step == 2
        assert value(await stream.submit(step_message(3, 1.0))) == 3.0


async def test_a_call_that_waited_for_the_window_does_not_slip_into_an_open() -> None:
    """W = 1: unary 2 waits for 1, an open waits for 1 too; then 2 must not be written under the old epoch."""
    s0, _, store = two_servers()
    async with serving(s0):
        key = await s0.create("s", window=1)
        first = await s0.open("s", "c0")
        commit = store.hold("commit")
        first.submit(step_message(1, 1.0))
        await commit.wait_reached()
        call = asyncio.create_task(s0.step(key, 2, 1.0))
        await asyncio.sleep(0)
        bump = store.hold_reply("open")
        opening = asyncio.create_task(s0.open("s", "c1"))
        await until(first.ended.done)
        commit.release()
        await bump.wait_reached()
        for _ in range(50):  # turns of the loop, for a call that would not wait
            await asyncio.sleep(0)
        bump.release()
        await opening

        assert await call == 2.0


async def test_an_open_that_fails_halfway_leaves_no_copy_of_an_older_epoch() -> None:
    s0, _, store = two_servers()
    async with serving(s0):
        key = await s0.create("s")
        await s0.step(key, 1, 1.0)
        store.lose_reply("open")
        with pytest.raises(StoreUnavailable):
            await s0.open("s", "c")

        assert await s0.step(key, 2, 1.0) == 2.0  # nobody took over


async def test_an_open_judges_the_answers_as_they_are_after_the_commit_in_flight() -> None:
    """W = 2, step 4 received, step 7 in flight: once 7 is committed, the answer of 5 is released."""
    s0, _, store = two_servers()
    async with serving(s0):
        key = await s0.create("s", window=2)
        stream = await s0.open("s", "c0")
        for step in range(1, 7):
            await stream.submit(step_message(step, 1.0))
        gate = store.hold("commit")
        stream.submit(step_message(7, 1.0))
        await gate.wait_reached()
        opening = asyncio.create_task(s0.open("s", "c0", last_received_step=4))
        await until(stream.ended.done)
        gate.release()

        with pytest.raises(AnswerReleased):
            await opening
        assert (await s0.lifecycle.get(key, None)).head.epoch == 1


async def test_a_stream_hears_of_its_own_part_when_a_unary_step_finds_it_overtaken() -> None:
    """A streams at S0, B opens at S1, B's unary step at S0 is lost: A was taken over by another, B by itself."""
    s0, s1, _ = two_servers()
    async with serving(s0, s1):
        key = await s0.create("s")
        stream = await s0.open("s", "a")
        await s1.open("s", "b")
        with pytest.raises(SessionTakenOver) as lost:
            await s0.step(key, 1, 1.0, client_id="b")
        ended = stream.ended.result()

        assert isinstance(ended, SessionTakenOver)
        assert (lost.value.same_client, ended.same_client) == (True, False)


async def test_an_open_over_a_tombstone_says_what_became_of_the_session() -> None:
    s0, _, _ = two_servers()
    key = await s0.create("s")
    await s0.lifecycle.delete(key, None)
    with pytest.raises(SessionNotFound):
        await s0.open("s", last_received_step=3, create=CreateSpec(model_id="accumulator"))
