"""A scripted server, and clients of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tapehead import aio
from tests.tapehead.fake_server import FakeServer


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with FakeServer() as fake:
        yield fake


@pytest.fixture
async def client(server: FakeServer) -> AsyncIterator[aio.Client]:
    async with aio.connect(server.address, connect_timeout=5, reconnect_timeout=5) as made:
        yield made
