"""A Redis that is full, frozen, killed, loading, read-only or forgetful is never taken for one that answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from service.errors import StoreFull, StoreUnavailable
from service.store.base import Applied, Durability, Head, Key, Lost, Record, Store, Tombstone
from service.store.redis import RedisStore
from service.store.redis_fitness import RedisUnfit
from tests.contract.sessions import BIRTH, BORN, KEY, born, loaded, opened, step_after, stepped
from tests.ports import free_port
from tests.redis_process import RedisProcess

SOON = 60.0  # seconds until a test gives up waiting


@pytest.fixture(params=["no", "always"])
def redis(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisProcess]:
    """At `always`, calls that wait together go out as one MULTI."""
    with RedisProcess(tmp_path / "redis", "--appendfsync", request.param) as server:
        yield server


@pytest.fixture
async def store(redis: RedisProcess) -> AsyncIterator[RedisStore]:
    store = await RedisStore.at(redis.url, reply_seconds=1.0)
    yield store
    await store.close()


async def back(store: Store, key: Key = KEY) -> Record:
    """Asks until the store answers again."""
    end = time.monotonic() + SOON
    while True:
        try:
            return await loaded(store, key)
        except StoreUnavailable:
            assert time.monotonic() < end
            await asyncio.sleep(0.02)


async def test_a_full_redis_takes_no_steps_and_loses_none(store: RedisStore, redis: RedisProcess) -> None:
    keys = [Key("ada", f"s{number}") for number in range(3)]
    heads = [await born(store, key) for key in keys]
    redis.say("CONFIG", "SET", "maxmemory", "1")

    commits = [step_after(head, key=key) for head, key in zip(heads, keys, strict=True)]
    with pytest.raises(StoreFull, match="maxmemory"):
        await store.commit(commits)
    with pytest.raises(StoreFull):
        await store.commit(commits[:1])
    with pytest.raises(StoreFull):
        await store.create(Key("ada", "new"), BIRTH, BORN, b"", "")

    assert [(await loaded(store, key)).state for key in keys] == [b"state 0"] * 3
    assert await store.head(Key("ada", "new")) is None
    after = (await opened(store, keys[0])).after  # reading, opening, renewing and deleting go on
    assert await store.renew(keys[0], BORN, after.epoch)
    await store.delete(keys[1], BORN)
    assert isinstance(await store.head(keys[1]), Tombstone)

    redis.say("CONFIG", "SET", "maxmemory", "0")
    await stepped(store, after, 1, key=keys[0])


async def test_a_full_redis_refuses_commits_that_wait_beside_deletes_and_does_the_deletes(
    store: RedisStore, redis: RedisProcess
) -> None:
    keys = [Key("ada", f"s{number}") for number in range(6)]
    heads = [await born(store, key) for key in keys]
    redis.say("CONFIG", "SET", "maxmemory", "1")

    outcomes = await asyncio.gather(
        *(store.commit([step_after(head, key=key)]) for head, key in zip(heads[:3], keys[:3], strict=True)),
        *(store.delete(key, BORN) for key in keys[3:]),
        return_exceptions=True,
    )

    assert [type(outcome).__name__ for outcome in outcomes] == ["StoreFull"] * 3 + ["Deleted"] * 3


@pytest.mark.parametrize("refused", ["multi", "exec"])
async def test_commits_that_wait_together_are_carried_out_once_where_they_may_not_be_joined(
    store: RedisStore, redis: RedisProcess, refused: str
) -> None:
    """Without its MULTI a group is carried out one by one: sent again, each would be found done, and be told lost."""
    keys = [Key("ada", f"s{number}") for number in range(3)]
    heads = [await born(store, key) for key in keys]
    assert redis.say("ACL", "SETUSER", "default", f"-{refused}") == "+OK"

    outcomes = await store.commit([step_after(head, key=key) for head, key in zip(heads, keys, strict=True)])

    assert [type(outcome) for outcome in outcomes] == [Applied] * 3


async def test_a_frozen_redis_leaves_the_outcome_unknown_and_a_reload_settles_it(
    store: RedisStore, redis: RedisProcess
) -> None:
    head = await born(store)
    redis.freeze()
    try:
        with pytest.raises(StoreUnavailable):
            await store.commit([step_after(head)])
        with pytest.raises(StoreUnavailable, match=r"a moment ago|Timeout"):
            await store.head(KEY)
    finally:
        redis.thaw()

    record = await back(store)

    # Redis found the commit in its buffer when it woke, or the connection was gone by then: one of two truths.
    assert (record.head.committed_step, record.state) in [(0, b"state 0"), (1, b"state 1")]
    await stepped(store, record.head, 1)


async def test_a_killed_redis_is_found_again_with_all_that_was_committed(
    store: RedisStore, redis: RedisProcess
) -> None:
    head = await stepped(store, await born(store), 1, 3, 1)
    redis.kill()
    with pytest.raises(StoreUnavailable):
        await store.commit([step_after(head)])
    redis.start()

    record = await back(store)

    assert record == Record(head, b"state 5")
    assert (await stepped(store, head, 1)).committed_step == 6  # its scripts are there again too


async def test_an_idle_connection_that_redis_ended_is_replaced_before_anything_is_sent(
    store: RedisStore, redis: RedisProcess
) -> None:
    head = await born(store)
    redis.say("CLIENT", "KILL", "TYPE", "normal")
    await asyncio.sleep(0)

    end = time.monotonic() + SOON
    while True:  # until the end of the connection has been seen, or at once
        try:
            assert (await stepped(store, head, 1)).committed_step == 1
            break
        except StoreUnavailable:
            assert time.monotonic() < end
            head = (await back(store)).head


async def test_scripts_that_were_flushed_are_loaded_and_the_commits_applied_once(
    store: RedisStore, redis: RedisProcess
) -> None:
    keys = [Key("ada", f"s{number}") for number in range(5)]
    heads = [await born(store, key) for key in keys]
    redis.say("SCRIPT", "FLUSH")

    outcomes = await store.commit([step_after(head, key=key) for head, key in zip(heads, keys, strict=True)])

    assert [outcome.head.committed_step for outcome in outcomes if isinstance(outcome, Applied)] == [1] * 5


async def test_a_primary_that_became_a_replica_is_not_available(
    store: RedisStore, redis: RedisProcess, tmp_path: Path
) -> None:
    head = await born(store)
    with RedisProcess(tmp_path / "primary") as primary:
        redis.say("REPLICAOF", "127.0.0.1", str(primary.port))
        with pytest.raises(StoreUnavailable) as caught:
            await store.commit([step_after(head)])
        assert caught.value.message.count("not available") == 1
        redis.say("REPLICAOF", "NO", "ONE")


async def test_a_redis_that_cannot_write_its_snapshots_is_not_available(tmp_path: Path) -> None:
    """MISCONF: Redis refuses writes after its background save has failed."""
    (tmp_path / "redis" / "blocked").mkdir(parents=True)  # a folder: no file can take its place
    with RedisProcess(tmp_path / "redis", "--dbfilename", "blocked") as redis:
        store = await RedisStore.at(redis.url)
        head = await born(store)
        redis.say("CONFIG", "SET", "save", "3600 1")
        redis.say("BGSAVE")
        end = time.monotonic() + SOON
        while isinstance(outcome := await _outcome_of(store, head), Head):
            head = outcome
            assert time.monotonic() < end, "the save did not fail"
            await asyncio.sleep(0.02)

        assert "MISCONF" in outcome.message or "RDB" in outcome.message
        assert await store.load(KEY) == Record(head, b"state %d" % head.committed_step)
        await store.close()


async def _outcome_of(store: Store, head: Head) -> Head | StoreUnavailable:
    try:
        return await stepped(store, head, 1)
    except StoreUnavailable as error:
        return error


async def test_a_loading_redis_is_not_available(tmp_path: Path) -> None:
    slowly = "--key-load-delay", "10000", "--loading-process-events-interval-bytes", "1024"
    with RedisProcess(tmp_path / "redis", *slowly) as redis:
        store = await RedisStore.at(redis.url)
        await asyncio.gather(*(born(store, Key("ada", f"s{number}")) for number in range(500)))
        await store.close()
        redis.say("BGREWRITEAOF")  # only the base of the log is read in small pieces
        manifest, end = redis.folder / "appendonlydir" / "appendonly.aof.manifest", time.monotonic() + SOON
        while ".2.base.rdb" not in manifest.read_text():
            assert time.monotonic() < end
            await asyncio.sleep(0.01)
        redis.kill()
        redis.start(awaited="-LOADING")

        with pytest.raises(StoreUnavailable, match="loading"):
            await RedisStore.at(redis.url)


async def test_a_redis_that_comes_back_weaker_is_refused_until_it_is_set_right(
    redis: RedisProcess, store: RedisStore
) -> None:
    """What the server declared when it started holds for as long as it runs."""
    await born(store)
    redis.say("CONFIG", "SET", "appendfsync", "everysec")
    redis.say("CLIENT", "KILL", "TYPE", "normal")
    end = time.monotonic() + SOON
    while True:
        try:
            await store.head(KEY)
        except StoreUnavailable as error:
            if "appendfsync is everysec" in error.message:
                break
        assert time.monotonic() < end
        await asyncio.sleep(0.02)
    redis.say("CONFIG", "SET", "appendfsync", "always")

    assert (await back(store)).state == b"state 0"


async def test_redis_is_asked_for_its_own_time(redis: RedisProcess, store: RedisStore) -> None:
    before = time.time()
    head = await born(store, birth=replace(BIRTH, ttl=1.0))
    after = (await opened(store)).after

    assert before - 1 <= head.create_time <= after.last_use_time <= time.time() + 1
    end = time.monotonic() + SOON
    while not await store.expire(10):
        assert time.monotonic() < end
        await asyncio.sleep(0.05)
    stone = await store.head(KEY)
    assert isinstance(stone, Tombstone)
    assert stone.expired
    assert int(redis.say("PTTL", "tapehead:{ada/story/1}").removeprefix(":")) > 6 * 24 * 3600 * 1000


async def test_a_password_is_used_and_a_wrong_one_is_a_sentence(tmp_path: Path) -> None:
    with RedisProcess(tmp_path / "redis", "--requirepass", "secret") as redis:
        place = f"127.0.0.1:{redis.port}/0"
        store = await RedisStore.at(f"redis://:secret@{place}")
        assert store.location == f"redis://{place}"
        await store.close()
        with pytest.raises(StoreUnavailable) as caught:
            await RedisStore.at(f"redis://:wr0ng@{place}")
        assert "wr0ng" not in caught.value.message


async def test_a_redis_that_hides_its_configuration_has_to_be_vouched_for(tmp_path: Path) -> None:
    with RedisProcess(tmp_path / "redis", "--rename-command", "CONFIG", "") as redis:
        with pytest.raises(RedisUnfit, match="--redis-durability"):
            await RedisStore.at(redis.url)
        store = await RedisStore.at(redis.url, asserted=Durability.PROCESS)
        assert store.durability is Durability.PROCESS
        await store.close()


async def test_a_redis_that_is_not_there_is_not_available() -> None:
    with pytest.raises(StoreUnavailable, match=r"redis://127.0.0.1"):
        await RedisStore.at(f"redis://127.0.0.1:{free_port()}/0")


async def test_two_servers_share_a_store_and_the_newer_open_fences_the_older(
    redis: RedisProcess, store: RedisStore
) -> None:
    """Neither knows what the other wrote; Redis does."""
    other = await RedisStore.at(redis.url)
    head = (await opened(store)).after if await born(store) else None
    assert head is not None
    mine = await stepped(store, head, 1, 1)
    theirs = await opened(other, client="other")
    assert theirs.before == mine

    (outcome,) = await store.commit([step_after(mine)])
    assert outcome == Lost(theirs.after)
    after = await stepped(other, theirs.after, 1)
    assert await store.head(KEY) == after
    await stepped(store, after, 1)  # the epoch is not this process's own, but it is the head's
    await other.close()
