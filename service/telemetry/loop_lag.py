"""Measures how late the event loop is: whatever blocks it delays every stream at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PERIOD = 0.25  # seconds


async def watch_loop(observe: Callable[[float], None]) -> None:
    """Tells `observe`, four times a second, how many seconds late it was woken. Runs until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + PERIOD
        await asyncio.sleep(PERIOD)
        observe(max(0.0, loop.time() - due))
