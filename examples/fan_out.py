"""A thousand sessions at once from one asyncio program, each a stream of its own, batched by the server.

python examples/fan_out.py [SESSIONS] [STEPS]
"""

from __future__ import annotations

import asyncio
import sys
import time

import numpy as np
from own_server import serving

from tapehead import aio

MODEL = "gru-copy"
BITS = 9


async def stream(client: aio.Client, rows: np.ndarray) -> int:
    """Steps a session of its own through `rows`; returns how many answers came, each once and in order."""
    async with client.session(MODEL) as session:
        steps = [result.step async for result in session.stream(rows)]
        assert steps == list(range(1, len(rows) + 1))
        return len(steps)


async def fan_out(server: str, sessions: int, steps: int) -> None:
    rows = np.random.default_rng(2).integers(0, 2, (sessions, steps, BITS)).astype(np.float32)
    began = time.perf_counter()
    async with aio.connect(server) as client:
        answered = await asyncio.gather(*(stream(client, own) for own in rows))
    seconds = time.perf_counter() - began
    print(f"{len(answered)} sessions, {sum(answered)} steps, {sum(answered) / seconds:,.0f} steps a second")


def main() -> None:
    given = [int(number) for number in sys.argv[1:3]]
    sessions, steps = (*given, *(1000, 20)[len(given) :])
    with serving() as server:
        asyncio.run(fan_out(server, sessions, steps))


if __name__ == "__main__":
    main()
