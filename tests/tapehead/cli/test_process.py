"""The installed command as a process: exit codes, and errors as sentences without a traceback."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.tapehead.fake_server import FakeServer


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from tapehead.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)


def test_an_error_of_the_server_is_a_sentence(threaded_server: FakeServer):
    done = run("sessions", "show", "nowhere", "--server", threaded_server.address)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "tapehead: session not found: by the script\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("sessions", "show", "a", "--server", "nonsense"), 1, "server: expected HOST:PORT, got 'nonsense'"),
        (("ask", "Where?", "--story", "/nowhere/story"), 1, "tapehead: /nowhere/story: No such file or directory"),
        (("stream", "m", "/nowhere/rows.npy", "--server", "127.0.0.1:1"), 1, "No such file or directory"),
        (("models", "show"), 2, "Missing argument"),
        (("nonsense",), 2, "No such command"),
    ],
)
def test_wrong_use_is_told_apart_and_named(arguments: tuple[str, ...], code: int, message: str):
    done = run(*arguments)

    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupted_stream_ends_at_once_and_quietly(threaded_server: FakeServer):
    # Where the tests run in the background of a shell, interrupts are ignored, and children inherit that.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from tapehead.cli import main; main()"
    arguments = ["stream", "adder", "-", "--session", "s", "--server", threaded_server.address]
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write("1,2\n")
        process.stdin.flush()
        assert process.stdout.readline() == "Session 's' at step 0, durability disk.\n"
        assert process.stdout.readline() == "1 1 2\n"
        process.send_signal(signal.SIGINT)

        assert (process.wait(timeout=20), process.stderr.read()) == (130, "")
    assert threaded_server.sessions["s"].committed == 1
