"""Two servers that share a store, for traces that go wrong at one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from service.sessions.messages import StepAnswer
from service.store.base import Key
from service.store.failing import FailingStore
from service.store.memory import MemoryStore
from tests.service.fakes import Server


def value(answer: StepAnswer) -> float:
    return float(answer.outputs["y"].reshape(-1)[-1])


def two_servers() -> tuple[Server, Server, FailingStore]:
    """Two servers on one store, of which the first sees the faults."""
    inner = MemoryStore()
    failing = FailingStore(inner)
    return Server(failing), Server(inner), failing


async def until(condition: Callable[[], bool]) -> None:
    """Lets the event loop turn until something in it has happened."""
    while not condition():  # noqa: ASYNC110  # it is the loop's turns that are waited for
        await asyncio.sleep(0)


async def committed_step(server: Server, key: Key) -> int:
    return (await server.lifecycle.get(key, None)).head.committed_step
