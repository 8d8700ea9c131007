"""Opening a session: what it creates, whom it ends, and what is refused before anybody is fenced."""

from __future__ import annotations

from dataclasses import replace

import pytest

from service.errors import (
    AnswerReleased,
    FingerprintMismatch,
    InvalidField,
    ModelMismatch,
    NotSupported,
    OverCapacity,
    SessionNotFound,
    SessionReplaced,
    SessionTakenOver,
    StateRegressed,
    TapeheadError,
)
from service.hosting.model import Model
from service.sessions.lifecycle import CreateSpec, OpenSpec
from service.sessions.listing import Filter
from service.store.base import Key
from service.store.memory import MemoryStore
from tests.service.fakes import OWNER, Server, fake_model, memory_server, serving, step_message

SPEC = CreateSpec("s", "accumulator")


async def raises(error: type[TapeheadError], server: Server, **fields: object) -> TapeheadError:
    with pytest.raises(error) as caught:
        await server.lifecycle.open(OWNER, OpenSpec(**fields))  # type: ignore[arg-type]
    return caught.value


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


async def test_room_in_memory_is_made_by_the_session_that_was_idle_longest() -> None:
    """Those in use are passed by, wherever they stand."""
    server = Server(MemoryStore(), live_limit=4)
    keys = [await server.create(name) for name in ("used", "old", "older", "oldest", "new")]
    _, old, older, oldest, new = keys
    await server.open("used")
    for key in (oldest, older, old):
        await server.live.fetch(key)
    await server.live.fetch(new)
    left = {key for key in keys if server.live.peek(key) is None}
    await server.live.fetch(oldest)

    assert left == {oldest}
    assert [key for key in keys if server.live.peek(key) is None] == [older]


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
