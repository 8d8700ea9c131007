"""The judge of every store, on sessions that come from another place, and on who owns any."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from service.store.base import Answer, Applied, Head, Key, Lost, Record, Snapshot, Store, Tombstone

from .clocks import HandClock
from .sessions import BIRTH, BORN, KEY, REBORN, born, lost, step_after, stepped

ANSWERS = (Answer(4, 1, b"hash 4", b"answer 4"), Answer(5, 3, b"hash 7", b"answer 7"))
SNAPSHOT = Snapshot(
    replace(BIRTH, origin_step=2, keep_every=2, keep_most=3),
    committed_step=7,
    fingerprint="cpu",
    state=b"state 7",
    answers=ANSWERS,
    kept_states={2: b"state 2", 4: b"state 4"},
)


async def restored(store: Store, key: Key = KEY, snapshot: Snapshot = SNAPSHOT, over: Tombstone | None = None) -> Head:
    outcome = await store.restore(key, snapshot, BORN, over)
    assert isinstance(outcome, Applied)
    return outcome.head


async def test_a_restored_session_is_all_that_its_snapshot_says(store: Store, clock: HandClock) -> None:
    head = await restored(store)

    assert await store.load(KEY) == Record(head, b"state 7")
    assert (head.incarnation, head.epoch, head.committed_step, head.oldest_kept_answer) == (BORN, 0, 7, 4)
    assert (head.last_writer, head.fingerprint, head.kept_steps) == ("", "cpu", (2, 4))
    assert (head.create_time, head.last_use_time, head.state_bytes) == (clock.now(), clock.now(), len(b"state 7"))
    assert head.birth == SNAPSHOT.birth
    assert await store.answers(KEY, BORN, 0) == list(ANSWERS)
    assert await store.answer(KEY, BORN, 6) == ANSWERS[1]
    assert [await store.kept_state(KEY, BORN, step) for step in (2, 4, 7)] == [b"state 2", b"state 4", None]
    assert await store.list("ada", "", 10) == [("story/1", head)]


async def test_a_restored_session_goes_on_like_any_other(store: Store, clock: HandClock) -> None:
    head = await stepped(store, await restored(store), 1, release_through=4)

    assert (head.committed_step, head.oldest_kept_answer, head.kept_steps) == (8, 5, (2, 4))
    assert await lost(store, step_after(replace(head, committed_step=6))) == head
    clock.advance(BIRTH.ttl)
    assert await store.expire(10) == 1
    assert isinstance(await store.head(KEY), Tombstone)
    assert await store.kept_state(KEY, BORN, 2) is None


async def test_a_session_without_a_step_can_be_restored(store: Store) -> None:
    head = await restored(store, snapshot=Snapshot(BIRTH, 0, "", b"state 0"))

    assert (head.committed_step, head.oldest_kept_answer, head.kept_steps) == (0, 1, ())
    assert (await stepped(store, head, 1)).committed_step == 1


async def test_a_restored_session_survives_its_store(store: Store, reopen: Callable[[], Awaitable[Store]]) -> None:
    head = await restored(store)

    again = await reopen()

    assert await again.load(KEY) == Record(head, b"state 7")
    assert await again.answers(KEY, BORN, 0) == list(ANSWERS)
    assert await again.kept_state(KEY, BORN, 4) == b"state 4"
    await again.close()


async def test_nothing_is_restored_over_a_session(store: Store) -> None:
    head = await stepped(store, await born(store), 1)

    assert await store.restore(KEY, SNAPSHOT, REBORN, None) == Lost(head)
    assert await store.load(KEY) == Record(head, b"state 1")
    assert len(await store.answers(KEY, BORN, 0)) == 1


async def test_only_the_tombstone_that_was_named_gives_way(store: Store, clock: HandClock) -> None:
    await born(store)
    await store.delete(KEY, None)
    stone = await store.head(KEY)
    assert isinstance(stone, Tombstone)

    assert await store.restore(KEY, SNAPSHOT, REBORN, None) == Lost(stone)
    assert await store.restore(KEY, SNAPSHOT, REBORN, replace(stone, incarnation=REBORN)) == Lost(stone)
    head = await restored(store, over=stone)
    assert await store.head(KEY) == head
    assert await store.restore(KEY, SNAPSHOT, REBORN, stone) == Lost(head)


async def test_a_deleted_session_leaves_no_answer_and_no_kept_state(store: Store) -> None:
    await restored(store)

    await store.delete(KEY, BORN)
    await store.replace(KEY, BIRTH, BORN, b"fresh", "")  # the same incarnation, so that nothing hides behind another

    assert await store.answers(KEY, BORN, 0) == []
    assert await store.kept_state(KEY, BORN, 2) is None


@pytest.mark.parametrize("limit", [1, 2, 10])
async def test_owners_of_live_sessions_are_read_in_order(store: Store, limit: int) -> None:
    for owner in ("ada", "", "bob", "ada", "ad", "zoë", "zoe"):  # who is not asked has no name
        await store.create(Key(owner, f"{owner}/1"), BIRTH, BORN, b"state", "")
    await store.create(Key("gone", "s"), BIRTH, BORN, b"state", "")
    await store.delete(Key("gone", "s"), None)

    found: list[str] = []
    while page := await store.owners(found[-1] if found else None, limit):
        found += page
        assert len(page) <= limit

    assert found == ["", "ad", "ada", "bob", "zoe", "zoë"]


async def test_there_are_no_owners_without_sessions(store: Store) -> None:
    assert await store.owners(None, 10) == []
