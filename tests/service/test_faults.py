"""The n-th call of any store operation fails, or is carried out and its reply lost: errors are clean, repeats settle.

A script of everything that sessions do runs on one server. Wherever a fault strikes, the caller does what it did again,
under the same number; at the end the answers and the final state are those of a run without faults.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from service.errors import (
    OutcomeUnknown,
    SessionExists,
    SessionNotFound,
    StateConflict,
    StoreFull,
    StoreUnavailable,
    TapeheadError,
)
from service.sessions.lifecycle import CreateSpec
from service.sessions.messages import StepAnswer
from service.store.base import Durability, Key, Store
from service.store.failing import FailingStore
from service.store.lmdb import LmdbStore
from service.store.memory import MemoryStore
from tests.service.fakes import OWNER, Server, serving, step_message

T = TypeVar("T")
OPERATIONS = ("create", "head", "load", "open", "commit", "answers", "answer", "kept_state", "delete")
CLEAN = (StoreUnavailable, StoreFull, OutcomeUnknown, StateConflict)  # what a fault of the store may be called
SECONDS = 20.0


@pytest.fixture(params=["memory", "lmdb"])
async def inner(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "memory":
        return MemoryStore()
    return LmdbStore.at(tmp_path / "store", Durability.PROCESS)


class Caller:
    """Does what it wants until it is settled; counts the errors on the way."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._requests = uuid.uuid4()
        self.errors: list[TapeheadError] = []
        self.answers: dict[tuple[str, int], float] = {}

    async def settled(self, act: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await act()
            except CLEAN as error:
                self.errors.append(error)

    def request_id(self, name: str) -> str:
        """The same for every try of this caller."""
        return str(uuid.uuid5(self._requests, name))

    def note(self, session_id: str, answer: StepAnswer) -> None:
        value = float(answer.outputs["y"].reshape(-1)[-1])
        assert self.answers.setdefault((session_id, answer.first_step), value) == value, "answered twice, differently"

    async def step(self, key: Key, step: int, *values: float, count: int = 0) -> None:
        message = step_message(step, *values, count=count)
        answer, _ = await self.settled(lambda: self.server.calls.step(key, None, message, "caller"))
        self.note(key.session_id, answer)

    async def stream(self, key: Key, first: int, *values: float) -> None:
        """Steps by a stream that is opened again, from the last answer, whenever it ends."""
        received = first - 1

        async def go_on() -> None:
            nonlocal received
            stream = await self.server.open(key.session_id, "caller", last_received_step=received)
            try:
                for replay in stream.replays:
                    self.note(key.session_id, replay)
                    received = replay.first_step
                pending = [
                    (step, stream.submit(step_message(step, value)))
                    for step, value in enumerate(values, first)
                    if step > received
                ]
                for step, answer in pending:
                    self.note(key.session_id, await answer)
                    received = step
            finally:
                stream.detach()

        await self.settled(go_on)


async def everything(caller: Caller) -> None:
    """Creation, unary steps, a chunk, a stream, a repeat, a rewind, a fork, a deletion and the next of its name."""
    server = caller.server

    async def create(session_id: str) -> Key:
        spec = CreateSpec(
            session_id, "accumulator", window=8, keep_every=2, keep_most=2, request_id=caller.request_id(session_id)
        )
        await caller.settled(lambda: server.lifecycle.create(OWNER, spec))
        return Key(OWNER, session_id)

    key = await create("one")
    for step in (1, 2, 3):
        await caller.step(key, step, float(step))
    await caller.stream(key, 4, 4.0, 5.0, 6.0)
    await caller.step(key, 7, 1.0, 2.0, count=2)
    await caller.step(key, 3, 3.0)  # a repeat
    await caller.settled(lambda: server.calls.rewind(key, None, 9, 6, "caller"))
    await caller.step(key, 10, 1.0)
    fork = CreateSpec("two", request_id=caller.request_id("two"))
    await caller.settled(lambda: server.lifecycle.fork(key, None, 8, fork))
    await caller.step(Key(OWNER, "two"), 9, 10.0)
    gone = await create("three")
    await caller.step(gone, 1, 5.0)
    await caller.settled(lambda: _deleted(server, gone))


async def _deleted(server: Server, key: Key) -> None:
    try:
        await server.lifecycle.delete(key, None)
    except SessionNotFound:
        return  # the first try had reached the store


async def outcome(caller: Caller, store: Store) -> object:
    """The answers, and what the store holds in the end."""
    states, reader = {}, Server(store).lifecycle
    for session_id in ("one", "two"):
        step, state = await reader.read_state(Key(OWNER, session_id), None, step=None)
        states[session_id] = (step, state["total"].tolist())
    with pytest.raises(SessionNotFound):
        await reader.get(Key(OWNER, "three"), None)
    return caller.answers, states


async def undisturbed() -> object:
    async with serving(server := Server(MemoryStore())):
        await everything(caller := Caller(server))
        assert not caller.errors
        return await outcome(caller, server.store)


@pytest.mark.parametrize("fault", ["fail", "lose_reply", "full"])
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_fault_at_any_call_of_the_store_is_settled_by_doing_it_again(
    inner: Store, operation: str, fault: str
) -> None:
    expected = await undisturbed()
    nth, was_hit = 0, True
    while was_hit:
        nth += 1
        for session_id in ("one", "two", "three"):
            await _deleted_below(inner, Key(OWNER, session_id))
        failing = FailingStore(inner)
        if fault == "lose_reply":
            failing.lose_reply(operation, nth)
        else:
            failing.fail(operation, nth, StoreFull("no space") if fault == "full" else None)
        async with serving(server := Server(failing)), asyncio.timeout(SECONDS):
            caller = Caller(server)
            await everything(caller)
            was_hit = failing.calls[operation] >= nth
            assert await outcome(caller, inner) == expected, f"{operation}, call {nth}"
    assert nth > 1, "the script never calls this operation"
    await inner.close()


async def _deleted_below(store: Store, key: Key) -> None:
    await store.delete(key, None)


async def test_an_id_whose_creation_was_not_heard_of_is_taken_by_the_same_request_alone() -> None:
    failing = FailingStore(MemoryStore())
    server = Server(failing)
    spec = CreateSpec("s", "accumulator", request_id=str(uuid.uuid4()))
    failing.lose_reply("create")
    with pytest.raises(StoreUnavailable):
        await server.lifecycle.create(OWNER, spec)

    assert (await server.lifecycle.create(OWNER, spec)).head.committed_step == 0
    with pytest.raises(SessionExists):
        await server.lifecycle.create(OWNER, replace(spec, request_id=str(uuid.uuid4())))
