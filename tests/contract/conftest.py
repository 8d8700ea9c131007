"""Every store that must obey the law, under a clock that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from service.store.base import Durability, Store
from service.store.lmdb import LmdbStore
from service.store.memory import MemoryStore

from .clocks import HandClock

Open = Callable[[], Store]
KINDS = ("memory", "lmdb-process", "lmdb-disk")


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture(params=KINDS)
def open_store(request: pytest.FixtureRequest, tmp_path: Path, clock: HandClock) -> Open:
    """Opens the same place each time, where the store has one."""
    match request.param:
        case "memory":
            return lambda: MemoryStore(clock)
        case "lmdb-process":
            return lambda: LmdbStore.at(tmp_path / "store", Durability.PROCESS, clock=clock)
        case _:
            return lambda: LmdbStore.at(tmp_path / "store", Durability.DISK, clock=clock)


@pytest.fixture
async def store(open_store: Open) -> AsyncIterator[Store]:
    store = open_store()
    yield store
    await store.close()


@pytest.fixture
def reopen(open_store: Open, store: Store) -> Callable[[], object]:
    """Closes the store and opens its place again; memory has none."""
    if isinstance(store, MemoryStore):
        pytest.skip("memory does not outlive its store")

    async def closed_and_opened() -> Store:
        await store.close()
        return open_store()

    return closed_and_opened
