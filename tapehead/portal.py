"""An event loop on a thread of its own, through which blocking programs use what is written for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

T = TypeVar("T")

PULLED_AHEAD = 64  # elements taken from a caller's iterable before the loop has asked for them
CANCEL_TIMEOUT = 2.0  # seconds that a cancelled call has to clean up

_END = object()


class Portal:
    """One loop for the whole process, because gRPC's asyncio side wants few; it ends with its last user."""

    _shared: ClassVar[Portal | None] = None
    _guard: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        self._users = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tapehead-loop", daemon=True)
        self._thread.start()

    @classmethod
    def enter(cls) -> Portal:
        """The process's portal; every `enter` is paired with a `leave`."""
        with cls._guard:
            portal = cls._shared = cls._shared or Portal()
            portal._users += 1
            return portal

    def leave(self) -> None:
        with Portal._guard:
            self._users -= 1
            if self._users:
                return
            Portal._shared = None
        self.call(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the loop and waits for it; an interrupted wait cancels it and waits for its end."""
        call = _Call(coroutine)
        try:
            self._loop.call_soon_threadsafe(call.start)
            return call.result.result()
        except BaseException:  # an interrupt may come while the loop is being woken, which then has the call already
            self._loop.call_soon_threadsafe(call.cancel)
            call.has_ended.wait(CANCEL_TIMEOUT)
            raise

    def iterate(self, elements: AsyncIterator[T]) -> Iterator[T]:
        """The elements of an asynchronous generator; leaving early closes it."""
        try:
            while (element := self.call(_next(elements))) is not _END:
                yield element
        finally:
            close = getattr(elements, "aclose", None)
            if close is not None:
                self.call(close())

    def pull(self, elements: Iterable[T]) -> AsyncIterable[T] | Iterable[T]:
        """Elements of an iterable that may block, such as lines of a terminal, without blocking the loop.

        A thread pulls, a few elements ahead. It cannot be stopped inside the iterable: what it gets after the
        consumer has gone is dropped.
        """
        if isinstance(elements, (list, tuple, np.ndarray)):
            return elements
        return self._pull(elements)

    async def _pull(self, elements: Iterable[T]) -> AsyncIterator[T]:
        arrived: asyncio.Queue[tuple[bool, Any]] = asyncio.Queue()
        room = threading.Semaphore(PULLED_AHEAD)
        has_left = threading.Event()

        def arrive(is_element: bool, value: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: its user has gone
                self._loop.call_soon_threadsafe(arrived.put_nowait, (is_element, value))

        def work() -> None:
            try:
                for element in elements:
                    room.acquire()
                    if has_left.is_set():
                        return
                    arrive(True, element)
                arrive(False, None)
            except Exception as error:
                arrive(False, error)

        threading.Thread(target=work, name="tapehead-pull", daemon=True).start()
        try:
            while True:
                is_element, value = await arrived.get()
                if not is_element:
                    break
                room.release()
                yield value
        finally:
            has_left.set()
            room.release()
        if value is not None:
            raise value


class _Call(Generic[T]):
    """A coroutine that another thread waits for; its methods are the loop's."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self.result: Future[T] = Future()
        self.has_ended = threading.Event()
        self._coroutine = coroutine
        self._task: asyncio.Task[T] | None = None

    def start(self) -> None:
        if not self.has_ended.is_set():
            self._task = asyncio.ensure_future(self._coroutine)
            self._task.add_done_callback(self._end)

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        else:
            self._coroutine.close()
            self.has_ended.set()

    def _end(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self.result.cancel()
        elif (error := task.exception()) is not None:
            self.result.set_exception(error)
        else:
            self.result.set_result(task.result())
        self.has_ended.set()


async def _next(elements: AsyncIterator[T]) -> Any:
    return await anext(elements, _END)
