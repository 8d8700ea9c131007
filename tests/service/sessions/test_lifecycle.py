"""Creating, opening, listing and ending sessions."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace

import numpy as np
import pytest

from service.errors import (
    AnswerReleased,
    FingerprintMismatch,
    InvalidField,
    ModelMismatch,
    ModelNotFound,
    NotSupported,
    OverCapacity,
    SessionExists,
    SessionExpired,
    SessionNotFound,
    SessionReplaced,
    SessionTakenOver,
    StateRegressed,
    TapeheadError,
)
from service.hosting.model import Model, TensorSpec
from service.sessions.lifecycle import CreateSpec, OpenSpec
from service.sessions.listing import Filter
from service.store.base import Durability, Key
from service.store.memory import MemoryStore
from tests.contract.clocks import HandClock
from tests.service.fakes import OWNER, Server, fake_model, memory_server, serving, step_message

SPEC = CreateSpec("s", "accumulator")


async def raises(error: type[TapeheadError], server: Server, **fields: object) -> TapeheadError:
    with pytest.raises(error) as caught:
        await server.lifecycle.open(OWNER, OpenSpec(**fields))  # type: ignore[arg-type]
    return caught.value


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


# --- opening ----------------------------------------------------------------------------------------------------------


async def test_an_open_creates_the_session_where_it_is_allowed_to() -> None:
    server = memory_server()
    stream = await server.lifecycle.open(OWNER, OpenSpec("s", create=CreateSpec(model_id="accumulator")))

    assert (stream.session_id, stream.committed_step, stream.head.epoch) == ("s", 0, 1)


async def test_an_open_that_names_an_incarnation_never_creates() -> None:
    await raises(SessionNotFound, memory_server(), session_id="s", incarnation=bytes(16), create=SPEC)


async def test_an_open_that_names_an_incarnation_must_say_of_which_session() -> None:
    server = memory_server()
    await raises(InvalidField, server, incarnation=bytes(16), create=CreateSpec(model_id="accumulator"))

    assert await server.lifecycle.list(OWNER, after="", limit=9, wanted=Filter()) == ([], "")


@pytest.mark.parametrize(
    "fields",
    [{"last_received_step": -1}, {"client_id": "c" * 129}, {"previous_client_id": "c" * 129}],
    ids=["negative step", "long client", "long forerunner"],
)
async def test_what_no_open_can_ask_is_refused_before_anybody_is_fenced(fields: dict[str, object]) -> None:
    server = memory_server()
    key = await server.create("s")
    error = await raises(InvalidField, server, session_id="s", **fields)

    assert error.facts["field"] == next(iter(fields))
    assert (await server.lifecycle.get(key, None)).head.epoch == 0


async def test_an_open_that_has_seen_steps_of_a_session_that_is_not_there_creates_none() -> None:
    server = memory_server()
    await raises(StateRegressed, server, session_id="s", last_received_step=3, create=SPEC)
    await raises(SessionNotFound, server, session_id="s")


async def test_an_open_without_room_in_memory_creates_nothing_and_fences_nobody() -> None:
    server = Server(MemoryStore(), live_limit=1)
    key = await server.create("waiting")
    await server.create("attached")
    await server.open("attached")
    await raises(OverCapacity, server, session_id="waiting")
    await raises(OverCapacity, server, session_id="new", create=CreateSpec(model_id="accumulator"))

    assert (await server.lifecycle.get(key, None)).head.epoch == 0
    with pytest.raises(SessionNotFound):
        await server.lifecycle.get(Key(OWNER, "new"), None)


async def test_each_open_raises_the_epoch_and_ends_the_stream_before() -> None:
    server = memory_server()
    await server.create("s")
    first = await server.open("s", "c1")
    second = await server.open("s", "c2")

    assert (first.head.epoch, second.head.epoch) == (1, 2)
    assert isinstance(first.ended.result(), SessionTakenOver)
    assert not second.ended.done()


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [(("a", ""), "a", True), (("b", "a"), "a", True), (("a", ""), "b", False), (("", ""), "", False)],
    ids=["its own ghost", "its forerunner", "another client", "nameless"],
)
async def test_only_a_clients_own_ghost_lets_it_come_back(old: tuple[str, str], new: str, same: bool) -> None:
    server = memory_server()
    await server.create("s")
    stream = await server.open("s", old[0], previous_client_id=old[1])
    await server.open("s", new)

    error = stream.ended.result()

    assert isinstance(error, SessionTakenOver)
    assert error.same_client is same


async def test_an_open_gives_the_answers_after_what_was_received() -> None:
    server = memory_server()
    async with serving(server):
        key = await server.create("s")
        await server.step(key, 1, 1.0)
        await server.step(key, 2, 1.0, 1.0, 1.0, count=3)
        await server.step(key, 5, 1.0)
        stream = await server.open("s", last_received_step=3)

    assert [(answer.first_step, answer.step_count, answer.replayed) for answer in stream.replays] == [
        (2, 3, True),  # the whole chunk, since step 3 lies inside it
        (5, 0, True),
    ]


async def test_an_open_that_names_no_received_step_gets_no_answers() -> None:
    server = memory_server()
    async with serving(server):
        await server.step(await server.create("s"), 1, 1.0)
        assert (await server.open("s")).replays == []


async def test_refused_opens_fence_nobody() -> None:
    server = memory_server(fake_model(), fake_model(model_id="other"))
    async with serving(server):
        key = await server.create("s", window=2)
        stream = await server.open("s")
        for step in (1, 2, 3):
            await stream.submit(step_message(step, 1.0))
        await raises(SessionReplaced, server, session_id="s", incarnation=bytes(16))
        await raises(StateRegressed, server, session_id="s", last_received_step=4)
        await raises(AnswerReleased, server, session_id="s", last_received_step=0)
        await raises(ModelMismatch, server, session_id="s", create=CreateSpec(model_id="other"))
        await raises(InvalidField, server, session_id="a b")
        await raises(InvalidField, server)
        await raises(SessionNotFound, server, session_id="t")

        assert (await server.lifecycle.get(key, None)).head.epoch == 1
        assert not stream.ended.done()
        assert float((await stream.submit(step_message(4, 1.0))).outputs["y"][0]) == 4.0


async def test_a_model_that_does_not_suit_the_stream_is_refused_before_anybody_is_fenced() -> None:
    server = memory_server()
    key = await server.create("s")

    def suits(model: Model) -> None:
        raise NotSupported(f"not for {model.model_id}")

    await raises(NotSupported, server, session_id="s", suits=suits)
    await raises(NotSupported, server, session_id="t", create=CreateSpec(model_id="accumulator"), suits=suits)

    assert (await server.lifecycle.get(key, None)).head.epoch == 0
    await raises(SessionNotFound, server, session_id="t")


async def test_another_fingerprint_is_reported_and_refused_only_to_the_strict() -> None:
    store = MemoryStore()
    old, new = Server(store), Server(store, replace(fake_model(), fingerprint="e" * 64))
    async with serving(old, new):
        await old.step(await old.create("s"), 1, 1.0)

        assert (await new.open("s")).fingerprint_changed
        assert not (await old.open("s")).fingerprint_changed
        await raises(FingerprintMismatch, new, session_id="s", strict_fingerprint=True)


async def test_waiting_steps_of_the_old_stream_are_dropped_and_may_be_sent_again() -> None:
    server = memory_server()  # not running yet, so that steps wait
    await server.create("s")
    first = await server.open("s")
    dropped = first.submit(step_message(1, 1.0))
    second = await server.open("s")
    kept = second.submit(step_message(1, 2.0))

    async with serving(server):
        assert float((await kept).outputs["y"][0]) == 2.0
        with pytest.raises(SessionTakenOver):
            await dropped


async def test_a_stream_that_has_ended_takes_no_steps() -> None:
    server = memory_server()
    await server.create("s")
    first = await server.open("s")
    await server.open("s")

    with pytest.raises(SessionTakenOver):
        await first.submit(step_message(1, 1.0))


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


async def test_simultaneous_opens_leave_one_winner() -> None:
    server = memory_server()
    async with serving(server):
        await server.create("s")
        streams = await asyncio.gather(*(server.open("s", f"c{n}") for n in range(8)))
        alive = [stream for stream in streams if not stream.ended.done()]

        assert len({stream.head.epoch for stream in streams}) == 8
        assert [stream.head.epoch for stream in alive] == [8]
        assert float((await alive[0].submit(step_message(1, 1.0))).outputs["y"][0]) == 1.0
