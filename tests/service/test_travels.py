"""Sessions that go from one whole server to another, over the wire, by client and by command line."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from tapehead import aio, errors
from tapehead.catalogs import PIECE_BYTES
from tapehead.cli.app import app
from tapehead.v1.portable_pb2 import ImportOpen, ImportSessionRequest, ImportSessionResponse
from tests.bundles import write_accumulator
from tests.service.whole_server import serving

ROWS = np.arange(30, dtype=np.float32).reshape(10, 3)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_accumulator(folder)
    return folder


async def tapehead(address: str, *arguments: str) -> Result:
    """The command line, on a thread beside the server's loop."""
    return await asyncio.to_thread(CliRunner().invoke, app, list(arguments), env={"TAPEHEAD_SERVER": address})


async def test_a_session_moves_to_another_server_in_the_middle_of_a_stream(models: Path, tmp_path: Path) -> None:
    """The answers of the moved session are the ones that it would have given, and those it gave are given again."""
    async with serving(models) as (_, here), serving(models, f"lmdb:{tmp_path / 'store'}") as (_, there):
        async with aio.connect(here) as client, client.session("accumulator", "s", keep_every=3) as session:
            before = [result.output async for result in session.stream(ROWS[:6])]
            token = session.token
            done = await tapehead(here, "sessions", "export", "s", str(tmp_path / "s.session"))
            assert done.exit_code == 0, done.output
            expected = [result.output async for result in session.stream(ROWS[6:])]
        done = await tapehead(there, "sessions", "import", str(tmp_path / "s.session"), "--id", "moved")
        assert done.exit_code == 0, done.output
        assert "as 'moved' at step 6" in done.output

        async with aio.connect(there) as client:
            info = await client.sessions.get("moved")
            assert (info.committed_step, info.kept_steps) == (6, (0, 3, 6))
            assert info.incarnation != token.incarnation
            again = await client.step("moved", 6, {"x": ROWS[5]})
            assert again.replayed
            np.testing.assert_array_equal(again.output, before[5])
            async with client.session(session_id="moved", create=False) as session:
                after = [result.output async for result in session.stream(ROWS[6:])]
            np.testing.assert_array_equal(after, expected)
            with pytest.raises(errors.SessionExists):
                await client.sessions.import_((tmp_path / "s.session").read_bytes(), session_id="moved")


async def test_a_large_file_goes_in_pieces_and_a_larger_one_is_refused_at_its_bound(models: Path) -> None:
    async with serving(models, max_import_bytes=3 * PIECE_BYTES) as (_, address), aio.connect(address) as client:
        for size, error in ((3 * PIECE_BYTES, errors.MalformedMessage), (3 * PIECE_BYTES + 1, errors.TooLong)):
            with pytest.raises(error):
                await client.sessions.import_(bytes(size))


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [ImportSessionRequest(data=b"x")],
        [ImportSessionRequest(open=ImportOpen()), ImportSessionRequest(open=ImportOpen())],
        [ImportSessionRequest(open=ImportOpen(request_id="no uuid")), ImportSessionRequest(data=b"x")],
        [ImportSessionRequest(open=ImportOpen(durability=9)), ImportSessionRequest(data=b"x")],
        [ImportSessionRequest()],
    ],
    ids=["nothing", "no open", "two opens", "no file", "no durability", "empty"],
)
async def test_messages_out_of_the_protocol_are_refused(models: Path, messages: list[ImportSessionRequest]) -> None:
    async with serving(models) as (_, address), aio.connect(address) as client:
        with pytest.raises(errors.InvalidInput):
            await client.connection.upload(client.connection.sessions.ImportSession, messages, ImportSessionResponse)
        assert await client.sessions.list() == []


async def test_a_damaged_file_is_a_sentence_and_an_exit_code(models: Path, tmp_path: Path) -> None:
    async with serving(models) as (_, address):
        file = tmp_path / "damaged"
        file.write_bytes(b"TapeSess and then nothing that follows")
        done = await tapehead(address, "sessions", "import", str(file))
        assert isinstance(done.exception, errors.MalformedMessage)
        done = await tapehead(address, "sessions", "export", "nowhere", str(tmp_path / "out"))
        assert isinstance(done.exception, errors.SessionNotFound)
        assert not (tmp_path / "out").exists()
