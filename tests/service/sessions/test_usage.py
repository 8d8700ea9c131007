"""What owners have, held against their quotas."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from service.errors import QuotaExceeded, SessionExists, StoreFull, StoreUnavailable, TooLong
from service.hosting.repository import load_model
from service.sessions.identity import CreateSpec
from service.sessions.listing import SessionView
from service.sessions.owners import Quota
from service.sessions.usage import RECOUNT_SECONDS, REFUSE_SECONDS
from service.store.base import Applied, Birth, Key, Lost, Store
from service.store.failing import FailingStore
from service.store.memory import MemoryStore
from tests.contract.clocks import HandClock
from tests.quirks import write_growing
from tests.service.fakes import OWNER, Server

REQUEST = "0b5e7a52-6f0a-4b5a-9c5e-0d5c0f0b0c01"


async def refused(server: Server, spec: CreateSpec) -> QuotaExceeded:
    with pytest.raises(QuotaExceeded) as raised:
        await server.lifecycle.create(OWNER, spec)
    return raised.value


def spec(session_id: str = "", **fields: object) -> CreateSpec:
    return CreateSpec(session_id, "accumulator", **fields)  # type: ignore[arg-type]


async def test_sessions_beyond_the_quota_are_refused_and_an_end_makes_room() -> None:
    server = Server(MemoryStore(), quota=Quota(sessions=2))
    for name in "ab":
        await server.create(name)

    error = await refused(server, spec("c"))
    assert error.facts == {"what": "sessions", "limit": "2"}
    assert error.retry_after > 0
    assert await server.store.head(Key(OWNER, "c")) is None

    await server.lifecycle.delete(Key(OWNER, "a"), None)
    await server.create("c")
    await refused(server, spec("d"))


async def test_a_fork_needs_room_too() -> None:
    server = Server(MemoryStore(), quota=Quota(sessions=1))
    key = await server.create("a")

    with pytest.raises(QuotaExceeded):
        await server.lifecycle.fork(key, None, None, CreateSpec("b"))


async def test_one_owners_quota_is_nothing_to_another() -> None:
    server = Server(MemoryStore(), quota=Quota(sessions=1))
    await server.create("a")

    await server.lifecycle.create("bob", spec("a"))


async def test_a_restarted_server_counts_what_the_store_has() -> None:
    store = MemoryStore()
    before = Server(store, quota=Quota(sessions=2))
    for name in "ab":
        await before.create(name)

    await refused(Server(store, quota=Quota(sessions=2)), spec("c"))


async def test_a_repeat_of_a_creation_needs_no_room() -> None:
    server = Server(MemoryStore(), quota=Quota(sessions=1))
    made = await server.lifecycle.create(OWNER, spec(request_id=REQUEST))

    assert (await server.lifecycle.create(OWNER, spec(request_id=REQUEST))).head == made.head
    with pytest.raises(SessionExists):
        await server.lifecycle.create(OWNER, spec(made.session_id))


async def test_creations_at_once_do_not_share_the_last_place() -> None:
    server = Server(MemoryStore(), quota=Quota(sessions=3))

    outcomes = await asyncio.gather(
        *(server.lifecycle.create(OWNER, spec(f"s{n}")) for n in range(8)), return_exceptions=True
    )

    assert sum(isinstance(outcome, QuotaExceeded) for outcome in outcomes) == 5
    assert len(await server.store.list(OWNER, "", 10)) == 3


async def test_a_creation_that_certainly_failed_gives_its_place_back() -> None:
    store = FailingStore(MemoryStore())
    server = Server(store, quota=Quota(sessions=1))
    store.fail("create", error=StoreFull("an injected fault"))

    with pytest.raises(StoreFull):
        await server.create("a")

    await server.create("a")


async def test_a_creation_that_may_have_failed_is_settled_by_the_next_count() -> None:
    store = FailingStore(MemoryStore())
    server = Server(store, quota=Quota(sessions=1))
    store.fail("create")
    with pytest.raises(StoreUnavailable):
        await server.create("a")

    await refused(server, spec("a"))
    server.clock.advance(REFUSE_SECONDS + 0.1)
    await server.create("a")


class Unhurried:
    """A store that creates in its own time: a caller who goes away changes nothing."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self.creations: list[asyncio.Task[Applied | Lost]] = []
        self.begun = asyncio.Event()
        self.goes_on = asyncio.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    async def create(self, key: Key, birth: Birth, incarnation: bytes, state: bytes, client_id: str) -> Applied | Lost:
        async def late() -> Applied | Lost:
            await self.goes_on.wait()
            return await self._inner.create(key, birth, incarnation, state, client_id)

        self.creations.append(asyncio.create_task(late()))
        self.begun.set()
        return await asyncio.shield(self.creations[-1])


