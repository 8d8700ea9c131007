"""Two replicas on one Redis, behind the HAProxy that is shipped: any of them serves any session, and one writes it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import tapehead
from tapehead import errors
from tests.end_to_end.haproxy_process import HaproxyProcess
from tests.end_to_end.server_process import ServerProcess
from tests.end_to_end.test_streams import MODEL, bits_of, sequence
from tests.redis_process import RedisProcess

pytestmark = pytest.mark.end_to_end

OUTPUTS = ("y", "tape")
REDIS_CONFIGURATION = Path(__file__).parents[2] / "deploy" / "redis" / "redis.conf"


@dataclass(frozen=True, slots=True)
class Cluster:
    """What docker-compose.yml starts, as plain processes."""

    redis: RedisProcess
    replicas: list[ServerProcess]
    haproxy: HaproxyProcess


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    for name in ("one", "two"):
        (folder / name).mkdir()
    with ExitStack() as ending:
        redis = ending.enter_context(RedisProcess(folder / "redis", config=REDIS_CONFIGURATION))
        replicas = [ServerProcess(folder / name, store=redis.url, shipped=(MODEL,)) for name in ("one", "two")]
        for replica in replicas:
            ending.enter_context(replica)
        haproxy = ending.enter_context(HaproxyProcess(folder, *((each.grpc, each.metrics) for each in replicas)))
        yield Cluster(redis, replicas, haproxy)


async def quiet(cluster: Cluster, rows: np.ndarray) -> list[tuple[int, bytes, bytes]]:
    """What a session gets that nobody disturbs."""
    server = cluster.replicas[0].grpc
    async with tapehead.aio.connect(server) as client, client.session(MODEL, outputs=OUTPUTS) as session:
        return bits_of([result async for result in session.stream(rows)])


async def test_streams_survive_the_death_of_either_replica_exactly_once(cluster: Cluster) -> None:
    seed = time.time_ns() % 10**6
    print(f"seed {seed}")
    chance = random.Random(seed)
    sequences = [sequence(seed + n, 12) for n in range(8)]
    answered: asyncio.Queue[int] = asyncio.Queue()
    both_serve = asyncio.Event()
    both_serve.set()

    async with tapehead.aio.connect(cluster.haproxy.address) as client:

        async def slow_stream(n: int) -> list[tapehead.StepResult]:
            results = []
            async with client.session(MODEL, f"killed/{seed}/{n}", outputs=OUTPUTS) as session:
                for row in sequences[n]:
                    results.append(await session.step(row))
                    answered.put_nowait(n)
                    await both_serve.wait()
            return results

        work = asyncio.gather(*(slow_stream(n) for n in range(len(sequences))))
        for victim in cluster.replicas:
            for _ in range(chance.randrange(10, 40)):
                await answered.get()
            await asyncio.sleep(chance.random() * 0.003)  # any instant of a step
            victim.kill()
            for _ in range(chance.randrange(10, 30)):
                await answered.get()  # the other one goes on alone
            both_serve.clear()
            await victim.restart()
            both_serve.set()
        assert not work.done()
        killed = await work

    for n, results in enumerate(killed):
        assert [result.step for result in results] == list(range(1, len(sequences[n]) + 1))
        assert bits_of(results) == await quiet(cluster, sequences[n])


async def test_the_newest_opening_has_the_session_wherever_it_came(cluster: Cluster) -> None:
    one, two = cluster.replicas
    rows = sequence(1, 4)
    async with (
        tapehead.aio.connect(one.grpc) as first,
        tapehead.aio.connect(two.grpc) as second,
        first.session(MODEL, "taken", outputs=OUTPUTS) as old,
    ):
        before = [await old.step(row) for row in rows[:4]]
        async with second.session(MODEL, "taken", outputs=OUTPUTS) as new:
            after = [await new.step(row) for row in rows[4:6]]
            with pytest.raises(errors.SessionTakenOver):
                await old.step(rows[4])
            after += [await new.step(row) for row in rows[6:]]

    assert [result.step for result in before + after] == list(range(1, len(rows) + 1))
    assert bits_of(before + after) == await quiet(cluster, rows)


async def test_a_session_may_go_to_another_replica_with_every_step(cluster: Cluster) -> None:
    seed = time.time_ns() % 10**6
    print(f"seed {seed}")
    chance = random.Random(seed)
    rows, results = sequence(seed, 8), []
    async with (
        tapehead.aio.connect(cluster.replicas[0].grpc) as one,
        tapehead.aio.connect(cluster.replicas[1].grpc) as two,
    ):
        for row in rows:
            client = chance.choice((one, two))
            async with client.session(MODEL, f"wandering/{seed}", outputs=OUTPUTS) as session:
                results.append(await session.step(row))

    assert bits_of(results) == await quiet(cluster, rows)


async def test_a_replica_that_was_paused_cannot_write_when_it_wakes(cluster: Cluster) -> None:
    one, two = cluster.replicas
    rows = sequence(2, 4)
    async with tapehead.aio.connect(one.grpc) as first, tapehead.aio.connect(two.grpc) as second:
        async with first.session(MODEL, "paused", outputs=OUTPUTS) as old:
            before = [await old.step(row) for row in rows[:3]]
            os.kill(one.pid, signal.SIGSTOP)
            try:
                late = asyncio.create_task(old.step(rows[5]))  # another input than the one that will be step 4
                await asyncio.sleep(0)
                async with second.session(MODEL, "paused", outputs=OUTPUTS) as new:
                    after = [await new.step(row) for row in rows[3:6]]
            finally:
                os.kill(one.pid, signal.SIGCONT)
            with pytest.raises(errors.SessionTakenOver):
                await late
        async with second.session(MODEL, "paused", outputs=OUTPUTS) as new:
            after += [await new.step(row) for row in rows[6:]]

    assert bits_of(before + after) == await quiet(cluster, rows)


async def test_a_deleted_session_is_gone_at_both(cluster: Cluster) -> None:
    one, two = cluster.replicas
    async with tapehead.aio.connect(one.grpc) as first, tapehead.aio.connect(two.grpc) as second:
        async with first.session(MODEL, "gone") as session:
            await session.step(sequence(3, 4)[0])
        assert (await second.sessions.get("gone")).committed_step == 1
        await second.sessions.delete("gone")
        with pytest.raises(errors.SessionNotFound):
            await first.sessions.get("gone")


async def test_a_redis_that_is_killed_and_comes_back_loses_no_answered_step(cluster: Cluster) -> None:
    rows = sequence(4, 6)
    address = cluster.haproxy.address
    async with tapehead.aio.connect(address) as client, client.session(MODEL, "through", outputs=OUTPUTS) as session:
        results = [await session.step(row) for row in rows[:5]]
        cluster.redis.kill()
        going_on = asyncio.create_task(session.step(rows[5]))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(cluster.redis.start)
        results.append(await going_on)
        results += [await session.step(row) for row in rows[6:]]

    assert bits_of(results) == await quiet(cluster, rows)
