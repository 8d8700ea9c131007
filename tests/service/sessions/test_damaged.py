"""A session whose record is damaged, as its owner meets it."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.errors import SessionNotFound, StateCorrupt
from service.sessions.listing import Filter
from service.store.base import Durability
from service.store.lmdb import LmdbStore
from tests.service.fakes import OWNER, Server, serving, step_message
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
