"""One process at a time has an LMDB store, and what it reported outlives it."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from asyncio.subprocess import PIPE
from dataclasses import replace
from pathlib import Path

import pytest

from service import failpoints
from service.errors import StoreUnavailable
from service.store.base import TOMBSTONE_TTL, Answer, Applied, Durability, Head, Key, Lost, Record, Tombstone
from service.store.lmdb import LmdbStore
from service.store.volume import DurabilityRefused, StoreHeld
from tests.contract.clocks import HandClock

from .lmdb_sessions import KEYS, begun, stepped, table
from .lmdb_writer import BIRTH, commit_after, key_of


async def test_a_second_store_on_the_folder_learns_who_has_it(store: LmdbStore, folder: Path) -> None:
    with pytest.raises(StoreHeld, match=f"process {os.getpid()}"):
        LmdbStore.at(folder, Durability.PROCESS)
    await begun(store, KEYS[0])
    await store.close()

    again = LmdbStore.at(folder, Durability.PROCESS)
    assert isinstance(await again.head(KEYS[0]), Head)
    await again.close()


def test_disk_is_refused_where_it_cannot_be_had(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.store.volume.file_system_of", lambda path: "tmpfs")

    with pytest.raises(DurabilityRefused):
        LmdbStore.at(folder, Durability.DISK)
    assert not folder.exists()


@pytest.mark.parametrize("durability", [Durability.PROCESS, Durability.DISK])
async def test_a_commit_that_waits_for_the_disk_never_holds_up_the_event_loop(
    folder: Path, durability: Durability, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that waits for none is written by the loop itself: to hand it over would cost more."""
    store = LmdbStore.at(folder, durability)
    (head,) = await begun(store, KEYS[0], steps=0)
    threads: list[int] = []
    monkeypatch.setattr(failpoints, "hit", lambda name: threads.append(threading.get_ident()))
    await stepped(store, KEYS[0], head)
    await store.close()

    assert threads
    assert (threading.get_ident() in threads) == (durability is Durability.PROCESS)
    assert len(set(threads)) == 1


async def test_a_place_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreUnavailable, match="file/store"):
        LmdbStore.at(tmp_path / "file" / "store", Durability.PROCESS)


async def started(*command: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(sys.executable, *command, stdin=PIPE, stdout=PIPE)


def note(reported: dict[int, int], line: bytes) -> None:
    number, step = line.split()
    reported[int(number)] = int(step)


@pytest.mark.parametrize("durability", ["PROCESS", "DISK"])
async def test_what_was_reported_before_a_kill_is_there_after_it(folder: Path, durability: str) -> None:
    """A process commits without end, and prints each step only when the store has reported it."""
    writer = await started("-m", "tests.service.store.lmdb_writer", str(folder), durability)
    reported: dict[int, int] = {}
    for _ in range(150):
        note(reported, await writer.stdout.readline())
    with pytest.raises(StoreHeld, match=f"process {writer.pid} "):
        LmdbStore.at(folder, Durability.PROCESS)
    writer.kill()
    rest, _ = await writer.communicate()
    for line in rest.splitlines(keepends=True):
        if line.endswith(b"\n"):
            note(reported, line)

    store = LmdbStore.at(folder, Durability.PROCESS)
    for key, step in ((key_of(number), step) for number, step in reported.items()):
        record = await store.load(key)
        assert isinstance(record, Record)
        head = record.head
        assert head.committed_step >= step
        assert record.state == b"state %d" % head.committed_step
        answers = await store.answers(key, b"born", 0)
        assert answers[0].first_step == head.oldest_kept_answer
        assert answers[-1] == commit_after(key, replace(head, committed_step=head.committed_step - 1)).answer
        await stepped(store, key, head)
    await store.close()


READER = "import lmdb, sys; e = lmdb.open(sys.argv[1], readonly=True); t = e.begin(); print(flush=True); input()"


async def test_dead_readers_are_looked_for_each_minute(store: LmdbStore, folder: Path, clock: HandClock) -> None:
    """A tool that was killed while it read the file pins its pages until somebody looks."""
    await begun(store, KEYS[0])
    tool = await started("-c", READER, str(folder))
    await tool.stdout.readline()
    tool.kill()
    await tool.communicate()
    assert str(tool.pid) in store._environment.readers()
    clock.advance(60)

    await store.head(KEYS[0])

    assert str(tool.pid) not in store._environment.readers()


async def test_names_that_do_not_fit_are_refused_before_anything_is_asked(store: LmdbStore) -> None:
    with pytest.raises(ValueError, match="no NUL"):
        await store.head(Key("a\0b", "s"))
    with pytest.raises(ValueError, match="at most 510 bytes, got 601"):
        await store.head(Key("a", "é" * 300))


async def test_an_answer_can_be_empty_and_a_late_commit_finds_the_tombstone(store: LmdbStore) -> None:
    (head,) = await begun(store, KEYS[0])
    late = replace(commit_after(KEYS[0], head), answer=Answer(3, 1, b"", b""))
    (outcome,) = await store.commit([late])
    assert isinstance(outcome, Applied)
    assert (await store.answers(KEYS[0], b"born", 3)) == [late.answer]
    await store.delete(KEYS[0], None)

    (outcome,) = await store.commit([late])

    assert isinstance(outcome, Lost)
    assert isinstance(outcome.found, Tombstone)


async def test_sessions_that_are_gone_leave_nothing_behind(store: LmdbStore, clock: HandClock) -> None:
    """Through all the ways in which a session ends and an id is used again; a table that grows would fill the disk."""
    await begun(store, *KEYS)
    clock.advance(BIRTH.ttl / 2)
    await store.renew(KEYS[0], b"born", 0)
    clock.advance(BIRTH.ttl / 2)
    assert await store.expire(10) == 3
    await store.delete(KEYS[0], None)
    for _ in range(2):
        assert isinstance(await store.replace(KEYS[1], BIRTH, b"again", b"state", "client"), Applied)
        await store.delete(KEYS[1], b"again")
    await begun(store, key_of(9), steps=9)

    assert rows_of(store) == {"heads": 1, "tombstones": 4, "states": 1, "answers": 4, "ends": 5}

    clock.advance(TOMBSTONE_TTL)
    await store.expire(10)
    assert rows_of(store) == {"heads": 0, "tombstones": 1, "states": 0, "answers": 0, "ends": 1}


def rows_of(store: LmdbStore) -> dict[str, int]:
    counts = {}
    for name in ("heads", "tombstones", "states", "answers", "ends"):
        with table(store, name.encode()) as txn:
            counts[name] = len(list(txn.cursor()))
    return counts
