"""Short traces of streams that are opened, overtaken and resumed; each goes wrong without one rule of the protocol.

The stage is that of test_traces.py.
"""

from __future__ import annotations

import asyncio

import pytest

from service.errors import (
    AnswerReleased,
    SessionNotFound,
    SessionReplaced,
    SessionTakenOver,
    StoreUnavailable,
)
from service.sessions.lifecycle import CreateSpec
from tests.service.fakes import serving, step_message
from tests.service.two_servers import committed_step, two_servers, until, value


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
