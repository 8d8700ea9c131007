"""How long a step takes when steps come at their own moments, whether or not others were answered.

    python -m benchmarks.latency [--sessions 64] [--shares 0.25 0.5 0.75 0.9] [--level process] [--record results]

First the closed-loop capacity is measured; then steps are offered at shares of it, at moments drawn beforehand (a
Poisson process over all sessions). A step is sent at its moment also where earlier ones of its session still wait, and
its latency counts from that moment, so that a slow server cannot slow down what it is asked: nothing is omitted.
`late` is how far behind its own moments the client was, which bounds what can be believed. The length of each reply is
checked. `--record` keeps the histograms for `benchmarks.pictures`.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import random
import tempfile
import time
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
import uvloop

from benchmarks import records, streams, wire
from benchmarks.streams import MIN_REPLY_BYTES
from tapehead.v1 import session_service_pb2 as pb
from tapehead.v1.tensor_pb2 import DATA_TYPE_FLOAT32, Tensor

WARM_UP_SECONDS = 0.5
BOUNDS = [10 ** (n / 10) for n in range(-10, 41)]  # milliseconds, ten to a decade


@dataclass
class Offered:
    """What became of the steps of one rate, in seconds from each one's moment."""

    latencies: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)  # until it was sent
    refused: int = 0  # answered by an error, as beyond the session's window

    def quantile(self, share: float) -> float:
        """Of the latencies, in milliseconds."""
        return sorted(self.latencies)[int(share * len(self.latencies))] * 1e3


class Stream:
    """One session's stream: sends without waiting, and gives each answer to the step at whose moment it was sent."""

    def __init__(self, call: wire.RawStream, number: int, offered: Offered, since: float) -> None:
        self._call = call
        x = np.random.default_rng(number).integers(0, 2, 9).astype("<f4").tobytes()
        tensor = Tensor(name="x", dtype=DATA_TYPE_FLOAT32, shape=[9], raw=x)
        self._message = pb.StreamStepsRequest(step=pb.StreamStep(inputs=[tensor]))
        self._due: deque[float] = deque()
        self._waiting: deque[tuple[float, bytes]] = deque()  # one write at a time, in order
        self._offered = offered
        self._since = since  # earlier ones warm up
        self._step = 0
        self._writer: asyncio.Task[None] | None = None
        self.settled = asyncio.Event()  # everything sent is answered
        self.settled.set()

    def send(self, due: float) -> None:
        """Sends the next step, which was due at a moment of `time.perf_counter`."""
        self._step += 1
        self.settled.clear()
        self._message.step.step = self._step
        self._waiting.append((due, self._message.SerializeToString()))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())

    async def _write(self) -> None:
        while self._waiting:
            due, data = self._waiting.popleft()
            self._due.append(due)
            await self._call.write(data)
            if due >= self._since:
                self._offered.late.append(time.perf_counter() - due)

    async def receive(self) -> None:
        """Takes answers until cancelled."""
        while True:
            reply = await self._call.read()
            if len(reply) < MIN_REPLY_BYTES and (other := pb.StreamStepsResponse.FromString(reply)):
                if other.HasField("heartbeat"):
                    continue
                raise AssertionError(other)
            due = self._due.popleft()
            if due >= self._since:
                self._offered.latencies.append(time.perf_counter() - due)
                self._offered.refused += reply[0] != RESULT
            if not (self._waiting or self._due):
                self.settled.set()


RESULT = pb.StreamStepsResponse(result=pb.StepResult(step=1)).SerializeToString()[0]  # how an answer begins


async def offer(server: streams.Server, sessions: int, rate: float, seconds: float) -> Offered:
    """Offers so many steps a second over so many sessions."""
    offered, chance = Offered(), random.Random(1)
    async with grpc.aio.insecure_channel(server.address, options=streams.OPTIONS) as channel:
        method = wire.stream(channel, streams.METHOD)
        calls = []
        for number in range(sessions):
            call = method()
            create = pb.CreateSessionRequest(model_id="ntm-copy")
            opening = pb.StreamOpen(session_id=f"open-{os.getpid()}-{time.time_ns()}-{number}", create=create)
            await call.write(pb.StreamStepsRequest(open=opening).SerializeToString())
            await call.read()
            calls.append(call)
        begin = due = time.perf_counter()
        lines = [Stream(call, n, offered, begin + WARM_UP_SECONDS) for n, call in enumerate(calls)]
        readers = [asyncio.create_task(line.receive()) for line in lines]
        while (due := due + chance.expovariate(rate)) < begin + WARM_UP_SECONDS + seconds:
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            chance.choice(lines).send(due)
        async with asyncio.timeout(60):
            await asyncio.gather(*(line.settled.wait() for line in lines))
        for reader, call in zip(readers, calls, strict=True):
            reader.cancel()
            call.cancel()
    return offered


def measure(server: streams.Server, sessions: int, rate: float, seconds: float) -> Offered:
    """Measures from a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (server, sessions, rate, seconds))


def _measure(server: streams.Server, sessions: int, rate: float, seconds: float) -> Offered:
    return uvloop.run(offer(server, sessions, rate, seconds))


def histogram(latencies: list[float]) -> list[int]:
    """How many lie at or below each of BOUNDS and above the one before; the last is what lies beyond all."""
    counts = [0] * (len(BOUNDS) + 1)
    for seconds in latencies:
        counts[bisect_left(BOUNDS, seconds * 1e3)] += 1
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--sessions", type=int, default=64)
    parser.add_argument("--shares", type=float, nargs="*", default=[0.25, 0.5, 0.75, 0.9], help="of the capacity")
    parser.add_argument("--level", default="process", choices=["memory", "process", "disk"], help="of durability")
    parser.add_argument("--record", type=Path, help="folder in which the results are kept")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        command, ready = streams.service_at(Path(name), arguments.level)
        with streams.process(command, ready) as server:
            peak = streams.measure(server, arguments.sessions, arguments.seconds, 0).rate
            print(f"capacity at {arguments.level}, {arguments.sessions} sessions: {peak:,.0f} steps/s\n")
            print("| offered | steps/s | p50 ms | p90 ms | p99 ms | p99.9 ms | refused | late p99 ms |")
            print("|---|---|---|---|---|---|---|---|")
            for share in arguments.shares:
                own = measure(server, arguments.sessions, share * peak, arguments.seconds)
                quantiles = [own.quantile(at) for at in (0.5, 0.9, 0.99, 0.999)]
                late = sorted(own.late)[int(0.99 * len(own.late))] * 1e3
                cells = " | ".join(f"{value:,.1f}" for value in quantiles)
                done = len(own.latencies) / arguments.seconds
                print(f"| {share:g} | {done:,.0f} | {cells} | {own.refused} | {late:,.1f} |", flush=True)
                rows.append({"share": share, "rate": done, "counts": histogram(own.latencies)})
    if arguments.record is not None:
        records.write(arguments.record, "latency", {"level": arguments.level, "bounds_ms": BOUNDS, "rows": rows})


if __name__ == "__main__":
    main()
