"""Whatever happens to the bytes in an LMDB store, it answers with the truth or with StateCorrupt."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from service.errors import StateCorrupt
from service.store.base import Applied, Damaged, Durability, Record
from service.store.lmdb import LmdbStore
from service.store.rows import KeptRow, encode_kept
from tests.contract.clocks import HandClock

from .lmdb_sessions import KEYS, begun, damage, flipped, keeping, stepped, table
from .lmdb_writer import BIRTH, commit_after


@pytest.mark.parametrize(
    "change", [flipped(3), flipped(-1), lambda value: value[:-1], lambda value: b"", lambda _: None]
)
async def test_a_damaged_state_is_not_served(store: LmdbStore, change: Callable[[bytes], bytes | None]) -> None:
    (head,) = await begun(store, KEYS[0])
    damage(store, b"states", change)

    with pytest.raises(StateCorrupt, match="session 's0'"):
        await store.load(KEYS[0])
    assert await store.head(KEYS[0]) == head


async def test_the_state_of_an_older_step_is_not_served(store: LmdbStore) -> None:
    """A write that was lost beneath us: every row by itself is whole."""
    await begun(store, KEYS[0])
    damage(store, b"states", lambda _: b"state 1")

    with pytest.raises(StateCorrupt):
        await store.load(KEYS[0])


async def test_the_state_of_another_session_is_not_served(store: LmdbStore) -> None:
    heads = await begun(store, *KEYS[:2])
    heads[0] = await stepped(store, KEYS[0], heads[0], b"mine")
    damage(store, b"states", lambda _: b"state 2")

    with pytest.raises(StateCorrupt):
        await store.load(KEYS[0])


@pytest.mark.parametrize("change", [flipped(9), flipped(-1), lambda value: value[:20], lambda value: b""])
async def test_a_damaged_head_is_not_served(store: LmdbStore, change: Callable[[bytes], bytes]) -> None:
    (head,) = await begun(store, KEYS[0])
    damage(store, b"heads", change)

    for read in (
        store.head(KEYS[0]),
        store.load(KEYS[0]),
        store.answers(KEYS[0], b"born", 0),
        store.kept_state(KEYS[0], b"born", 1),
    ):
        with pytest.raises(StateCorrupt):
            await read
    for write in (
        store.open(KEYS[0], b"born", "client"),
        store.renew(KEYS[0], b"born", 0),
        store.delete(KEYS[0], b"born"),
        store.create(KEYS[0], BIRTH, b"new", b"", "client"),
        store.replace(KEYS[0], BIRTH, b"new", b"", "client"),
    ):
        with pytest.raises(StateCorrupt):
            await write
    (outcome,) = await store.commit([commit_after(KEYS[0], head)])
    assert isinstance(outcome, Damaged)


async def test_the_head_of_another_session_is_not_served(store: LmdbStore) -> None:
    await begun(store, *KEYS[:2])
    with table(store, b"heads") as txn:
        (_, first), (second_place, _) = list(txn.cursor())
        txn.put(second_place, first)

    with pytest.raises(StateCorrupt, match="another's place"):
        await store.head(KEYS[1])


async def test_a_damaged_head_does_not_touch_its_neighbours_in_a_commit(store: LmdbStore) -> None:
    heads = await begun(store, *KEYS)
    damage(store, b"heads", flipped(30), nth=1)

    outcomes = await store.commit([commit_after(key, head) for key, head in zip(KEYS, heads, strict=True)])

    assert [type(outcome) for outcome in outcomes] == [Applied, Damaged, Applied, Applied]
    for key in (KEYS[0], KEYS[2], KEYS[3]):
        record = await store.load(key)
        assert isinstance(record, Record)
        assert record.state == b"state 3"


async def test_a_damaged_head_does_not_keep_others_from_expiring(store: LmdbStore, clock: HandClock) -> None:
    await begun(store, *KEYS)
    damage(store, b"heads", flipped(30), nth=0)
    clock.advance(BIRTH.ttl)

    assert await store.expire(10) == 3
    assert await store.expire(10) == 0
    with pytest.raises(StateCorrupt):
        await store.head(KEYS[0])


@pytest.mark.parametrize("change", [flipped(9), flipped(-1), lambda value: value[:-1], lambda _: None])
@pytest.mark.parametrize("nth", [0, 1, 2])
async def test_a_damaged_or_missing_answer_is_not_served(
    store: LmdbStore, change: Callable[[bytes], bytes | None], nth: int
) -> None:
    await begun(store, KEYS[0], steps=3)
    damage(store, b"answers", change, nth)

    with pytest.raises(StateCorrupt):
        await store.answers(KEYS[0], b"born", 0)


async def test_answers_in_each_others_place_are_not_served(store: LmdbStore) -> None:
    await begun(store, KEYS[0])
    with table(store, b"answers") as txn:
        (one, first), (two, second) = list(txn.cursor())
        txn.put(one, second)
        txn.put(two, first)

    with pytest.raises(StateCorrupt):
        await store.answers(KEYS[0], b"born", 0)


@pytest.mark.parametrize("change", [flipped(9), flipped(-1), lambda value: value[:-1], lambda _: None])
async def test_a_damaged_or_missing_kept_state_is_not_served(
    store: LmdbStore, change: Callable[[bytes], bytes | None]
) -> None:
    await keeping(store, KEYS[0], steps=2)
    damage(store, b"kept", change, nth=1)

    with pytest.raises(StateCorrupt):
        await store.kept_state(KEYS[0], b"born", 2)
    assert await store.kept_state(KEYS[0], b"born", 1) == b"state 1"
    assert await store.kept_state(KEYS[0], b"born", 3) is None
    assert isinstance(await store.load(KEYS[0]), Record)


async def test_kept_states_in_each_others_place_are_not_served(store: LmdbStore) -> None:
    await keeping(store, KEYS[0], steps=2)
    with table(store, b"kept") as txn:
        (one, first), (two, second) = list(txn.cursor())
        txn.put(one, second)
        txn.put(two, first)

    for step in (1, 2):
        with pytest.raises(StateCorrupt, match="another's place"):
            await store.kept_state(KEYS[0], b"born", step)


async def test_the_kept_state_of_another_incarnation_is_not_served(store: LmdbStore) -> None:
    """A row that is whole and in its place, left there by somebody else."""
    await keeping(store, KEYS[0], steps=1)
    with table(store, b"kept") as txn:
        ((place, _),) = list(txn.cursor())
        txn.put(place, encode_kept(place, KeptRow(b"else", b"state 1")))

    with pytest.raises(StateCorrupt, match="another incarnation"):
        await store.kept_state(KEYS[0], b"born", 1)


async def test_a_damaged_tombstone_is_not_served(store: LmdbStore) -> None:
    await begun(store, KEYS[0])
    await store.delete(KEYS[0], None)
    damage(store, b"tombstones", flipped(10))

    for call in (store.head(KEYS[0]), store.delete(KEYS[0], b"born")):
        with pytest.raises(StateCorrupt):
            await call


async def test_a_file_that_was_cut_is_refused(store: LmdbStore, folder: Path) -> None:
    await begun(store, *KEYS)
    await store.close()
    os.truncate(folder / "data.mdb", (folder / "data.mdb").stat().st_size - 4096)

    with pytest.raises(StateCorrupt, match=r"expected at least \d+ bytes"):
        LmdbStore.at(folder, Durability.PROCESS)


def test_a_file_of_something_else_is_refused_and_let_go(folder: Path) -> None:
    folder.mkdir()
    (folder / "data.mdb").write_bytes(b"a diary" * 10_000)
    for _ in range(2):
        with pytest.raises(StateCorrupt, match="no LMDB file"):
            LmdbStore.at(folder, Durability.PROCESS)


async def test_a_store_of_another_format_is_refused(store: LmdbStore, folder: Path) -> None:
    with table(store, b"about") as txn:
        txn.put(b"format", b"7")
    await store.close()

    with pytest.raises(StateCorrupt, match="expected a store of format 1, got 7"):
        LmdbStore.at(folder, Durability.PROCESS)
