"""An LMDB store without space says so for certain, and still takes deletes."""

from __future__ import annotations

import asyncio
import errno
import itertools
from dataclasses import replace
from pathlib import Path

import lmdb
import pytest

from service.errors import StoreFull, StoreUnavailable
from service.store.base import Applied, Deleted, Durability, Head, Key, Record, Tombstone
from service.store.lmdb import LmdbStore
from tests.contract.clocks import HandClock

from .lmdb_sessions import KEYS, begun, keeping, rows, stepped
from .lmdb_writer import BIRTH, commit_after, key_of


def set_free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr("service.store.lmdb_groups.free_bytes", lambda path: size)


async def test_below_the_reserve_nothing_grows_but_deletes_work(
    store: LmdbStore, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = await begun(store, *KEYS)
    set_free(monkeypatch, 10 << 20)
    clock.advance(1)

    with pytest.raises(StoreFull, match="10 MiB are free"):
        await store.commit([commit_after(KEYS[0], heads[0])])
    with pytest.raises(StoreFull):
        await store.create(key_of(9), BIRTH, b"born", b"state", "client")
    assert isinstance((await store.load(KEYS[0])), Record)
    assert await store.renew(KEYS[0], b"born", 0)
    assert isinstance(await store.delete(KEYS[1], None), Deleted)

    set_free(monkeypatch, 1 << 40)
    clock.advance(1)
    assert isinstance((await store.commit([commit_after(KEYS[0], heads[0])]))[0], Applied)


async def test_much_that_was_written_since_the_last_look_counts(
    store: LmdbStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock stands still, so only what is written can make the store look again."""
    (head,) = await begun(store, KEYS[0])
    set_free(monkeypatch, 10 << 20)

    async def write_on(head: Head) -> None:
        for _ in range(30):
            head = await stepped(store, KEYS[0], head, bytes(1 << 20))

    with pytest.raises(StoreFull):
        await write_on(head)


@pytest.mark.parametrize("end", ["delete", "expire"])
async def test_what_has_ended_takes_no_more_space_than_its_tombstone(
    store: LmdbStore, clock: HandClock, end: str
) -> None:
    await keeping(store, KEYS[0], steps=3)
    if end == "delete":
        await store.delete(KEYS[0], None)
    else:
        clock.advance(BIRTH.ttl)
        await store.expire(1)

    assert rows(store) == {"heads": 0, "tombstones": 1, "states": 0, "answers": 0, "kept": 0, "ends": 1}


async def test_a_kept_step_that_is_dropped_takes_none(store: LmdbStore) -> None:
    head = await keeping(store, KEYS[0], steps=3)
    await store.commit([replace(commit_after(KEYS[0], head), drop_kept=(1, 3))])

    assert rows(store)["kept"] == 1


async def fill(store: LmdbStore) -> None:
    """Creates sessions, large ones and then small ones, until no page of the map is left."""
    numbers = itertools.count()

    async def fill_with(size: int) -> None:
        while True:
            await store.create(key_of(next(numbers)), BIRTH, b"born", bytes(size), "client")

    for size in (20_000, 10):
        with pytest.raises(StoreFull, match="map"):
            await fill_with(size)


async def test_a_full_map_refuses_for_certain_and_takes_deletes(folder: Path, clock: HandClock) -> None:
    store = LmdbStore.at(folder, Durability.PROCESS, map_size=1 << 20, clock=clock)
    await fill(store)
    living = await store.list("ada", "", 1000)
    assert len(living) > 10
    assert await store.list("ada", "", 1000) == living

    for session_id, _ in living[:10]:
        assert isinstance(await store.delete(Key("ada", session_id), None), Deleted)
    session_id, head = living[20]
    await stepped(store, Key("ada", session_id), head, bytes(20_000))
    clock.advance(BIRTH.ttl + 1)
    assert await store.expire(1000) == len(living) - 10
    await store.close()


async def test_in_a_full_map_what_fits_is_not_refused_with_what_does_not(folder: Path) -> None:
    """A commit that is too large, and small ones that were joined with it."""
    store = LmdbStore.at(folder, Durability.PROCESS, map_size=1 << 20)
    heads = await begun(store, *KEYS)
    large = replace(commit_after(KEYS[0], heads[0]), state=bytes(2 << 20))

    outcomes = await asyncio.gather(
        store.commit([large]),
        *(store.commit([commit_after(key, head)]) for key, head in zip(KEYS[1:], heads[1:], strict=True)),
        return_exceptions=True,
    )

    assert isinstance(outcomes[0], StoreFull)
    assert all(isinstance(outcome, list) and isinstance(outcome[0], Applied) for outcome in outcomes[1:])
    record = await store.load(KEYS[0])
    assert record == Record(heads[0], b"state 2")
    await store.close()


class FailingCommit:
    """An environment whose next transactions abort instead of committing, with the error of a failed write."""

    def __init__(self, environment: lmdb.Environment, error: lmdb.Error, times: int = 1) -> None:
        self._environment = environment
        self._error = error
        self._times = times

    def __getattr__(self, name: str) -> object:
        return getattr(self._environment, name)

    def begin(self, write: bool = False) -> object:
        txn = self._environment.begin(write=write)
        if not write or not self._times:
            return txn
        self._times -= 1
        return FailingTransaction(txn, self._error)


class FailingTransaction:
    def __init__(self, txn: lmdb.Transaction, error: lmdb.Error) -> None:
        self._txn = txn
        self._error = error

    def __getattr__(self, name: str) -> object:
        return getattr(self._txn, name)

    def cursor(self, database: object) -> lmdb.Cursor:
        return self._txn.cursor(database)

    def commit(self) -> None:
        self._txn.abort()
        raise self._error


def fail_commits(store: LmdbStore, error: lmdb.Error, times: int = 1) -> None:
    store._groups._environment = FailingCommit(store._environment, error, times)  # type: ignore[assignment]


async def test_a_delete_that_finds_no_page_gets_headroom(store: LmdbStore) -> None:
    await begun(store, *KEYS)
    size = store._environment.info()["map_size"]
    fail_commits(store, lmdb.MapFullError("mdb_put", -30792))

    assert isinstance(await store.delete(KEYS[0], None), Deleted)

    assert isinstance(await store.head(KEYS[0]), Tombstone)
    assert store._environment.info()["map_size"] == size


async def test_a_delete_that_finds_no_page_even_then_was_not_carried_out(store: LmdbStore) -> None:
    (head,) = await begun(store, KEYS[0])
    fail_commits(store, lmdb.MapFullError("mdb_put", -30792), times=2)

    with pytest.raises(StoreFull, match="map"):
        await store.delete(KEYS[0], None)

    assert await store.head(KEYS[0]) == head


@pytest.mark.parametrize(
    ("error", "free", "expected"),
    [
        (lmdb.Error("mdb_txn_commit: Input/output error", errno.EIO), 1 << 20, StoreFull),
        (lmdb.Error("mdb_txn_commit: Input/output error", errno.EIO), 1 << 40, StoreUnavailable),
        (lmdb.PanicError("mdb_txn_commit", -30795), 1 << 20, StoreUnavailable),
    ],
)
async def test_a_failed_write_is_a_full_disk_only_if_little_is_free_and_nothing_was_applied(
    store: LmdbStore, monkeypatch: pytest.MonkeyPatch, error: lmdb.Error, free: int, expected: type[Exception]
) -> None:
    (head,) = await begun(store, KEYS[0])
    set_free(monkeypatch, free)
    fail_commits(store, error)

    with pytest.raises(expected):
        await store.commit([commit_after(KEYS[0], head)])

    assert await store.load(KEYS[0]) == Record(head, b"state 2")
    await stepped(store, KEYS[0], head)
