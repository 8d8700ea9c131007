"""The programs under examples/ run as they are written down, and show what they say they show."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tapehead
from tests.bundles import write_accumulator
from tests.end_to_end.server_process import ServerProcess

pytestmark = pytest.mark.end_to_end

EXAMPLES = Path(__file__).parents[2] / "examples"
NODE = EXAMPLES / "node"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The shipped models that the examples speak of, and one whose answers are easy to check."""
    folder = tmp_path_factory.mktemp("examples")
    models = folder / "models"
    for model in ("babi-qa", "ntm-copy", "gru-copy"):
        shutil.copytree(EXAMPLES.parent / "models" / model, models / model)
    write_accumulator(models)
    with ServerProcess(folder, "--models", str(models)) as running:
        yield running


def run(monkeypatch: pytest.MonkeyPatch, server: str, name: str, *arguments: str) -> str:
    """What an example prints; `server` "" lets it start its own."""
    if server:
        monkeypatch.setenv("TAPEHEAD_SERVER", server)
    else:
        monkeypatch.delenv("TAPEHEAD_SERVER", raising=False)
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_story_grows_and_is_asked(monkeypatch: pytest.MonkeyPatch, server: ServerProcess):
    said = run(monkeypatch, server.grpc, "story.py")

    assert re.findall(r"\? (\w+)", said) == ["garden", "kitchen", "hallway"]


def test_two_futures_of_one_session(monkeypatch: pytest.MonkeyPatch, server: ServerProcess):
    said = run(monkeypatch, server.grpc, "futures.py")

    assert re.findall(r"(\d) rows, (\d+) wrong bits.*at step (\d+)", said) == [("4", "0", "9"), ("6", "0", "13")]


def test_many_sessions_at_once(monkeypatch: pytest.MonkeyPatch, server: ServerProcess):
    said = run(monkeypatch, server.grpc, "fan_out.py", "200", "5")

    assert said.startswith("200 sessions, 1000 steps")


def test_tritons_client_is_answered_once(monkeypatch: pytest.MonkeyPatch, server: ServerProcess):
    said = run(monkeypatch, server.grpc, "triton_client.py")

    assert said.splitlines() == ["sent twice, answered alike: True", "wrong bits of 32: 0"]


def test_a_file_of_ones_own_becomes_a_served_model(monkeypatch: pytest.MonkeyPatch):
    said = run(monkeypatch, "", "own_model.py")

    assert "state level_in, spread_in." in said
    assert "the oddest sample is number 150" in said


def test_a_detector_is_trained_exported_served_and_streamed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    said = run(monkeypatch, "", "activity.py")

    found = re.search(r"(\d+)% of the frames", said)
    assert found
    assert int(found[1]) > 80


class Count:
    """`node count.js`, with its state file."""

    def __init__(self, server: ServerProcess, folder: Path, steps: int) -> None:
        arguments = [server.grpc, "accumulator", "from-node", str(steps), str(folder / "state.json")]
        self._command = ["node", str(NODE / "count.js"), *arguments]

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope="module")
def node() -> None:
    """The packages that package-lock.json names, fetched once."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("for the client in JavaScript type: sudo apt-get install -y nodejs npm")
    if not (NODE / "node_modules").is_dir():
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=NODE, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("node")
def test_a_client_in_javascript_is_killed_and_goes_on(server: ServerProcess, tmp_path: Path):
    steps = 400
    count = Count(server, tmp_path, steps)
    with count.start() as first:
        assert first.stdout
        seen = [first.stdout.readline() for _ in range(50)]
        first.kill()
        seen += first.stdout.readlines()
    saved = json.loads((tmp_path / "state.json").read_text())
    with count.start() as second:
        assert second.stdout
        rest = second.stdout.readlines()

    assert first.returncode == -9
    assert second.returncode == 0, rest
    opened = re.fullmatch(r"opened at (\d+)\n", rest[0])
    assert opened
    assert 0 < saved["received"] <= int(opened[1]) < steps
    answers = [re.fullmatch(r"(\d+) ([\d.]+)( replayed)?\n", line) for line in [*seen[1:], *rest[1:]]]
    totals = {int(answer[1]): float(answer[2]) for answer in answers if answer}
    assert totals == {step: step * (step + 1) / 2 for step in range(1, steps + 1)}
    with tapehead.connect(server.grpc) as client:
        assert client.sessions.get("from-node").committed_step == steps
