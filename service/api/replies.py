"""The line of replies between a stream's reader and its writer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class ReplyLine(Generic[T]):
    """A queue for one reader and one writer: first in, first out, and the reader waits while it weighs too much.

    Leaner than `asyncio.Queue`, since every message of every stream goes through one: nothing is allocated unless
    somebody has to wait, and the writer is not woken for a reply that is not ready.
    """

    def __init__(self, limit: int, is_ready: Callable[[T], bool] = lambda _: True) -> None:
        """Whoever makes a reply ready that was not when it was put has to call `look`."""
        self._limit = limit
        self._is_ready = is_ready
        self._replies: list[tuple[T, int]] = []
        self._weight = 0
        self._closed = False
        self._arrival: asyncio.Future[None] | None = None  # what the writer waits for
        self._room: asyncio.Future[None] | None = None  # what the reader waits for

    def __len__(self) -> int:
        return len(self._replies)

    @property
    def is_awaited(self) -> bool:
        """Tells whether the writer has nothing to do, now or soon."""
        return self._arrival is not None and not self._replies

    def put(self, reply: T, weight: int = 1) -> None:
        """`weight` is in steps: the answer of a chunk is as large as those of its steps."""
        self._replies.append((reply, weight))
        self._weight += weight
        self.look()

    def put_first(self, reply: T) -> None:
        """Puts what is no reply to a request before those that are."""
        self._replies.insert(0, (reply, 0))
        self.look()

    def look(self) -> None:
        """Wakes the writer if it waits and there is something to write."""
        if self._arrival is not None and (self._is_ready(self._replies[0][0]) if self._replies else self._closed):
            _wake(self._arrival)

    def close(self) -> None:
        """Says that nothing more will come."""
        self._closed = True
        self.look()

    @property
    def is_full(self) -> bool:
        """Tells whether the reader has to wait before it goes on."""
        return self._weight > self._limit

    async def wait_room(self) -> None:
        """Returns when the line is short enough for the reader to go on."""
        while self.is_full:
            self._room = asyncio.get_running_loop().create_future()
            try:
                await self._room
            finally:
                self._room = None

    async def get(self) -> T | None:
        """Returns the next reply once it is ready; None when the line is closed and empty."""
        while not self._replies or not self._is_ready(self._replies[0][0]):
            if self._closed and not self._replies:
                return None
            self._arrival = asyncio.get_running_loop().create_future()
            try:
                await self._arrival
            finally:
                self._arrival = None
        reply, weight = self._replies.pop(0)
        self._weight -= weight
        if self._room is not None and self._weight <= self._limit:
            _wake(self._room)
        return reply

    def drop_all(self) -> list[T]:
        """Empties the line and returns what was in it."""
        dropped = [reply for reply, _ in self._replies]
        self._replies.clear()
        self._weight = 0
        return dropped


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
