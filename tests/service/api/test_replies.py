"""The line between a stream's reader and its writer."""

from __future__ import annotations

import asyncio

from service.api.replies import ReplyLine


async def test_first_in_first_out_and_notices_before_all() -> None:
    line: ReplyLine[int] = ReplyLine(10)
    for reply in (1, 2):
        line.put(reply)
    line.put_first(0)
    line.close()

    assert [await line.get() for _ in range(4)] == [0, 1, 2, None]


async def test_the_writer_waits_for_a_reply_or_the_end() -> None:
    line: ReplyLine[int] = ReplyLine(10)
    waiting = asyncio.create_task(line.get())
    await asyncio.sleep(0)
    assert line.is_awaited
    line.put(1)
    assert await waiting == 1
    waiting = asyncio.create_task(line.get())
    await asyncio.sleep(0)
    line.close()

    assert await waiting is None


async def test_the_reader_waits_while_the_line_is_too_long() -> None:
    line: ReplyLine[int] = ReplyLine(2)
    for reply in range(3):
        line.put(reply)
    waiting = asyncio.create_task(line.wait_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    await line.get()
    await waiting

    assert len(line) == 2


async def test_whoever_stops_waiting_leaves_the_line_usable() -> None:
    line: ReplyLine[int] = ReplyLine(2)
    waiting = asyncio.create_task(line.get())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    line.put(5)

    assert not line.is_awaited
    assert await line.get() == 5
    line.put(6)
    assert line.drop_all() == [6]
