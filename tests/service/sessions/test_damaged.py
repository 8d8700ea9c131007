"""A session whose record is damaged, as its owner meets it."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.errors import SessionNotFound, StateCorrupt
from service.sessions.listing import Filter
from service.sessions.live import first_state
from service.store.base import Birth, Durability, Key
from service.store.lmdb import LmdbStore
from tests.service.fakes import OWNER, Server, memory_server, serving, step_message
from tests.service.store.lmdb_sessions import damage, flipped


async def test_a_damaged_session_is_not_served_but_can_be_ended_and_begun_again(tmp_path: Path) -> None:
    store = LmdbStore.at(tmp_path / "store", Durability.PROCESS)
    server = Server(store)
    async with serving(server):
        key = await server.create("s")
        incarnation = (await server.lifecycle.get(key, None)).head.incarnation
        stream = await server.open("s")
        await stream.submit(step_message(1, 5.0))
        damage(store, b"heads", flipped(30))
        with pytest.raises(StateCorrupt):
            await server.lifecycle.get(key, None)
        with pytest.raises(StateCorrupt):
            await server.lifecycle.delete(key, incarnation)

        assert await server.lifecycle.delete(key, None) is None

        assert isinstance(stream.ended.result(), SessionNotFound)
        await server.create("s")
        assert await server.step(key, 1, 1.0) == 1.0
    await store.close()


async def test_sessions_whose_constants_are_damaged_take_no_room_in_memory() -> None:
    server = memory_server()
    model = server.repository.get("accumulator")
    birth = Birth(model.model_id, model.version, 4, 100.0, b"", constants=b"not a record")
    key = Key(OWNER, "s")
    await server.store.create(key, birth, bytes(16), first_state(model), "")
    await server.create("sound")
    async with serving(server):
        await server.step(Key(OWNER, "sound"), 1, 1.0)
        before = len(server.engine.pool_of(model))
        for _ in range(5):
            with pytest.raises(StateCorrupt):
                await server.open("s")
            with pytest.raises(StateCorrupt):
                await server.step(key, 1, 1.0)

        assert len(server.engine.pool_of(model)) == before


async def test_a_damaged_session_does_not_hide_the_others(tmp_path: Path) -> None:
    store = LmdbStore.at(tmp_path / "store", Durability.PROCESS)
    server = Server(store)
    for name in ("a", "b", "c"):
        await server.create(name)
    damage(store, b"heads", flipped(30), nth=1)

    seen, after = [], ""
    while True:
        page, after = await server.lifecycle.list(OWNER, after=after, limit=1, wanted=Filter())
        seen += [view.session_id for view in page]
        if not after:
            break

    assert seen == ["a", "c"]
    await store.close()
