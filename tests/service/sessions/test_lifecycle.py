"""Creating, opening, listing and ending sessions."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace

import numpy as np
import pytest

from service.errors import (
    InvalidField,
    ModelNotFound,
    SessionExists,
    SessionExpired,
    SessionNotFound,
    SessionReplaced,
    SessionTakenOver,
)
from service.hosting.model import TensorSpec
from service.sessions.lifecycle import CreateSpec
from service.sessions.listing import Filter
from service.store.base import Answer, Durability, Key
from service.store.memory import MemoryStore
from tests.contract.clocks import HandClock
from tests.service.fakes import OWNER, Server, fake_model, memory_server, serving, step_message

SPEC = CreateSpec("s", "accumulator")


# --- creation ---------------------------------------------------------------------------------------------------------


async def test_a_new_session_is_at_step_zero() -> None:
    view = await memory_server().lifecycle.create(OWNER, replace(SPEC, labels={"a": "b"}, window=5, ttl=60.0))

    assert (view.session_id, view.head.committed_step, view.head.epoch) == ("s", 0, 0)
    assert (view.head.birth.window, view.head.birth.ttl, dict(view.head.birth.labels)) == (5, 60.0, {"a": "b"})


async def test_an_id_is_drawn_where_none_is_given() -> None:
    lifecycle = memory_server().lifecycle
    ids = {(await lifecycle.create(OWNER, replace(SPEC, session_id=""))).session_id for _ in range(3)}

    assert len(ids) == 3


async def test_a_repeated_creation_returns_the_session_as_it_is() -> None:
    server = memory_server()
    spec = replace(SPEC, session_id="", request_id=str(uuid.uuid4()))
    async with serving(server):
        first = await server.lifecycle.create(OWNER, spec)
        await server.step(Key(OWNER, first.session_id), 1, 1.0)
        again = await server.lifecycle.create(OWNER, spec)

    assert (again.session_id, again.head.incarnation) == (first.session_id, first.head.incarnation)
    assert again.head.committed_step == 1


async def test_owners_with_the_same_request_id_get_sessions_of_their_own() -> None:
    lifecycle = memory_server().lifecycle
    spec = replace(SPEC, session_id="", request_id=str(uuid.uuid4()))

    ids = {(await lifecycle.create(owner, spec)).session_id for owner in ("ada", "bob")}

    assert len(ids) == 2


@pytest.mark.parametrize("other", [{"window": 3}, {"request_id": str(uuid.uuid4())}, {"request_id": ""}])
async def test_an_id_taken_by_other_content_is_refused(other: dict[str, object]) -> None:
    lifecycle = memory_server().lifecycle
    spec = replace(SPEC, request_id=str(uuid.uuid4()))
    await lifecycle.create(OWNER, spec)

    with pytest.raises(SessionExists):
        await lifecycle.create(OWNER, replace(spec, **other))  # type: ignore[arg-type]


async def test_a_deleted_id_may_be_used_again_by_another_request() -> None:
    lifecycle = memory_server().lifecycle
    first = await lifecycle.create(OWNER, SPEC)
    await lifecycle.delete(Key(OWNER, "s"), None)

    assert (await lifecycle.create(OWNER, SPEC)).head.incarnation != first.head.incarnation


@pytest.mark.parametrize("session_id", ["s", ""])
async def test_a_late_repeat_of_a_creation_makes_nothing_after_the_delete(session_id: str) -> None:
    lifecycle = memory_server().lifecycle
    spec = replace(SPEC, session_id=session_id, request_id=str(uuid.uuid4()))
    view = await lifecycle.create(OWNER, spec)
    await lifecycle.delete(Key(OWNER, view.session_id), None)

    with pytest.raises(SessionNotFound):
        await lifecycle.create(OWNER, spec)


async def test_a_late_repeat_makes_nothing_after_the_id_was_created_again() -> None:
    """Create r1, delete, create r2 with the same content, a late repeat of r1."""
    lifecycle = memory_server().lifecycle
    first, second = (replace(SPEC, request_id=str(uuid.uuid4())) for _ in range(2))
    await lifecycle.create(OWNER, first)
    await lifecycle.delete(Key(OWNER, "s"), None)
    living = await lifecycle.create(OWNER, second)

    with pytest.raises(SessionExists):
        await lifecycle.create(OWNER, first)
    assert (await lifecycle.get(Key(OWNER, "s"), None)).head.incarnation == living.head.incarnation


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (replace(SPEC, session_id="a b"), "session_id"),
        (replace(SPEC, session_id="x" * 129), "session_id"),
        (replace(SPEC, model_id=""), "model_id"),
        (replace(SPEC, request_id="seven"), "request_id"),
        (replace(SPEC, window=1025), "window"),
        (replace(SPEC, ttl=0.5), "ttl"),
        (replace(SPEC, labels={str(n): "" for n in range(17)}), "labels"),
        (replace(SPEC, durability=Durability.DISK), "durability"),
    ],
)
async def test_what_no_session_can_have_is_refused_by_name(spec: CreateSpec, field: str) -> None:
    with pytest.raises(InvalidField) as caught:
        await memory_server().lifecycle.create(OWNER, spec)

    assert caught.value.facts["field"] == field


async def test_a_window_of_large_answers_is_made_smaller() -> None:
    model = fake_model()
    large = replace(model.entries["step"], outputs=(TensorSpec("y", np.dtype(np.float32), (1024, 1024)),))
    server = memory_server(replace(model, entries={"step": large}))
    view = await server.lifecycle.create(OWNER, replace(SPEC, window=64))

    assert view.head.birth.window == 4  # 16 MiB of answers of 4 MiB each


async def test_a_model_that_is_not_served_is_refused() -> None:
    with pytest.raises(ModelNotFound):
        await memory_server().lifecycle.create(OWNER, replace(SPEC, model_id="other"))


# --- looking, listing, ending -----------------------------------------------------------------------------------------


async def test_another_owners_session_and_none_look_the_same() -> None:
    server = memory_server()
    await server.create("s")
    errors = []
    for owner, session_id in [("bob", "s"), ("bob", "s2")]:
        with pytest.raises(SessionNotFound) as caught:
            await server.lifecycle.get(Key(owner, session_id), None)
        errors.append(str(caught.value).replace("s2", "s"))

    assert errors[0] == errors[1]


async def test_pages_go_through_all_sessions_once() -> None:
    server = memory_server()
    for n in range(7):
        await server.create(f"s{n}")
    await server.open("s3")
    seen: list[str] = []
    after = ""
    while True:
        page, after = await server.lifecycle.list(
            OWNER, after=after, limit=2, wanted=Filter("accumulator", attached=False)
        )
        seen += [view.session_id for view in page]
        if not after:
            break

    assert seen == ["s0", "s1", "s2", "s4", "s5", "s6"]


async def test_deleting_ends_the_stream_and_forgets_the_state() -> None:
    server = memory_server()
    async with serving(server):
        key = await server.create("s")
        stream = await server.open("s")
        await stream.submit(step_message(1, 5.0))
        head = await server.lifecycle.delete(key, None)

        assert head.committed_step == 1
        assert isinstance(stream.ended.result(), SessionNotFound)
        await server.create("s")
        assert await server.step(key, 1, 1.0) == 1.0


async def test_a_late_delete_of_an_earlier_incarnation_is_refused() -> None:
    server = memory_server()
    key = await server.create("s")
    incarnation = (await server.lifecycle.get(key, None)).head.incarnation
    await server.lifecycle.delete(key, incarnation)
    await server.create("s")

    with pytest.raises(SessionReplaced):
        await server.lifecycle.delete(key, incarnation)


async def test_an_expired_session_says_so_to_its_owner() -> None:
    clock = HandClock()
    server = Server(MemoryStore(clock))
    key = await server.create("s")
    clock.advance(3601.0)

    assert await server.lifecycle.expire(10) == 1
    with pytest.raises(SessionExpired):
        await server.lifecycle.get(key, None)


async def test_a_stream_opened_elsewhere_is_ended_at_the_next_look() -> None:
    store = MemoryStore()
    here, there = Server(store), Server(store)
    await here.create("s")
    stream = await here.open("s", "c1")
    await there.open("s", "c2")
    await here.lifecycle.watch()

    assert isinstance(stream.ended.result(), SessionTakenOver)


@pytest.mark.parametrize(("ttl", "looks", "every"), [(1.0, 20, 0.2), (59.0, 100, 0.2), (60.0, 40, 5.0)])
async def test_a_session_lives_while_a_stream_is_attached_to_it(ttl: float, looks: int, every: float) -> None:
    """However short its time to live, and though nobody steps it; and not a moment longer."""
    clock = HandClock()
    server = Server(MemoryStore(clock), clock=clock)
    await server.lifecycle.create(OWNER, replace(SPEC, session_id="s", ttl=ttl))
    stream = await server.open("s")
    for _ in range(looks):
        clock.advance(every)
        await (server.lifecycle.renew_short_lived() if every < 1 else server.lifecycle.watch())
        assert await server.lifecycle.expire(10) == 0
    stream.detach()
    clock.advance(ttl + 0.01)
    await server.lifecycle.renew_short_lived()
    await server.lifecycle.watch()

    assert await server.lifecycle.expire(10) == 1


async def test_a_session_is_renewed_though_the_stores_clock_is_another() -> None:
    """The time of a server that is behind the store's by more than the time to live."""
    ahead, behind = HandClock(2_000_000.0), HandClock(1_000_000.0)
    server = Server(MemoryStore(ahead), clock=behind)
    await server.lifecycle.create(OWNER, replace(SPEC, session_id="s", ttl=100.0))
    await server.open("s")
    for _ in range(50):
        ahead.advance(5.0)
        behind.advance(5.0)
        await server.lifecycle.watch()
        assert await server.lifecycle.expire(10) == 0


