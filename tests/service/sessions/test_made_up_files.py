"""Files of sessions that somebody made up to do harm: each is refused as bad input, and leaves nothing behind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from service.errors import InvalidInput
from service.sessions.live import first_state
from service.sessions.portable import ImportSpec, Portable
from service.sessions.portable_file import encode_snapshot
from service.store.base import Birth, Key, Snapshot
from tests.service.fakes import OWNER, Server, fake_model, memory_server

BIRTH = Birth("accumulator", 1, window=64, ttl=3600.0, request_hash=b"")
FRESH = Snapshot(BIRTH, 3, "", first_state(fake_model()))


async def imported(server: Server, data: bytes) -> Key:
    portable = Portable(server.store, server.repository, server.lifecycle.creation)
    view = await portable.import_session(OWNER, ImportSpec("made-up"), data)
    return Key(OWNER, view.session_id)


async def require_refused(data: bytes) -> str:
    """Also that nothing was written. Returns what the caller is told."""
    server = memory_server()
    with pytest.raises(InvalidInput) as raised:
        await imported(server, data)
    assert await server.store.list(OWNER, "", 10) == []
    return raised.value.message


async def test_a_step_that_a_store_cannot_count_on_from_is_refused() -> None:
    await imported(memory_server(), encode_snapshot(replace(FRESH, committed_step=2**52)))

    for step in (2**52 + 1, 2**53, 2**60, 2**62):
        assert "numbers" in await require_refused(encode_snapshot(replace(FRESH, committed_step=step)))
