"""The writer joins what waits, answers everybody, and outlives its bugs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from service.errors import StoreUnavailable
from service.store.writer import AT_ONCE_BYTES, AT_ONCE_SECONDS, HANDED_OVER, Job, Kind, Writer
from tests.contract.clocks import HandClock


class Performer:
    """Runs each job without a transaction; the first group waits until it is let go."""

    def __init__(self) -> None:
        self.groups: list[int] = []
        self.closed = False
        self.reached = threading.Event()
        self.go = threading.Event()

    def perform(self, jobs: list[Job]) -> None:
        self.groups.append(len(jobs))
        self.reached.set()
        assert self.go.wait(30)
        for job in jobs:
            job.result = job.act(None)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def performer() -> Performer:
    return Performer()


async def first_in_flight(writer: Writer, performer: Performer) -> asyncio.Future[int]:
    first = writer.submit(Kind.READS, lambda _: 0)
    assert await asyncio.to_thread(performer.reached.wait, 30)
    return first


async def test_what_gathers_meanwhile_is_one_group(performer: Performer) -> None:
    writer = Writer(performer.perform, performer.close)
    first = await first_in_flight(writer, performer)
    rest = [writer.submit(Kind.READS, lambda _, number=number: number) for number in range(1, 11)]
    performer.go.set()

    assert await asyncio.gather(first, *rest) == list(range(11))
    assert performer.groups == [1, 10]
    await writer.close()


async def test_a_group_has_a_limit(performer: Performer) -> None:
    writer = Writer(performer.perform, performer.close, group_limit=4)
    first = await first_in_flight(writer, performer)
    rest = [writer.submit(Kind.READS, lambda _, number=number: number) for number in range(1, 11)]
    performer.go.set()

    assert await asyncio.gather(first, *rest) == list(range(11))
    assert performer.groups == [1, 4, 4, 2]
    await writer.close()


async def test_closing_does_the_rest_first_and_may_be_asked_twice(performer: Performer) -> None:
    writer = Writer(performer.perform, performer.close)
    first = await first_in_flight(writer, performer)
    last = writer.submit(Kind.READS, lambda _: "last")
    closings = [asyncio.create_task(writer.close()) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable, match="closed"):
        writer.submit(Kind.READS, lambda _: None)
    performer.go.set()

    assert await asyncio.gather(first, last) == [0, "last"]
    await asyncio.gather(*closings)
    assert performer.closed


@pytest.mark.parametrize("submit", [Writer.submit, Writer.submit_or_do])
async def test_a_bug_fails_its_group_and_nobody_else(
    performer: Performer, submit: Callable[..., asyncio.Future[int]]
) -> None:
    performer.go.set()
    writer = Writer(performer.perform, performer.close)

    with pytest.raises(ZeroDivisionError):
        await submit(writer, Kind.READS, lambda _: 1 // 0)

    assert await submit(writer, Kind.READS, lambda _: 1) == 1
    await writer.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        submit(writer, Kind.READS, lambda _: 1)


async def test_a_cancelled_caller_disturbs_nobody(performer: Performer) -> None:
    writer = Writer(performer.perform, performer.close)
    first = await first_in_flight(writer, performer)
    second = writer.submit(Kind.READS, lambda _: 2)
    first.cancel()
    performer.go.set()

    assert await second == 2
    await writer.close()


def thread_of(_: object) -> str:
    return threading.current_thread().name


async def test_an_idle_writer_lets_the_caller_do_a_short_job(performer: Performer) -> None:
    performer.go.set()
    writer = Writer(performer.perform, performer.close)
    done = writer.submit_or_do(Kind.GROWS, thread_of)

    assert done.done()
    assert done.result() == threading.current_thread().name
    assert await writer.submit(Kind.GROWS, thread_of) == "store-writer"
    assert await writer.submit_or_do(Kind.GROWS, thread_of, AT_ONCE_BYTES + 1) == "store-writer"
    assert await writer.submit_or_do(Kind.GROWS, thread_of) == threading.current_thread().name
    await writer.close()


async def test_nobody_overtakes_what_is_under_way(performer: Performer) -> None:
    writer = Writer(performer.perform, performer.close)
    first = await first_in_flight(writer, performer)
    second = writer.submit_or_do(Kind.GROWS, thread_of)
    assert not second.done()
    performer.go.set()

    assert await asyncio.gather(first, second) == [0, "store-writer"]
    await writer.close()


async def test_a_volume_that_makes_callers_wait_is_left_to_the_thread_for_a_while(performer: Performer) -> None:
    performer.go.set()
    clock = HandClock()
    writer = Writer(performer.perform, performer.close, clock=clock)
    await writer.submit_or_do(Kind.GROWS, lambda _: clock.advance(2 * AT_ONCE_SECONDS))
    threads = [await writer.submit_or_do(Kind.GROWS, thread_of) for _ in range(HANDED_OVER + 1)]

    assert threads == ["store-writer"] * HANDED_OVER + [threading.current_thread().name]
    await writer.close()
