"""Bytes that are flipped anywhere below a session are found or do no harm: never another number, answer or state."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from service.errors import StateCorrupt
from service.sessions.lifecycle import CreateSpec
from service.sessions.listing import Filter
from service.store.base import Durability, Key, Store
from service.store.lmdb import LmdbStore
from service.store.redis import RedisStore
from tests.redis_process import RedisProcess
from tests.service.fakes import OWNER, Server, serving, step_message
from tests.service.store.lmdb_sessions import table

FLIPS_OF_A_ROW = 12
STEPS = 6
FOUND = "found to be damaged"


@dataclass
class Rows:
    """The rows below a store: how to read them all, and how to overwrite one."""

    read: Callable[[], dict[tuple[bytes, bytes], bytes]]  # by table and key
    write: Callable[[tuple[bytes, bytes], bytes], None]


def lmdb_rows(store: LmdbStore) -> Rows:
    names = (b"heads", b"tombstones", b"states", b"answers", b"kept", b"ends")

    def read() -> dict[tuple[bytes, bytes], bytes]:
        found = {}
        for name in names:
            with table(store, name) as txn:
                found |= {(name, bytes(key)): bytes(value) for key, value in txn.cursor()}
        return found

    def write(place: tuple[bytes, bytes], value: bytes) -> None:
        with table(store, place[0]) as txn:
            txn.put(place[1], value)

    return Rows(read, write)


def redis_rows(connection: redis.Redis) -> Rows:
    def read() -> dict[tuple[bytes, bytes], bytes]:
        hashes = [key for key in connection.scan_iter() if connection.type(key) == b"hash"]
        return {(key, field): value for key in hashes for field, value in connection.hgetall(key).items()}

    return Rows(read, lambda place, value: connection.hset(place[0], place[1], value))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    with RedisProcess(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["lmdb", "redis"])
async def below(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Store, Rows]]:
    store: LmdbStore | RedisStore
    if request.param == "lmdb":
        store = LmdbStore.at(tmp_path / "store", Durability.PROCESS)
        yield store, lmdb_rows(store)
    else:
        process: RedisProcess = request.getfixturevalue("server")
        store = await RedisStore.at(process.url)
        with redis.Redis.from_url(process.url) as connection:
            yield store, redis_rows(connection)
    await store.close()


async def looked_at(store: Store) -> dict[str, object]:
    """All that can be read of the sessions, by somebody who has none of them in memory."""
    server, key = Server(store), Key(OWNER, "s")
    found: dict[str, object] = {}

    async def note(name: str, read: Callable[[], object]) -> None:
        try:
            found[name] = await read()  # type: ignore[misc]
        except StateCorrupt:
            found[name] = FOUND

    async def state(step: int | None) -> object:
        at, arrays = await server.lifecycle.read_state(key, None, step=step)
        return at, arrays["total"].tolist()

    async def gone() -> object:
        return type(await store.head(Key(OWNER, "gone"))).__name__

    async def listed() -> object:
        return [view.session_id for view in (await server.lifecycle.list(OWNER, after="", limit=9, wanted=Filter()))[0]]

    async with serving(server):
        await note("numbers", lambda: _numbers(server, key))
        await note("state", lambda: state(None))
        await note("kept state", lambda: state(4))
        await note("tombstone", gone)
        await note("list", listed)
        await note("answers", lambda: _answers(store, key))
        for step in range(3, STEPS + 1):
            await note(f"repeat of {step}", lambda step=step: server.step(key, step, float(step)))
    return found


async def _numbers(server: Server, key: Key) -> object:
    head = (await server.lifecycle.get(key, None)).head
    return head.committed_step, head.epoch, head.oldest_kept_answer, head.incarnation, head.kept_steps, head.birth


async def _answers(store: Store, key: Key) -> object:
    head = await store.head(key)
    return await store.answers(key, head.incarnation, 0)  # type: ignore[union-attr]


async def test_a_flipped_byte_is_found_or_does_no_harm(below: tuple[Store, Rows]) -> None:
    seed = time.time_ns() % 10**6
    print(f"seed {seed}")
    chance = random.Random(seed)
    store, rows = below
    server = Server(store)
    async with serving(server):
        spec = CreateSpec("s", "accumulator", window=4, keep_every=2, keep_most=2)
        await server.lifecycle.create(OWNER, spec)
        for step in range(1, STEPS + 1):
            await server.step(Key(OWNER, "s"), step, float(step))
        await server.create("gone")
        await server.lifecycle.delete(Key(OWNER, "gone"), None)
    truth, whole, found_count = await looked_at(store), rows.read(), 0
    assert FOUND not in truth.values()

    for place, value in whole.items():
        for _ in range(FLIPS_OF_A_ROW):
            at, bit = chance.randrange(len(value)), 1 << chance.randrange(8)
            rows.write(place, value[:at] + bytes([value[at] ^ bit]) + value[at + 1 :])
            seen = await looked_at(store)
            others = {name for name, outcome in seen.items() if outcome not in (FOUND, truth[name])}
            # A damaged session is left out of the list, as the promise says; nothing else may change.
            assert others <= {"list"}, (place, at, bit, {name: seen[name] for name in others})
            assert "list" not in others or seen["list"] == [], (place, at, bit)
            found_count += FOUND in seen.values()
        rows.write(place, value)

    # Some rows nobody reads here: two that say when to look for the old, and the kept state that is the latest too.
    assert found_count >= FLIPS_OF_A_ROW * (len(whole) - 3)
    assert await looked_at(store) == truth


async def test_steps_that_were_taken_are_still_sent_as_they_were(below: tuple[Store, Rows]) -> None:
    """The other way round: what is whole is served, so that the test above does not pass by refusing all."""
    store, _ = below
    server = Server(store)
    async with serving(server):
        key = await server.create("whole")
        await server.step(key, 1, 2.0)
        answer, _ = await Server(store).calls.step(key, None, step_message(1, 2.0), "c")

    assert answer.replayed
