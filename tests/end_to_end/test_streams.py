"""Real servers, real weights: many sessions at once, each equal to itself alone; kills at random instants."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import numpy as np
import pytest

import tapehead
from tests.end_to_end.server_process import START_SECONDS, ServerProcess

pytestmark = pytest.mark.end_to_end

MODEL = "ntm-copy"
KILLS = 6


def sequence(seed: int, length: int = 20) -> np.ndarray:
    """A copy task: bits, the delimiter, silence."""
    rows = np.zeros((2 * length + 1, 9), np.float32)
    rows[:length, :8] = np.random.default_rng(seed).integers(0, 2, (length, 8))
    rows[length, 8] = 1.0
    return rows


async def streamed(
    client: tapehead.aio.Client, rows: np.ndarray, session_id: str | None = None
) -> list[tapehead.StepResult]:
    async with client.session(MODEL, session_id, outputs=("y", "tape")) as session:
        return [result async for result in session.stream(rows)]


def bits_of(results: list[tapehead.StepResult]) -> list[tuple[int, bytes, bytes]]:
    return [(result.step, result.outputs["y"].tobytes(), result.outputs["tape"].tobytes()) for result in results]


async def test_sixty_four_sessions_at_once_equal_each_alone_bit_for_bit(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, "--durability", "process", shipped=(MODEL,)) as server:
        async with tapehead.aio.connect(server.grpc) as client:
            together = await asyncio.gather(*(streamed(client, sequence(seed, 8)) for seed in range(64)))
            for seed in (0, 1, 31, 63):
                alone = await streamed(client, sequence(seed, 8))
                assert bits_of(together[seed]) == bits_of(alone)


async def test_a_trained_machine_gives_back_what_it_was_shown_also_beyond_its_training(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, store="memory:", shipped=(MODEL,)) as server:
        async with tapehead.aio.connect(server.grpc) as client:
            for length in (10, 20, 40):
                rows = sequence(length, length)
                recalled = np.array([r.outputs["y"] for r in (await streamed(client, rows))[length + 1 :]])
                assert ((recalled > 0.5) == (rows[:length, :8] > 0.5)).all()


async def test_nothing_is_lost_repeated_or_changed_by_kills_at_random_instants(tmp_path: Path) -> None:
    seed = time.time_ns() % 10**6
    print(f"seed {seed}")
    chance = random.Random(seed)
    sequences = [sequence(seed + n) for n in range(8)]
    (tmp_path / "killed").mkdir()
    (tmp_path / "quiet").mkdir()
    with ServerProcess(tmp_path / "killed", "--durability", "process", shipped=(MODEL,)) as server:
        async with tapehead.aio.connect(server.grpc, reconnect_timeout=START_SECONDS) as client:
            answered: asyncio.Queue[int] = asyncio.Queue()

            async def slow_stream(n: int) -> list[tapehead.StepResult]:
                """One step after the other, so that each kill finds every session at work."""
                results = []
                async with client.session(MODEL, f"s{n}", outputs=("y", "tape")) as session:
                    for row in sequences[n]:
                        results.append(await session.step(row))
                        answered.put_nowait(n)
                return results

            work = asyncio.gather(*(slow_stream(n) for n in range(len(sequences))))
            for _ in range(KILLS):
                for _ in range(chance.randrange(1, 40)):
                    await answered.get()
                await asyncio.sleep(chance.random() * 0.003)  # any instant of a step
                server.kill()
                await server.restart()
            assert not work.done()
            killed = await work

    with ServerProcess(tmp_path / "quiet", store="memory:", shipped=(MODEL,)) as server:
        async with tapehead.aio.connect(server.grpc) as client:
            for n, results in enumerate(killed):
                assert [result.step for result in results] == list(range(1, len(sequences[n]) + 1))
                assert bits_of(results) == bits_of(await streamed(client, sequences[n]))


async def test_a_pipelined_stream_of_chunks_survives_a_kill(tmp_path: Path) -> None:
    rows = np.concatenate([sequence(n, 16) for n in range(12)])
    chunks = np.split(rows, range(3, len(rows), 3))
    with ServerProcess(tmp_path, shipped=(MODEL,)) as server:
        async with tapehead.aio.connect(server.grpc, reconnect_timeout=START_SECONDS) as client:
            results = []
            async with client.session(MODEL, window=12) as session:
                async for result in session.stream(chunks, chunked=True):
                    results.append(result)
                    if len(results) == 20:
                        server.kill()
                        restarting = asyncio.create_task(server.restart())
            await restarting
            single = [r.outputs["y"] async for r in _steps(client, rows)]

    assert [result.step for result in results] == list(range(1, len(rows) + 1, 3))
    assert np.concatenate([result.outputs["y"] for result in results]).tobytes() == np.array(single).tobytes()


async def _steps(client: tapehead.aio.Client, rows: np.ndarray):  # type: ignore[no-untyped-def]
    async with client.session(MODEL) as session:
        async for result in session.stream(rows):
            yield result


async def test_a_drained_server_answers_what_it_read_and_the_client_goes_on_with_the_next(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, shipped=(MODEL,)) as server:
        async with (
            tapehead.aio.connect(server.grpc, reconnect_timeout=START_SECONDS) as client,
            client.session(MODEL) as session,
        ):
            rows = sequence(1)
            first = [await session.step(row) for row in rows[:10]]
            assert server.terminate() == 0
            restarting = asyncio.create_task(server.restart())
            rest = [await session.step(row) for row in rows[10:]]
            await restarting

    assert [result.step for result in first + rest] == list(range(1, len(rows) + 1))


async def test_a_story_survives_a_kill(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, shipped=(MODEL, "babi-qa")) as server:
        async with tapehead.aio.connect(server.grpc, reconnect_timeout=START_SECONDS) as client:
            story = await client.conversation("babi-qa", "mine")
            await story.tell("Mary moved to the bathroom.", "John went to the hallway.")
            server.kill()
            restarting = asyncio.create_task(server.restart())
            await story.tell("Mary travelled to the office.")
            answer = await story.ask("Where is Mary?")
            await restarting

    assert (answer.text, answer.step) == ("office", 3)


async def test_a_second_server_on_the_same_store_says_who_holds_it(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, shipped=(MODEL,)) as server:
        (tmp_path / "second").mkdir()
        second = ServerProcess(tmp_path / "second", store=f"lmdb:{tmp_path / 'sessions'}", shipped=(MODEL,))
        second.launch()
        assert second.wait() != 0
        assert str(server.pid) in second.log + second.output


async def test_forks_and_rewinds_survive_a_kill_and_give_the_bits_they_would_have_given(tmp_path: Path) -> None:
    rows = sequence(5)
    with ServerProcess(tmp_path, shipped=(MODEL,)) as server:
        async with tapehead.aio.connect(server.grpc, reconnect_timeout=START_SECONDS) as client:
            async with client.session(MODEL, "whole", outputs=("y", "tape"), keep_every=10) as session:
                whole = [await session.step(row) for row in rows]
            fork = await client.sessions.fork("whole", step=20, new_session_id="fork")
            server.kill()
            await server.restart()
            async with client.session(session_id=fork.session_id, outputs=("y", "tape")) as session:
                forked = [await session.step(row) for row in rows[20:]]
            await client.sessions.rewind("whole", len(rows) + 1, 30)
            async with client.session(session_id="whole", outputs=("y", "tape")) as session:
                again = [await session.step(row) for row in rows[30:]]

    assert bits_of(forked) == bits_of(whole[20:])
    assert [bits[1:] for bits in bits_of(again)] == [bits[1:] for bits in bits_of(whole[30:])]
    assert again[0].step == len(rows) + 2  # the rewind itself was a step
