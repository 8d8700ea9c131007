"""Sessions in one file: the embedded store, for one server process.

Calls go through one writer thread, which joins what waits into one transaction: LMDB has one writer anyway, and the
price of a synchronous transaction is shared by everybody in it. A commit that waits for no disk is written by its
caller if the thread is idle, since the batch of the engine is one transaction already, and a head is read by its
caller then, since every question about a session reads one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import lmdb

from ..clock import Clock, SystemClock
from ..errors import StateCorrupt, StoreUnavailable
from .base import (
    Answer,
    Applied,
    Birth,
    Commit,
    Damaged,
    Deleted,
    Durability,
    Head,
    Key,
    Lost,
    Opened,
    Record,
    Snapshot,
    Tombstone,
)
from .lmdb_groups import Groups
from .lmdb_tables import TABLES, Tables, place_of
from .volume import Hold, require_durability
from .writer import Kind, Writer

MAP_SIZE = 64 << 30  # bytes; address space, not disk: the file grows as it is filled
RESERVE = 64 << 20  # bytes that commits leave free on the volume, so that deletes still work


class LmdbStore:
    """Keeps sessions in an LMDB environment, at `disk` or `process` durability.

    At `process` nothing waits for the disk: commits survive the process, but a loss of power may take the whole file.
    """

    def __init__(
        self, folder: Path, durability: Durability, hold: Hold, environment: lmdb.Environment, groups: Groups
    ) -> None:
        self.durability = durability
        self.location = f"lmdb:{folder}"
        self._hold = hold
        self._environment = environment
        self._groups = groups
        self._tables = groups.tables
        self._writer = Writer(groups.perform, self._release)
        waits_for_disk = durability is Durability.DISK
        self._submit_commit = self._writer.submit if waits_for_disk else self._writer.submit_or_do

    @classmethod
    def at(
        cls,
        path: str | Path,
        durability: Durability = Durability.DISK,
        map_size: int = MAP_SIZE,
        reserve_bytes: int = RESERVE,
        clock: Clock | None = None,
    ) -> LmdbStore:
        """Opens the folder, or makes it. Blocks; meant for the start of a server.

        Raises StoreHeld if another process has it, DurabilityRefused if its volume cannot honour the durability,
        StateCorrupt if what lies there is not a whole store, StoreUnavailable if it cannot be opened.
        """
        if durability is Durability.MEMORY:
            raise ValueError("durability: expected DISK or PROCESS, got MEMORY, which MemoryStore gives")
        folder, clock = Path(path).absolute(), clock or SystemClock()
        require_durability(folder, durability)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            hold = Hold(folder)
        except OSError as error:
            raise StoreUnavailable(f"{folder}: {error.strerror}") from error
        try:
            environment = _open_environment(folder, durability, map_size)
            try:
                groups = Groups(environment, Tables(environment, clock), folder, reserve_bytes, clock)
            except BaseException:
                environment.close()
                raise
        except BaseException:
            hold.release()
            raise
        return cls(folder, durability, hold, environment, groups)

    def __repr__(self) -> str:
        return f"<LmdbStore: {self.location}, {self.durability.name.lower()}>"

    async def create(self, key: Key, birth: Birth, incarnation: bytes, state: bytes, client_id: str) -> Applied | Lost:
        place, tables = place_of(key), self._tables
        return await self._writer.submit(
            Kind.GROWS, lambda txn: tables.create(txn, place, birth, incarnation, state, client_id), _size(birth, state)
        )

    async def replace(self, key: Key, birth: Birth, incarnation: bytes, state: bytes, client_id: str) -> Applied | Lost:
        place, tables = place_of(key), self._tables
        return await self._writer.submit(
            Kind.GROWS,
            lambda txn: tables.replace(txn, place, birth, incarnation, state, client_id),
            _size(birth, state),
        )

    async def restore(self, key: Key, snapshot: Snapshot, incarnation: bytes, over: Tombstone | None) -> Applied | Lost:
        place, tables = place_of(key), self._tables
        size = len(snapshot.state) + sum(map(len, snapshot.kept_states.values()))
        size += sum(len(answer.payload) for answer in snapshot.answers)
        return await self._writer.submit(
            Kind.GROWS, lambda txn: tables.restore(txn, place, snapshot, incarnation, over), size
        )

    async def head(self, key: Key) -> Head | Tombstone | None:
        place = place_of(key)
        return await self._writer.submit_or_do(Kind.READS, lambda txn: self._tables.head(txn, place))

    async def load(self, key: Key) -> Record | Tombstone | None:
        place = place_of(key)
        return await self._writer.submit(Kind.READS, lambda txn: self._tables.load(txn, place))

    async def open(self, key: Key, incarnation: bytes, client_id: str) -> Opened | Lost:
        place = place_of(key)
        return await self._writer.submit(
            Kind.TOUCHES, lambda txn: self._tables.open(txn, place, incarnation, client_id)
        )

    async def commit(self, commits: Sequence[Commit]) -> list[Applied | Lost | Damaged]:
        placed = [(place_of(commit.key), commit) for commit in commits]
        size = sum((1 + commit.keep) * len(commit.state) + len(commit.answer.payload) for commit in commits)
        return await self._submit_commit(Kind.GROWS, lambda txn: self._tables.commit(txn, placed), size)

    async def answers(self, key: Key, incarnation: bytes, from_step: int) -> list[Answer]:
        place = place_of(key)
        return await self._writer.submit(
            Kind.READS, lambda txn: self._tables.answers(txn, place, incarnation, from_step)
        )

    async def kept_state(self, key: Key, incarnation: bytes, step: int) -> bytes | None:
        place = place_of(key)
        return await self._writer.submit(Kind.READS, lambda txn: self._tables.kept_state(txn, place, incarnation, step))

    async def answer(self, key: Key, incarnation: bytes, step: int) -> Answer | None:
        place = place_of(key)
        return await self._writer.submit(Kind.READS, lambda txn: self._tables.answer(txn, place, incarnation, step))

    async def renew(self, key: Key, incarnation: bytes, epoch: int) -> bool:
        place = place_of(key)
        return await self._writer.submit(Kind.TOUCHES, lambda txn: self._tables.renew(txn, place, incarnation, epoch))

    async def delete(self, key: Key, incarnation: bytes | None) -> Deleted | Lost:
        place = place_of(key)
        return await self._writer.submit(Kind.SHRINKS, lambda txn: self._tables.delete(txn, place, incarnation))

    async def expire(self, limit: int) -> int:
        expired, more = 0, True
        while more:  # in slices, so that commits go between them
            visit = partial(self._tables.expire, limit=limit - expired)
            count, more = await self._writer.submit(Kind.SHRINKS, visit)
            expired += count
        return expired

    async def owners(self, after: str | None, limit: int) -> list[str]:
        return await self._writer.submit(Kind.READS, lambda txn: self._tables.owners(txn, after, limit))

    async def keys(self, after: Key | None, limit: int) -> list[Key]:
        """Reads at most `limit` keys of sessions, damaged ones too, in the order of owners and ids."""
        place = place_of(after) if after else None
        return await self._writer.submit(Kind.READS, lambda txn: self._tables.keys(txn, place, limit))

    async def list(self, owner: str, after: str, limit: int) -> list[tuple[str, Head]]:
        return await self._writer.submit(Kind.READS, lambda txn: self._tables.page(txn, owner, after, limit))

    async def close(self) -> None:
        await self._writer.close()

    def _release(self) -> None:
        """In the writer's thread, after the last job."""
        self._environment.sync(True)
        self._environment.close()
        self._hold.release()


