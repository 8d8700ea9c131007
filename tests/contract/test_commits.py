"""The judge of every store, on commits and the answers that they keep."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest

from service.store.base import (
    Answer,
    Applied,
    Key,
    Lost,
    Record,
    Store,
)

from .clocks import HandClock
from .sessions import BIRTH, BORN, KEY, REBORN, born, loaded, lost, opened, step_after, stepped

# --- committing -------------------------------------------------------------------------------------------------------


async def test_a_commit_changes_head_state_and_answer_together(store: Store, clock: HandClock) -> None:
    head = await born(store)
    clock.advance(7)
    commit = replace(step_after(head), client_id="other", fingerprint="gpu")

    (outcome,) = await store.commit([commit])

    after = replace(
        head,
        committed_step=1,
        last_writer="other",
        fingerprint="gpu",
        last_use_time=clock.now(),
        state_bytes=len(b"state 1"),
    )
    assert outcome == Applied(after)
    assert await store.load(KEY) == Record(after, b"state 1")
    assert await store.answers(KEY, BORN, 1) == [commit.answer]


@pytest.mark.parametrize(
    "change",
    [
        {"incarnation": REBORN},
        {"epoch": 0},
        {"epoch": 2},
        {"answer": Answer(1, 1, b"", b"")},
        {"answer": Answer(3, 1, b"", b"")},
        {"answer": Answer(1, 2, b"", b"")},
        {"key": Key("ada", "another")},
        {"key": Key("bob", KEY.session_id)},
    ],
    ids=repr,
)
async def test_a_commit_that_does_not_follow_the_head_is_lost(store: Store, change: dict[str, object]) -> None:
    """Incarnation, epoch and step are compared each by itself: with the other two right, the wrong one is seen."""
    await stepped(store, await born(store), 1)
    head = (await opened(store)).after
    commit = replace(step_after(head), **change)

    found = await lost(store, commit)

    assert found == (head if commit.key == KEY else None)
    assert await store.load(KEY) == Record(head, b"state 1")
    assert len(await store.answers(KEY, BORN, 0)) == 1


async def test_a_commit_that_looks_like_the_head_is_still_lost(store: Store) -> None:
    """The very same commit again, to the byte, is not applied and does not pass for applied."""
    head = await born(store)
    commit = step_after(head)
    after = await stepped(store, head, 1)

    assert await lost(store, commit) == after
    assert await store.load(KEY) == Record(after, b"state 1")


async def test_a_commit_under_an_old_epoch_is_lost_to_the_newer_open(store: Store) -> None:
    head = await born(store)
    after = (await opened(store, client="newcomer")).after

    assert await lost(store, step_after(head)) == after


async def test_a_late_commit_does_not_reach_the_session_that_took_the_id(store: Store) -> None:
    """Epoch and step are as the late commit expects them; only the incarnation tells."""
    late = step_after(await born(store))
    await store.delete(KEY, None)
    stone = await store.head(KEY)
    assert await lost(store, late) == stone

    reborn = await store.replace(KEY, BIRTH, REBORN, b"fresh", "client")

    assert isinstance(reborn, Applied)
    assert await lost(store, late) == reborn.head
    assert await store.load(KEY) == Record(reborn.head, b"fresh")


async def test_a_lost_commit_does_not_roll_back_its_neighbours(store: Store) -> None:
    keys = [Key("ada", f"s{number}") for number in range(5)]
    heads = [await born(store, key, b"%d" % number) for number, key in enumerate(keys)]
    heads[2] = replace(heads[2], epoch=9)

    outcomes = await store.commit([step_after(head, key=key) for head, key in zip(heads, keys, strict=True)])

    assert [type(outcome) for outcome in outcomes] == [Applied, Applied, Lost, Applied, Applied]
    states = [(await loaded(store, key)).state for key in keys]
    assert states == [b"state 1", b"state 1", b"state 0", b"state 1", b"state 1"]


async def test_no_commits_have_no_outcomes(store: Store) -> None:
    assert await store.commit([]) == []


async def test_a_state_may_change_its_size(store: Store) -> None:
    head = await born(store)
    for text in ("x" * 20_000, "", "x" * 3_000_000):
        (outcome,) = await store.commit([step_after(head, text=text)])
        assert isinstance(outcome, Applied)
        head = outcome.head
        assert await store.load(KEY) == Record(head, step_after(head, steps=0, text=text).state)
        assert head.state_bytes == len((await loaded(store)).state)


async def test_commits_of_many_tasks_are_each_applied_once(store: Store) -> None:
    """Each session has three writers that all try every step: each step is applied for exactly one of them."""
    keys = [Key("ada", f"s{number}") for number in range(8)]
    for key in keys:
        await born(store, key)
    applied: list[tuple[Key, int]] = []

    async def writer(key: Key) -> None:
        for _ in range(10):
            head = (await loaded(store, key)).head
            (outcome,) = await store.commit([step_after(head, key=key)])
            if isinstance(outcome, Applied):
                applied.append((key, outcome.head.committed_step))

    await asyncio.gather(*(writer(key) for key in keys for _ in range(3)))

    assert len(applied) == len(set(applied))
    for key in keys:
        record = await loaded(store, key)
        steps = sorted(step for each, step in applied if each == key)
        assert steps == list(range(1, record.head.committed_step + 1))
        assert record.state == b"state %d" % steps[-1]
        assert [answer.last_step for answer in await store.answers(key, BORN, 0)] == steps


async def test_a_cancelled_caller_leaves_the_store_as_it_was_or_with_the_commit(store: Store) -> None:
    head = await born(store)
    task = asyncio.create_task(store.commit([step_after(head)]))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await store.renew(KEY, BORN, 0)  # a write goes after the writes that were asked for before

    record = await loaded(store)
    assert (record.head.committed_step, record.state) in [(0, b"state 0"), (1, b"state 1")]
    await stepped(store, record.head, 1)


# --- answers ----------------------------------------------------------------------------------------------------------


async def test_answers_are_read_from_a_step_on_and_a_chunk_as_a_whole(store: Store) -> None:
    await stepped(store, await born(store), 1, 1, 3, 1)  # 1, 2, 3-5, 6

    async def firsts(from_step: int) -> list[int]:
        return [answer.first_step for answer in await store.answers(KEY, BORN, from_step)]

    assert await firsts(0) == await firsts(1) == [1, 2, 3, 6]
    assert await firsts(3) == await firsts(4) == await firsts(5) == [3, 6]
    assert await firsts(6) == [6]
    assert await firsts(7) == []


async def test_answers_come_in_the_order_of_steps_beyond_one_byte(store: Store) -> None:
    await stepped(store, await born(store), 250, *[1] * 10)

    assert [answer.last_step for answer in await store.answers(KEY, BORN, 250)] == list(range(250, 261))


async def test_another_incarnation_has_no_answers(store: Store) -> None:
    await stepped(store, await born(store), 1)

    assert await store.answers(KEY, REBORN, 1) == []


async def test_a_commit_releases_the_answers_that_it_acknowledges(store: Store) -> None:
    head = await stepped(store, await born(store), 1, 1, 3, 1)  # 1, 2, 3-5, 6
    assert head.oldest_kept_answer == 1

    head = await stepped(store, head, 1, release_through=2)
    assert head.oldest_kept_answer == 3
    head = await stepped(store, head, 1, release_through=4)  # inside the chunk: it stays whole
    assert head.oldest_kept_answer == 3
    assert [answer.first_step for answer in await store.answers(KEY, BORN, 0)] == [3, 6, 7, 8]
    head = await stepped(store, head, 1, release_through=8)
    assert head.oldest_kept_answer == 9
    assert [answer.first_step for answer in await store.answers(KEY, BORN, 0)] == [9]


async def test_a_commit_never_releases_its_own_answer(store: Store) -> None:
    head = await stepped(store, await born(store), 1, 1, release_through=10)

    assert head.oldest_kept_answer == 2
    assert [answer.first_step for answer in await store.answers(KEY, BORN, 0)] == [2]


async def test_a_lost_commit_releases_nothing(store: Store) -> None:
    head = await stepped(store, await born(store), 1, 1)
    await opened(store)

    await lost(store, step_after(head, release_through=2))

    assert len(await store.answers(KEY, BORN, 0)) == 2


async def test_any_history_is_the_one_that_a_list_would_keep(store: Store) -> None:
    """Random chunks and releases against the plainest model of them."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    head, kept = await born(store), []
    for _ in range(60):
        through = chance.randint(0, head.committed_step)
        commit = step_after(head, chance.randint(1, 4), release_through=through)
        (outcome,) = await store.commit([commit])
        assert isinstance(outcome, Applied)
        head = outcome.head
        kept = [answer for answer in kept if answer.last_step > through] + [commit.answer]
        from_step = chance.randint(0, head.committed_step + 1)

        assert head.oldest_kept_answer == kept[0].first_step
        assert await store.answers(KEY, BORN, from_step) == [each for each in kept if each.last_step >= from_step]


async def test_one_answer_is_found_by_any_of_its_steps(store: Store) -> None:
    head = await stepped(store, await born(store), 1)
    chunk = replace(step_after(head), answer=Answer(2, 3, b"hash", b"chunk"))
    await store.commit([chunk])

    for step in (2, 3, 4):
        assert await store.answer(KEY, BORN, step) == chunk.answer
    assert await store.answer(KEY, BORN, 5) is None
    assert await store.answer(KEY, REBORN, 2) is None
    assert await store.answer(Key("ada", "another"), BORN, 2) is None


async def test_a_released_answer_is_not_found(store: Store) -> None:
    head = await stepped(store, await born(store), 1)
    await store.commit([replace(step_after(head), release_through=1)])

    assert await store.answer(KEY, BORN, 1) is None
