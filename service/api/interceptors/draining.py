"""Refuses new calls once the server drains, and knows when the last old one has ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

from ...errors import Draining
from ..call import Call, Handler, Method


class Drain:
    """The end of the server's life, as its calls see it. Belongs to one event loop."""

    def __init__(self) -> None:
        self._has_begun = False
        self._watchers: set[asyncio.Future[None]] = set()
        self.deadline = float("inf")  # loop time by which streams have to end
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def has_begun(self) -> bool:
        return self._has_begun

    def begin(self, seconds: float) -> None:
        """Refuses new calls from now on; streams answer what they have read for at most `seconds`."""
        if not self.has_begun:
            self._has_begun = True
            self.deadline = asyncio.get_running_loop().time() + seconds
            for watcher in self._watchers:
                watcher.set_result(None)

    @contextlib.contextmanager
    def watched(self) -> Iterator[asyncio.Future[None]]:
        """Gives a future that is done as soon as the drain has begun; the caller's own, and not to be cancelled.

        Were one future everybody's, each who stops waiting for it would search through all who still do.
        """
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._has_begun:
            begun.set_result(None)
        self._watchers.add(begun)
        try:
            yield begun
        finally:
            self._watchers.discard(begun)

    def seconds_left(self) -> float:
        return max(0.0, self.deadline - asyncio.get_running_loop().time())

    async def wait_idle(self, seconds: float) -> int:
        """Waits until no call is left, at most `seconds`; returns how many are."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)
        return self._calls

    @contextlib.contextmanager
    def waited_for(self) -> Iterator[None]:
        """What runs inside is a call whose end the drain waits for."""
        self._calls += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._calls -= 1
            if self._calls == 0:
                self._idle.set()

    def intercept(self, method: Method, handler: Handler) -> Handler:
        if method.service.startswith("grpc."):
            return handler  # health and reflection answer to the end

        async def admitted(request: Any, call: Call) -> Any:
            if self.has_begun:
                raise Draining
            with self.waited_for():
                return await handler(request, call)

        return admitted
