"""Blocking calls of the client's event loop, and interrupts at the worst moments."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from tapehead.portal import Portal


@pytest.fixture
def portal() -> Iterator[Portal]:
    portal = Portal.enter()
    yield portal
    portal.leave()


class Work:
    """A coroutine that waits for ever and knows how it ended."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    async def run(self) -> None:
        self.ended.append("begun")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise


def interrupt_when(portal: Portal, monkeypatch: pytest.MonkeyPatch, *, scheduled: bool) -> None:
    """Raises KeyboardInterrupt once, before or after the loop was given the next call."""
    schedule = portal._loop.call_soon_threadsafe

    def interrupted(callback: Callable[[], object]) -> None:
        monkeypatch.undo()
        if scheduled:
            schedule(callback)
        raise KeyboardInterrupt

    monkeypatch.setattr(portal._loop, "call_soon_threadsafe", interrupted)


def test_a_call_gives_its_result_or_raises(portal: Portal) -> None:
    async def fail() -> None:
        raise LookupError("no")

    assert portal.call(asyncio.sleep(0, "yes")) == "yes"
    with pytest.raises(LookupError, match="no"):
        portal.call(fail())


def test_an_interrupt_while_the_loop_is_woken_ends_the_call(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop has the call already, although the caller has nothing in hand yet: left alone it would run for ever."""
    work = Work()
    interrupt_when(portal, monkeypatch, scheduled=True)

    with pytest.raises(KeyboardInterrupt):
        portal.call(work.run())

    assert work.ended in ([], ["begun", "cancelled"])
    assert portal.call(asyncio.sleep(0, "and goes on")) == "and goes on"


def test_an_interrupt_before_the_loop_has_the_call_drops_it(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work()
    interrupt_when(portal, monkeypatch, scheduled=False)

    with pytest.raises(KeyboardInterrupt):
        portal.call(work.run())

    assert work.ended == []
