"""The judge of every store, on renewals, deletes and expiry."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from service.store.base import (
    TOMBSTONE_TTL,
    Applied,
    Deleted,
    Head,
    Key,
    Lost,
    Record,
    Store,
    Tombstone,
)

from .clocks import HandClock
from .sessions import BIRTH, BORN, KEY, REBORN, born, opened, stepped


async def test_a_renewal_moves_the_last_use_alone(store: Store, clock: HandClock) -> None:
    await stepped(store, await born(store), 1)
    head = (await opened(store)).after
    clock.advance(50)

    assert await store.renew(KEY, BORN, 1)
    assert await store.load(KEY) == Record(replace(head, last_use_time=clock.now()), b"state 1")


@pytest.mark.parametrize(("incarnation", "epoch"), [(BORN, 0), (BORN, 2), (REBORN, 1)])
async def test_a_fenced_stream_renews_nothing(store: Store, clock: HandClock, incarnation: bytes, epoch: int) -> None:
    await born(store)
    head = (await opened(store)).after
    clock.advance(50)

    assert not await store.renew(KEY, incarnation, epoch)
    assert await store.head(KEY) == head


async def test_a_delete_leaves_a_tombstone_and_nothing_else(store: Store, clock: HandClock) -> None:
    head = await stepped(store, await born(store), 1, 2)
    clock.advance(3)

    assert await store.delete(KEY, BORN) == Deleted(head)

    stone = Tombstone(BORN, BIRTH.request_hash, expired=False, time=clock.now())
    assert await store.head(KEY) == await store.load(KEY) == stone
    assert await store.answers(KEY, BORN, 0) == []
    assert await store.list("ada", "", 10) == []
    assert await store.delete(KEY, None) == Lost(stone)
    assert not await store.renew(KEY, BORN, 0)


async def test_a_late_delete_does_not_reach_the_session_that_took_the_id(store: Store) -> None:
    """R1"""
    await born(store)
    await store.delete(KEY, BORN)
    reborn = await store.replace(KEY, BIRTH, REBORN, b"fresh", "client")
    assert isinstance(reborn, Applied)

    assert await store.delete(KEY, BORN) == Lost(reborn.head)
    assert await store.load(KEY) == Record(reborn.head, b"fresh")


async def test_a_session_expires_when_its_time_has_passed_and_not_before(store: Store, clock: HandClock) -> None:
    await stepped(store, await born(store), 1)
    clock.advance(BIRTH.ttl - 1)
    assert await store.expire(10) == 0
    assert isinstance(await store.head(KEY), Head)
    clock.advance(1)

    assert await store.expire(10) == 1

    assert await store.head(KEY) == Tombstone(BORN, BIRTH.request_hash, expired=True, time=clock.now())
    assert await store.expire(10) == 0
    assert await store.list("ada", "", 10) == []


@pytest.mark.parametrize("use", ["open", "commit", "renew"])
async def test_use_postpones_the_end(store: Store, clock: HandClock, use: str) -> None:
    head = await born(store)
    clock.advance(BIRTH.ttl - 1)
    match use:
        case "open":
            await opened(store)
        case "commit":
            await stepped(store, head, 1)
        case _:
            assert await store.renew(KEY, BORN, 0)
    for _ in range(2):  # asking twice does not bring it nearer
        clock.advance(BIRTH.ttl / 2 - 1)
        assert await store.expire(10) == 0
    clock.advance(2)

    assert await store.expire(10) == 1


async def test_expiry_and_a_renewal_at_once_leave_one_of_two_truths(store: Store, clock: HandClock) -> None:
    """The session is renewed and lives, or it has expired and the renewal says so."""
    keys = [Key("ada", f"s{number}") for number in range(20)]
    for key in keys:
        await born(store, key)
    clock.advance(BIRTH.ttl)

    expired, *renewed = await asyncio.gather(
        *(store.renew(key, BORN, 0) for key in keys[:10]),
        store.expire(20),
        *(store.renew(k, BORN, 0) for k in keys[10:]),
    )
    outcomes = [expired, *renewed]
    count = outcomes.pop(10)

    for key, lives in zip(keys, outcomes, strict=True):
        assert isinstance(await store.head(key), Head if lives else Tombstone)
    assert count == outcomes.count(False)


async def test_expiry_keeps_its_limit_and_takes_the_oldest_first(store: Store, clock: HandClock) -> None:
    for number in range(7):
        await born(store, Key("ada", f"s{number}"))
        clock.advance(1)
    clock.advance(BIRTH.ttl)

    assert await store.expire(3) == 3
    assert [session_id for session_id, _ in await store.list("ada", "", 10)] == ["s3", "s4", "s5", "s6"]
    assert await store.expire(3) == 3
    assert await store.expire(3) == 1
    assert await store.expire(0) == 0


async def test_many_sessions_in_use_do_not_hide_one_that_is_not(store: Store, clock: HandClock) -> None:
    idle = Key("ada", "idle")
    busy = [Key("ada", f"s{number}") for number in range(600)]
    await asyncio.gather(*(born(store, key) for key in busy))
    clock.advance(1)
    await born(store, idle)
    clock.advance(BIRTH.ttl - 2)
    assert all(await asyncio.gather(*(store.renew(key, BORN, 0) for key in busy)))
    clock.advance(2)

    assert await store.expire(10) == 1
    assert isinstance(await store.head(idle), Tombstone)


async def test_a_long_expiry_lets_others_go_on(store: Store, clock: HandClock) -> None:
    await asyncio.gather(*(born(store, Key("ada", f"s{number}")) for number in range(600)))
    clock.advance(BIRTH.ttl)
    expiry = asyncio.create_task(store.expire(600))
    turns = 0
    while not expiry.done():
        await asyncio.sleep(0)
        turns += 1

    assert await expiry == 600
    assert turns > 2


async def test_a_tombstone_goes_away_in_time(store: Store, clock: HandClock) -> None:
    await born(store)
    await store.delete(KEY, None)
    clock.advance(TOMBSTONE_TTL - 1)
    await store.expire(10)
    assert isinstance(await store.head(KEY), Tombstone)
    clock.advance(1)

    assert await store.expire(10) == 0

    assert await store.head(KEY) is None
    await born(store, incarnation=REBORN)
