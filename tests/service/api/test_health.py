"""Health, for the server, each service and each model."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from service.api.edge import OWN_SERVICES
from service.api.health import Health
from service.api.interceptors.draining import Drain
from service.errors import Draining
from tests.service.api.conftest import Served, info_of

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


def ask(name: str) -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=name)


@pytest.mark.parametrize("name", ["", *OWN_SERVICES, "tapehead.model.sum", "tapehead.model.qa"])
async def test_every_name_is_served(served: Served, name: str) -> None:
    assert (await HealthStub(served.channel).Check(ask(name))).status == SERVING


@pytest.mark.parametrize(
    ("name", "reason"), [("tapehead.model.none", "MODEL_NOT_FOUND"), ("nonsense", "HEALTH_NAME_UNKNOWN")]
)
async def test_an_unknown_name_is_not_found(served: Served, name: str, reason: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await HealthStub(served.channel).Check(ask(name))

    assert (caught.value.code(), info_of(caught.value).reason) == (grpc.StatusCode.NOT_FOUND, reason)


async def test_nothing_is_served_while_draining_and_checks_still_answer(served: Served) -> None:
    served.drain.begin(5.0)

    assert (await HealthStub(served.channel).Check(ask(""))).status == NOT_SERVING


async def test_a_watcher_hears_of_the_drain_and_does_not_hold_it_up(served: Served) -> None:
    call = HealthStub(served.channel).Watch(ask(""))
    first = await call.read()
    served.drain.begin(5.0)
    second = await call.read()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()

    assert (first.status, second.status) == (SERVING, NOT_SERVING)
    assert info_of(caught.value).reason == "DRAINING"


class SlowReader:
    """A watcher's call that takes a message only when it is let."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.reads = asyncio.Event()
        self.reads.set()

    async def write(self, message: health_pb2.HealthCheckResponse) -> None:
        await self.reads.wait()
        self.told.append(message.status)


async def test_the_drain_waits_until_watchers_were_told() -> None:
    """Connections are closed after it, and what a watcher was not told by then is lost."""
    drain, reader = Drain(), SlowReader()
    watching = asyncio.ensure_future(Health([], drain).watch(ask(""), reader))
    await turns(10)
    reader.reads.clear()
    drain.begin(60.0)
    left_before = await drain.wait_idle(0.01)
    reader.reads.set()
    left_after = await drain.wait_idle(60.0)

    assert (left_before, left_after, reader.told) == (1, 0, [SERVING, NOT_SERVING])
    with pytest.raises(Draining):
        await watching


async def test_a_drain_that_begins_while_a_watcher_is_told_is_told_too() -> None:
    drain, reader = Drain(), SlowReader()
    reader.reads.clear()
    watching = asyncio.ensure_future(Health([], drain).watch(ask(""), reader))
    await turns(10)
    drain.begin(60.0)
    reader.reads.set()
    with pytest.raises(Draining):
        await watching

    assert reader.told == [SERVING, NOT_SERVING]


async def turns(count: int) -> None:
    """Lets the event loop go round so often."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_watchers_hear_of_a_model_that_comes_and_goes(served: Served) -> None:
    watchers = [HealthStub(served.channel).Watch(ask("tapehead.model.new")) for _ in range(2)]
    statuses = []
    for change in (lambda _: None, served.health.add, served.health.remove):
        change("tapehead.model.new")
        statuses.append([(await watcher.read()).status for watcher in watchers])
    for watcher in watchers:
        watcher.cancel()

    assert statuses == [[UNKNOWN, UNKNOWN], [SERVING, SERVING], [UNKNOWN, UNKNOWN]]
