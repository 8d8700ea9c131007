"""The judge of every store: each law of `service.store.base` is a test, over each implementation."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from service.errors import StoreUnavailable
from service.store.base import (
    TOMBSTONE_TTL,
    Answer,
    Applied,
    Birth,
    Commit,
    Durability,
    Head,
    Key,
    Lost,
    Opened,
    Record,
    Store,
    Tombstone,
)
from service.store.lmdb import LmdbStore
from service.store.memory import MemoryStore

from .clocks import HandClock

KEY = Key("ada", "story/1")
BORN = b"incarnation no 1"
REBORN = b"incarnation no 2"
BIRTH = Birth("ntm-copy", 3, window=64, ttl=100.0, request_hash=b"r1", labels={"for": "tests", "naïve": "é"})

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


async def born(store: Store, key: Key = KEY, incarnation: bytes = BORN, birth: Birth = BIRTH) -> Head:
    created = await store.create(key, birth, incarnation, b"state 0", "client")
    assert isinstance(created, Applied)
    return created.head


def step_after(head: Head, steps: int = 1, key: Key = KEY, release_through: int = 0, text: str = "") -> Commit:
    """The commit of the next steps of a session; its bytes name the last of them."""
    last = head.committed_step + steps
    return Commit(
        key=key,
        incarnation=head.incarnation,
        epoch=head.epoch,
        answer=Answer(head.committed_step + 1, steps, b"hash %d" % last, b"answer %d" % last + text.encode()),
        state=b"state %d" % last + text.encode(),
        fingerprint="cpu",
        client_id="client",
        release_through=release_through,
    )


async def stepped(store: Store, head: Head, *chunks: int, key: Key = KEY, release_through: int = 0) -> Head:
    """Commits messages of so many steps each."""
    for steps in chunks:
        (outcome,) = await store.commit([step_after(head, steps, key, release_through)])
        assert isinstance(outcome, Applied)
        head = outcome.head
    return head


async def opened(store: Store, key: Key = KEY, incarnation: bytes = BORN, client: str = "client") -> Opened:
    outcome = await store.open(key, incarnation, client)
    assert isinstance(outcome, Opened)
    return outcome


async def loaded(store: Store, key: Key = KEY) -> Record:
    record = await store.load(key)
    assert isinstance(record, Record)
    return record


async def lost(store: Store, commit: Commit) -> Head | Tombstone | None:
    (outcome,) = await store.commit([commit])
    assert isinstance(outcome, Lost)
    return outcome.found


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
    """R2: create r1, delete, create r2 with the same content, delete; then r1 comes again."""
    await born(store)
    await store.delete(KEY, BORN)
    stone = await store.head(KEY)
    assert isinstance(stone, Tombstone)

    assert await store.create(KEY, BIRTH, REBORN, b"", "client") == Lost(stone)
    assert await store.head(KEY) == stone
    assert stone.request_hash == BIRTH.request_hash


async def test_a_tombstone_gives_way_to_a_replace(store: Store, clock: HandClock) -> None:
    """R3: a START on an id that ended begins a new incarnation; the old one's answers are gone."""
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
    """H3: twenty openers against a busy old stream."""
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
    """H1, H2: the very same commit again, to the byte, is not applied and does not pass for applied."""
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
    """H7, R4: epoch and step are as the late commit expects them; only the incarnation tells."""
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


# --- renewing, deleting, expiring -------------------------------------------------------------------------------------


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

    assert await store.delete(KEY, BORN) == Applied(head)

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
    """R5: the session is renewed and lives, or it has expired and the renewal says so."""
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
