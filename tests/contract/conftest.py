"""Every store that must obey the law, under a clock that the test moves."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from service.store.base import Durability, Store
from service.store.lmdb import LmdbStore
from service.store.memory import MemoryStore
from service.store.redis import RedisStore
from tests.ports import free_port
from tests.redis_process import RedisProcess

from .clocks import HandClock

Open = Callable[[], Awaitable[Store]]
KINDS = ("memory", "lmdb-process", "lmdb-disk", "redis-disk", "redis-cluster-process")


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    """It syncs its log, in memory where there is such a place: what a test judges is not the disk."""
    memory = Path("/dev/shm")
    folder = tmp_path_factory.mktemp("redis")
    with (
        TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else folder) as place,
        RedisProcess(Path(place), "--appendfsync", "always") as server,
    ):
        yield server


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    """One node that has all slots, and still refuses a script whose keys are not in one."""
    with RedisProcess(
        tmp_path_factory.mktemp("cluster"), "--cluster-enabled", "yes", "--cluster-port", str(free_port())
    ) as server:
        assert server.say("CLUSTER", "ADDSLOTSRANGE", "0", "16383") == "+OK"
        while server.say("GET", "any") != "$-1":
            pass  # it takes a moment to find that it is whole
        yield server


@pytest.fixture(params=KINDS)
def open_store(request: pytest.FixtureRequest, tmp_path: Path, clock: HandClock) -> Open:
    """Opens the same place each time, where the store has one."""
    kind: str = request.param
    durability = Durability[kind.rpartition("-")[2].upper()]
    if kind.startswith("redis"):
        server: RedisProcess = request.getfixturevalue("redis_cluster" if "cluster" in kind else "redis_server")
        assert server.say("FLUSHALL") == "+OK"

    async def opened() -> Store:
        if kind == "memory":
            return MemoryStore(clock)
        if kind.startswith("lmdb"):
            return LmdbStore.at(tmp_path / "store", durability, clock=clock)
        return await RedisStore.at(server.url, durability, clock=clock)

    return opened


@pytest.fixture
async def store(open_store: Open) -> AsyncIterator[Store]:
    store = await open_store()
    yield store
    await store.close()


@pytest.fixture
def reopen(open_store: Open, store: Store) -> Callable[[], object]:
    """Closes the store and opens its place again; memory has none."""
    if isinstance(store, MemoryStore):
        pytest.skip("memory does not outlive its store")

    async def closed_and_opened() -> Store:
        await store.close()
        return await open_store()

    return closed_and_opened
