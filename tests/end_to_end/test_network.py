"""Between a client and a real server lies a network that delays, splits, resets, half-closes and swallows."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest

import tapehead
from tapehead import connection, errors
from tests.end_to_end.network import Network
from tests.end_to_end.server_process import ServerProcess
from tests.end_to_end.test_streams import MODEL, bits_of, sequence

pytestmark = pytest.mark.end_to_end

OUTPUTS = ("y", "tape")
SECONDS = 60.0  # without an end of which a stream counts as hanging


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("server"), "--durability", "process", shipped=(MODEL,)) as server:
        yield server


@pytest.fixture
async def network(server: ServerProcess) -> AsyncIterator[Network]:
    seed = time.time_ns() % 10**6
    print(f"seed {seed}")
    async with Network(lambda: server.grpc, seed) as network:
        yield network


async def quiet(server: ServerProcess, rows: np.ndarray) -> list[tuple[int, bytes, bytes]]:
    """What a session gets that nobody disturbs."""
    async with tapehead.aio.connect(server.grpc) as client, client.session(MODEL, outputs=OUTPUTS) as session:
        return bits_of([result async for result in session.stream(rows)])


async def streamed(session: tapehead.aio.Session, rows: np.ndarray, answered: asyncio.Queue[int]) -> list:
    results = []
    async for result in session.stream(rows):
        results.append(result)
        answered.put_nowait(result.step)
        await asyncio.sleep(0)  # so that what disturbs the stream comes in between
    return results


async def test_delays_and_split_bytes_change_nothing(server: ServerProcess, network: Network) -> None:
    network.weather.latency, network.weather.split = 0.002, 40
    rows = sequence(1, 6)
    async with (
        asyncio.timeout(SECONDS),
        tapehead.aio.connect(network.address) as client,
        client.session(MODEL, outputs=OUTPUTS) as session,
    ):
        results = [result async for result in session.stream(rows)]
        assert session.reconnect_count == 0

    assert bits_of(results) == await quiet(server, rows)


@pytest.mark.parametrize("fault", ["reset", "close_halves"])
async def test_connections_that_break_again_and_again_lose_and_repeat_nothing(
    server: ServerProcess, network: Network, fault: str
) -> None:
    chance = random.Random(time.time_ns())
    rows = np.concatenate([sequence(seed, 10) for seed in range(4)])
    answered: asyncio.Queue[int] = asyncio.Queue()
    network.weather.split = 200  # breaks fall into the middle of messages
    async with (
        asyncio.timeout(SECONDS),
        tapehead.aio.connect(network.address) as client,
        client.session(MODEL, outputs=OUTPUTS, window=8) as session,
    ):
        work = asyncio.create_task(streamed(session, rows, answered))
        for _ in range(5):
            for _ in range(chance.randrange(3, 9)):
                await answered.get()
            getattr(network, fault)()
        results = await work
        assert session.reconnect_count >= 3

    assert [result.step for result in results] == list(range(1, len(rows) + 1))
    assert bits_of(results) == await quiet(server, rows)


async def test_a_client_finds_that_its_connection_is_dead_and_goes_on_by_itself(
    server: ServerProcess, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is reset and nothing refused: bytes vanish, and only the client's pings can tell."""
    hurried = [(name, value // 100 if _is_patience(name) else value) for name, value in connection._CHANNEL_OPTIONS]
    monkeypatch.setattr(connection, "_CHANNEL_OPTIONS", tuple(hurried))
    rows = sequence(2, 10)
    answered: asyncio.Queue[int] = asyncio.Queue()
    async with (
        asyncio.timeout(SECONDS),
        tapehead.aio.connect(network.address) as client,
        client.session(MODEL, outputs=OUTPUTS, window=4) as session,
    ):
        work = asyncio.create_task(streamed(session, rows, answered))
        for _ in range(5):
            await answered.get()
        network.swallow()
        results = await work
        assert session.reconnect_count == 1

    assert bits_of(results) == await quiet(server, rows)


def _is_patience(option: str) -> bool:
    return option in ("grpc.keepalive_time_ms", "grpc.keepalive_timeout_ms", "grpc.http2.ping_timeout_ms")


async def test_a_call_into_a_black_hole_can_be_cancelled_and_the_next_goes_through(network: Network) -> None:
    async with tapehead.aio.connect(network.address) as client:
        await client.server()
        network.swallow()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.server()
        network.reset()

        assert (await client.server()).version


async def test_a_server_that_cannot_be_reached_is_given_up_in_time(network: Network) -> None:
    network.weather.refuses = True
    async with asyncio.timeout(SECONDS), tapehead.aio.connect(network.address, connect_timeout=0.5) as client:
        with pytest.raises(errors.ServerUnreachable):
            await client.server()


async def test_unary_steps_over_a_breaking_network_are_taken_once(server: ServerProcess, network: Network) -> None:
    rows = sequence(3, 8)
    results = []
    async with asyncio.timeout(SECONDS), tapehead.aio.connect(network.address) as client:
        async with client.session(MODEL, "unary/breaking", outputs=OUTPUTS):
            pass
        for step, row in enumerate(rows, 1):
            call = asyncio.create_task(client.step("unary/breaking", step, {"x": row}, outputs=OUTPUTS))
            await asyncio.sleep(0.002 if step % 3 else 0)
            if step % 2:
                network.reset()
            results.append(await call)

    assert [result.step for result in results] == list(range(1, len(rows) + 1))
    assert bits_of(results) == await quiet(server, rows)
    async with tapehead.aio.connect(server.grpc) as client:
        assert (await client.sessions.get("unary/breaking")).committed_step == len(rows)
