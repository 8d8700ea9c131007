"""Constants and start inputs over the wire, from the client and from the command line, and over a restart."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import numpy as np
import pytest

import tapehead
from tests.end_to_end.server_process import START_SECONDS, ServerProcess
from tests.quirks import write_counting, write_rated, write_windowed

pytestmark = pytest.mark.end_to_end


async def tapehead_stream(server: str, *arguments: str) -> str:
    command = [str(Path(sys.executable).with_name("tapehead")), "stream", *arguments, "--server", server]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return output.decode()


async def test_what_a_session_is_given_once_survives_a_kill(tmp_path: Path) -> None:
    models = tmp_path / "models"
    for write in (write_rated, write_counting, write_windowed):
        write(models)
    with ServerProcess(tmp_path, "--models", str(models)) as server:
        async with tapehead.aio.connect(server.grpc, reconnect_timeout=START_SECONDS) as client:
            async with client.session("rated", "r", constants={"rate": 8}) as rated:
                assert (await rated.step([1, 2])).output.tolist() == [8, 16]
                with pytest.raises(tapehead.TapeheadError, match="rate"):
                    async with client.session("rated", "s"):
                        pass
                with pytest.raises(tapehead.TapeheadError, match="first"):
                    async with client.session("counting", "t"):
                        pass
                async with client.session("counting", "c", start={"first": 2}) as counting:
                    assert int((await counting.step()).output) == 3
                    server.kill()
                    await server.restart()
                    assert (await counting.chunk(2)).output.tolist() == [0, 1]
                assert (await rated.step([1, 0])).output.tolist() == [16, 16]
            async with client.session("windowed", "w") as windowed:
                assert (await windowed.step(np.arange(3, dtype=np.float32))).output.tolist() == [0, 0, 0, 1, 2]

        said = await tapehead_stream(server.grpc, "counting", "--start", "first=two", "--steps", "3")
        refused = await tapehead_stream(server.grpc, "counting", "--start", "first=ten", "--steps", "3")

    assert said.splitlines()[1:] == ["1 three", "2 zero", "3 one"]
    assert "the model does not know the word 'ten'" in refused
