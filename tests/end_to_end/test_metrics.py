"""A real Prometheus scrapes a real server, and promtool reads what it exposes."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from tapehead.v1 import session_service_pb2 as pb
from tapehead.v1.session_service_pb2_grpc import SessionServiceStub
from tapehead.v1.tensor_pb2 import DATA_TYPE_FLOAT32, Tensor
from tests.bundles import write_accumulator
from tests.end_to_end.server_process import ServerProcess
from tests.ports import free_address
from tests.qa_bundles import write_tiny_qa

pytestmark = pytest.mark.end_to_end

WAIT_SECONDS = 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("metrics")
    write_accumulator(folder / "models")
    write_tiny_qa(folder / "models")
    with ServerProcess(folder, "--models", str(folder / "models")) as server:
        drive(server.grpc)
        yield server


def drive(address: str) -> None:
    """Three streamed steps, one of them repeated, and one that fails."""
    with grpc.insecure_channel(address) as channel:
        sessions = SessionServiceStub(channel)
        model = "accumulator"
        opening = pb.StreamOpen(session_id="driven", create=pb.CreateSessionRequest(model_id=model))
        messages = [pb.StreamStepsRequest(open=opening), *(step(n) for n in (1, 2, 2, 3, 9))]
        replies = list(sessions.StreamSteps(iter(messages)))
        assert [reply.WhichOneof("message") for reply in replies] == ["opened", *["result"] * 4, "error"], replies
        with pytest.raises(grpc.RpcError):
            sessions.GetSession(pb.GetSessionRequest(session_id="nobody"))


def step(number: int) -> pb.StreamStepsRequest:
    x = np.ones(3, np.float32)
    tensor = Tensor(name="x", dtype=DATA_TYPE_FLOAT32, shape=x.shape, raw=x.tobytes())
    return pb.StreamStepsRequest(step=pb.StreamStep(step=number, inputs=[tensor]))


def get(server: ServerProcess, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{server.metrics}{path}", timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_promtool_finds_nothing_to_say(server: ServerProcess) -> None:
    _, text = get(server, "/metrics")
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True, timeout=30)

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_the_metrics_port_says_how_it_is(server: ServerProcess) -> None:
    assert get(server, "/healthz") == (200, "ok\n")
    assert get(server, "/readyz") == (200, "ready\n")
    assert get(server, "/nothing")[0] == 404
    assert server.grpc in get(server, "/")[1]


@pytest.fixture(scope="module")
def prometheus(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus that has scraped the server."""
    program = shutil.which("prometheus")
    assert program, "the Prometheus server is needed: apt-get install prometheus"
    folder = tmp_path_factory.mktemp("prometheus")
    address = free_address()
    scrape = {"job_name": "tapehead", "scrape_interval": "1s", "static_configs": [{"targets": [server.metrics]}]}
    (folder / "prometheus.yml").write_text(json.dumps({"scrape_configs": [scrape]}), encoding="utf-8")
    process = start_prometheus(program, folder, address)
    try:
        wait_scraped(address, process, folder)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def start_prometheus(program: str, folder: Path, address: str) -> subprocess.Popen[bytes]:
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )


def wait_scraped(address: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")
        try:
            if query(address, "up") == {(): 1.0}:
                return
        except OSError:
            pass
        assert time.monotonic() < deadline, (folder / "log").read_text(encoding="utf-8")
        time.sleep(0.1)


def query(address: str, expression: str, *labels: str) -> dict[tuple[str, ...], float]:
    """The values of an expression by these labels."""
    url = f"http://{address}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(url, timeout=10) as response:
        found = json.load(response)["data"]["result"]
    return {tuple(each["metric"].get(label, "") for label in labels): float(each["value"][1]) for each in found}


@pytest.mark.parametrize(
    ("expression", "labels", "expected"),
    [
        ("grpc_server_started_total{grpc_method='StreamSteps'}", ["grpc_type"], {("bidi_stream",): 1}),
        ("grpc_server_msg_received_total{grpc_method='StreamSteps'}", [], {(): 6}),
        ("grpc_server_msg_sent_total{grpc_method='StreamSteps'}", [], {(): 6}),
        ("grpc_server_handled_total{grpc_method='StreamSteps'}", ["grpc_code"], {("OK",): 1}),
        ("grpc_server_handled_total{grpc_method='GetSession'}", ["grpc_code"], {("NotFound",): 1}),
        ("grpc_server_handling_seconds_count{grpc_method='GetSession'}", [], {(): 1}),
        ("tapehead_steps_total", ["model"], {("accumulator",): 3, ("tiny-qa",): 0}),
        ("tapehead_duplicate_steps_total{model='accumulator'}", [], {(): 1}),
        ("tapehead_replayed_answers_total{model='accumulator'}", [], {(): 1}),
        ("tapehead_rejections_total", ["reason"], {("STEP_GAP",): 1, ("SESSION_NOT_FOUND",): 1}),
        ("tapehead_fingerprint_changes_total{model='accumulator'}", [], {(): 0}),
        (
            "tapehead_step_seconds_count{model='accumulator'}",
            ["phase"],
            {("queue",): 3, ("infer",): 3, ("commit",): 3, ("send",): 6},
        ),
        ("tapehead_batch_size_count", ["model", "entry"], {("accumulator", "step"): 3}),
        ("tapehead_sessions", ["state"], {("attached",): 0, ("parked",): 1}),
        ("tapehead_waiting_steps", [], {(): 0}),
        ("tapehead_model_info", ["model", "version"], {("accumulator", "1"): 1, ("tiny-qa", "1"): 1}),
        ("count(tapehead_build_info)", [], {(): 1}),
        ("tapehead_event_loop_lag_seconds_count > bool 0", [], {(): 1}),
        ("count(process_resident_memory_bytes)", [], {(): 1}),
    ],
)
def test_prometheus_has_read_what_happened(
    prometheus: str, expression: str, labels: list[str], expected: dict[tuple[str, ...], float]
) -> None:
    assert query(prometheus, expression, *labels) == expected


def test_no_label_holds_what_a_client_chose(server: ServerProcess) -> None:
    """Sessions, clients and words would make the number of series a client's choice."""
    assert "driven" not in get(server, "/metrics")[1]
