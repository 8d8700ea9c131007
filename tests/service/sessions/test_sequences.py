"""Sequences begin, begin anew and end; what is replaced stays as it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.errors import OutcomeUnknown, SessionExists, SessionNotFound, SessionReplaced
from service.sessions.identity import CreateSpec, check_session_id
from service.sessions.portable import Portable
from service.sessions.sequences import KEEP_ENDED_SECONDS, Sequences
from service.sessions.standing import ENDED, REPLACED, WRITER, SequenceNotStarted, sequence_labels, sequence_session
from service.store.base import Key, Store
from service.store.memory import MemoryStore
from tests.service.fakes import OWNER, Server, serving, step_message

KEY = Key(OWNER, sequence_session("accumulator", "7"))
SPEC = CreateSpec(KEY.session_id, "accumulator")


def test_any_name_is_a_session_of_its_own() -> None:
    names = ["7", "a b", "a/b", "user@example.org#1", "Ünïcode", "x" * 128, "x" * 127 + "y", ":64:YSBi", ":sha256:00"]
    sessions = [sequence_session("accumulator", name) for name in names]

    for name, session in zip(names, sessions, strict=True):
        check_session_id(session)
        shown = not sequence_labels(session, name)
        assert shown == (name in ("7", "a/b"))
        if len(name) < 64:
            assert f"for sequence {name} to model 'accumulator'" in str(SequenceNotStarted(session, "unknown"))
    assert sessions[0] == "oip/accumulator/7"
    assert len(set(sessions)) == len(names)


class Oip:
    """A server with sequences."""

    def __init__(self, store: Store | None = None, *, refuse: bool = False) -> None:
        self.server = Server(store or MemoryStore())
        server, self.replaced = self.server, list[str]()
        self.sequences = Sequences(
            server.store,
            server.live,
            server.lifecycle,
            Portable(server.store, server.repository, server.lifecycle.creation),
            server.clock,
            refuse_restart=refuse,
            replaced=self.replaced.append,
        )

    async def begin(self, value: float, mark: str = "", *, is_whole: bool = False) -> tuple[float, bytes]:
        incarnation = await self.sequences.begin(OWNER, SPEC, mark, is_whole=is_whole)
        writer = ENDED if is_whole else WRITER
        answer, _ = await self.server.calls.step(KEY, incarnation, step_message(1, value), writer)
        return float(answer.outputs["y"][0]), incarnation

    async def go_on(self, value: float, *, end: bool = False) -> float:
        writer = ENDED if end else WRITER
        answer, incarnation = await self.server.calls.step(KEY, None, step_message(1, value), writer, numbered=False)
        if end:
            self.sequences.note_end(KEY, incarnation)
        return float(answer.outputs["y"][0])


@pytest.fixture
async def oip() -> AsyncIterator[Oip]:
    made = Oip()
    async with serving(made.server):
        yield made


async def test_steps_without_numbers_follow_each_other(oip: Oip) -> None:
    await oip.begin(1)

    assert await asyncio.gather(*(oip.go_on(1) for _ in range(9))) == [2, 3, 4, 5, 6, 7, 8, 9, 10]


async def test_a_step_without_a_number_is_applied_each_time_it_comes_and_only_then() -> None:
    """The same input at two servers by turns: a copy that is behind never takes another's step for its own."""
    store = MemoryStore()
    one, two = Oip(store), Oip(store)
    async with serving(one.server, two.server):
        await one.begin(1)
        values = [await one.go_on(1), await two.go_on(1), await one.go_on(1), await two.go_on(1)]

    assert values == [2, 3, 4, 5]


async def test_a_step_without_a_number_whose_commit_got_no_reply_is_not_applied_again() -> None:
    class Silent(MemoryStore):
        loses = False

        async def commit(self, commits):
            outcomes = await super().commit(commits)
            if self.loses:
                raise RuntimeError("the reply is lost")
            return outcomes

    store = Silent()
    oip = Oip(store)
    async with serving(oip.server):
        await oip.begin(1)
        store.loses = True
        with pytest.raises(OutcomeUnknown):
            await oip.go_on(1)
        store.loses = False

        assert (await oip.server.lifecycle.get(KEY, None)).head.committed_step == 2
        assert await oip.go_on(1) == 3


async def test_a_failing_step_does_not_fail_the_ones_behind_it(oip: Oip) -> None:
    """They have no numbers that could leave a gap."""
    await oip.begin(1)

    got = await asyncio.gather(oip.go_on(1), oip.go_on(666), oip.go_on(1), return_exceptions=True)

    assert [got[0], got[2]] == [2, 3]
    assert "failed at step 3" in str(got[1])


async def test_a_start_on_a_running_sequence_begins_anew_and_freezes_the_old_one(oip: Oip) -> None:
    _, old = await oip.begin(5)
    await oip.go_on(5)

    value, new = await oip.begin(1)

    assert (value, old != new, oip.replaced) == (1, True, ["accumulator"])
    with pytest.raises(SessionReplaced):
        await oip.server.calls.step(KEY, old, step_message(3, 1), WRITER)
    frozen = Key(OWNER, f"oip-replaced/{old.hex()}")
    view = await oip.server.lifecycle.get(frozen, old)
    assert (view.head.committed_step, view.head.birth.labels[REPLACED]) == (2, KEY.session_id)
    step, state = await oip.server.lifecycle.read_state(frozen, None, step=None)
    assert (step, state["total"].tolist()) == (2, [10, 10])
    with pytest.raises(SessionReplaced):
        await oip.server.calls.step(frozen, None, step_message(3, 1), "native")
    with pytest.raises(SessionReplaced):
        await oip.server.open(frozen.session_id)


