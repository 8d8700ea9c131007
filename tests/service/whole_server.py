"""A whole server in this process, as the command line would start it, on free ports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from service.server import Server
from service.settings import Settings


@asynccontextmanager
async def serving(models: Path, store: str = "memory:", **settings: object) -> AsyncIterator[tuple[Server, str]]:
    """Yields the server and its address, HOST:PORT."""
    server = Server(
        Settings(address="127.0.0.1:0", metrics_address="127.0.0.1:0", models=models, store=store, **settings)  # type: ignore[arg-type]
    )
    addresses = await server.start()
    try:
        yield server, addresses.grpc
    finally:
        await server.stop()
