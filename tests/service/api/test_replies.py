"""The line of replies between a stream's reader and its writer."""

from __future__ import annotations

import asyncio

import pytest

from service.api.replies import ReplyLine


async def test_replies_leave_in_the_order_in_which_they_came() -> None:
    line: ReplyLine[str] = ReplyLine(9)
    line.put("a")
    line.put("b")
    line.put_first("notice")
    line.close()

    assert [await line.get() for _ in range(4)] == ["notice", "a", "b", None]


@pytest.mark.parametrize(("weights", "is_full"), [([1] * 8, False), ([1] * 9, True), ([9], True), ([4, 4], False)])
async def test_the_line_is_full_by_steps_and_not_by_messages(weights: list[int], is_full: bool) -> None:
    line: ReplyLine[int] = ReplyLine(8)
    for weight in weights:
        line.put(weight, weight)
    waiting = asyncio.create_task(line.wait_room())
    await asyncio.sleep(0)

    assert waiting.done() is not is_full
    while is_full and not waiting.done():
        await line.get()
        await asyncio.sleep(0)
    await waiting


async def test_the_writer_is_not_woken_for_what_is_not_ready() -> None:
    ready: set[str] = set()
    line: ReplyLine[str] = ReplyLine(9, ready.__contains__)
    writing = asyncio.create_task(line.get())
    await asyncio.sleep(0)
    for reply in ("a", "b"):
        line.put(reply)
        await asyncio.sleep(0)
    ready.add("b")
    line.look()
    await asyncio.sleep(0)

    assert not writing.done()  # "a" is first
    ready.add("a")
    line.look()
    assert [await writing, await line.get()] == ["a", "b"]


async def test_a_closed_line_still_waits_for_what_is_in_it() -> None:
    ready: set[str] = set()
    line: ReplyLine[str] = ReplyLine(9, ready.__contains__)
    line.put("a")
    writing = asyncio.create_task(line.get())
    await asyncio.sleep(0)
    line.close()
    await asyncio.sleep(0)

    assert not writing.done()
    ready.add("a")
    line.look()
    assert [await writing, await line.get()] == ["a", None]
