"""What is logged, and what never is."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from service.telemetry.logs import set_up_logs


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """The tests' own logging comes back afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_ours_and_the_libraries_lines_are_json_alike(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs("info", "json")
    structlog.get_logger("ours").info("hello", number=1)
    logging.getLogger("theirs").warning("say %s", "this")
    ours, theirs = logged(capsys)

    assert (ours["event"], ours["number"], ours["level"], ours["logger"]) == ("hello", 1, "info", "ours")
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("say this", "warning", "theirs")
    assert ours["timestamp"]


def test_nothing_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    """The last line there is for programs."""
    set_up_logs("debug", "console")
    structlog.get_logger().warning("careful")

    assert capsys.readouterr().out == ""


def test_less_than_the_level_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs("warning", "json")
    structlog.get_logger().info("quiet")

    assert logged(capsys) == []


@pytest.mark.parametrize("name", ["authorization", "token", "story", "question", "sentence"])
def test_secrets_and_stories_are_hidden(capsys: pytest.CaptureFixture[str], name: str) -> None:
    set_up_logs("info", "json")
    structlog.get_logger().info("call", **{name: "Mary has a secret"})

    assert logged(capsys)[0][name] == "[hidden]"


def test_a_call_that_grpc_ended_by_itself_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    class ExecuteBatchError(Exception):
        """Has the name of grpc's own."""

    set_up_logs("info", "json")
    for error in (ExecuteBatchError(), ValueError()):
        said = f"{type(error).__name__} raised in core by servicer method [/tapehead.v1.SessionService/StreamSteps]"
        logging.getLogger("grpc._cython.cygrpc").error(said, exc_info=error)
    ended, other = logged(capsys)

    assert (ended["level"], "exception" in ended) == ("warning", False)
    assert "/tapehead.v1.SessionService/StreamSteps" in str(ended["event"])
    assert (other["level"], "exception" in other) == ("error", True)


@pytest.mark.parametrize("kind", ["json", "console"])
def test_a_traceback_has_no_values(capsys: pytest.CaptureFixture[str], kind: str) -> None:
    set_up_logs("info", kind)  # type: ignore[arg-type]

    def fail(story: str) -> None:
        raise ValueError("failed")

    try:
        fail("Mary has " + "a secret"[::-1])
    except ValueError as error:
        structlog.get_logger().error("oh", exc_info=error)
    text = capsys.readouterr().err

    assert "ValueError" in text
    assert "a secret"[::-1] not in text
