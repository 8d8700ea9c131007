"""The judge of every store, on the states that are kept besides the latest, and on sessions that begin with one."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from service.store.base import Applied, Commit, Head, Key, Record, Store, Tombstone

from .clocks import HandClock
from .sessions import BIRTH, BORN, KEY, REBORN, born, lost, opened, step_after, stepped

FORK = replace(BIRTH, origin_step=5, keep_every=2, keep_most=3)


def keeping(head: Head, steps: int = 1, drop: tuple[int, ...] = (), key: Key = KEY) -> Commit:
    return replace(step_after(head, steps, key), keep=True, drop_kept=drop)


async def kept(store: Store, head: Head, *chunks: int, drop: tuple[int, ...] = ()) -> Head:
    """Commits messages of so many steps each; each keeps its state."""
    for steps in chunks:
        (outcome,) = await store.commit([keeping(head, steps, drop)])
        assert isinstance(outcome, Applied)
        head = outcome.head
    return head


async def states(store: Store, steps: range, incarnation: bytes = BORN) -> dict[int, bytes]:
    """The kept states among these steps."""
    found = {step: await store.kept_state(KEY, incarnation, step) for step in steps}
    return {step: state for step, state in found.items() if state is not None}


# --- beginning at a step ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begin", ["create", "replace"])
async def test_a_session_begins_at_its_origin_and_keeps_what_it_began_with(
    store: Store, clock: HandClock, begin: str
) -> None:
    outcome = await getattr(store, begin)(KEY, FORK, BORN, b"forked", "client")

    head = Head(
        birth=FORK,
        incarnation=BORN,
        epoch=0,
        committed_step=5,
        oldest_kept_answer=6,
        last_writer="client",
        fingerprint="",
        create_time=clock.now(),
        last_use_time=clock.now(),
        state_bytes=len(b"forked"),
        kept_steps=(5,),
    )
    assert outcome == Applied(head)
    assert await store.load(KEY) == Record(head, b"forked")
    assert await store.answers(KEY, BORN, 0) == []
    assert await states(store, range(8)) == {5: b"forked"}


async def test_steps_go_on_from_the_origin(store: Store) -> None:
    head = await born(store, birth=FORK)
    assert await lost(store, step_after(replace(head, committed_step=0))) == head

    head = await stepped(store, head, 1, 2)

    assert (head.committed_step, head.oldest_kept_answer) == (8, 6)
    assert [answer.first_step for answer in await store.answers(KEY, BORN, 0)] == [6, 7]
    assert await states(store, range(10)) == {5: b"state 0"}


async def test_a_session_that_begins_at_step_0_keeps_nothing_of_it(store: Store) -> None:
    head = await born(store)

    assert head.kept_steps == ()
    assert await states(store, range(2)) == {}


async def test_where_nothing_lies_nothing_is_kept(store: Store) -> None:
    assert await store.kept_state(KEY, BORN, 0) is None


# --- keeping ----------------------------------------------------------------------------------------------------------


async def test_a_commit_keeps_its_state_under_its_last_step(store: Store) -> None:
    head = await kept(store, await born(store), 1, 3)
    assert head.kept_steps == (1, 4)

    head = await stepped(store, head, 1)

    assert head.kept_steps == (1, 4)
    assert await states(store, range(7)) == {1: b"state 1", 4: b"state 4"}
    assert await store.load(KEY) == Record(head, b"state 5")


async def test_a_kept_step_is_kept_beyond_its_answer(store: Store) -> None:
    head = await kept(store, await born(store), 1)
    head = await stepped(store, head, 1, release_through=1)

    assert [answer.first_step for answer in await store.answers(KEY, BORN, 0)] == [2]
    assert await states(store, range(3)) == {1: b"state 1"}


async def test_a_commit_drops_kept_steps_and_passes_over_what_is_not_kept(store: Store) -> None:
    head = await kept(store, await born(store, birth=FORK), 1, 1, 1)  # 5, 6, 7, 8

    head = await kept(store, head, 1, drop=(6, 8, 2, 9, 100))  # its own step is not kept before it
    assert head.kept_steps == (5, 7, 9)
    assert await states(store, range(12)) == {5: b"state 0", 7: b"state 7", 9: b"state 9"}
    (outcome,) = await store.commit([replace(step_after(head), drop_kept=(5, 7))])

    assert isinstance(outcome, Applied)
    assert outcome.head.kept_steps == (9,)
    assert await store.head(KEY) == outcome.head
    assert await states(store, range(12)) == {9: b"state 9"}


@pytest.mark.parametrize("change", [{"epoch": 7}, {"incarnation": REBORN}])
async def test_a_lost_commit_keeps_and_drops_nothing(store: Store, change: dict[str, object]) -> None:
    head = await kept(store, await born(store), 1, 1)

    assert await lost(store, replace(keeping(head, drop=(1,)), **change)) == head
    assert await states(store, range(5)) == {1: b"state 1", 2: b"state 2"}


async def test_commits_of_a_group_keep_each_for_itself(store: Store) -> None:
    keys = [Key("ada", f"s{number}") for number in range(4)]
    heads = [await born(store, key, b"%d" % number) for number, key in enumerate(keys)]
    commits = [keeping(head, number + 1, key=key) for number, (head, key) in enumerate(zip(heads, keys, strict=True))]
    commits[2] = replace(commits[2], epoch=9)

    await store.commit(commits)

    found = [await store.kept_state(key, b"%d" % number, number + 1) for number, key in enumerate(keys)]
    assert found == [b"state 1", b"state 2", None, b"state 4"]


async def test_another_incarnation_has_no_kept_states(store: Store) -> None:
    await kept(store, await born(store), 1)

    assert await store.kept_state(KEY, REBORN, 1) is None
    assert await store.kept_state(Key("bob", KEY.session_id), BORN, 1) is None


async def test_opens_and_renewals_leave_kept_states_alone(store: Store) -> None:
    await kept(store, await born(store), 1)

    head = (await opened(store)).after
    assert await store.renew(KEY, BORN, 1)

    assert head.kept_steps == (1,)
    assert await store.list("ada", "", 1) == [(KEY.session_id, head)]
    assert await states(store, range(3)) == {1: b"state 1"}


async def test_any_history_keeps_what_a_dictionary_would(store: Store) -> None:
    """Random chunks, keeps and drops against the plainest model of them."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    head, model = await born(store, birth=FORK), {5: b"state 0"}
    for _ in range(60):
        drop = tuple(step for step in range(head.committed_step + 2) if chance.random() < 0.1)
        commit = replace(step_after(head, chance.randint(1, 3)), keep=chance.random() < 0.4, drop_kept=drop)
        (outcome,) = await store.commit([commit])
        assert isinstance(outcome, Applied)
        head = outcome.head
        model = {step: state for step, state in model.items() if step not in drop}
        if commit.keep:
            model[head.committed_step] = commit.state

        assert head.kept_steps == tuple(model)
        step = chance.randint(0, head.committed_step)
        assert await store.kept_state(KEY, BORN, step) == model.get(step)
    assert await states(store, range(head.committed_step + 2)) == model


# --- ending -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["delete", "expire"])
async def test_kept_states_end_with_their_session(store: Store, clock: HandClock, end: str) -> None:
    await kept(store, await born(store, birth=FORK), 1, 1)
    if end == "delete":
        await store.delete(KEY, None)
    else:
        clock.advance(FORK.ttl)
        assert await store.expire(10) == 1
    assert isinstance(await store.head(KEY), Tombstone)
    assert await states(store, range(9)) == {}

    await store.replace(KEY, FORK, REBORN, b"fresh", "client")

    assert await states(store, range(9), BORN) == {}
    assert await states(store, range(9), REBORN) == {5: b"fresh"}


async def test_kept_states_are_there_after_opening_again(store: Store, reopen: Callable[[], object]) -> None:
    head = await kept(store, await born(store, birth=FORK), 1, 2)
    before = await states(store, range(9))

    again: Store = await reopen()

    assert await again.head(KEY) == head
    assert await states(again, range(9)) == before == {5: b"state 0", 6: b"state 6", 8: b"state 8"}
    await kept(again, head, 1, drop=(6,))
    assert sorted(await states(again, range(10))) == [5, 8, 9]
    await again.close()
