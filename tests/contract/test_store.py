"""The judge of every store: each law of `service.store.base` is a test, over each implementation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from service.errors import StoreUnavailable
from service.store.base import (
    TOMBSTONE_TTL,
    Applied,
    Head,
    Key,
    Lost,
    Opened,
    Record,
    Store,
    Tombstone,
)
from service.store.memory import MemoryStore

from .clocks import HandClock
from .sessions import BIRTH, BORN, KEY, REBORN, born, loaded, opened, step_after, stepped

# --- creating ---------------------------------------------------------------------------------------------------------


async def test_a_new_session_is_at_step_0_in_epoch_0_without_answers(store: Store, clock: HandClock) -> None:
    head = await born(store)

    assert head == Head(
        birth=BIRTH,
        incarnation=BORN,
        epoch=0,
        committed_step=0,
        oldest_kept_answer=1,
        last_writer="client",
        fingerprint="",
        create_time=clock.now(),
        last_use_time=clock.now(),
        state_bytes=len(b"state 0"),
    )
    assert await store.head(KEY) == head
    assert await store.load(KEY) == Record(head, b"state 0")
    assert await store.answers(KEY, BORN, 0) == []


async def test_where_nothing_lies_nothing_is_found(store: Store) -> None:
    assert await store.head(KEY) is None
    assert await store.load(KEY) is None
    assert await store.answers(KEY, BORN, 0) == []
    assert await store.open(KEY, BORN, "client") == Lost(None)
    assert not await store.renew(KEY, BORN, 0)
    assert await store.delete(KEY, None) == Lost(None)
    assert await store.list("ada", "", 10) == []
    assert await store.expire(10) == 0


async def test_a_create_never_replaces_a_session(store: Store) -> None:
    head = await stepped(store, await born(store), 1)

    assert await store.create(KEY, BIRTH, REBORN, b"other", "other") == Lost(head)
    assert await store.replace(KEY, BIRTH, REBORN, b"other", "other") == Lost(head)
    assert await store.load(KEY) == Record(head, b"state 1")


async def test_a_late_create_finds_the_tombstone_and_creates_nothing(store: Store) -> None:
    """Create r1, delete, create r2 with the same content, delete; then r1 comes again."""
    await born(store)
    await store.delete(KEY, BORN)
    stone = await store.head(KEY)
    assert isinstance(stone, Tombstone)

    assert await store.create(KEY, BIRTH, REBORN, b"", "client") == Lost(stone)
    assert await store.head(KEY) == stone
    assert stone.request_hash == BIRTH.request_hash


async def test_a_tombstone_gives_way_to_a_replace(store: Store, clock: HandClock) -> None:
    """A START on an id that ended begins a new incarnation; the old one's answers are gone."""
    await stepped(store, await born(store), 1, 1)
    await store.delete(KEY, None)
    clock.advance(1)

    replaced = await store.replace(KEY, BIRTH, REBORN, b"new", "client")

    assert isinstance(replaced, Applied)
    assert (replaced.head.incarnation, replaced.head.committed_step, replaced.head.epoch) == (REBORN, 0, 0)
    assert await store.load(KEY) == Record(replaced.head, b"new")
    assert await store.answers(KEY, REBORN, 0) == []
    clock.advance(TOMBSTONE_TTL - 10)  # the tombstone's time is nobody's any more
    assert await store.renew(KEY, REBORN, 0)
    clock.advance(20)
    assert await store.expire(10) == 0
    assert isinstance(await store.head(KEY), Head)


async def test_a_replace_where_nothing_lies_creates(store: Store) -> None:
    assert isinstance(await store.replace(KEY, BIRTH, BORN, b"state 0", "client"), Applied)
    assert (await loaded(store)).state == b"state 0"


async def test_sessions_of_two_owners_under_one_id_are_strangers(store: Store) -> None:
    theirs = Key("bob", KEY.session_id)
    await born(store)
    await born(store, theirs, REBORN)

    await store.delete(KEY, None)

    assert isinstance(await store.head(theirs), Head)
    assert [session_id for session_id, _ in await store.list("bob", "", 10)] == [KEY.session_id]


async def test_names_of_full_length_are_told_apart(store: Store) -> None:
    keys = [Key("o" * 63 + owner, "s" * 127 + session) for owner in "ab" for session in "ab"]
    for number, key in enumerate(keys):
        await born(store, key, b"%d" % number)

    for number, key in enumerate(keys):
        assert (await loaded(store, key)).head.incarnation == b"%d" % number


# --- opening ----------------------------------------------------------------------------------------------------------


