"""The line of replies between a stream's reader and its writer."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class ReplyLine(Generic[T]):
    """A queue for one reader and one writer: first in, first out, and the reader waits while it weighs too much.

    Leaner than `asyncio.Queue`, since every message of every stream goes through one: nothing is allocated unless
    somebody has to wait.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._replies: deque[tuple[T, int]] = deque()
        self._weight = 0
        self._closed = False
        self._arrival: asyncio.Future[None] | None = None  # what the writer waits for
        self._room: asyncio.Future[None] | None = None  # what the reader waits for

    def __len__(self) -> int:
        return len(self._replies)

    @property
    def is_awaited(self) -> bool:
        """Tells whether the writer has nothing to do."""
        return self._arrival is not None

    def put(self, reply: T, weight: int = 1) -> None:
        """`weight` is in steps: the answer of a chunk is as large as those of its steps."""
        self._replies.append((reply, weight))
        self._weight += weight
        _wake(self._arrival)

    def put_first(self, reply: T) -> None:
        """Puts what is no reply to a request before those that are."""
        self._replies.appendleft((reply, 0))
        _wake(self._arrival)

    def close(self) -> None:
        """Says that nothing more will come."""
        self._closed = True
        _wake(self._arrival)

    async def wait_room(self) -> None:
        """Returns when the line is short enough for the reader to go on."""
        while self._weight > self._limit:
            self._room = asyncio.get_running_loop().create_future()
            try:
                await self._room
            finally:
                self._room = None

    async def get(self) -> T | None:
        """Returns the next reply; None when the line is closed and empty."""
        while not self._replies:
            if self._closed:
                return None
            self._arrival = asyncio.get_running_loop().create_future()
            try:
                await self._arrival
            finally:
                self._arrival = None
        reply, weight = self._replies.popleft()
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
