"""Places where a test lets the process die or fail: off unless asked for, and each where its name says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service import failpoints
from service.__main__ import MISUSED, serve
from service.errors import OutcomeUnknown
from service.settings import Settings
from service.store.memory import MemoryStore
from tests.service.fakes import Server, serving

SERVICE = Path(failpoints.__file__).parent


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")


def test_without_the_variable_nothing_happens() -> None:
    for name in failpoints.NAMES:
        failpoints.hit(name)


def test_every_name_has_a_place_in_the_service_and_no_place_is_without_a_name() -> None:
    code = "".join(path.read_text() for path in SERVICE.rglob("*.py"))

    assert set(re.findall(r'failpoints\.hit\("(.+?)"\)', code)) == set(failpoints.NAMES)


def test_an_error_comes_once_at_its_hit() -> None:
    assert failpoints.arm("commit.before=error@2, sent=error") == ("commit.before", "sent")

    failpoints.hit("commit.before")
    with pytest.raises(failpoints.FailpointError):
        failpoints.hit("commit.before")
    failpoints.hit("commit.before")
    with pytest.raises(failpoints.FailpointError):
        failpoints.hit("sent")


def test_a_kill_is_kill_minus_nine() -> None:
    code = "from service import failpoints as f; f.arm('sent=kill@2'); f.hit('sent'); print('lives'); f.hit('sent')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, "lives\n")


@pytest.mark.parametrize("text", ["nowhere=kill", "sent", "sent=sleep", "sent=kill@", "sent=kill@x", "sent=kill@-1"])
def test_what_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(failpoints.InvalidFailpoints, match=text):
        failpoints.arm(f"received=kill,{text}")


def test_a_server_does_not_start_with_failpoints_that_do_not_exist(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(failpoints.VARIABLE, "nowhere=kill")

    assert serve(Settings(store="memory:")) == MISUSED
    assert "nowhere=kill" in capsys.readouterr().err


def test_an_armed_server_says_so_loudly(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv(failpoints.VARIABLE, "sent=error@3")
    failpoints.arm_by_environment()

    assert [(record.levelname, "ON PURPOSE, at sent" in record.message) for record in caplog.records] == [
        ("CRITICAL", True)
    ]


async def test_a_fault_after_the_commit_leaves_the_outcome_unknown_and_a_repeat_settles_it() -> None:
    server = Server(MemoryStore())
    async with serving(server):
        key = await server.create("s")
        failpoints.arm("commit.after=error")
        with pytest.raises(OutcomeUnknown):
            await server.step(key, 1, 5.0)

        assert await server.step(key, 1, 5.0) == 5.0
        assert await server.step(key, 2, 1.0) == 6.0


def test_the_page_about_operations_says_what_the_variable_is_for() -> None:
    page = (SERVICE.parent / "docs" / "operations.md").read_text()

    assert failpoints.VARIABLE in page
    assert os.environ.get(failpoints.VARIABLE) is None
