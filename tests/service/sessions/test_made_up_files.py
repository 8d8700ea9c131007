"""Files of sessions that somebody made up to do harm: each is refused as bad input, and leaves nothing behind."""

from __future__ import annotations

import hashlib
import json
import struct
import threading
from dataclasses import replace

import numpy as np
import pytest
from crc32c import crc32c

from service.errors import InvalidField, InvalidInput
from service.hosting.model import TensorSpec
from service.sessions.creation import MAX_WINDOW_BYTES
from service.sessions.identity import CreateSpec
from service.sessions.live import first_state
from service.sessions.portable import ImportSpec, Portable
from service.sessions.portable_file import encode_snapshot
from service.store.base import Answer, Birth, Key, Snapshot
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


def described(magic: bytes, *shape: object) -> bytes:
    """A record of one tensor without elements, under a checksum that is right."""
    text = json.dumps([["total", "float32", shape]]).encode()
    body = struct.pack("<4sHHII", magic, 1, 0, len(text), 2 * (magic == b"TpTn")) + text
    body += bytes(-len(body) % 16) + b"\1\0" * (magic == b"TpTn")
    return body + struct.pack("<I", crc32c(body))


@pytest.mark.parametrize(
    "shape", [[0, 2**62], [0, 2**70], [2**40, 0, 2**40], [0] * 100, [float("inf")], [0, "9" * 5000]]
)
async def test_shapes_that_no_tensor_has_are_bad_input(shape: list[object]) -> None:
    state, answer = described(b"TpSt", *shape), Answer(3, 1, bytes(32), described(b"TpTn", *shape))

    await require_refused(encode_snapshot(replace(FRESH, state=state)))
    await require_refused(encode_snapshot(replace(FRESH, answers=(answer,))))
    await require_refused(encode_snapshot(replace(FRESH, birth=replace(BIRTH, constants=answer.payload))))


async def test_a_time_to_live_beyond_every_number_is_bad_input() -> None:
    data = encode_snapshot(FRESH)
    (size,) = struct.unpack_from("<I", data, 12)
    text = data[16 : 16 + size].replace(b"3600.0", b"1" + b"0" * 400)
    body = data[:12] + struct.pack("<I", len(text)) + text + data[16 + size : -32]

    await require_refused(body + hashlib.sha256(body).digest())


@pytest.mark.parametrize("fingerprint", ["f" * 65, "f" * 900_000, "cpu", "F" * 64, "f" * 64 + "\n"])
async def test_a_fingerprint_is_one_or_nothing(fingerprint: str) -> None:
    """A store keeps it beside the head, in a place of its length."""
    assert "fingerprint" in await require_refused(encode_snapshot(replace(FRESH, fingerprint=fingerprint)))
    for good in ("", "0123456789abcdef" * 4):
        await imported(memory_server(), encode_snapshot(replace(FRESH, fingerprint=good)))


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
