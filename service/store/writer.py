"""One thread through which the calls of an embedded store go, in groups.

While a group is carried out, further jobs gather; they make up the next group. So a lone call does not wait for
company, and a crowd shares one transaction.

A job that waits for no disk may be done by its caller instead, if the thread has nothing to do: handing it over and
back takes several times as long as the job itself, because two threads then contend for one interpreter.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from ..clock import Clock, SystemClock
from ..errors import StoreUnavailable

T = TypeVar("T")

AT_ONCE_BYTES = 4 << 20  # of a job that its caller does: about two milliseconds
AT_ONCE_SECONDS = 0.005  # a caller whose job took longer has met a volume that makes writers wait ...
HANDED_OVER = 100  # ... so that this many jobs go to the thread before a caller tries again


class Kind(Enum):
    """What a job does to the store's space."""

    READS = "reads"
    GROWS = "grows"
    TOUCHES = "touches"  # writes a few bytes
    SHRINKS = "shrinks"


@dataclass(slots=True, eq=False)
class Job:
    """Something to be done in a transaction, and who waits for it."""

    kind: Kind
    act: Callable[[Any], Any]  # takes the transaction
    size: int  # bytes it is about to write, roughly
    future: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None

    def settle(self) -> None:
        if self.future.done():  # its caller was cancelled
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class Writer:
    """Hands groups of jobs to `perform`, one at a time. `perform` sets each job's result or error."""

    def __init__(
        self,
        perform: Callable[[list[Job]], None],
        close: Callable[[], None],
        group_limit: int = 256,
        clock: Clock | None = None,
    ) -> None:
        """`close` is called in the writer's thread after the last job; a group has at most `group_limit` jobs."""
        self._perform = perform
        self._close = close
        self._group_limit = group_limit
        self._clock = clock or SystemClock()
        self._under_way = 0  # jobs that the thread has and that are not settled; only the event loop looks at it
        self._to_hand_over = 0  # jobs that a caller may not do, as one took too long
        self._queue: SimpleQueue[Job | None] = SimpleQueue()  # None: no more will come
        self._closed: asyncio.Future[None] | None = None
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, kind: Kind, act: Callable[[Any], T], size: int = 0) -> asyncio.Future[T]:
        """The future is settled after the transaction in which the job was done has ended."""
        job = self._job(kind, act, size)
        self._under_way += 1
        self._queue.put(job)
        return job.future

    def submit_or_do(self, kind: Kind, act: Callable[[Any], T], size: int = 0) -> asyncio.Future[T]:
        """As `submit`, but does a job that waits for no disk at once, in this thread, if it may be expected to be short
        and nothing else is under way. The future is settled then."""
        if self._under_way or self._to_hand_over or size > AT_ONCE_BYTES:
            self._to_hand_over = max(0, self._to_hand_over - 1)
            return self.submit(kind, act, size)
        job = self._job(kind, act, size)
        started = self._clock.monotonic()
        self._do([job])
        job.settle()
        if self._clock.monotonic() - started > AT_ONCE_SECONDS:
            self._to_hand_over = HANDED_OVER
        return job.future

    async def close(self) -> None:
        """Waits for all jobs and for `close`."""
        if self._closed is None:
            self._closed = asyncio.get_running_loop().create_future()
            self._queue.put(None)
        await asyncio.shield(self._closed)

    def _job(self, kind: Kind, act: Callable[[Any], T], size: int) -> Job:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._closed is not None:
            raise StoreUnavailable("it is closed")
        return Job(kind, act, size, future)

    def _run(self) -> None:
        open_for_more = True
        while open_for_more:
            group, open_for_more = self._gather()
            if group:
                self._do(group)
                _call_in_loop_of(group[0].future, self._settle, group)
        self._close()
        assert self._closed is not None
        _call_in_loop_of(self._closed, _finish, self._closed)

    def _gather(self) -> tuple[list[Job], bool]:
        """Waits for a job, then takes what else is there. False if no more will come."""
        group: list[Job] = []
        job = self._queue.get()
        while job is not None:
            group.append(job)
            if len(group) == self._group_limit:
                return group, True
            try:
                job = self._queue.get_nowait()
            except Empty:
                return group, True
        return group, False

    def _do(self, group: list[Job]) -> None:
        try:
            self._perform(group)
        except Exception as error:  # a bug of the store's; the thread must outlive it, and nobody may wait for ever
            for job in group:
                job.error = job.error or error

    def _settle(self, group: list[Job]) -> None:
        self._under_way -= len(group)
        for job in group:
            job.settle()


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _call_in_loop_of(future: asyncio.Future[Any], call: Callable[..., None], *args: object) -> None:
    with suppress(RuntimeError):  # the loop is closed, so nobody waits
        future.get_loop().call_soon_threadsafe(call, *args)
