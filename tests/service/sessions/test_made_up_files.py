"""Files of sessions that somebody made up to do harm: each is refused as bad input, and leaves nothing behind."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace

import numpy as np
import pytest

from service.errors import InvalidField, InvalidInput
from service.hosting.model import TensorSpec
from service.sessions.creation import MAX_WINDOW_BYTES
from service.sessions.identity import CreateSpec
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


async def test_a_file_brings_no_wider_window_than_a_creation_would_get() -> None:
    """The answers that a session keeps are bounded in bytes too."""
    model = fake_model()
    output = TensorSpec("y", np.dtype(np.float32), (MAX_WINDOW_BYTES // 4 // 8,))  # eight steps' answers fill the bound
    model = replace(model, entries={"step": replace(model.entries["step"], outputs=(output,))})
    server = memory_server(model)
    created = await server.lifecycle.create(OWNER, CreateSpec("s", "accumulator", window=64))
    assert created.head.birth.window == 8

    await imported(server, encode_snapshot(replace(FRESH, birth=replace(BIRTH, window=8))))
    with pytest.raises(InvalidField, match="9 steps"):
        await imported(server, encode_snapshot(replace(FRESH, birth=replace(BIRTH, window=9))))


async def test_a_large_file_is_not_hashed_while_everybody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a millisecond a megabyte, which the loop's thread does not have."""
    data = encode_snapshot(replace(FRESH, birth=replace(BIRTH, labels={"a": "x" * 100})))
    hashed: list[tuple[bool, int]] = []
    sha256 = hashlib.sha256

    def noted(content: bytes = b"", **options: bool) -> object:
        hashed.append((threading.current_thread() is threading.main_thread(), len(content)))
        return sha256(content, **options)

    monkeypatch.setattr(hashlib, "sha256", noted)
    await imported(memory_server(), data)

    assert (False, len(data)) in hashed
    assert not [size for on_loop, size in hashed if on_loop and size >= len(data) // 2]
