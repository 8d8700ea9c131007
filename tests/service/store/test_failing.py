"""The faults of FailingStore are the ones that were asked for, and no others."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from service.errors import StoreFull, StoreUnavailable
from service.store.base import Birth, Key, Record
from service.store.failing import FailingStore
from service.store.memory import MemoryStore

KEY = Key("ada", "s")
BIRTH = Birth("m", 1, window=8, ttl=100.0, request_hash=b"r")


@pytest.fixture
def store() -> FailingStore:
    return FailingStore(MemoryStore())


async def create(store: FailingStore) -> object:
    return await store.create(KEY, BIRTH, b"i", b"state", "client")


async def test_without_faults_it_is_its_inner_store(store: FailingStore) -> None:
    await create(store)

    assert isinstance(await store.load(KEY), Record)
    assert store.calls == {"create": 1, "load": 1}


async def test_a_failed_call_is_not_carried_out(store: FailingStore) -> None:
    store.fail("create")

    with pytest.raises(StoreUnavailable):
        await create(store)

    assert await store.head(KEY) is None
    await create(store)


async def test_a_call_whose_reply_is_lost_was_carried_out(store: FailingStore) -> None:
    store.lose_reply("create")

    with pytest.raises(StoreUnavailable):
        await create(store)

    assert await store.head(KEY) is not None


async def test_the_nth_call_from_now_on_fails_with_the_error_that_was_given(store: FailingStore) -> None:
    await store.head(KEY)
    store.fail("head", nth=2, error=StoreFull("no space"))

    await store.head(KEY)
    with pytest.raises(StoreFull):
        await store.head(KEY)
    await store.head(KEY)


async def test_a_held_call_waits_before_it_is_carried_out(store: FailingStore) -> None:
    gate = store.hold("create")
    task = asyncio.create_task(create(store))
    await gate.wait_reached()
    assert await store.head(KEY) is None

    gate.release()
    await task

    assert await store.head(KEY) is not None


async def test_a_held_reply_waits_after_the_call_is_carried_out(store: FailingStore) -> None:
    gate = store.hold_reply("create")
    task = asyncio.create_task(create(store))
    await gate.wait_reached()

    assert await store.head(KEY) is not None
    assert not task.done()
    gate.release()
    await task


async def test_reading_a_kept_state_can_fail_too(store: FailingStore) -> None:
    await store.create(KEY, replace(BIRTH, origin_step=3), b"i", b"state", "client")
    store.fail("kept_state")

    with pytest.raises(StoreUnavailable):
        await store.kept_state(KEY, b"i", 3)
    assert await store.kept_state(KEY, b"i", 3) == b"state"