def _size(birth: Birth, state: bytes) -> int:
    return len(state) * (2 if birth.keeps_origin else 1)  # what a fork begins with is kept too


def _open_environment(folder: Path, durability: Durability, map_size: int) -> lmdb.Environment:
    synchronous = durability is Durability.DISK
    try:
        environment = lmdb.open(
            str(folder),
            map_size=map_size,
            max_dbs=TABLES,
            sync=synchronous,
            metasync=synchronous,
            readahead=False,  # sessions are read one by one, in no order
            mode=0o600,
        )
    except lmdb.InvalidError as error:
        raise StateCorrupt(f"{folder} holds no LMDB file ({error})") from error
    except lmdb.Error as error:
        raise StoreUnavailable(str(error)) from error
    # A page beyond the end of a file that was cut would kill the process when it is read.
    size = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    if (found := (folder / "data.mdb").stat().st_size) < size:
        environment.close()
        raise StateCorrupt(f"{folder}/data.mdb: expected at least {size} bytes, got {found}")
    if synchronous:
        environment.sync(True)  # what an earlier server, at `process`, may have left in the page cache
        for directory in (folder, folder.parent):
            _sync_directory(directory)
    return environment


def _sync_directory(directory: Path) -> None:
    """Makes the names in it survive a loss of power."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
