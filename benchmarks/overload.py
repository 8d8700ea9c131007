"""More load than there is room for: what is still done, how fast the rest is refused, and who pays.

    python -m benchmarks.overload [open greedy] [--seconds 4] [--factors 0.5 1 2 4]

`open` offers unary chunks at multiples of the measured capacity, at moments drawn beforehand (a Poisson process): a
call goes out at its moment whether or not others were answered, and its latency counts from that moment, so that a slow
server cannot slow down what it is asked. Every refusal must be RESOURCE_EXHAUSTED with RetryInfo. `greedy` lets polite
callers of one owner step alone, and then beside another owner who offers four times the capacity.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import grpc
import numpy as np
import psutil
import uvloop
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # its package ships no types
from grpc_health.v1 import health_pb2

from benchmarks import streams, wire
from tapehead.v1 import session_service_pb2 as pb
from tapehead.v1.tensor_pb2 import DATA_TYPE_FLOAT32, Tensor

PARTS = ("open", "greedy")
CHUNK = 256  # steps of a call: so many that this client can offer more than the server can do
WINDOW = 1024  # steps
WAITING = 64 * CHUNK  # steps that the server lets wait
SESSIONS = 400  # of which each has one call at a time
PROBE_SECONDS = 0.05  # between looks at health and memory
WARM_UP_SECONDS = 1.0  # of the same load, whose calls are not counted
POLITE = 8  # callers
STEP, CREATE = "/tapehead.v1.SessionService/Step", "/tapehead.v1.SessionService/CreateSession"


@dataclass
class Outcome:
    """What became of the calls that were offered. Latencies are in seconds, from the moment of a call."""

    seconds: float = 0.0
    in_time: int = 0  # calls that were done within these seconds, whenever they were due
    offered: int = 0
    unsent: int = 0  # no session was free: the client's own bound
    done: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    without_retry: int = 0  # refused without RetryInfo, which must not be
    health: list[float] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)  # bytes

    @property
    def goodput(self) -> float:
        """Calls done in a second."""
        return self.in_time / self.seconds


class Caller:
    """Sessions of one owner, and calls on them."""

    def __init__(self, channel: grpc.aio.Channel, token: str = "") -> None:
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._step, self._create = wire.unary(channel, STEP), wire.unary(channel, CREATE)
        self._free: list[tuple[str, int]] = []  # sessions without a call, each with its next step
        self._tensor = Tensor(
            name="x", dtype=DATA_TYPE_FLOAT32, shape=[CHUNK, 9], raw=np.zeros((CHUNK, 9), "<f4").tobytes()
        )

    async def prepare(self, sessions: int) -> None:
        """Creates sessions."""
        for number in range(sessions):
            name = f"load-{time.time_ns()}-{number}"
            request = pb.CreateSessionRequest(session_id=name, model_id="ntm-copy", window=WINDOW)
            await self._create(request.SerializeToString(), metadata=self._metadata)
            self._free.append((name, 1))

    async def call(self, outcome: Outcome, due: float) -> bool:
        """One call that was due at a moment of `time.perf_counter`; tells whether it was done."""
        outcome.offered += 1
        if not self._free:
            outcome.unsent += 1
            return False
        name, step = self._free.pop(0)
        request = pb.StepRequest(session_id=name, step=step, step_count=CHUNK, inputs=[self._tensor])
        try:
            await self._step(request.SerializeToString(), metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            outcome.refused.append(time.perf_counter() - due)
            outcome.without_retry += not _is_refusal_with_retry(error)
            self._free.append((name, step))
            return False
        outcome.done.append(time.perf_counter() - due)
        self._free.append((name, step + CHUNK))
        return True


def _is_refusal_with_retry(error: grpc.aio.AioRpcError) -> bool:
    if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
        return False
    trailers = cast(Iterable[tuple[str, bytes]], error.trailing_metadata() or ())
    details = next((value for key, value in trailers if key == "grpc-status-details-bin"), b"")
    status = status_pb2.Status.FromString(details)
    return any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)


async def offer(caller: Caller, rate: float, seconds: float, outcome: Outcome) -> None:
    """Calls at the moments of a Poisson process of so many calls a second, and before that for the warm-up."""
    chance, tasks, not_counted = random.Random(1), set(), Outcome()
    due = time.perf_counter()
    begin = due + WARM_UP_SECONDS
    end = begin + seconds

    async def call(due: float) -> None:
        if await caller.call(outcome if due >= begin else not_counted, due):
            outcome.in_time += begin <= time.perf_counter() < end

    while (due := due + chance.expovariate(rate)) < end:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = asyncio.create_task(call(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    outcome.seconds = seconds


async def keep_calling(caller: Caller, callers: int, seconds: float, outcome: Outcome) -> None:
    """So many callers, each waiting for its answer and coming back a little later when it is refused."""
    not_counted = Outcome()
    begin = time.perf_counter() + WARM_UP_SECONDS
    end = begin + seconds

    async def repeat() -> None:
        while (due := time.perf_counter()) < end:
            if await caller.call(outcome if due >= begin else not_counted, due):
                outcome.in_time += begin <= time.perf_counter() < end
            else:
                await asyncio.sleep(0.01)

    await asyncio.gather(*(repeat() for _ in range(callers)))
    outcome.seconds = seconds


async def watch(channel: grpc.aio.Channel, pid: int, outcome: Outcome, after: float) -> None:
    """Looks at health and memory, `after` so many seconds, until cancelled.

    A look is due whether or not the one before was answered.
    """
    await asyncio.sleep(after)
    check, server = wire.unary(channel, "/grpc.health.v1.Health/Check"), psutil.Process(pid)
    request = health_pb2.HealthCheckRequest().SerializeToString()

    async def look(due: float) -> None:
        await check(request)
        outcome.health.append(time.perf_counter() - due)

    async with asyncio.TaskGroup() as looks:
        while True:
            looks.create_task(look(time.perf_counter()))
            outcome.rss.append(server.memory_info().rss)
            await asyncio.sleep(PROBE_SECONDS)


# --- what is measured -------------------------------------------------------------------------------------------------


async def capacity(server: streams.Server, seconds: float) -> float:
    """Calls a second with as many callers as keep the server busy."""
    outcome = Outcome()
    async with grpc.aio.insecure_channel(server.address, options=streams.OPTIONS) as channel:
        caller = Caller(channel)
        await caller.prepare(32)
        await keep_calling(caller, 32, seconds, outcome)
    return outcome.goodput


async def overload(server: streams.Server, rate: float, seconds: float) -> Outcome:
    """Offers so many calls a second."""
    outcome = Outcome()
    address, options = server.address, streams.OPTIONS
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        caller = Caller(channel)
        await caller.prepare(SESSIONS)
        async with grpc.aio.insecure_channel(address, options=[*options, ("grpc.use_local_subchannel_pool", 1)]) as own:
            watching = asyncio.create_task(watch(own, server.pid, outcome, WARM_UP_SECONDS))
            await offer(caller, rate, seconds, outcome)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    return outcome


async def beside_greedy(server: streams.Server, rate: float, seconds: float) -> tuple[Outcome, Outcome]:
    """Polite callers of one owner, while another owner offers so many calls a second (none if 0)."""
    polite, greedy = Outcome(), Outcome()
    async with grpc.aio.insecure_channel(server.address, options=streams.OPTIONS) as channel:
        one, other = Caller(channel, "polite-token-0123456789"), Caller(channel, "greedy-token-0123456789")
        await one.prepare(POLITE)
        await other.prepare(SESSIONS if rate else 0)
        loads = [keep_calling(one, POLITE, seconds, polite)]
        if rate:
            loads.append(offer(other, rate, seconds, greedy))
        await asyncio.gather(*loads)
    return polite, greedy


def in_process(act: Callable[..., Coroutine[Any, Any, Any]], *arguments: object) -> Any:
    """Carries out a measurement in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_run, (act, arguments))


