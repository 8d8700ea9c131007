"""A token that is taken out while a stream begins: whenever that happens, the stream does not last."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from service.api.call import Call, Method
from service.api.interceptors.draining import Drain
from service.api.streams import Streams
from service.errors import TokenInvalid
from service.sessions.lifecycle import OpenSpec
from service.sessions.owners import Owners
from tapehead.v1 import session_service_pb2 as pb
from tests.service.api.fakes import FakeAttachment, FakeLifecycle, FakeMetrics

ADA, BOB = "ada-token-0123456789", "bob-token-0123456789"
METHOD = Method("tapehead.v1.SessionService", "StreamSteps", "bidi_stream")


class Context:
    """A connection whose client says `open` when it is let go on, and then nothing."""

    def __init__(self) -> None:
        self.is_read = asyncio.Event()
        self.says = asyncio.get_running_loop().create_future()
        self.written: list[object] = []

    async def read(self) -> Any:
        self.is_read.set()
        return await self.says

    async def write(self, message: object) -> None:
        self.written.append(message)


class Revoking(FakeLifecycle):
    """Has a token taken out while it opens a session."""

    def __init__(self, owners: Owners, path: Path) -> None:
        super().__init__()
        self._owners, self._path = owners, path

    async def open(self, owner: str, spec: OpenSpec) -> FakeAttachment:
        revoke_ada(self._owners, self._path)
        return await super().open(owner, spec)


def revoke_ada(owners: Owners, path: Path) -> None:
    path.write_text(f"{BOB} bob client\n")
    assert owners.refresh()


def streams_of(lifecycle: FakeLifecycle, owners: Owners) -> Streams:
    return Streams(lifecycle, Drain(), FakeMetrics(), owners, max_streams=3, heartbeat=60.0)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(f"{ADA} ada client\n{BOB} bob client\n")
    return path


@pytest.fixture
def owners(path: Path) -> Owners:
    return Owners(path)


def ada_calls(context: Context, owners: Owners) -> Call:
    call = Call(METHOD, context)  # type: ignore[arg-type]
    call.caller = owners.by_token(ADA)
    return call


async def test_an_open_that_was_held_back_until_the_token_was_gone_opens_nothing(owners: Owners, path: Path) -> None:
    context, lifecycle = Context(), FakeLifecycle()
    streams = streams_of(lifecycle, owners)
    serving = asyncio.create_task(streams.serve(ada_calls(context, owners)))
    await context.is_read.wait()
    revoke_ada(owners, path)
    streams.end_unknown()

    context.says.set_result(pb.StreamStepsRequest(open=pb.StreamOpen(session_id="s")))

    with pytest.raises(TokenInvalid):
        await asyncio.wait_for(serving, 10)
    assert (lifecycle.opened, context.written, streams.count) == ([], [], 0)


async def test_a_token_that_goes_while_its_session_is_opened_gets_no_stream(owners: Owners, path: Path) -> None:
    context, lifecycle = Context(), Revoking(owners, path)
    streams = streams_of(lifecycle, owners)
    context.says.set_result(pb.StreamStepsRequest(open=pb.StreamOpen(session_id="s")))

    with pytest.raises(TokenInvalid):
        await asyncio.wait_for(streams.serve(ada_calls(context, owners)), 10)
    assert lifecycle.attachment is not None
    assert lifecycle.attachment.detached.is_set()
    assert (context.written, streams.count) == ([], 0)
