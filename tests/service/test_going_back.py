"""Looking into a session, forking it, rewinding it."""

from __future__ import annotations

import uuid

import pytest

from service.errors import SessionNotFound, SessionReplaced, StepGap, StepNotKept, StepPayloadMismatch
from service.sessions.lifecycle import CreateSpec
from service.store.base import Key
from tests.service.fakes import OWNER, Server, memory_server, serving

KEEPING = CreateSpec("s", "accumulator", keep_every=2, keep_most=3)
FORK = Key(OWNER, "fork")


async def stepped(server: Server, steps: int) -> Key:
    """A session at that step, whose total is its step."""
    await server.lifecycle.create(OWNER, KEEPING)
    for step in range(1, steps + 1):
        await server.step(Key(OWNER, "s"), step, 1.0)
    return Key(OWNER, "s")


async def total(server: Server, key: Key, step: int | None = None) -> tuple[int, float]:
    at, tensors = await server.lifecycle.read_state(key, None, step=step)
    return at, float(tensors["total"][0])


async def test_the_state_can_be_read_at_every_kept_step() -> None:
    server = memory_server()
    async with serving(server):
        key = await stepped(server, 9)

        assert await total(server, key) == (9, 9.0)
        assert [await total(server, key, step) for step in (0, 4, 6, 8)] == [(0, 0.0), (4, 4.0), (6, 6.0), (8, 8.0)]


async def test_a_step_that_is_not_kept_says_which_are() -> None:
    server = memory_server()
    async with serving(server):
        key = await stepped(server, 9)
        with pytest.raises(StepNotKept) as caught:
            await server.lifecycle.read_state(key, None, step=2)

    assert caught.value.facts["kept_steps"] == "0, 4, 6, 8, 9"


async def test_a_state_that_is_not_reached_yet_is_a_gap() -> None:
    server = memory_server()
    async with serving(server):
        key = await stepped(server, 3)
        with pytest.raises(StepGap):
            await server.lifecycle.read_state(key, None, step=None, minimum_step=4)


@pytest.mark.parametrize(("step", "origin"), [(None, 5), (4, 4), (0, 0)])
async def test_a_fork_goes_on_by_itself_from_the_step_it_was_forked_at(step: int | None, origin: int) -> None:
    server = memory_server()
    async with serving(server):
        key = await stepped(server, 5)
        view = await server.lifecycle.fork(key, None, step, CreateSpec("fork"))

        assert view.head.committed_step == origin
        assert await server.step(FORK, origin + 1, 10.0) == origin + 10.0
        assert await server.step(key, 6, 1.0) == 6.0
        assert await total(server, FORK, origin) == (origin, float(origin))  # where it began stays in reach


async def test_a_repeated_fork_is_the_fork_that_there_is_also_when_its_source_is_gone() -> None:
    server = memory_server()
    async with serving(server):
        key = await stepped(server, 3)
        spec = CreateSpec(request_id=str(uuid.uuid4()))
        first = await server.lifecycle.fork(key, None, None, spec)
        await server.step(key, 4, 1.0)
        second = await server.lifecycle.fork(key, None, None, spec)
        await server.lifecycle.delete(key, None)
        third = await server.lifecycle.fork(key, None, None, spec)

    assert first.head.incarnation == second.head.incarnation == third.head.incarnation


async def test_a_fork_of_nothing_or_of_another_incarnation_is_refused() -> None:
    server = memory_server()
    async with serving(server):
        key = await stepped(server, 1)
        with pytest.raises(SessionReplaced):
            await server.lifecycle.fork(key, bytes(16), None, CreateSpec("fork"))
        with pytest.raises(SessionNotFound):
            await server.lifecycle.fork(Key(OWNER, "none"), None, None, CreateSpec("fork"))


async def test_a_rewind_is_a_numbered_step_to_an_earlier_state() -> None:
    server = memory_server()
    async with serving(server):
        key = await stepped(server, 5)
        answer, _ = await server.calls.rewind(key, None, 6, 2, "c")

        assert (answer.first_step, answer.committed_step, answer.outputs) == (6, 6, {})
        assert await server.step(key, 7, 1.0) == 3.0
        assert await total(server, key, 4) == (4, 4.0)  # steps after the one rewound to stay in reach


async def test_a_fork_can_go_back_to_the_models_beginning() -> None:
    server = memory_server()
    async with serving(server):
        await server.lifecycle.fork(await stepped(server, 3), None, None, CreateSpec("fork"))
        await server.calls.rewind(FORK, None, 4, 0, "c")

        assert await server.step(FORK, 5, 1.0) == 1.0


async def test_a_repeated_rewind_goes_back_once() -> None:
    server = memory_server()
    async with serving(server):
        key = await stepped(server, 3)
        await server.calls.rewind(key, None, 4, 2, "c")
        await server.step(key, 5, 1.0)
        again, _ = await server.calls.rewind(key, None, 4, 2, "c")

        assert again.replayed
        assert await total(server, key) == (5, 3.0)
        with pytest.raises(StepPayloadMismatch):
            await server.calls.rewind(key, None, 4, 0, "c")


async def test_a_rewind_to_a_step_that_is_not_kept_changes_nothing() -> None:
    server = memory_server()
    async with serving(server):
        key = await stepped(server, 9)
        with pytest.raises(StepNotKept):
            await server.calls.rewind(key, None, 10, 3, "c")

        assert await server.step(key, 10, 1.0) == 10.0


async def test_a_rewind_survives_in_the_store() -> None:
    server = memory_server()
    other = Server(server.lifecycle._store)
    async with serving(server, other):
        key = await stepped(server, 5)
        await server.calls.rewind(key, None, 6, 4, "c")

        assert await other.step(key, 7, 1.0) == 5.0