def _run(act: Callable[..., Coroutine[Any, Any, Any]], arguments: tuple[object, ...]) -> Any:
    return uvloop.run(act(*arguments))


def open_loop(folder: Path, seconds: float, factors: list[float]) -> None:
    command, ready = streams.service(folder, "open", "memory:", "memory")
    with streams.process([*command, "--max-waiting-steps", str(WAITING)], ready) as server:
        peak = in_process(capacity, server, seconds)
        print(f"capacity: {peak:,.0f} calls/s of {CHUNK} steps\n")
        print(
            "| offered | calls/s | done/s | of capacity | done p50 ms | p99 ms | refused/s | refusal p50 ms | p99 ms "
            "| without RetryInfo | no session free | health p50 ms | p99 ms | RSS MiB first, most |\n"
            "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
        )
        for factor in factors:
            own: Outcome = in_process(overload, server, factor * peak, seconds)
            first, most = own.rss[0] / (1 << 20), max(own.rss) / (1 << 20)
            print(
                f"| {factor:g}x | {own.offered / seconds:,.0f} | {own.goodput:,.0f} | {own.goodput / peak:.2f} "
                f"| {ms(own.done, 0.5)} | {ms(own.done, 0.99)} | {len(own.refused) / own.seconds:,.0f} "
                f"| {ms(own.refused, 0.5)} | {ms(own.refused, 0.99)} | {own.without_retry} | {own.unsent} "
                f"| {ms(own.health, 0.5)} | {ms(own.health, 0.99)} | {first:,.0f}, {most:,.0f} |",
                flush=True,
            )


def greedy(folder: Path, seconds: float) -> None:
    tokens = folder / "tokens"
    tokens.write_text("polite-token-0123456789 polite client\ngreedy-token-0123456789 greedy client\n")
    tokens.chmod(0o600)
    command, ready = streams.service(folder, "greedy", "memory:", "memory")
    flags = ["--max-waiting-steps", str(WAITING), "--tokens", str(tokens)]
    with streams.process([*command, *flags], ready) as server:
        alone, _ = in_process(beside_greedy, server, 0.0, seconds)
        print("| polite owner | done/s | p50 ms | p99 ms | refused | greedy owner done/s | refused/s |")
        print("|---|---|---|---|---|---|---|")
        print(f"| alone | {alone.goodput:,.0f} | {ms(alone.done, 0.5)} | {ms(alone.done, 0.99)} | 0 | | |", flush=True)
        polite, other = in_process(beside_greedy, server, 4 * alone.goodput, seconds)
        print(
            f"| beside a greedy one | {polite.goodput:,.0f} | {ms(polite.done, 0.5)} | {ms(polite.done, 0.99)} "
            f"| {len(polite.refused)} | {other.goodput:,.0f} | {len(other.refused) / other.seconds:,.0f} |"
        )


def ms(seconds: list[float], share: float) -> str:
    """A quantile in milliseconds; nothing of nothing."""
    return f"{sorted(seconds)[int(share * len(seconds))] * 1e3:,.1f}" if seconds else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--factors", type=float, nargs="*", default=[0.5, 1, 2, 4], help="of the measured capacity")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"expected parts among {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as name:
        for part in arguments.parts or PARTS:
            print(f"\n{part}\n")
            if part == "open":
                open_loop(Path(name), arguments.seconds, arguments.factors)
            else:
                greedy(Path(name), arguments.seconds)


if __name__ == "__main__":
    main()
