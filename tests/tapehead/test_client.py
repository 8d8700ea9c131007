"""The blocking client: the same promises, without an event loop in sight."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import timedelta

import numpy as np
import pytest

import tapehead
from tapehead import errors
from tests.tapehead.adding import ROWS, SUMS
from tests.tapehead.fake_script import Script
from tests.tapehead.fake_server import FakeServer


def test_steps_chunks_and_streams(threaded_server: FakeServer, blocking_client: tapehead.Client):
    with blocking_client.session("adder", "s") as session:
        first = session.step(ROWS[0]).output
        chunk = session.chunk(ROWS[1:5]).output
        rest = [result.output for result in session.stream(ROWS[5:])]

        assert (session.next_step, session.committed_step, session.window) == (21, 20, 64)

    np.testing.assert_array_equal([first, *chunk, *rest], SUMS)
    assert threaded_server.ended == ["done"]


def test_a_lost_stream_goes_unnoticed(threaded_server: FakeServer, blocking_client: tapehead.Client):
    threaded_server.scripts += [Script(cut_after_commit_of=3), Script(cut_before_commit_of=9)]
    with blocking_client.session("adder", "s") as session:
        outputs = [result.output for result in session.stream(iter(ROWS))]

    np.testing.assert_array_equal(outputs, SUMS)
    assert len(threaded_server.sessions["s"].inputs) == 20


def test_answers_do_not_wait_for_the_next_element_of_a_slow_iterable(blocking_client: tapehead.Client):
    asked_on = threading.Event()

    def source():
        yield ROWS[0]
        assert asked_on.wait(10)
        yield ROWS[1]

    with blocking_client.session("adder") as session:
        results = session.stream(source())
        assert next(results).step == 1
        asked_on.set()
        assert [result.step for result in results] == [2]


def test_a_failing_iterable_raises_after_the_answers_before_it(blocking_client: tapehead.Client):
    def source():
        yield ROWS[0]
        raise OSError("the file is gone")

    with blocking_client.session("adder") as session:
        results = session.stream(source())
        assert next(results).step == 1
        with pytest.raises(OSError, match="gone"):
            next(results)


def test_leaving_a_stream_early_leaves_the_session_usable(blocking_client: tapehead.Client):
    with blocking_client.session("adder", window=4) as session:
        for result in session.stream(iter(ROWS)):
            if result.step == 2:
                break
        following = session.step([0, 0])

    taken = following.step - 1
    assert 2 <= taken <= 20
    np.testing.assert_array_equal(following.output, SUMS[taken - 1])


def test_a_token_goes_on_in_another_client(threaded_server: FakeServer):
    with tapehead.connect(threaded_server.address) as client, client.session("adder") as session:
        session.step(ROWS[0])
        token = session.token
        session.saved(token)
        session.step(ROWS[1])

    with tapehead.connect(threaded_server.address) as client, client.session(resume=token) as session:
        assert [answer.step for answer in session.missed()] == [2]
        assert session.incarnation == token.incarnation


def test_errors_are_raised_in_the_callers_thread(blocking_client: tapehead.Client):
    with (
        pytest.raises(errors.SessionNotFound),
        blocking_client.session(session_id="nowhere"),
    ):
        pass
    with pytest.raises(ValueError, match="expected a model, a session_id or a token"):
        blocking_client.session()


def test_a_story_is_told_and_asked_about(blocking_client: tapehead.Client):
    conversation = blocking_client.conversation("echo-qa", "tale")
    assert conversation.tell("Mary went home", "John went xyzzy") == ("xyzzy",)
    assert conversation.ask("Where is John").text == "xyzzy"
    assert blocking_client.conversation(None, "tale", create=False).told_count == 2
    assert conversation.info.model_id == "echo-qa"


def test_catalogs(blocking_client: tapehead.Client):
    blocking_client.conversation("echo-qa", "tale")

    assert [info.session_id for info in blocking_client.sessions.list()] == ["tale"]
    assert blocking_client.sessions.get("tale").model_id == "echo-qa"
    assert blocking_client.sessions.delete("tale") == 0
    assert blocking_client.sessions.find("tale") is None
    assert [info.model_id for info in blocking_client.models.list()] == ["adder", "echo-qa"]
    assert blocking_client.models.get("adder").manifest is not None
    assert blocking_client.server().store == "memory:"
    assert blocking_client.statistics().live_session_count == 0


def test_unary_steps(threaded_server: FakeServer, blocking_client: tapehead.Client):
    threaded_server.make("s")
    row = {"x": np.array(ROWS[0], np.float32)}

    once = blocking_client.step("s", 1, row)
    again = blocking_client.step("s", 1, row)

    np.testing.assert_array_equal(once.output, again.output)
    with pytest.raises(errors.StepPayloadMismatch):
        blocking_client.step("s", 1, {"x": np.array(ROWS[1], np.float32)})


def test_states_are_read_forked_and_rewound_to(blocking_client: tapehead.Client):
    with blocking_client.session("adder", "s", keep_every=1, keep_most=8) as session:
        session.chunk(ROWS[:3])

    sessions = blocking_client.sessions
    assert sessions.read_state("s").step == 3
    np.testing.assert_array_equal(sessions.read_state("s", step=2).tensors["total"], SUMS[1])
    assert sessions.fork("s", step=2, new_session_id="fork", labels={"why": "test"}).committed_step == 2
    with blocking_client.session(session_id="fork") as fork:
        np.testing.assert_array_equal(fork.step(ROWS[2]).output, SUMS[2])
    assert sessions.rewind("s", 4, 1) == sessions.rewind("s", 4, 1) == 4
    with blocking_client.session(session_id="s") as session:
        result = session.step(ROWS[1])

    assert result.step == 5
    np.testing.assert_array_equal(result.output, SUMS[1])


def test_a_fork_has_its_own_window_and_lifetime_or_those_of_its_origin(
    threaded_server: FakeServer, blocking_client: tapehead.Client
):
    threaded_server.make("s", window=7).ttl = timedelta(seconds=9)

    same = blocking_client.sessions.fork("s", new_session_id="same")
    other = blocking_client.sessions.fork("s", new_session_id="other", window=3, ttl=1.5)

    assert (same.window, other.window) == (7, 3)
    assert threaded_server.sessions["same"].ttl == timedelta(seconds=9)
    assert threaded_server.sessions["other"].ttl == timedelta(seconds=1.5)


def test_clients_share_one_thread_and_the_last_one_ends_it(threaded_server: FakeServer):
    def loops() -> int:
        return sum(thread.name == "tapehead-loop" for thread in threading.enumerate())

    before = loops()
    one, two = tapehead.connect(threaded_server.address), tapehead.connect(threaded_server.address)
    assert loops() == max(1, before)
    one.close()
    one.close()
    assert two.server().version == "0.0.0"
    two.close()
    assert loops() == before


def test_an_address_without_a_port_is_refused():
    with pytest.raises(ValueError, match="expected HOST:PORT, got 'localhost'"):
        tapehead.connect("localhost")


def test_importing_the_client_loads_no_runtime():
    unwanted = ["onnx", "onnxruntime", "torch", "rich", "typer", "tapehead.bundle"]
    code = f"import sys, tapehead; print([name for name in {unwanted} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
