"""The life of the server's process: what it says when it starts, how it ends, and why it does not start."""

from __future__ import annotations

import os
import queue
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from tapehead.v1 import session_service_pb2 as pb
from tapehead.v1.session_service_pb2_grpc import SessionServiceStub
from tests.end_to_end.server_process import ServerProcess
from tests.end_to_end.test_metrics import step

pytestmark = pytest.mark.end_to_end

ROOT = Path(__file__).parents[2]
OPEN = pb.StreamStepsRequest(open=pb.StreamOpen(session_id="s", create=pb.CreateSessionRequest(model_id="accumulator")))


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[ServerProcess]:
    """One server for the tests that only look."""
    with ServerProcess(tmp_path_factory.mktemp("started"), "--models", str(models)) as running:
        yield running


@pytest.fixture
def server(tmp_path: Path, models: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path, "--models", str(models)) as running:
        yield running


def failed_start(*arguments: str) -> tuple[int, str]:
    """Exit code and stderr of a start that must fail."""
    command = [sys.executable, "-m", "service", "--address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0"]
    ended = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.stdout == ""
    return ended.returncode, ended.stderr


def test_the_last_line_of_the_start_says_where_it_is_ready(started: ServerProcess) -> None:
    assert started.output.splitlines()[-1] == f"READY grpc={started.grpc} metrics={started.metrics}"
    assert not started.grpc.endswith(":0")


def test_the_start_tells_what_is_served_and_how_safely(started: ServerProcess) -> None:
    words = started.output

    assert all(word in words for word in ("accumulator", "tiny-qa", "lmdb:", "durability", "limits"))
    assert started.grpc in words
    assert started.metrics in words


def test_the_python_lines_that_it_prints_work(started: ServerProcess) -> None:
    script = re.search(r"<<'END'\n(.*?)\n  END", started.output, re.DOTALL)
    assert script is not None
    code = "\n".join(line[2:] for line in script[1].splitlines())
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[-1].startswith("5 ")


def test_a_signal_drains_and_the_exit_code_says_that_all_is_well(server: ServerProcess) -> None:
    """A stream in the middle hears it in-band and ends with UNAVAILABLE; what it was answered is kept."""
    with grpc.insecure_channel(server.grpc) as channel:
        stream = Conversation(channel)
        stream.say(OPEN)
        assert stream.hear().WhichOneof("message") == "opened"
        stream.say(step(1))
        assert np.frombuffer(stream.hear().result.outputs[0].raw, np.float32).tolist() == [1, 1, 1]
        assert server.terminate() == 0
        assert stream.hear().WhichOneof("message") == "draining"
        with pytest.raises(grpc.RpcError) as caught:
            stream.hear()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        server.start()
        session = SessionServiceStub(channel).GetSession(pb.GetSessionRequest(session_id="s"), wait_for_ready=True)

    assert session.session.committed_step == 1


def test_an_idle_server_ends_at_once(server: ServerProcess) -> None:
    """Nothing of the 25 seconds is waited for when there is nothing to wait for."""
    server_process = server.terminate()

    assert server_process == 0
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://{server.metrics}/healthz", timeout=5)


def test_watchers_of_health_hear_of_the_end_and_do_not_delay_it(server: ServerProcess) -> None:
    with grpc.insecure_channel(server.grpc) as channel:
        watching = HealthStub(channel).Watch(HealthCheckRequest(service="tapehead.model.accumulator"))
        assert next(watching).status == HealthCheckResponse.SERVING
        assert server.terminate() == 0
        assert next(watching).status == HealthCheckResponse.NOT_SERVING


def test_a_second_signal_ends_it_at_once(tmp_path: Path, models: Path) -> None:
    """Somebody who presses Ctrl-C twice does not want to wait for a client that holds a stream open."""
    with ServerProcess(tmp_path, "--models", str(models)) as server, grpc.insecure_channel(server.grpc) as channel:
        stream = Conversation(channel)
        stream.say(OPEN)
        stream.hear()
        os.kill(server.pid, signal.SIGINT)
        os.kill(server.pid, signal.SIGINT)

        assert server.wait() in (0, 128 + signal.SIGINT)


def test_a_port_in_use_is_one_sentence(models: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        code, said = failed_start("--models", str(models), "--store", "memory:", "--address", address)

    assert (code, said) == (1, f"tapehead: --address: {address} cannot be had: address already in use\n")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--models", "/no/such/folder", "--store", "memory:"], 1),
        (["--store", "memory:", "--durability", "disk"], 1),
        (["--max-streams", "none"], 2),
        (["--address", "0.0.0.0:0"], 2),
        (["--nonsense"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_keeps_it_from_starting_is_one_sentence(arguments: list[str], code: int) -> None:
    got, said = failed_start(*arguments)

    assert got == code
    assert said.startswith("tapehead: ")
    assert said.count("\n") == 1


def test_checks_tell_the_same_without_starting(tmp_path: Path, models: Path) -> None:
    command = [sys.executable, "-m", "service", "check", "--models", str(models), "--store", f"lmdb:{tmp_path / 's'}"]
    command += ["--address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    names = [line.split()[1] for line in ran.stdout.splitlines()]

    assert (ran.returncode, names) == (
        0,
        ["models", "durability", "space", "store", "ports", "ready", "tokens", "tls", "files"],
    )


class Conversation:
    """A stream of which a test writes and reads message by message."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._requests: queue.SimpleQueue[pb.StreamStepsRequest] = queue.SimpleQueue()
        self._call = SessionServiceStub(channel).StreamSteps(iter(self._requests.get, None))

    def say(self, message: pb.StreamStepsRequest) -> None:
        self._requests.put(message)

    def hear(self) -> pb.StreamStepsResponse:
        return next(self._call)
