"""A store that fails, or stands still, where a test tells it to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from ..errors import StoreUnavailable, TapeheadError
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
    Store,
    Tombstone,
)

T = TypeVar("T")


class Gate:
    """Stops the calls of one operation until it is opened.

    gate = store.hold("commit")
    task = asyncio.create_task(engine.step(...))
    await gate.wait_reached()  # the commit is in flight now
    gate.release()
    """

    def __init__(self) -> None:
        self._reached = asyncio.Event()
        self._released = asyncio.Event()

    async def wait_reached(self) -> None:
        """Waits until a call stands at the gate."""
        await self._reached.wait()

    def release(self) -> None:
        """Lets the calls that stand here, and all that follow, go on."""
        self._released.set()

    async def wait_released(self) -> None:
        self._reached.set()
        await self._released.wait()


class FailingStore:
    """Passes every call on to the inner store, but for the faults that were injected.

    Operations go by the names of their methods. `nth` counts the calls of an operation from the injection on, from 1.
    """

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self.calls: Counter[str] = Counter()  # how often each operation was called
        self._faults_before: dict[tuple[str, int], Exception] = {}  # by operation and number of the call
        self._faults_after: dict[tuple[str, int], Exception] = {}
        self._gates_before: dict[str, Gate] = {}
        self._gates_after: dict[str, Gate] = {}

    @property
    def durability(self) -> Durability:
        return self._inner.durability

    @property
    def location(self) -> str:
        return self._inner.location

    # --- injecting ----------------------------------------------------------------------------------------------------

    def fail(self, operation: str, nth: int = 1, error: TapeheadError | None = None) -> None:
        """The nth call raises the error, `StoreUnavailable` if none is given, and is not carried out."""
        self._faults_before[operation, self.calls[operation] + nth] = error or StoreUnavailable("an injected fault")

    def lose_reply(self, operation: str, nth: int = 1, error: TapeheadError | None = None) -> None:
        """The nth call is carried out, and then raises the error, `StoreUnavailable` if none is given."""
        self._faults_after[operation, self.calls[operation] + nth] = error or StoreUnavailable("an injected lost reply")

    def hold(self, operation: str) -> Gate:
        """Calls stop before they are carried out."""
        return self._gates_before.setdefault(operation, Gate())

    def hold_reply(self, operation: str) -> Gate:
        """Calls are carried out, and stop before they return."""
        return self._gates_after.setdefault(operation, Gate())

    async def _pass_on(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        self.calls[operation] += 1
        this_call = operation, self.calls[operation]
        if gate := self._gates_before.get(operation):
            await gate.wait_released()
        if fault := self._faults_before.pop(this_call, None):
            raise fault
        result = await call()
        if gate := self._gates_after.get(operation):
            await gate.wait_released()
        if fault := self._faults_after.pop(this_call, None):
            raise fault
        return result

    # --- the law ------------------------------------------------------------------------------------------------------

    async def create(self, key: Key, birth: Birth, incarnation: bytes, state: bytes, client_id: str) -> Applied | Lost:
        return await self._pass_on("create", lambda: self._inner.create(key, birth, incarnation, state, client_id))

    async def replace(self, key: Key, birth: Birth, incarnation: bytes, state: bytes, client_id: str) -> Applied | Lost:
        return await self._pass_on("replace", lambda: self._inner.replace(key, birth, incarnation, state, client_id))

    async def restore(self, key: Key, snapshot: Snapshot, incarnation: bytes, over: Tombstone | None) -> Applied | Lost:
        return await self._pass_on("restore", lambda: self._inner.restore(key, snapshot, incarnation, over))

    async def head(self, key: Key) -> Head | Tombstone | None:
        return await self._pass_on("head", lambda: self._inner.head(key))

    async def load(self, key: Key) -> Record | Tombstone | None:
        return await self._pass_on("load", lambda: self._inner.load(key))

    async def open(self, key: Key, incarnation: bytes, client_id: str) -> Opened | Lost:
        return await self._pass_on("open", lambda: self._inner.open(key, incarnation, client_id))

    async def commit(self, commits: Sequence[Commit]) -> list[Applied | Lost | Damaged]:
        return await self._pass_on("commit", lambda: self._inner.commit(commits))

    async def answers(self, key: Key, incarnation: bytes, from_step: int) -> list[Answer]:
        return await self._pass_on("answers", lambda: self._inner.answers(key, incarnation, from_step))

    async def kept_state(self, key: Key, incarnation: bytes, step: int) -> bytes | None:
        return await self._pass_on("kept_state", lambda: self._inner.kept_state(key, incarnation, step))

    async def answer(self, key: Key, incarnation: bytes, step: int) -> Answer | None:
        return await self._pass_on("answer", lambda: self._inner.answer(key, incarnation, step))

    async def renew(self, key: Key, incarnation: bytes, epoch: int) -> bool:
        return await self._pass_on("renew", lambda: self._inner.renew(key, incarnation, epoch))

    async def delete(self, key: Key, incarnation: bytes | None) -> Deleted | Lost:
        return await self._pass_on("delete", lambda: self._inner.delete(key, incarnation))

    async def expire(self, limit: int) -> int:
        return await self._pass_on("expire", lambda: self._inner.expire(limit))

    async def owners(self, after: str | None, limit: int) -> list[str]:
        return await self._pass_on("owners", lambda: self._inner.owners(after, limit))

    async def list(self, owner: str, after: str, limit: int) -> list[tuple[str, Head]]:
        return await self._pass_on("list", lambda: self._inner.list(owner, after, limit))

    async def close(self) -> None:
        await self._pass_on("close", self._inner.close)
