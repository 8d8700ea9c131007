"""Named places where a test lets this process die or fail. For tests only: without TAPEHEAD_FAILPOINTS they do nothing.

    TAPEHEAD_FAILPOINTS="commit.before=kill@2,run.after=error" python -m service

`kill` is kill -9 of this process by itself, `error` raises `FailpointError`, which nothing in the service expects. Each
happens once, at the hit whose number follows the `@`, the first one if none does.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable

log = logging.getLogger(__name__)

VARIABLE = "TAPEHEAD_FAILPOINTS"

NAMES = {
    "received": "a step was read from a stream, or came by a unary call",
    "run.before": "a batch is stacked and not run",
    "run.after": "a batch was run and not looked at",
    "commit.before": "a batch is about to be given to the store",
    "commit.transaction": "LMDB: a transaction is written and not committed",
    "commit.release": "LMDB: an answer beyond the window was taken out of the transaction",
    "commit.after": "the store has committed; nobody was answered",
    "sent": "an answer was given to the transport",
    "create": "a new session is about to be written",
    "open.before": "an epoch is about to be raised",
    "open.after": "an epoch was raised; the stream has not heard of it",
    "replay": "stored answers were read and not sent",
    "park": "an idle session is about to leave memory",
    "fork": "a state was read, of which a session is about to be made",
    "rewind": "a kept state was read, to which a session is about to go back",
    "delete": "a session is about to be ended",
    "expire": "a session of age was found and is about to be ended",
    "drain": "a drain has begun",
    "redis.connect": "Redis: a connection is about to be made",
    "redis.sent": "Redis: commands were sent and their replies not read",
}


class InvalidFailpoints(ValueError):
    """The variable cannot be read; the message is one sentence."""


class FailpointError(Exception):
    """What the action `error` raises."""


def _nothing(name: str) -> None:
    """Failpoints are off."""


hit: Callable[[str], None] = _nothing  # called as `failpoints.hit(name)`, so that `arm` reaches every place


def arm_by_environment() -> None:
    """Arms what the environment asks for, and says so loudly. Raises InvalidFailpoints."""
    if armed := arm(os.environ.get(VARIABLE, "")):
        log.critical("THIS SERVER WILL FAIL ON PURPOSE, at %s: %s is set", ", ".join(armed), VARIABLE)


def arm(text: str) -> tuple[str, ...]:
    """Puts failpoints in their places; returns their names. An empty text puts none. Raises InvalidFailpoints."""
    global hit
    points = dict(_point(part.strip()) for part in text.split(",") if part.strip())
    hit = _Armed(points) if points else _nothing
    return tuple(points)


def _point(part: str) -> tuple[str, tuple[str, int]]:
    name, _, rest = part.partition("=")
    action, at, number = rest.partition("@")
    if name not in NAMES or action not in ("kill", "error") or not (number if at else "1").isdecimal():
        raise InvalidFailpoints(f"{VARIABLE}: expected NAME=kill or NAME=error, each with @NUMBER or not, got '{part}'")
    return name, (action, int(number) if at else 1)


class _Armed:
    """Counts the hits and acts at the one that was asked for."""

    def __init__(self, points: dict[str, tuple[str, int]]) -> None:
        self._points = points
        self._hits = dict.fromkeys(points, 0)

    def __call__(self, name: str) -> None:
        if name not in self._points:
            return
        self._hits[name] += 1
        action, number = self._points[name]
        if self._hits[name] != number:
            return
        log.warning("failpoint %s, hit %d: %s", name, number, action)
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise FailpointError(f"at the failpoint {name}")
