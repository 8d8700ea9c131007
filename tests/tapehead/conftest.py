"""A scripted server, in the test's own event loop or on a thread beside it, and clients of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

import tapehead
from tapehead import aio
from tests.tapehead.fake_server import FakeServer


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with FakeServer() as fake:
        yield fake


@pytest.fixture
async def client(server: FakeServer) -> AsyncIterator[aio.Client]:
    async with aio.connect(server.address, connect_timeout=30, reconnect_timeout=30) as made:
        yield made


@pytest.fixture
def threaded_server() -> Iterator[FakeServer]:
    """For blocking clients, which must not block the server's loop."""
    started = threading.Event()
    stop = asyncio.Event()
    made: list[tuple[FakeServer, asyncio.AbstractEventLoop]] = []

    async def serve() -> None:
        async with FakeServer() as fake:
            made.append((fake, asyncio.get_running_loop()))
            started.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert started.wait(10)
    fake, loop = made[0]
    yield fake
    loop.call_soon_threadsafe(stop.set)
    thread.join()


@pytest.fixture
def blocking_client(threaded_server: FakeServer) -> Iterator[tapehead.Client]:
    with tapehead.connect(threaded_server.address, connect_timeout=30, reconnect_timeout=30) as made:
        yield made
