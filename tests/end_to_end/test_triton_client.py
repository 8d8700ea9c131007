"""Programs that were made for Triton talk to this server with their own client, sequences included."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tapehead
from tests.end_to_end.server_process import ServerProcess
from tests.quirks import write_rated
from tests.redis_process import RedisProcess

pytestmark = pytest.mark.end_to_end

ROOT = Path(__file__).parents[2]
START_TEXT = "must specify the START flag on the first request of the sequence"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[ServerProcess]:
    write_rated(models)
    with ServerProcess(tmp_path_factory.mktemp("server"), "--models", str(models)) as running:
        yield running


def peer(server: ServerProcess, *scenario: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.end_to_end.triton_peer", server.grpc, *scenario]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def play(server: ServerProcess, *scenario: str) -> Any:
    """What a scenario of the peer got."""
    with peer(server, *scenario) as process:
        out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def test_load_tools_find_what_they_look_for(server: ServerProcess) -> None:
    told = play(server, "describe")

    assert (told["live"], told["ready"], told["model_ready"]) == (True, True, [True, False])
    assert told["server"]["name"] == "tapehead"
    assert {"sequence", "statistics", "model_configuration"} <= set(told["server"]["extensions"])
    assert "sequence_batching" in told["config"]
    assert told["config"]["max_batch_size"] == 1
    assert told["config"]["input"][0]["dims"] == ["3"]
    assert told["metadata"]["inputs"][0] == {"name": "x", "datatype": "FP32", "shape": ["-1", "3"]}
    assert [output["name"] for output in told["metadata"]["outputs"]] == ["y"]
    assert told["metadata"]["versions"] == ["1"]
    assert {(model["name"], model["state"]) for model in told["index"]["models"]} == {
        ("accumulator", "READY"),
        ("rated", "READY"),
        ("tiny-qa", "READY"),
    }
    counted = told["statistics"]["inference_stats"]
    assert int(counted["success"]["count"]) >= 1
    assert int(counted["success"]["ns"]) > int(counted["compute_infer"]["ns"]) > 0
    assert int(told["statistics"]["execution_count"]) >= 1
    assert told["shared_memory"]["status"] == told["log"]["status"] == "StatusCode.UNIMPLEMENTED"


def test_a_sequence_is_a_session(server: ServerProcess) -> None:
    got = play(server, "sequence")

    assert got["values"] == [1, 3, 6]
    assert got["named"] == [5, 10]
    assert got["odd"] == [2, 4]
    assert got["flat"] == [[3], 11], "an answer has a batch axis if its request had one"
    assert got["batched"] == [[1, 1], 36]
    assert (got["id"], got["step"], got["session_id"]) == ("r9", 4, "oip/accumulator/a-name")
    with tapehead.connect(server.grpc) as client:
        listed = {info.session_id: info.committed_step for info in client.sessions.list(model_id="accumulator")}
        state = client.sessions.read_state("oip/accumulator/a-name")
        (odd,) = client.sessions.list(labels={"oip.sequence": "user@example.org #1"})
    assert listed["oip/accumulator/a-name"] == 4
    assert state.tensors["total"].tolist() == [12, 12, 12]
    assert odd.committed_step == 2


def test_a_step_with_a_number_happens_once_and_one_without_each_time(server: ServerProcess) -> None:
    got = play(server, "numbered")

    assert got["values"] == [6, 6, 6]
    assert got["ahead"]["status"] == "StatusCode.OUT_OF_RANGE"
    assert got["other"]["status"] == "StatusCode.FAILED_PRECONDITION"
    assert got["unnumbered"] == [11, 16]
    assert got["end"] == [17, 17], "the last answer can be asked for again, by the request's id"
    assert START_TEXT in got["after"]["message"]


def test_a_start_begins_anew_and_nothing_is_lost(server: ServerProcess) -> None:
    got = play(server, "restart")

    assert got == {"values": [4, 8, 12, 1, 2], "repeated": 4}
    with tapehead.connect(server.grpc) as client:
        (frozen,) = client.sessions.list(labels={"oip.replaced": "oip/accumulator/9"})
        fork = client.sessions.fork(frozen.session_id)
    assert (frozen.committed_step, fork.committed_step) == (3, 3)


def test_models_are_loaded_and_unloaded(server: ServerProcess) -> None:
    got = play(server, "unload")

    assert got["ready"] == [False, True]
    assert got["missing"]["status"] == "StatusCode.NOT_FOUND"
    assert got["config"]["status"] == "StatusCode.UNIMPLEMENTED"


def test_what_is_given_once_may_come_again_and_not_otherwise(server: ServerProcess) -> None:
    got = play(server, "constants")

    assert got["values"] == [8, 16, 24, 32]
    assert got["other"]["status"] == "StatusCode.INVALID_ARGUMENT"
    assert "inputs['rate']: expected what the START of the sequence had" in got["other"]["message"]


def test_errors_have_the_texts_that_clients_look_for(server: ServerProcess) -> None:
    got = play(server, "errors")

    assert got["unknown"]["status"] == "StatusCode.INVALID_ARGUMENT"
    assert START_TEXT in got["unknown"]["message"]
    assert "must specify a non-zero or non-empty correlation ID" in got["no_sequence"]["message"]
    assert got["no_model"]["status"] == got["no_model_later"]["status"] == "StatusCode.NOT_FOUND"
    assert "tensor 'x': expected shape [3], got [4]" in got["shape"]["message"]
    assert got["classes"]["status"] == "StatusCode.UNIMPLEMENTED"


def test_a_story_is_asked_about_in_one_request(server: ServerProcess) -> None:
    got = play(server, "question")

    assert got["answer"] == got["again"] == "kitchen"
    assert 0 < got["probability"] <= 1
    assert got["attention"] == [1, 2]
    least, _, most = got["counts"]
    assert least == most > 0, "load tools end where these differ"


def test_a_stream_carries_several_sequences_and_goes_on_after_an_error(server: ServerProcess) -> None:
    got = play(server, "stream")

    assert got["answers"] == {f"{name}-{index}": name * (index + 1) for name in (11, 12) for index in range(5)}
    assert got["finals"] == 10
    [[message, _]] = got["failures"]
    assert START_TEXT in message


def test_a_stream_ends_with_a_status_for_those_who_ask(server: ServerProcess) -> None:
    got = play(server, "stream", "true")

    [[message, status]] = got["failures"]
    assert START_TEXT in message
    assert status == "StatusCode.INVALID_ARGUMENT"


def test_the_asynchronous_client_steps_many_sequences_at_once(server: ServerProcess) -> None:
    assert play(server, "side_by_side") == [[name, 2 * name, 3 * name] for name in range(100, 120)]


def test_a_sequence_survives_kills_of_its_server(tmp_path: Path, models: Path) -> None:
    """Kill -9 twice in the middle: every step once, in order, for a client that numbers its steps."""
    with ServerProcess(tmp_path, "--models", str(models)) as server, peer(server, "survive", "150") as client:
        assert client.stdout is not None
        for number in (30, 90):
            while int(client.stdout.readline()) < number:
                pass
            server.kill()
            server.start()
        out, err = client.communicate(timeout=90)
        assert client.returncode == 0, err
        got = json.loads(out.splitlines()[-1])

    assert got["values"] == list(range(1, 151))
    assert got["failures"] >= 2


def test_a_sequence_moves_between_servers_that_share_a_store(tmp_path: Path, models: Path) -> None:
    """Its client needs no server in particular, and may lose one by a kill -9 between two steps."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    flags = ("--models", str(models))
    with (
        RedisProcess(tmp_path / "redis") as redis,
        ServerProcess(tmp_path / "one", *flags, store=redis.url) as one,
        ServerProcess(tmp_path / "two", *flags, store=redis.url) as two,
    ):
        got = play(one, "wander", two.grpc)
        assert got["values"] == list(range(1, 13))
        assert got["again"] == got["values"], (
            "sent to the other server too, a numbered step is answered and not applied"
        )
        assert got["plain"] == list(range(1, 9))

        assert play(one, "go_on", "2") == [9, 10]
        one.kill()
        assert play(two, "go_on", "2") == [11, 12]