class Overtaken(MemoryStore):
    """A store of which somebody else makes use just before answers are read."""

    overtake: Callable[[], Awaitable[object]] | None = None

    async def answers(self, key: Key, incarnation: bytes, from_step: int) -> list[Answer]:
        overtake, self.overtake = self.overtake, None
        if overtake is not None:
            await overtake()
        return await super().answers(key, incarnation, from_step)


@pytest.mark.parametrize("is_in_memory", [True, False])
async def test_an_open_tells_no_answer_beyond_the_step_that_it_names(is_in_memory: bool) -> None:
    """Another server opens the session, and steps it, between the raising of the epoch and the reading of answers."""
    store = Overtaken()
    here, there, fresh = Server(store), Server(store), Server(store)

    async def overtake() -> None:
        assert float((await (await there.open("s", "c2")).submit(step_message(2, 1.0))).outputs["y"][0]) == 2.0

    async with serving(here, there):
        key = await here.create("s")
        await here.step(key, 1, 1.0)
        store.overtake = overtake
        stream = await (here if is_in_memory else fresh).open("s", "c1", last_received_step=0)

    assert [answer.first_step for answer in stream.replays] == [1]
    assert (stream.head.committed_step, stream.head.epoch) == (1, 1)


async def test_simultaneous_opens_leave_one_winner() -> None:
    server = memory_server()
    async with serving(server):
        await server.create("s")
        streams = await asyncio.gather(*(server.open("s", f"c{n}") for n in range(8)))
        alive = [stream for stream in streams if not stream.ended.done()]

        assert len({stream.head.epoch for stream in streams}) == 8
        assert [stream.head.epoch for stream in alive] == [8]
        assert float((await alive[0].submit(step_message(1, 1.0))).outputs["y"][0]) == 1.0
