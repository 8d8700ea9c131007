"""When to connect again, and how long to wait."""

from __future__ import annotations

import random

import grpc
import pytest

from tapehead import errors
from tapehead.reconnect import Patience, may_reconnect, may_reopen


@pytest.mark.parametrize(
    "error",
    [
        errors.Draining("draining"),
        errors.StoreUnavailable("no store"),
        errors.ModelLoading("loading"),
        errors.ServerUnreachable("nobody there"),
        errors.TapeheadError("a reason of tomorrow", code=grpc.StatusCode.UNAVAILABLE, reason="TOMORROW"),
        errors.SessionTakenOver("by myself", metadata={"same_client": "true"}),
        errors.TapeheadError("Received RST_STREAM with error code 2", code=grpc.StatusCode.INTERNAL),
        errors.TapeheadError("Stream removed", code=grpc.StatusCode.UNKNOWN),
    ],
    ids=repr,
)
def test_what_passes_by_itself(error: errors.TapeheadError):
    assert may_reconnect(error)


@pytest.mark.parametrize(
    "error",
    [
        errors.SessionTakenOver("by another", metadata={"same_client": "false"}),
        errors.SessionTakenOver("by whom?"),
        errors.SessionReplaced("another"),
        errors.StateRegressed("back in time"),
        errors.AnswerReleased("gone"),
        errors.OverCapacity("full"),
        errors.ProtocolViolation("nonsense"),
        errors.TapeheadError("a bug; RST_STREAM", code=grpc.StatusCode.INTERNAL, reason="INTERNAL"),
        errors.TapeheadError("no such method", code=grpc.StatusCode.UNIMPLEMENTED),
    ],
    ids=repr,
)
def test_what_the_application_has_to_decide(error: errors.TapeheadError):
    assert not may_reconnect(error)


def test_only_a_session_that_was_open_waits_for_room():
    assert may_reopen(errors.OverCapacity("full"), was_open=True)
    assert not may_reopen(errors.OverCapacity("full"), was_open=False)
    assert may_reopen(errors.Draining("draining"), was_open=False)
    assert not may_reopen(errors.SessionReplaced("another"), was_open=True)


def test_delays_are_jittered_and_bounded():
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    patience = Patience(60, rng=random.Random(seed))
    delays = [patience.next_delay(0.0) for _ in range(200)]

    assert all(delay is not None and 0.05 <= delay <= 0.5 for delay in delays)
    assert len(set(delays)) > 100
    assert delays[0] is not None
    assert delays[0] <= 0.1


def test_the_servers_own_suggestion_is_the_least_and_jittered_too():
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    patience = Patience(60, rng=random.Random(seed))
    delays = [patience.next_delay(0.0, retry_after=3.0) for _ in range(100)]

    assert all(delay is not None and 3.0 <= delay <= 3.75 for delay in delays)
    assert len(set(delays)) > 50


def test_patience_ends_and_is_never_overdrawn():
    patience = Patience(10)

    assert patience.next_delay(100.0, retry_after=30.0) == 10.0
    delay = patience.next_delay(109.99)
    assert delay is not None
    assert delay <= 0.011
    assert patience.next_delay(110.0) is None


def test_progress_restores_it():
    patience = Patience(10)
    patience.next_delay(0.0)
    patience.reset()

    assert patience.next_delay(100.0) is not None


def test_a_wait_is_worth_a_word_once_it_has_lasted_and_only_once():
    patience = Patience(10)
    told = []
    for now in (0.0, 0.5, 1.0, 3.0, 4.0):
        patience.next_delay(now)
        told.append(patience.seconds_left_to_tell(now))

    assert told == [None, None, 9.0, None, None]
    patience.reset()
    patience.next_delay(5.0)
    assert patience.seconds_left_to_tell(7.0) == 8.0