async def test_a_fork_of_a_frozen_sequence_goes_on(oip: Oip) -> None:
    _, old = await oip.begin(5)
    await oip.begin(1)

    await oip.server.lifecycle.fork(Key(OWNER, f"oip-replaced/{old.hex()}"), None, None, CreateSpec("fork"))

    assert await oip.server.step(Key(OWNER, "fork"), 2, 1) == 6


async def test_a_stream_into_a_sequence_that_begins_anew_hears_that_it_was_replaced(oip: Oip) -> None:
    await oip.begin(5)
    attachment = await oip.server.open(KEY.session_id)

    await oip.begin(1)

    assert isinstance(attachment.ended.result(), SessionReplaced)
    with pytest.raises(SessionReplaced):
        await attachment.submit(step_message(2, 1))
    assert await oip.go_on(1) == 2


async def test_a_repeated_start_is_not_a_new_one(oip: Oip) -> None:
    """A late repeat must not throw away the steps that came after."""
    _, first = await oip.begin(5, "m")
    await oip.go_on(5)

    value, again = await oip.begin(5, "m")

    assert (value, again, oip.replaced) == (5, first, [])
    assert await oip.go_on(5) == 15


async def test_a_running_sequence_can_be_kept_from_being_replaced() -> None:
    oip = Oip(refuse=True)
    async with serving(oip.server):
        await oip.begin(5)

        with pytest.raises(SessionExists):
            await oip.begin(1)
        assert await oip.go_on(1) == 6


async def test_an_ended_sequence_takes_no_more_steps_and_its_last_is_repeatable(oip: Oip) -> None:
    await oip.begin(5)
    await oip.go_on(1, end=True)

    repeated, _ = await oip.server.calls.step(KEY, None, step_message(2, 1), ENDED)

    assert (float(repeated.outputs["y"][0]), repeated.replayed) == (6, True)
    for numbered in (True, False):
        with pytest.raises(SequenceNotStarted, match="must specify the START flag on the first request"):
            await oip.server.calls.step(KEY, None, step_message(3, 1), WRITER, numbered=numbered)
    with pytest.raises(SequenceNotStarted):
        await oip.server.open(KEY.session_id)


async def test_what_comes_behind_an_end_on_its_way_does_not_get_in(oip: Oip) -> None:
    await oip.begin(5)

    got = await asyncio.gather(oip.go_on(1, end=True), oip.go_on(1), return_exceptions=True)

    assert got[0] == 6
    assert isinstance(got[1], SequenceNotStarted)


async def test_an_ended_sequence_goes_after_a_minute_and_can_begin_again_at_any_time(oip: Oip) -> None:
    await oip.begin(5)
    await oip.go_on(1, end=True)
    value, _ = await oip.begin(7)
    await oip.go_on(1, end=True)

    await oip.sequences.remove_ended()
    assert (await oip.server.lifecycle.get(KEY, None)).head.committed_step == 2
    oip.server.clock.advance(KEEP_ENDED_SECONDS)
    await oip.sequences.remove_ended()

    assert (value, oip.replaced) == (7, [])
    with pytest.raises(SessionNotFound):
        await oip.server.lifecycle.get(KEY, None)


async def test_a_request_that_starts_and_ends_is_repeatable(oip: Oip) -> None:
    first = await oip.begin(5, "m", is_whole=True)

    assert await oip.begin(5, "m", is_whole=True) == first
    assert (await oip.begin(5, "m"))[1] != first[1], "a sequence that ended is not begun by its first START again"


async def test_ended_sequences_of_an_earlier_process_are_found(oip: Oip) -> None:
    await oip.begin(5)
    await oip.go_on(1, end=True)
    await oip.server.create("other")
    later = Oip(oip.server.store)

    await later.sequences.find_ended()
    later.server.clock.advance(KEEP_ENDED_SECONDS)
    await later.sequences.remove_ended()

    with pytest.raises(SessionNotFound):
        await oip.server.lifecycle.get(KEY, None)
    assert (await oip.server.lifecycle.get(Key(OWNER, "other"), None)).head.committed_step == 0


async def test_many_starts_at_two_servers_leave_one_running_sequence() -> None:
    store = MemoryStore()
    one, two = Oip(store), Oip(store)
    async with serving(one.server, two.server):
        starts = [server.sequences.begin(OWNER, SPEC, "", is_whole=False) for server in (one, two) for _ in range(5)]
        begun = await asyncio.gather(*starts)
        head = (await one.server.lifecycle.get(KEY, None)).head
        listed = await store.list(OWNER, "", 100)

    assert head.incarnation in begun
    assert len(listed) == 10, "each of the others is kept as it was"
