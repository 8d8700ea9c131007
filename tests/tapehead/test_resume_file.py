"""A program that is killed goes on from its file: no input is lost or taken twice, no answer is lost."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tapehead import aio, errors
from tests.tapehead.adding import refusal
from tests.tapehead.fake_script import Script
from tests.tapehead.fake_server import FakeServer

ROWS = [[float(n), 1.0] for n in range(1, 41)]
SUMS = np.cumsum(np.array(ROWS, np.float32), axis=0)

PROGRAM = """
import asyncio, json, sys
from tapehead import aio

async def main(server, file, results, rows):
    with open(results, "a") as out:
        def note(*results):
            out.write(json.dumps([[result.step, result.output.tolist()] for result in results]) + "\\n")
            out.flush()
        async with aio.connect(server) as client:
            async with client.session("adder", "s", window=4, resume_file=file) as session:
                if missed := await session.missed():
                    note(*missed)
                async for result in session.stream(rows[session.next_step - 1:]):
                    note(result)
                    await asyncio.sleep(0.005)

asyncio.run(main(*sys.argv[1:4], json.loads(sys.argv[4])))
"""


def noted(results: Path) -> list[list[tuple[int, list[float]]]]:
    """What the program was handed at once, each time."""
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


async def test_a_program_killed_at_random_instants_loses_nothing_and_takes_nothing_twice(
    server: FakeServer, tmp_path: Path
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    file, results = tmp_path / "resume", tmp_path / "results"
    for kill_after in [*sorted(chance.sample(range(1, 35), 4)), None]:
        program = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, server.address, str(file), str(results), json.dumps(ROWS)
        )
        # How far another process has come is seen in its file alone.
        while program.returncode is None and (kill_after is None or len(noted(results)) < kill_after):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        if kill_after is not None:
            program.send_signal(signal.SIGKILL)
        await program.wait()
    assert program.returncode == 0

    np.testing.assert_array_equal(server.sessions["s"].inputs, ROWS)  # each input was taken once, in order
    handed = noted(results)
    assert sorted({step for answers in handed for step, _ in answers}) == list(range(1, 41))
    again = 0  # at most what was handed over last before each kill came again
    for before, after in pairwise(handed):
        again += after[0][0] == before[0][0]
        assert after[0][0] in (before[0][0], before[-1][0] + 1)
    assert again <= 4
    for answers in handed:
        assert [step for step, _ in answers] == list(range(answers[0][0], answers[0][0] + len(answers)))
        for step, output in answers:
            np.testing.assert_array_equal(output, SUMS[step - 1])


async def test_inputs_that_were_never_committed_are_sent_again(
    server: FakeServer, client: aio.Client, tmp_path: Path
) -> None:
    """The program gave the inputs and died before the server took them; the next one does not give them again."""
    server.hold.clear()
    first = client.session("adder", "s", resume_file=tmp_path / "f")
    await first.__aenter__()
    waiting = [asyncio.ensure_future(first.step(row)) for row in ROWS[:3]]
    await server.has_read.wait()
    died(first)
    await asyncio.gather(*waiting, return_exceptions=True)
    server.hold.set()

    async with client.session("adder", "s", resume_file=tmp_path / "f") as session:
        assert session.next_step == 4
        assert [result.step for result in await session.missed()] == [1, 2, 3]
        assert await session.missed() == []
        assert (await session.step(ROWS[3])).step == 4

    np.testing.assert_array_equal(server.sessions["s"].inputs, ROWS[:4])


@pytest.mark.parametrize("outputs", [[], ["y"]])
async def test_inputs_are_sent_again_with_the_outputs_that_the_session_had(
    server: FakeServer, client: aio.Client, tmp_path: Path, outputs: list[str]
) -> None:
    server.hold.clear()
    first = client.session("adder", "s", resume_file=tmp_path / "f", outputs=["tape"])
    await first.__aenter__()
    waiting = asyncio.ensure_future(first.step(ROWS[0]))
    await server.has_read.wait()
    died(first)
    await asyncio.gather(waiting, return_exceptions=True)
    server.hold.set()

    async with client.session("adder", "s", resume_file=tmp_path / "f", outputs=outputs) as session:
        (result,) = await session.missed()
        assert list(result.outputs) == ["tape"]
        assert list((await session.step(ROWS[1])).outputs) == ["y"]


async def test_the_last_answer_handed_over_comes_again_if_the_program_did_not_come_back(
    client: aio.Client, tmp_path: Path
) -> None:
    session = client.session("adder", "s", resume_file=tmp_path / "f")
    await session.__aenter__()
    for row in ROWS[:3]:
        last = await session.step(row)
    died(session)

    async with client.session("adder", "s", resume_file=tmp_path / "f") as session:
        (again,) = await session.missed()
        assert again.step == last.step == 3
        np.testing.assert_array_equal(again.output, last.output)

    async with client.session("adder", "s", resume_file=tmp_path / "f") as session:  # left in peace: nothing is owed
        assert await session.missed() == []
        assert session.next_step == 4


@pytest.mark.parametrize("window", [1, 4])
async def test_what_is_sent_ahead_settles_no_answer_that_is_still_worked_on(
    server: FakeServer, client: aio.Client, tmp_path: Path, window: int
) -> None:
    """Everything sent is answered and the window is full: the next input waits until the program comes back."""
    session = client.session("adder", "s", window=window, resume_file=tmp_path / "f")
    await session.__aenter__()
    first = await session.step(ROWS[0])
    answers = session.stream(ROWS[1:])
    assert first.step == 1
    for step in range(2, 8):
        assert (await anext(answers)).step == step
        await until_idle(session)
        assert settled(session) == step - 1
    died(session)

    async with client.session("adder", "s", resume_file=tmp_path / "f") as session:
        missed = await session.missed()
        assert missed[0].step == 7
        for row in ROWS[missed[-1].step :]:
            await session.step(row)
    np.testing.assert_array_equal(server.sessions["s"].inputs, ROWS)


@pytest.mark.parametrize("window", [1, 4])
async def test_a_file_that_is_as_old_as_its_last_sync_still_finds_every_answer(
    server: FakeServer, client: aio.Client, tmp_path: Path, window: int
) -> None:
    """A loss of power: what the system had not put on the disk is gone, while the server went on to the last step."""
    disk, file = tmp_path / "disk", tmp_path / "f"
    disk.mkdir()

    def copy(source: Path, target: Path) -> None:
        for path in source.glob("f*"):
            shutil.copy(path, target / path.name)

    session = client.session("adder", "s", window=window, resume_file=file)
    await session.__aenter__()
    copy(tmp_path, disk)
    assert session._opening.file is not None
    sync = session._opening.file.sync

    def synced() -> None:
        sync()
        copy(tmp_path, disk)

    session._opening.file.sync = synced  # type: ignore[method-assign]
    noted = [result.step async for result in session.stream(ROWS[:19])]
    died(session)
    file.unlink()
    copy(disk, tmp_path)

    async with client.session("adder", "s", resume_file=file) as session:
        missed = [result.step for result in await session.missed()]
        assert missed == list(range(missed[0], 20))
        assert len(missed) <= window
        assert (await session.step(ROWS[19])).step == 20
    assert noted == list(range(1, 20))
    np.testing.assert_array_equal(server.sessions["s"].inputs, ROWS[:20])


async def test_a_program_that_fails_while_it_works_on_an_answer_gets_it_again(
    client: aio.Client, tmp_path: Path
) -> None:
    async def fail() -> None:
        async with client.session("adder", "s", resume_file=tmp_path / "f") as session:
            await session.step(ROWS[0])
            raise KeyError

    with pytest.raises(KeyError):
        await fail()

    async with client.session("adder", "s", resume_file=tmp_path / "f") as session:
        assert [result.step for result in await session.missed()] == [1]


@pytest.mark.parametrize("window", [1, 3])
async def test_no_step_waits_for_a_token_that_nobody_saves(client: aio.Client, tmp_path: Path, window: int) -> None:
    async with client.session("adder", "s", window=window, resume_file=tmp_path / "f") as session:
        results = await asyncio.gather(*(session.step(row) for row in ROWS[:10]))
        results += [result async for result in session.stream(ROWS[10:])]

    np.testing.assert_array_equal([result.output for result in results], SUMS)


async def test_a_step_that_fails_is_not_sent_again_later(
    server: FakeServer, client: aio.Client, tmp_path: Path
) -> None:
    server.scripts.append(Script(fail={2: refusal(2)}))
    session = client.session("adder", "s", resume_file=tmp_path / "f")
    await session.__aenter__()
    await session.step(ROWS[0])
    with pytest.raises(errors.ModelNonFinite):
        await session.step([9, 9])
    died(session)

    async with client.session("adder", "s", resume_file=tmp_path / "f") as session:
        await session.missed()
        assert session.next_step == 2
        assert (await session.step(ROWS[1])).step == 2
    np.testing.assert_array_equal(server.sessions["s"].inputs, ROWS[:2])


async def test_a_full_disk_ends_no_session_and_forgets_no_input(
    server: FakeServer, client: aio.Client, tmp_path: Path
) -> None:
    """An input that cannot be kept is not sent; the next one takes its number once there is room."""
    rows = ROWS * 3
    async with client.session("adder", "s", window=len(rows), resume_file=tmp_path / "f") as session:
        allow_pages(session, 0)
        server.hold.clear()
        steps = [asyncio.ensure_future(session.step(row)) for row in rows]
        await server.has_read.wait()
        await until_raised(steps[-1])
        server.hold.set()
        answers = await asyncio.gather(*steps, return_exceptions=True)
        taken = sum(isinstance(answer, aio.StepResult) for answer in answers)
        refused = answers[taken:]

        assert 0 < taken == session.next_step - 1 == server.sessions["s"].committed < len(rows)
        assert all(isinstance(error, OSError) and "cannot be written" in str(error) for error in refused)
        allow_pages(session, 1 << 20)
        for row in rows[taken:]:
            await session.step(row)

    np.testing.assert_array_equal(server.sessions["s"].inputs, rows)
    async with client.session("adder", "s", resume_file=tmp_path / "f") as session:
        assert (await session.missed(), session.next_step) == ([], len(rows) + 1)


async def test_a_failed_step_that_cannot_be_taken_out_of_the_file_leaves_nobody_waiting(
    server: FakeServer, client: aio.Client, tmp_path: Path
) -> None:
    server.scripts.append(Script(fail={1: refusal(1)}))
    session = client.session("adder", "s", resume_file=tmp_path / "f")
    await session.__aenter__()
    assert session._opening.file is not None

    def full(step: int) -> None:
        raise OSError("resume_file: cannot be written: full")

    session._opening.file.take_back = full  # type: ignore[method-assign]
    answers = await asyncio.wait_for(asyncio.gather(*map(session.step, ROWS[:3]), return_exceptions=True), 30)
    await session.close()

    assert [type(answer) for answer in answers] == [errors.SessionClosed] * 3
    assert "cannot be written: full" in str(answers[0])


def allow_pages(session: aio.Session, pages: int) -> None:
    """Lets the session's file have so many pages and no more, or as many as it has."""
    file = session._opening.file
    assert file is not None
    file._database.execute(f"PRAGMA max_page_count = {max(1, pages)}")


async def until_raised(step: asyncio.Future[aio.StepResult]) -> None:
    await asyncio.wait([step])
    assert step.exception() is not None


def settled(session: aio.Session) -> int:
    """Up to which step the file has no more inputs."""
    file = session._opening.file
    assert file is not None
    token = file._read_token()
    assert token is not None
    return token.last_received_step


async def until_idle(session: aio.Session) -> None:
    """Until everything sent is answered, and everybody who waits for that has looked at it."""
    while session.steps.log.is_owed:  # noqa: ASYNC110  # what the feeder sends has no event
        await asyncio.sleep(0.001)
    for _ in range(50):
        await asyncio.sleep(0)


def died(session: aio.Session) -> None:
    """What a kill leaves: the file as it is, nothing said to anybody."""
    assert session._opening.file is not None
    session._opening.file.close()
    session._opening.file.settle = lambda step: None  # type: ignore[method-assign]
    session._opening.file.take_back = lambda step: None  # type: ignore[method-assign]
    assert session.steps._task is not None
    session.steps._task.cancel()
    session._client.closed(session)