async def test_an_open_raises_the_epoch_and_nothing_but_writer_and_use(store: Store, clock: HandClock) -> None:
    before = await stepped(store, await born(store), 1)
    clock.advance(5)

    outcome = await store.open(KEY, BORN, "newcomer")

    after = replace(before, epoch=1, last_writer="newcomer", last_use_time=clock.now())
    assert outcome == Opened(before, after)
    assert await store.load(KEY) == Record(after, b"state 1")


async def test_an_open_of_another_incarnation_fences_nobody(store: Store) -> None:
    head = await born(store)

    assert await store.open(KEY, REBORN, "newcomer") == Lost(head)
    assert await store.head(KEY) == head


async def test_an_open_of_a_deleted_session_finds_its_tombstone(store: Store) -> None:
    await born(store)
    await store.delete(KEY, BORN)

    outcome = await store.open(KEY, BORN, "newcomer")

    assert isinstance(outcome, Lost)
    assert isinstance(outcome.found, Tombstone)


async def test_opens_at_once_never_share_an_epoch_and_commits_do_not_starve_them(store: Store) -> None:
    """Twenty openers against a busy old stream."""
    head = await born(store)

    async def busy_old_stream() -> Head | Tombstone | None:
        mine = head
        while True:
            (outcome,) = await store.commit([step_after(mine)])
            if isinstance(outcome, Lost):
                return outcome.found
            assert isinstance(outcome, Applied)
            mine = outcome.head
            await asyncio.sleep(0)

    stream = asyncio.create_task(busy_old_stream())
    outcomes = await asyncio.gather(*(opened(store, client=str(number)) for number in range(20)))

    assert sorted(outcome.after.epoch for outcome in outcomes) == list(range(1, 21))
    assert all(outcome.before.epoch == outcome.after.epoch - 1 for outcome in outcomes)
    fence = await stream
    assert isinstance(fence, Head)
    assert fence.epoch > head.epoch


# --- listing ----------------------------------------------------------------------------------------------------------


async def test_a_list_pages_through_an_owners_live_sessions_in_order(store: Store) -> None:
    ids = ["a", "a/b", "B", "b", "b0", "z", "~"]
    for session_id in ids:
        await born(store, Key("ada", session_id))
    for stranger in ("ad", "adab", "bob"):
        await born(store, Key(stranger, "theirs"))
    await store.delete(Key("ada", "b0"), None)
    ordered = sorted(set(ids) - {"b0"})

    assert [each for each, _ in await store.list("ada", "", 100)] == ordered
    assert [each for each, _ in await store.list("ada", "", 2)] == ordered[:2]
    assert [each for each, _ in await store.list("ada", ordered[1], 2)] == ordered[2:4]
    assert [each for each, _ in await store.list("ada", "a/", 2)] == ["a/b", "b"]  # after an id that does not exist
    assert [each for each, _ in await store.list("ada", "b", 1)] == ["z"]  # beyond the one that was deleted
    assert await store.list("ada", "~", 2) == []
    assert await store.list("ada", "", 0) == []


async def test_a_list_shows_the_heads(store: Store) -> None:
    head = await stepped(store, await born(store), 1)

    assert await store.list("ada", "", 1) == [(KEY.session_id, head)]


# --- closing ----------------------------------------------------------------------------------------------------------


async def test_closing_waits_for_what_was_asked(store: Store) -> None:
    heads = {key: await born(store, key) for key in (Key("ada", f"s{number}") for number in range(20))}
    commits = [asyncio.ensure_future(store.commit([step_after(head, key=key)])) for key, head in heads.items()]
    await asyncio.sleep(0)

    await store.close()

    assert all(isinstance(outcome, Applied) for (outcome,) in await asyncio.gather(*commits))
    await store.close()


async def test_what_was_committed_is_there_after_opening_again(
    store: Store, reopen: Callable[[], object], clock: HandClock
) -> None:
    gone = Key("ada", "gone")
    head = await stepped(store, await born(store), 1, 3, 1, release_through=1)
    await born(store, gone)
    await store.delete(gone, None)
    before = [await store.load(KEY), await store.answers(KEY, BORN, 0), await store.head(gone)]

    again: Store = await reopen()

    assert [await again.load(KEY), await again.answers(KEY, BORN, 0), await again.head(gone)] == before
    await stepped(again, head, 1)
    clock.advance(BIRTH.ttl)
    assert await again.expire(10) == 1
    assert again.durability is store.durability
    await again.close()


async def test_a_closed_store_says_so(store: Store) -> None:
    await store.close()

    if not isinstance(store, MemoryStore):
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.head(KEY)


async def test_a_store_tells_its_level_and_its_place(store: Store, request: pytest.FixtureRequest) -> None:
    kind = request.node.callspec.params["open_store"]

    assert store.durability.name.lower() in kind
    assert store.location.startswith(kind.split("-")[0])
