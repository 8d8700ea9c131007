"""ExportSession and ImportSession: files of sessions in pieces, as the wire carries them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tapehead.v1 import portable_pb2 as pb

from ..errors import MalformedMessage, OverCapacity, QuotaExceeded, TooLong
from ..sessions.listing import SessionView
from ..sessions.portable import ImportSpec, Portable
from ..store.base import Key
from .call import EOF, Call
from .registration import Unreadable
from .views import durability_of, incarnation_of, seconds_of

PIECE_BYTES = 1 << 20  # every client takes messages of that size
MOST_AT_ONCE = 8  # files in memory
MOST_OF_OWNER = 2  # of them, where callers say who they are
RETRY_AFTER = 1.0  # seconds
FILE_SECONDS = 300.0  # for a whole file: whoever sends, or takes, it more slowly holds a place that others want


class Transfers:
    """Serves files of sessions."""

    def __init__(self, portable: Portable, *, max_import_bytes: int) -> None:
        self._portable = portable
        self._max_import_bytes = max_import_bytes
        self._count = 0
        self._count_of: Counter[str] = Counter()  # by owner

    async def export_session(self, request: pb.ExportSessionRequest, call: Call) -> None:
        with self._place(call.owner):
            try:
                async with asyncio.timeout(FILE_SECONDS):
                    await self._write(request, call)
            except TimeoutError:
                raise OverCapacity("seconds for a session's file", int(FILE_SECONDS), retry_after=RETRY_AFTER) from None

    async def import_session(self, call: Call) -> SessionView:
        with self._place(call.owner):
            try:
                async with asyncio.timeout(FILE_SECONDS):
                    spec, data = await self._read(call)
            except TimeoutError:
                raise MalformedMessage(f"expected the whole file within {FILE_SECONDS:.0f} s") from None
            return await self._portable.import_session(call.owner, spec, data)

    async def _write(self, request: pb.ExportSessionRequest, call: Call) -> None:
        step, data = await self._portable.export_session(
            Key(call.owner, request.session_id),
            incarnation_of(request.incarnation),
            request.minimum_step,
            max_bytes=self._max_import_bytes,  # what this server would not take back, it does not gather either
        )
        for begin in range(0, len(data), PIECE_BYTES):
            piece = data[begin : begin + PIECE_BYTES]
            await call.write(pb.ExportSessionResponse(data=piece, total_bytes=len(data), committed_step=step))

    async def _read(self, call: Call) -> tuple[ImportSpec, bytes]:
        first = await _next(call)
        if first is None or first.WhichOneof("message") != "open":
            raise MalformedMessage("expected `open` as the first message")
        opening, data = first.open, bytearray()
        while (message := await _next(call)) is not None:
            if message.WhichOneof("message") != "data":
                raise MalformedMessage("expected `data` after `open`, and nothing else")
            data += message.data
            if len(data) > self._max_import_bytes:
                raise TooLong("bytes of a session's file", self._max_import_bytes, len(data))
        return _import_spec(opening), bytes(data)

    @contextmanager
    def _place(self, owner: str) -> Iterator[None]:
        if self._count >= MOST_AT_ONCE:
            raise OverCapacity("files of sessions at once", MOST_AT_ONCE, retry_after=RETRY_AFTER)
        if owner and self._count_of[owner] >= MOST_OF_OWNER:
            raise QuotaExceeded("files of sessions at once", MOST_OF_OWNER, retry_after=RETRY_AFTER)
        self._count += 1
        self._count_of[owner] += 1
        try:
            yield
        finally:
            self._count -= 1
            self._count_of[owner] -= 1
            if not self._count_of[owner]:
                del self._count_of[owner]


async def _next(call: Call) -> pb.ImportSessionRequest | None:
    """The next message; None at the end."""
    message = await call.read()
    if message is EOF:
        return None
    if type(message) is Unreadable:
        raise message.error
    assert isinstance(message, pb.ImportSessionRequest)
    return message


def _import_spec(opening: pb.ImportOpen) -> ImportSpec:
    return ImportSpec(
        session_id=opening.session_id,
        request_id=opening.request_id,
        labels=dict(opening.labels),
        ttl=seconds_of(opening.ttl),
        durability=durability_of(opening.durability),
        strict_fingerprint=opening.strict_fingerprint,
    )
