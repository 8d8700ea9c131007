"""How a group of jobs becomes transactions of LMDB, and what its failures mean to those who wait.

Reads that wait go before the writes beside them, in a transaction of their own, so that they do not wait for the disk;
both were asked for at the same time, so either order is true.
"""

from __future__ import annotations

from pathlib import Path

import lmdb

from .. import failpoints
from ..clock import Clock
from ..errors import StateCorrupt, StoreFull, StoreUnavailable, TapeheadError
from .lmdb_tables import Tables
from .volume import free_bytes
from .writer import Job, Kind

_HEADROOM = 16 << 20  # bytes by which the map grows for a delete that finds it full
_CHECK_SPACE_EVERY = 1.0  # seconds
_CHECK_READERS_EVERY = 60.0  # seconds; a tool that was killed while it read pins old pages


class Groups:
    """Carries out groups of jobs, one group at a time."""

    def __init__(
        self, environment: lmdb.Environment, tables: Tables, folder: Path, reserve_bytes: int, clock: Clock
    ) -> None:
        self.tables = tables
        self._environment = environment
        self._folder = folder
        self._reserve_bytes = reserve_bytes
        self._clock = clock
        self._space = _Space(folder, reserve_bytes, clock)
        self._readers_checked = clock.monotonic()
        environment.reader_check()

    def perform(self, jobs: list[Job]) -> None:
        try:
            self._perform(jobs)
        except (lmdb.Error, OSError) as error:  # from a look at the volume or at the readers, before or after the jobs
            for job in jobs:
                job.error = job.error or StoreUnavailable(str(error))

    def _perform(self, jobs: list[Job]) -> None:
        self._check_readers()
        if reads := [job for job in jobs if job.kind is Kind.READS]:
            self._read(reads)
        if writes := self._admitted([job for job in jobs if job.kind is not Kind.READS]):
            self._write(writes)

    def _read(self, jobs: list[Job]) -> None:
        try:
            with self._environment.begin() as txn:
                for job in jobs:
                    try:
                        job.result = job.act(txn)
                    except Exception as error:
                        job.error = _translated(error)
        except lmdb.Error as error:
            for job in jobs:
                job.error = job.error or _translated(error)

    def _admitted(self, jobs: list[Job]) -> list[Job]:
        """Refuses what would grow a store that has eaten its reserve."""
        growth = sum(job.size for job in jobs if job.kind is Kind.GROWS)
        if not growth or not (shortage := self._space.shortage(growth)):
            return jobs
        for job in jobs:
            if job.kind is Kind.GROWS:
                job.error = StoreFull(shortage)
        return [job for job in jobs if job.error is None]

    def _write(self, jobs: list[Job]) -> None:
        """One transaction for all; where it cannot be carried out, one for each, so that each fails for itself."""
        try:
            self._transact(jobs)
        except Exception as error:  # certainly not carried out
            if len(jobs) > 1:
                for job in jobs:
                    job.result = job.error = None
                    self._write([job])
            elif isinstance(error, lmdb.MapFullError) and jobs[0].kind is Kind.SHRINKS:
                self._shrink(jobs[0])
            else:
                jobs[0].error = _translated(error)

    def _transact(self, jobs: list[Job]) -> None:
        """Raises whatever kept the transaction from being carried out; sets the errors of one that may have been."""
        before = self._environment.info()["last_txnid"]
        txn = self._environment.begin(write=True)
        try:
            for job in jobs:
                try:
                    job.result = job.act(txn)
                except TapeheadError as error:  # raised before the job wrote anything
                    job.error = error
            failpoints.hit("commit.transaction")
        except BaseException:
            txn.abort()
            raise
        try:
            txn.commit()
        except lmdb.MapFullError:
            raise
        except lmdb.Error as error:
            outcome = self._after_failed_commit(error, before)
            for job in jobs:
                job.error = outcome(str(error))

    def _after_failed_commit(self, error: lmdb.Error, before: int) -> type[StoreFull] | type[StoreUnavailable]:
        """A full disk shows as an input/output error; that it was not carried out is certain if no meta page moved."""
        try:
            full = isinstance(error, lmdb.DiskError) or free_bytes(self._folder) < self._reserve_bytes
            certain = not isinstance(error, lmdb.PanicError) and self._environment.info()["last_txnid"] == before
        except (OSError, lmdb.Error):
            return StoreUnavailable  # nothing is certain then, and least of all that the group may be tried again
        return StoreFull if full and certain else StoreUnavailable

    def _shrink(self, job: Job) -> None:
        """A delete writes new pages before it frees old ones. LMDB takes the headroom back as far as it is unused."""
        size = self._environment.info()["map_size"]
        self._environment.set_mapsize(size + _HEADROOM)
        try:
            self._transact([job])
        except Exception as error:
            job.error = _translated(error)
        finally:
            self._environment.set_mapsize(size)

    def _check_readers(self) -> None:
        now = self._clock.monotonic()
        if now - self._readers_checked >= _CHECK_READERS_EVERY:
            self._readers_checked = now
            self._environment.reader_check()


class _Space:
    """Looks at the volume once a second, or sooner if much was written since."""

    def __init__(self, folder: Path, reserve_bytes: int, clock: Clock) -> None:
        self._folder = folder
        self._reserve_bytes = reserve_bytes
        self._clock = clock
        self._free = free_bytes(folder)
        self._looked = clock.monotonic()
        self._written = 0

    def shortage(self, growth: int) -> str:
        """What is short, if less than the reserve is free before `growth` bytes are written; else nothing."""
        now = self._clock.monotonic()
        if now - self._looked >= _CHECK_SPACE_EVERY or 4 * self._written >= self._reserve_bytes:
            self._free, self._looked, self._written = free_bytes(self._folder), now, 0
        self._written += growth
        if self._free - self._written >= self._reserve_bytes:
            return ""
        return (
            f"{self._free >> 20} MiB are free at {self._folder}, of which {self._reserve_bytes >> 20} MiB are kept back"
        )


def _translated(error: Exception) -> Exception:
    """What an error of a transaction that was certainly not carried out means to the caller."""
    if isinstance(error, lmdb.MapFullError):
        return StoreFull("its map is full; delete sessions, or raise the map size")
    if isinstance(error, lmdb.CorruptedError | lmdb.PageNotFoundError):
        return StateCorrupt(str(error))
    if isinstance(error, lmdb.Error):
        return StoreUnavailable(str(error))
    return error
