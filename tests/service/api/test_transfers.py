"""Files of sessions on the wire: nobody holds for long, or for himself, the places that all share."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.api import transfers
from service.api.call import Call, Method
from service.api.transfers import MOST_AT_ONCE, MOST_OF_OWNER, PIECE_BYTES, Transfers
from service.errors import OverCapacity, QuotaExceeded, TooLong
from service.sessions.identity import CreateSpec
from service.sessions.owners import NOBODY, Caller, Role
from service.sessions.portable import Portable
from service.store.base import Key
from tapehead.v1 import portable_pb2 as pb
from tests.service.fakes import OWNER, Server, memory_server, serving

METHOD = Method("tapehead.v1.SessionService", "ExportSession", "server_stream")
REQUEST = pb.ExportSessionRequest(session_id="s")


class Reader:
    """A client that takes what is written to it, or does not."""

    def __init__(self, *, takes: bool = True) -> None:
        self.is_offered = asyncio.Event()
        self.takes = asyncio.Event()
        self.pieces: list[bytes] = []
        if takes:
            self.takes.set()

    async def write(self, message: Any) -> None:
        self.is_offered.set()
        await self.takes.wait()
        self.pieces.append(message.data)


def call_of(reader: Reader, owner: str = OWNER) -> Call:
    call = Call(METHOD, reader)  # type: ignore[arg-type]
    call.caller = Caller(owner, Role.CLIENT, f"sha256:{owner}") if owner else NOBODY
    return call


async def serving_files(*owners: str, max_bytes: int = 1 << 20) -> Transfers:
    """Over a server where each of the owners has a session."""
    server = memory_server()
    for owner in owners:
        await server.lifecycle.create(owner, CreateSpec("s", "accumulator"))
    return over(server, max_bytes)


def over(server: Server, max_bytes: int) -> Transfers:
    portable = Portable(server.store, server.repository, server.lifecycle.creation)
    return Transfers(portable, max_import_bytes=max_bytes)


async def begin(files: Transfers, owner: str) -> tuple[asyncio.Task[None], Reader]:
    """An export whose client does not take it yet."""
    reader = Reader(takes=False)
    export = asyncio.create_task(files.export_session(REQUEST, call_of(reader, owner)))
    offered = asyncio.create_task(reader.is_offered.wait())
    await asyncio.wait({export, offered}, return_when=asyncio.FIRST_COMPLETED)
    offered.cancel()
    return export, reader


async def test_one_owner_does_not_hold_every_place() -> None:
    files = await serving_files("ada", "bob")
    held = [await begin(files, "ada") for _ in range(MOST_OF_OWNER)]

    with pytest.raises(QuotaExceeded, match="files of sessions"):
        await files.export_session(REQUEST, call_of(Reader(), "ada"))
    with pytest.raises(QuotaExceeded):
        await files.import_session(call_of(Reader(), "ada"))
    await files.export_session(REQUEST, call_of(Reader(), "bob"))

    for export, reader in held:
        reader.takes.set()
        await export
    await files.export_session(REQUEST, call_of(Reader(), "ada"))


async def test_where_nobody_says_who_they_are_all_places_are_for_all() -> None:
    files = await serving_files("")
    held = [await begin(files, "") for _ in range(MOST_AT_ONCE)]

    with pytest.raises(OverCapacity):
        await files.export_session(REQUEST, call_of(Reader(), ""))
    for export, reader in held:
        reader.takes.set()
        await export


async def test_whoever_does_not_take_a_file_loses_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    files = await serving_files("ada")
    monkeypatch.setattr(transfers, "FILE_SECONDS", 0.05)
    held = [(await begin(files, "ada"))[0] for _ in range(MOST_OF_OWNER)]

    done, _ = await asyncio.wait(held, timeout=30)
    assert [type(export.exception()) for export in done] == [OverCapacity] * MOST_OF_OWNER
    monkeypatch.undo()
    await files.export_session(REQUEST, call_of(Reader(), "ada"))


async def test_a_session_that_no_import_would_take_is_not_exported() -> None:
    server = memory_server()
    async with serving(server):
        await server.lifecycle.create(OWNER, CreateSpec("s", "accumulator", keep_every=1, keep_most=60))
        await over(server, 1000).export_session(REQUEST, call_of(Reader()))
        for step in range(1, 31):
            await server.step(Key(OWNER, "s"), step, 1.0)
        reader = Reader()
        with pytest.raises(TooLong) as raised:
            await over(server, 1000).export_session(REQUEST, call_of(reader))
        assert raised.value.facts["limit"] == "1000"
        assert not reader.pieces
        await over(server, PIECE_BYTES).export_session(REQUEST, call_of(reader))
        assert reader.pieces
