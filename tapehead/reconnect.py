"""When to connect again by oneself, and how long to wait before it. Pure: the time comes in as an argument."""

from __future__ import annotations

import random

import grpc

from tapehead.errors import OverCapacity, QuotaExceeded, SessionTakenOver, TapeheadError

FIRST_DELAY = 0.05  # seconds
LONGEST_DELAY = 0.5  # seconds; a server that restarts is back within a few of these
LONGEST_STRETCH = 1.25  # of what the server suggests
SILENT = 1.0  # seconds of trying again that nobody needs to hear of

# What gRPC says, under codes that may also mean a bug, when the way broke under a call.
_BROKEN_WAY = ("RST_STREAM", "Stream removed", "GOAWAY", "Socket closed", "connection")


def may_reconnect(error: TapeheadError) -> bool:
    """Whether a client goes on by itself after a stream ended so; anything else is the application's to decide.

    1. The server is not there, drains, or has lost its store: the session is intact.
    2. A newer opening of this very client, or of its forerunner, fenced this stream: the ghost of an earlier attempt.
    3. The way broke.
    """
    if error.code is grpc.StatusCode.UNAVAILABLE:
        return True
    if isinstance(error, SessionTakenOver):
        return error.metadata.get("same_client") == "true"
    broke = error.code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED)
    return broke and not error.reason and any(sign in error.message for sign in _BROKEN_WAY)


def may_reopen(error: TapeheadError, *, was_open: bool) -> bool:
    """Whether a session's stream is opened (again) after it ended, or was refused, so.

    A session that was open before also waits for a server that has no room for it at the moment.
    """
    return may_reconnect(error) or (was_open and isinstance(error, (OverCapacity, QuotaExceeded)))


class Patience:
    """Counts how long nothing has gone forward.

    Delays are jittered between 50 ms and a bound that doubles from there to 500 ms; a server's own suggestion is the
    least, stretched by up to a quarter, so that those who were refused together do not come back together. After
    `limit` seconds without progress there is no next delay.
    """

    def __init__(self, limit: float, *, rng: random.Random | None = None) -> None:
        self.limit = limit
        self._rng = rng or random.Random()
        self._attempts = 0
        self._since: float | None = None
        self._is_told = False

    def reset(self) -> None:
        """Something went forward."""
        self._attempts, self._since, self._is_told = 0, None, False

    def seconds_left_to_tell(self, now: float) -> float | None:
        """How long patience still lasts, once in a wait that has become one worth a word; otherwise None."""
        if self._is_told or self._since is None or now - self._since < SILENT:
            return None
        self._is_told = True
        return max(0.0, self._since + self.limit - now)

    def next_delay(self, now: float, retry_after: float | None = None) -> float | None:
        """Seconds to wait before the next attempt; None if patience has run out."""
        self._since = now if self._since is None else self._since
        left = self._since + self.limit - now
        if left <= 0:
            return None
        self._attempts += 1
        suggested = (retry_after or 0.0) * self._rng.uniform(1.0, LONGEST_STRETCH)
        bound = min(LONGEST_DELAY, FIRST_DELAY * 2.0**self._attempts)
        return min(left, max(self._rng.uniform(FIRST_DELAY, bound), suggested))
