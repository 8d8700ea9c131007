"""One thread through which all calls of an embedded store go, in groups.

While a group is carried out, further jobs gather; they make up the next group. So a lone call does not wait for
company, and a crowd shares one transaction.
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

from ..errors import StoreUnavailable

T = TypeVar("T")


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
    """Hands groups of jobs to `perform`, in a thread of its own. `perform` sets each job's result or error."""

    def __init__(self, perform: Callable[[list[Job]], None], close: Callable[[], None], group_limit: int = 256) -> None:
        """`close` is called in the same thread after the last job; a group has at most `group_limit` jobs."""
        self._perform = perform
        self._close = close
        self._group_limit = group_limit
        self._queue: SimpleQueue[Job | None] = SimpleQueue()  # None: no more will come
        self._closed: asyncio.Future[None] | None = None
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, kind: Kind, act: Callable[[Any], T], size: int = 0) -> asyncio.Future[T]:
        """The future is settled after the transaction in which the job was done has ended."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._closed is not None:
            raise StoreUnavailable("it is closed")
        self._queue.put(Job(kind, act, size, future))
        return future

    async def close(self) -> None:
        """Waits for all jobs and for `close`."""
        if self._closed is None:
            self._closed = asyncio.get_running_loop().create_future()
            self._queue.put(None)
        await asyncio.shield(self._closed)

    def _run(self) -> None:
        open_for_more = True
        while open_for_more:
            group, open_for_more = self._gather()
            if group:
                self._carry_out(group)
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

    def _carry_out(self, group: list[Job]) -> None:
        try:
            self._perform(group)
        except Exception as error:  # a bug of the store's; the thread must outlive it, and nobody may wait for ever
            for job in group:
                job.error = job.error or error
        _call_in_loop_of(group[0].future, _settle, group)


def _settle(group: list[Job]) -> None:
    for job in group:
        job.settle()


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _call_in_loop_of(future: asyncio.Future[Any], call: Callable[..., None], *args: object) -> None:
    with suppress(RuntimeError):  # the loop is closed, so nobody waits
        future.get_loop().call_soon_threadsafe(call, *args)
