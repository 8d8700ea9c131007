"""Whatever is changed in Redis from below is found, stays within its session, and is never served."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator

import pytest

from service.errors import StateCorrupt
from service.store.base import Applied, Damaged, Deleted, Head, Key, Snapshot, Store, Tombstone
from service.store.redis import RedisStore
from service.store.redis_index import Entry
from tests.contract.clocks import HandClock
from tests.contract.sessions import BIRTH, BORN, KEY, REBORN, born, opened, step_after, stepped
from tests.contract.test_kept_states import kept
from tests.redis_process import RedisProcess

PLACE = "tapehead:{ada/story/1}"
NEIGHBOUR = Key("ada", "neighbour")


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    with RedisProcess(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
async def store(redis: RedisProcess) -> AsyncIterator[Store]:
    redis.say("FLUSHALL")
    store = await RedisStore.at(redis.url, clock=HandClock())
    yield store
    await store.close()


def flip(redis: RedisProcess, key: str, field: str, place: int = -1) -> None:
    """Changes one bit of a value, as a broken memory would."""
    script = (
        "local v = redis.call('HGET', KEYS[1], ARGV[1]); local n = tonumber(ARGV[2]); if n < 0 then n = #v + n end;"
        "redis.call('HSET', KEYS[1], ARGV[1], string.sub(v, 1, n) .. string.char(bit.bxor(string.byte(v, n + 1), 1))"
        " .. string.sub(v, n + 2)); return 'done'"
    )
    assert redis.say("EVAL", script, "1", key, field, str(place)) == "$4"


def size(redis: RedisProcess, key: str, field: str) -> int:
    return int(redis.say("HSTRLEN", key, field).removeprefix(":"))


async def attempts(store: Store, head: Head) -> list[object]:
    """What each way of using a session gives."""
    outcomes: list[object] = list(await store.commit([step_after(head)]))
    for call in (store.load(KEY), store.open(KEY, BORN, ""), store.answers(KEY, BORN, 0), store.delete(KEY, BORN)):
        try:
            outcomes.append(await call)
        except StateCorrupt as error:
            outcomes.append(error)
    return outcomes


@pytest.mark.parametrize("field", ["head", "mark"])
async def test_flipped_bytes_all_over_a_head_are_found_and_it_can_be_ended(
    store: Store, redis: RedisProcess, field: str
) -> None:
    head = await stepped(store, await born(store), 1)
    await born(store, NEIGHBOUR)
    for place in range(0, size(redis, PLACE, field), 7):
        flip(redis, PLACE, field, place)
        for outcome in await attempts(store, head):
            assert isinstance(outcome, StateCorrupt | Damaged), (place, outcome)
        assert [session_id for session_id, _ in await store.list("ada", "", 10)] == ["neighbour"]
        flip(redis, PLACE, field, place)
    assert await store.head(KEY) is not None

    flip(redis, PLACE, field)
    assert await store.delete(KEY, None) == Deleted(None)
    stone = await store.head(KEY)
    assert isinstance(stone, Tombstone)
    assert stone.incarnation == bytes(16)
    assert isinstance(await store.replace(KEY, BIRTH, REBORN, b"fresh", ""), Applied)


@pytest.mark.parametrize("field", ["head", "mark"])
async def test_a_missing_part_of_a_head_is_found(store: Store, redis: RedisProcess, field: str) -> None:
    await born(store)
    redis.say("HDEL", PLACE, field)

    with pytest.raises(StateCorrupt, match="missing"):
        await store.load(KEY)
    with pytest.raises(StateCorrupt):
        await store.create(KEY, BIRTH, REBORN, b"", "")


async def test_a_head_in_anothers_place_is_not_taken_for_its_own(store: Store, redis: RedisProcess) -> None:
    await born(store)
    redis.say("COPY", PLACE, "tapehead:{bob/story/1}")

    with pytest.raises(StateCorrupt):
        await store.load(Key("bob", "story/1"))


async def test_a_mark_of_an_older_incarnation_is_found(store: Store, redis: RedisProcess) -> None:
    await born(store)
    redis.say("COPY", PLACE, "old")
    await store.delete(KEY, BORN)
    await store.replace(KEY, BIRTH, REBORN, b"", "")
    script = "return redis.call('HSET', KEYS[1], 'mark', redis.call('HGET', KEYS[2], 'mark'))"
    assert redis.say("EVAL", script, "2", PLACE, "old") == ":0"

    with pytest.raises(StateCorrupt, match="another incarnation"):
        await store.head(KEY)


async def test_a_damaged_state_is_not_served_and_its_neighbours_commit(store: Store, redis: RedisProcess) -> None:
    head, other = await stepped(store, await born(store), 1), await born(store, NEIGHBOUR)
    flip(redis, PLACE, "state")

    with pytest.raises(StateCorrupt, match="'story/1'"):
        await store.load(KEY)
    flip(redis, PLACE, "head")
    damaged, applied = await store.commit([step_after(head), step_after(other, key=NEIGHBOUR)])
    assert isinstance(damaged, Damaged)
    assert isinstance(applied, Applied)


async def test_a_session_that_is_no_hash_is_damaged_and_its_neighbours_go_on(
    store: RedisStore, redis: RedisProcess
) -> None:
    clock = store._clock
    assert isinstance(clock, HandClock)
    head, other = await born(store), await born(store, NEIGHBOUR)
    redis.say("DEL", PLACE)
    redis.say("SET", PLACE, "something else")

    damaged, applied = await store.commit([step_after(head), step_after(other, key=NEIGHBOUR)])
    assert isinstance(damaged, Damaged)
    assert isinstance(applied, Applied)
    for outcome in await attempts(store, head):
        assert isinstance(outcome, StateCorrupt | Damaged), outcome
    assert [session_id for session_id, _ in await store.list("ada", "", 10)] == ["neighbour"]
    clock.advance(BIRTH.ttl + 1)
    assert await store.expire(10) == 1  # the neighbour
    assert isinstance(await store.head(NEIGHBOUR), Tombstone)

    assert await store.delete(KEY, None) == Deleted(None)
    assert isinstance(await store.replace(KEY, BIRTH, REBORN, b"fresh", ""), Applied)


@pytest.mark.parametrize("part", ["answers", "kept"])
async def test_a_part_that_is_no_hash_damages_its_session_alone_and_no_step_of_it_is_half_written(
    store: Store, redis: RedisProcess, part: str
) -> None:
    head, other = await kept(store, await born(store), 1), await born(store, NEIGHBOUR)
    redis.say("DEL", f"{PLACE}:{part}")
    redis.say("SET", f"{PLACE}:{part}", "something else")

    damaged, applied = await store.commit([step_after(head), step_after(other, key=NEIGHBOUR)])

    assert isinstance(damaged, Damaged)
    assert isinstance(applied, Applied)
    after = await store.head(KEY)
    assert isinstance(after, Head)
    assert after.committed_step == head.committed_step
    with pytest.raises(StateCorrupt):
        await (store.answers(KEY, BORN, 1) if part == "answers" else store.kept_state(KEY, BORN, 1))
    assert isinstance(await store.delete(KEY, BORN), Deleted)


async def test_damaged_or_missing_answers_and_kept_states_are_not_served(store: Store, redis: RedisProcess) -> None:
    await kept(store, await born(store), 1, 1, 1)
    flip(redis, f"{PLACE}:answers", "1")
    redis.say("HDEL", f"{PLACE}:answers", "2")
    flip(redis, f"{PLACE}:kept", "1")
    redis.say("HDEL", f"{PLACE}:kept", "2")

    for call in (store.answers(KEY, BORN, 1), store.answers(KEY, BORN, 2), store.answer(KEY, BORN, 1)):
        with pytest.raises(StateCorrupt):
            await call
    for step in (1, 2):
        with pytest.raises(StateCorrupt):
            await store.kept_state(KEY, BORN, step)
    assert len(await store.answers(KEY, BORN, 3)) == 1
    assert await store.kept_state(KEY, BORN, 3) == b"state 3"


async def test_an_unknown_version_of_a_mark_is_refused(store: Store, redis: RedisProcess) -> None:
    await born(store)
    script = (
        "local t = '2 ' .. string.sub(redis.call('HGET', KEYS[1], 'mark'), 44);"
        "redis.call('HSET', KEYS[1], 'mark', redis.sha1hex(KEYS[1] .. ' ' .. t) .. ' ' .. t); return 'done'"
    )
    redis.say("EVAL", script, "1", PLACE)

    with pytest.raises(StateCorrupt, match=r"expected mark version 1 .* got 2"):
        await store.load(KEY)


async def test_expiry_and_lists_pass_over_damage_and_strays(store: RedisStore, redis: RedisProcess) -> None:
    clock = store._clock
    assert isinstance(clock, HandClock)
    await born(store)
    await born(store, NEIGHBOUR)
    flip(redis, PLACE, "head")
    redis.say("UNLINK", "tapehead:{ada/neighbour}")
    clock.advance(BIRTH.ttl + 500)

    assert await store.expire(10) == 0
    assert await store.list("ada", "", 10) == []
    assert redis.say("ZCARD", "tapehead:ids:ada") == ":1"  # the stray is struck, the damaged one stays
    assert redis.say("ZCARD", "tapehead:ends") == ":1"


async def test_a_restored_session_is_listed_once_beside_an_entry_that_nobody_struck(
    store: RedisStore, redis: RedisProcess
) -> None:
    """It comes back as the incarnation that it was: a delete whose second half was lost has left that one's entry."""
    clock = store._clock
    assert isinstance(clock, HandClock)
    before = Entry(KEY, BORN, (await born(store)).create_time)
    await store.delete(KEY, BORN)
    redis.say("ZADD", "tapehead:ids:ada", "0", before.in_ids.decode())
    redis.say("ZADD", "tapehead:ends", "0", before.in_ends.decode())
    stone = await store.head(KEY)
    assert isinstance(stone, Tombstone)
    clock.advance(1)

    assert isinstance(await store.restore(KEY, Snapshot(BIRTH, 0, "", b"state 0"), BORN, stone), Applied)

    assert [session_id for session_id, _ in await store.list("ada", "", 10)] == ["story/1"]
    clock.advance(BIRTH.ttl + 500)
    assert await store.expire(10) == 1
    assert redis.say("ZCARD", "tapehead:ids:ada") == redis.say("ZCARD", "tapehead:ends") == ":0"


async def test_a_session_leaves_nothing_behind_but_its_tombstone(store: RedisStore, redis: RedisProcess) -> None:
    head = await kept(store, await born(store), 1, 1)
    await opened(store)
    await store.delete(KEY, head.incarnation)

    assert redis.say("DBSIZE") == ":2"  # the tombstone and the owner's name
    assert re.fullmatch(r":\d+", redis.say("PTTL", PLACE))
