"""Whose the file of a program is, and what it says of a session that is not as the program left it."""

from __future__ import annotations

from pathlib import Path

import grpc
import numpy as np
import pytest

from tapehead import Client, aio, errors
from tests.tapehead.fake_script import Script, Status
from tests.tapehead.fake_server import FakeServer

ROWS = [[float(n), 1.0] for n in range(1, 41)]
SUMS = np.cumsum(np.array(ROWS, np.float32), axis=0)


async def test_what_became_of_the_session_meanwhile_is_told(
    server: FakeServer, client: aio.Client, tmp_path: Path
) -> None:
    """Gone back in time, replaced, stepped by somebody else: an error, and the file stays as it was."""

    async def begun(name: str) -> Path:
        async with client.session("adder", name, resume_file=tmp_path / name) as session:
            for row in ROWS[:3]:
                await session.step(row)
        return tmp_path / name

    async def opens(file: Path) -> None:
        async with client.session("adder", file.name, resume_file=file) as session:
            await session.missed()

    regressed, replaced, gone = [await begun(name) for name in ("regressed", "replaced", "gone")]
    server.sessions["regressed"].committed = 1
    server.make("replaced")
    del server.sessions["gone"]
    for file, error in (
        (regressed, errors.StateRegressed),
        (replaced, errors.SessionReplaced),
        (gone, errors.SessionNotFound),
    ):
        for _ in range(2):
            with pytest.raises(error):
                await opens(file)


async def test_another_writer_in_between_is_told(server: FakeServer, client: aio.Client, tmp_path: Path) -> None:
    """An input was kept under a number that another client has taken since."""
    server.scripts.append(Script(cut_before_commit_of=1, status=Status(grpc.StatusCode.ABORTED, "STATE_CONFLICT")))
    async with client.session("adder", "s", resume_file=tmp_path / "f") as session:
        with pytest.raises(errors.StateConflict):
            await session.step(ROWS[0])
    async with client.session("adder", "s") as other:
        await other.step([7, 7])

    async with client.session("adder", "s", resume_file=tmp_path / "f") as session:
        with pytest.raises(errors.StepPayloadMismatch):
            await session.missed()


async def test_the_file_says_whose_forerunner_it_is(server: FakeServer, client: aio.Client, tmp_path: Path) -> None:
    for _ in range(3):
        async with client.session("adder", "s", resume_file=tmp_path / "f"):
            pass

    first, second, third = server.opens
    assert (second.previous_client_id, third.previous_client_id) == (first.client_id, second.client_id)
    assert second.incarnation == server.sessions["s"].incarnation


async def test_one_object_at_a_time_has_the_file(client: aio.Client, tmp_path: Path) -> None:
    async with client.session("adder", "s", resume_file=tmp_path / "f"):
        with pytest.raises(ValueError, match="in use"):
            client.session("adder", "s", resume_file=tmp_path / "f")


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to be read as one", b"\0" * 4096])
def test_a_file_of_something_else_is_left_alone(content: bytes, client: aio.Client, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(content)

    with pytest.raises(ValueError, match="resume_file"):
        client.session("adder", "s", resume_file=file)

    assert file.read_bytes() == content


async def test_the_file_of_another_session_is_refused(client: aio.Client, tmp_path: Path) -> None:
    async with client.session("adder", "s", resume_file=tmp_path / "f"):
        pass

    with pytest.raises(ValueError, match="expected the file of session 'other', got that of 's'"):
        client.session("adder", "other", resume_file=tmp_path / "f")
    async with client.session("adder", resume_file=tmp_path / "f") as session:
        assert session.session_id == "s"


def test_blocking_programs_have_it_too(blocking_client: Client, tmp_path: Path) -> None:
    with blocking_client.session("adder", "s", resume_file=tmp_path / "f") as session:
        session.step(ROWS[0])
        outputs = [result.output for result in session.stream(ROWS[1:])]
    with blocking_client.session(resume_file=tmp_path / "f") as session:
        assert session.missed() == []
        assert session.next_step == 41

    np.testing.assert_array_equal(outputs, SUMS[1:])
