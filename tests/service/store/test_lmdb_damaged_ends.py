"""A damaged session is no trap: it is left out of lists, and can be ended like any other."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from service.errors import StateCorrupt
from service.store.base import TOMBSTONE_TTL, Applied, Deleted, Head, Key, Lost, Tombstone
from service.store.lmdb import LmdbStore
from tests.contract.clocks import HandClock

from .lmdb_sessions import KEYS, begun, damage, flipped, keeping, rows
from .lmdb_writer import BIRTH, commit_after

DAMAGES = [flipped(9), flipped(12), flipped(-1), lambda value: value[:20], lambda _: b""]  # 12: in its number


@pytest.mark.parametrize("change", DAMAGES)
async def test_a_session_with_a_damaged_head_can_be_deleted_with_all_it_had(
    store: LmdbStore, clock: HandClock, change: Callable[[bytes], bytes]
) -> None:
    head = await keeping(store, KEYS[0], steps=2)
    await begun(store, KEYS[1])
    damage(store, b"heads", change)

    assert await store.delete(KEYS[0], None) == Deleted(None)

    stone = Tombstone(bytes(16), b"", expired=False, time=clock.now())
    assert await store.head(KEYS[0]) == stone
    assert await store.commit([commit_after(KEYS[0], head)]) == [Lost(stone)]
    assert rows(store) == {"heads": 1, "tombstones": 1, "states": 1, "answers": 2, "kept": 0, "ends": 2}


async def test_its_id_is_free_again(store: LmdbStore, clock: HandClock) -> None:
    await begun(store, KEYS[0])
    damage(store, b"heads", flipped(30))
    await store.delete(KEYS[0], None)

    again = await store.replace(KEYS[0], BIRTH, b"again", b"state 0", "client")

    assert isinstance(again, Applied)
    assert rows(store) == {"heads": 1, "tombstones": 0, "states": 1, "answers": 0, "kept": 0, "ends": 1}
    clock.advance(BIRTH.ttl)
    assert await store.expire(9) == 1


async def test_its_tombstone_goes_in_time(store: LmdbStore, clock: HandClock) -> None:
    await begun(store, KEYS[0])
    damage(store, b"heads", flipped(30))
    await store.delete(KEYS[0], None)
    clock.advance(TOMBSTONE_TTL)

    assert await store.expire(9) == 0

    assert set(rows(store).values()) == {0}


async def test_it_can_be_deleted_after_expiry_has_passed_it_over(store: LmdbStore, clock: HandClock) -> None:
    await begun(store, KEYS[0])
    damage(store, b"heads", flipped(30))
    clock.advance(BIRTH.ttl)
    assert await store.expire(9) == 0

    assert await store.delete(KEYS[0], None) == Deleted(None)

    assert rows(store) == {"heads": 0, "tombstones": 1, "states": 0, "answers": 0, "kept": 0, "ends": 1}


async def test_a_damaged_tombstone_gives_way_to_a_new_one(store: LmdbStore, clock: HandClock) -> None:
    await begun(store, KEYS[0])
    await store.delete(KEYS[0], None)
    damage(store, b"tombstones", flipped(10))
    clock.advance(1)

    assert await store.delete(KEYS[0], None) == Deleted(None)

    assert await store.head(KEYS[0]) == Tombstone(bytes(16), b"", expired=False, time=clock.now())
    assert rows(store) == {"heads": 0, "tombstones": 1, "states": 0, "answers": 0, "kept": 0, "ends": 1}
    assert isinstance(await store.replace(KEYS[0], BIRTH, b"again", b"", "client"), Applied)


@pytest.mark.parametrize("change", DAMAGES)
async def test_a_list_leaves_out_what_is_damaged_and_says_so_once(
    store: LmdbStore, caplog: pytest.LogCaptureFixture, change: Callable[[bytes], bytes]
) -> None:
    heads = await begun(store, *KEYS)
    damage(store, b"heads", change, nth=1)
    damage(store, b"heads", change, nth=2)

    with caplog.at_level(logging.WARNING):
        assert await store.list("ada", "", 9) == [("s0", heads[0]), ("s3", heads[3])]
    (record,) = caplog.records
    assert "2 damaged sessions" in record.getMessage()
    assert "session 's1'" in record.getMessage()
    with pytest.raises(StateCorrupt):
        await store.head(KEYS[1])


async def test_a_page_is_full_in_spite_of_what_is_left_out(store: LmdbStore) -> None:
    """A short page would say that no more follow."""
    await begun(store, *KEYS)
    damage(store, b"heads", flipped(30), nth=1)

    assert [each for each, _ in await store.list("ada", "", 2)] == ["s0", "s2"]
    assert [each for each, _ in await store.list("ada", "s2", 2)] == ["s3"]


async def test_other_owners_lists_do_not_hear_of_it(store: LmdbStore, caplog: pytest.LogCaptureFixture) -> None:
    await begun(store, KEYS[0], Key("bob", "s0"))
    damage(store, b"heads", flipped(30), nth=0)

    ((session_id, head),) = await store.list("bob", "", 9)

    assert session_id == "s0"
    assert isinstance(head, Head)
    assert caplog.records == []
