"""The rules of resuming under random cuts and overloads, against a model of the server."""

from __future__ import annotations

import random

import pytest

from tapehead.errors import (
    OverCapacity,
    StepGap,
)
from tapehead.resume import Message, StepLog
from tapehead.v1.session_service_pb2 import StepResult
from tests.tapehead.step_logs import add, answer, fresh, opened, results


class _Store:
    """Commits what a log sends, and hands answers back or loses them."""

    def __init__(self, log: StepLog, window: int, rng: random.Random) -> None:
        self.log, self.window, self.rng = log, window, rng
        self.kept: list[StepResult] = []
        self.wire: list[Message] = []
        self.outcomes: list[tuple[int, str]] = []

    @property
    def committed(self) -> int:
        return self.kept[-1].step + max(1, self.kept[-1].step_count) - 1 if self.kept else 0

    def take(self) -> None:
        """Puts the next message on the wire, if there is one."""
        message = self.log.next_to_send()
        if message is not None:
            self.wire.append(message)

    def refuse(self) -> None:
        """Has no room for the next message, so that those behind it are ahead of their turn."""
        first, *behind = self.wire
        self.wire.clear()
        self.log.failed(first.step, OverCapacity("full"))
        for message in behind:
            if self.rng.random() < 0.3:  # what waited is sent again before its refusals are read
                self.log.resend()
                self.take()
            self.log.failed(message.step, StepGap("ahead"))
        assert results(self.log) == []

    def commit(self) -> StepResult:
        message = self.wire.pop(0)
        assert message.step == self.committed + 1
        self.kept.append(answer(message.step, message.input_hash.decode(), message.step_count))
        return self.kept[-1]

    def give(self, result: StepResult) -> None:
        self.log.answered(result)
        self.outcomes += results(self.log)

    def reopen(self) -> None:
        self.wire.clear()
        start = self.log.last_received_step
        assert start is not None
        assert start >= self.committed - self.window, "an answer that is still wanted would be released"
        self.log.opened(opened(self.committed, window=self.window))
        for kept in self.kept:
            if kept.step > start:
                self.give(kept)


@pytest.mark.parametrize("window", [1, 3, 16])
def test_random_losses_never_lose_repeat_or_reorder_a_step(window: int):
    """A model of the server with random cuts and overloads: each input ends up taken and answered once, in order."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    log = fresh(window=window)
    store = _Store(log, window, rng)
    given: list[int] = []

    for _ in range(3000):
        count = rng.choice([0, 0, 1, 2, 3])
        if max(1, count) <= window and log.has_room(max(1, count)) and rng.random() < 0.5:
            given.append(add(log, f"{len(given)}", count).step)
        store.take()
        if store.wire and rng.random() < 0.1:
            store.refuse()
        if rng.random() < 0.5:
            log.resend()
        if store.wire and rng.random() < 0.7:
            result = store.commit()
            if rng.random() < 0.8:
                store.give(result)
            else:  # the answer is lost with the stream, after more was perhaps committed
                while store.wire and rng.random() < 0.5:
                    store.commit()
                store.reopen()
        if rng.random() < 0.1:
            store.reopen()
    store.reopen()
    for _ in given:
        store.take()
        if store.wire:
            store.give(store.commit())

    assert store.outcomes == [(step, "answer") for step in given]
    assert [int(kept.input_hash) for kept in store.kept] == list(range(len(given)))