async def begin(server: Server, store: Unhurried, name: str) -> asyncio.Task[SessionView]:
    """Begins to create a session; returns when the store has heard of it, or when it was refused."""
    store.begun.clear()
    creation = asyncio.create_task(server.lifecycle.create(OWNER, spec(name)))
    begun = asyncio.create_task(store.begun.wait())
    await asyncio.wait({creation, begun}, return_when=asyncio.FIRST_COMPLETED)
    begun.cancel()
    return creation


async def test_whoever_cancels_every_creation_gets_no_more_sessions_than_others() -> None:
    store = Unhurried(MemoryStore())
    server = Server(store, quota=Quota(sessions=3))  # type: ignore[arg-type]
    for number in range(10):
        creation = await begin(server, store, f"s{number}")
        creation.cancel()
        await asyncio.gather(creation, return_exceptions=True)
    store.goes_on.set()
    await asyncio.gather(*store.creations)

    assert len(await server.store.list(OWNER, "", 100)) == 3


async def test_a_count_while_sessions_are_created_does_not_forget_them() -> None:
    store = Unhurried(MemoryStore())
    server = Server(store, quota=Quota(sessions=2))  # type: ignore[arg-type]
    first = [await begin(server, store, name) for name in "ab"]
    server.clock.advance(RECOUNT_SECONDS + 1)

    third = await begin(server, store, "c")
    store.goes_on.set()
    with pytest.raises(QuotaExceeded):
        await third
    await asyncio.gather(*first)


async def test_a_state_that_grows_counts_as_large_as_it_may_get(tmp_path: Path) -> None:
    model = load_model(write_growing(tmp_path, 1000))
    most = model.most_state_bytes
    assert most > model.state_bytes
    server = Server(MemoryStore(), model, quota=Quota(state_bytes=2 * most + most // 2))
    for name in "ab":
        await server.lifecycle.create(OWNER, CreateSpec(name, "growing"))

    with pytest.raises(QuotaExceeded):
        await server.lifecycle.create(OWNER, CreateSpec("c", "growing"))
    await server.lifecycle.delete(Key(OWNER, "a"), None)
    await server.lifecycle.create(OWNER, CreateSpec("c", "growing"))


async def test_what_expires_makes_room_without_a_restart() -> None:
    clock = HandClock()
    server = Server(MemoryStore(clock), quota=Quota(sessions=1))
    await server.lifecycle.create(OWNER, spec("a", ttl=10.0))
    await refused(server, spec("b"))
    clock.advance(11)

    assert await server.lifecycle.expire(10) == 1
    await server.create("b")


async def test_what_another_server_deletes_is_seen_before_anybody_is_refused() -> None:
    store = MemoryStore()
    one, other = (Server(store, quota=Quota(sessions=1)) for _ in range(2))
    key = await one.create("a")
    await other.lifecycle.delete(key, None)
    one.clock.advance(2)

    await one.create("b")


async def test_what_another_server_creates_is_seen_within_a_minute() -> None:
    store = MemoryStore()
    one, other = (Server(store, quota=Quota(sessions=3)) for _ in range(2))
    await one.create("a")
    await other.create("b")
    await other.create("c")
    one.clock.advance(RECOUNT_SECONDS + 1)

    await refused(one, spec("d"))


async def test_bytes_are_counted_with_the_states_that_a_session_may_keep() -> None:
    server = Server(MemoryStore())
    size = (await server.lifecycle.create(OWNER, spec("probe"))).head.state_bytes
    server = Server(MemoryStore(), quota=Quota(state_bytes=5 * size))
    await server.lifecycle.create(OWNER, spec("a", keep_every=1, keep_most=3))

    await server.create("b")
    error = await refused(server, spec("c"))

    assert error.facts["what"] == "bytes of states"
    with pytest.raises(TooLong):
        await server.lifecycle.create(OWNER, spec("c", keep_every=1, keep_most=8))


async def test_an_owner_without_a_quota_is_never_counted() -> None:
    store = FailingStore(MemoryStore())
    server = Server(store)
    await server.create("a")

    assert store.calls["list"] == 0
