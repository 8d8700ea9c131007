"""Models come and go under a server that works on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import grpc
import numpy as np
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from typer.testing import CliRunner, Result

import tapehead
import tapehead.aio
from tapehead.cli.app import app
from tests.bundles import write_accumulator, write_two_states
from tests.end_to_end.server_process import ServerProcess

pytestmark = pytest.mark.end_to_end

STEPS_AFTER = 50  # that a stream goes on for, once all has arrived
T = TypeVar("T")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    write_accumulator(folder)
    return folder


@pytest.fixture
def server(tmp_path: Path, models: Path) -> Iterator[ServerProcess]:
    flags = ("--models", str(models), "--reload-seconds", "0.1", "--model-versions", "latest:1")
    with ServerProcess(tmp_path, *flags) as running:
        yield running


async def until(ask: Callable[[], Awaitable[T]], is_so: Callable[[T], bool]) -> T:
    """Asks the server, which looks at its folder on its own, until the answer is as expected."""
    while True:
        found = await ask()
        if is_so(found):
            return found


def x(value: float) -> dict[str, np.ndarray]:
    return {"x": np.full(3, value, np.float32)}


async def test_a_reload_under_load_loses_no_step(server: ServerProcess, models: Path) -> None:
    """A new version, and a broken one after it, arrive while streams run: they stay on theirs, new ones get the new."""
    async with tapehead.aio.connect(server.grpc) as client:
        arrived = asyncio.Event()

        async def stream(name: str) -> list[float]:
            totals, left = [], STEPS_AFTER
            async with client.session("accumulator", session_id=name) as session:
                while left:
                    totals.append(float((await session.step(x(1))).outputs["y"][0]))
                    left -= arrived.is_set()
            return totals

        async with asyncio.TaskGroup() as streams:
            running = [streams.create_task(stream(f"s{index}")) for index in range(4)]
            await until(client.sessions.list, lambda infos: min((info.committed_step for info in infos), default=0) > 0)
            write_accumulator(models, version=2)
            await until(lambda: client.models.get("accumulator"), lambda model: model.version == 2)
            (write_accumulator(models, version=3) / "model.onnx").write_bytes(b"")
            broken = await until(client.models.broken, bool)
            arrived.set()
        async with client.session("accumulator", session_id="new") as session:
            await session.step(x(1))
        versions = {info.session_id: info.model_version for info in await client.sessions.list()}
        served = await client.models.get("accumulator")

    for totals in (task.result() for task in running):
        assert totals == list(range(1, len(totals) + 1))
    assert list(broken) == ["accumulator/3"]
    assert versions == {"s0": 1, "s1": 1, "s2": 1, "s3": 1, "new": 2}
    assert (served.version, served.versions, served.retired_versions) == (2, (2, 1), (1,))


def test_a_session_goes_on_with_a_new_version_where_that_fits_also_after_a_kill(
    server: ServerProcess, models: Path
) -> None:
    """A fork by name of the version; the session itself stays on its own, and one that does not fit is refused."""
    with tapehead.connect(server.grpc) as client:
        with client.session("accumulator", session_id="old", keep_every=1, keep_most=4) as session:
            assert [session.step(x(1)).outputs["y"][0] for _ in range(3)] == [1, 2, 3]
        write_accumulator(models, version=2)
        write_accumulator(models, version=3, size=4)
        for version in (2, 3):
            client.models.load("accumulator", version)
        moved = client.sessions.fork("old", new_session_id="new", model_version=2)
        with pytest.raises(tapehead.errors.ModelMismatch, match=r"'accumulator' version 1, with input 'x' of 'step'"):
            client.sessions.fork("old", new_session_id="other", model_version=3)
        command = ["sessions", "fork", "old", "--as", "typed", "--version", "2", "--step", "2", "--server", server.grpc]
        typed = CliRunner().invoke(app, command)
        server.kill()
        server.start()
        with client.session(session_id="new") as session:
            assert session.step(x(5)).outputs["y"][0] == 8
        with client.session(session_id="old") as session:
            assert session.step(x(1)).outputs["y"][0] == 4
        found = {one.session_id: (one.model_version, one.committed_step) for one in client.sessions.list()}

    assert (moved.model_version, moved.committed_step) == (2, 3)
    assert typed.stdout == "Forked 'old' at step 2 into 'typed'.\n"
    assert found == {"old": (1, 4), "new": (2, 4), "typed": (2, 2)}


def test_health_metrics_and_the_commands_follow(server: ServerProcess, models: Path) -> None:
    def command(*words: str) -> Result:
        return CliRunner().invoke(app, ["models", *words, "--server", server.grpc])

    def health() -> int:
        with grpc.insecure_channel(server.grpc) as channel:
            request = HealthCheckRequest(service="tapehead.model.two-states")
            try:
                return HealthStub(channel).Check(request).status
            except grpc.RpcError as error:
                return error.code()

    assert health() is grpc.StatusCode.NOT_FOUND
    write_two_states(models)
    loaded = command("load", "two-states")
    assert (loaded.exit_code, loaded.stdout) == (0, "two-states, version 1, is served.\n")
    assert health() == HealthCheckResponse.SERVING
    assert "two-states" in command("ls").stdout
    with tapehead.connect(server.grpc) as client, client.session("accumulator", session_id="held") as session:
        session.step(x(1))

    refused = command("unload", "accumulator")
    assert refused.exit_code == 1
    assert "needed by 1 session(s)" in str(refused.exception)
    forced = command("unload", "accumulator", "--force")
    assert "1 session(s) wait for it" in forced.stdout
    assert command("unload", "two-states").exit_code == 0
    assert health() is grpc.StatusCode.NOT_FOUND

    with tapehead.connect(server.grpc) as client:
        with pytest.raises(tapehead.errors.ModelNotFound), client.session("accumulator", session_id="held"):
            pytest.fail("a session whose model is not there was opened")
        assert command("load", "accumulator").exit_code == 0
        with client.session("accumulator", session_id="held") as session:
            assert session.step(x(5)).outputs["y"][0] == 6


def test_a_stream_whose_model_is_unloaded_ends_and_goes_on_when_it_is_back(server: ServerProcess) -> None:
    with tapehead.connect(server.grpc) as client, client.session("accumulator", session_id="s") as session:
        assert session.step(x(1)).outputs["y"][0] == 1
        client.models.unload("accumulator", force=True)
        with pytest.raises(tapehead.errors.ModelNotFound):
            session.step(x(1))
        client.models.load("accumulator")
        with client.session("accumulator", session_id="s") as again:
            assert again.step(x(1)).outputs["y"][0] == 2


def test_only_operators_change_what_is_served(tmp_path: Path, models: Path) -> None:
    (tmp_path / "tokens").write_text("client-token-123456 ada client\noperator-token-1234 root operator\n")
    flags = ("--models", str(models), "--tokens", str(tmp_path / "tokens"))
    with ServerProcess(tmp_path, *flags) as server:
        with tapehead.connect(server.grpc, token="client-token-123456") as client:
            with pytest.raises(tapehead.errors.RoleRequired):
                client.models.unload("accumulator")
            with pytest.raises(tapehead.errors.RoleRequired):
                client.models.load("accumulator")
        with tapehead.connect(server.grpc, token="operator-token-1234") as client:
            assert client.models.unload("accumulator") == ((1,), 0)
            assert client.models.load("accumulator").version == 1
