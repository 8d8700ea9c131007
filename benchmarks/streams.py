"""Streamed single steps of the NTM against a bare echo of the same messages, both measured alternately in one run.

    python -m benchmarks.streams [--seconds 2] [--rounds 3] [--chunk 32]

The floor is a grpc.aio server on uvloop, with the service's own channel options, that parses each request and answers
with a message of the same shape, computing and storing nothing. Both servers face the same closed-loop client process,
which neither builds tensors nor parses replies, but checks the length of each. On two cores the client takes one, so
absolute figures are low; the ratios are what this is for.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import grpc
import numpy as np
import psutil
import uvloop

from tapehead.v1 import session_service_pb2 as pb
from tapehead.v1.tensor_pb2 import DATA_TYPE_FLOAT32, Tensor

from . import wire

METHOD = "/tapehead.v1.SessionService/StreamSteps"
OPTIONS = [("grpc.http2.bdp_probe", 0), ("grpc.so_reuseport", 0), ("grpc.optimization_target", "latency")]
ROOT = Path(__file__).parents[1]
MODELS = ("ntm-copy", "babi-qa")
WARM_UP_SECONDS = 0.5
OPENED_AT_ONCE = 200  # streams
SETTLE_SECONDS = 0.1  # after a server says that it serves
MIN_REPLY_BYTES = 60  # a step's answer has 8 floats and a hash of 32 bytes; an error or a heartbeat does not pass


# --- the floor --------------------------------------------------------------------------------------------------------


async def echo_stream(requests, context):  # type: ignore[no-untyped-def]  # grpc gives these no types
    async for request in requests:
        response = pb.StreamStepsResponse()
        if request.HasField("open"):
            response.opened.session.session_id = request.open.session_id
        else:
            result = response.result
            result.step = result.committed_step = request.step.step
            count = request.step.step_count
            shape = [count, 8] if count else [8]
            result.outputs.add(name="y", dtype=DATA_TYPE_FLOAT32, shape=shape, raw=bytes(32 * max(1, count)))
            result.input_hash = bytes(32)
        yield response


async def serve_echo(ready: Path) -> None:
    handler = grpc.stream_stream_rpc_method_handler(
        echo_stream, pb.StreamStepsRequest.FromString, pb.StreamStepsResponse.SerializeToString
    )
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("tapehead.v1.SessionService", {"StreamSteps": handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    ready.write_text(json.dumps({"grpc": f"127.0.0.1:{port}"}))  # noqa: ASYNC240  # before anything is served
    await server.wait_for_termination()


# --- the client -------------------------------------------------------------------------------------------------------


class Server(NamedTuple):
    """A server that runs."""

    address: str
    pid: int


class Measured(NamedTuple):
    """What one measurement found."""

    rate: float  # messages a second
    p50: float  # microseconds
    p99: float  # microseconds
    cpu: float  # microseconds of the server's processors for each message
    rss: float  # bytes of the server's memory at the end


class Meter:
    """Counts what is answered, once the warm-up is over, and what the server's processors spent on it."""

    def __init__(self, pid: int, seconds: float) -> None:
        self._server = psutil.Process(pid)
        self._seconds = seconds
        self._latencies: list[float] = []
        self.is_over = False

    async def run(self) -> Measured:
        """Measures; callers stop when it is over."""
        await asyncio.sleep(WARM_UP_SECONDS)
        self._latencies.clear()
        spent, begin = self._spent(), time.perf_counter()
        await asyncio.sleep(self._seconds)
        spent, elapsed = self._spent() - spent, time.perf_counter() - begin
        self.is_over = True
        latencies = sorted(self._latencies)
        count = len(latencies)
        p50, p99 = (latencies[int(share * count)] * 1e6 for share in (0.5, 0.99))
        return Measured(count / elapsed, p50, p99, spent / count * 1e6, self._server.memory_info().rss)

    def add(self, seconds: float) -> None:
        """Notes an answer and the time that it took."""
        self._latencies.append(seconds)

    def _spent(self) -> float:
        times = self._server.cpu_times()
        return times.user + times.system


async def drive(server: Server, sessions: int, seconds: float, chunk: int, idle: int = 0) -> Measured:
    """Steps so many sessions for so long, each waiting for its answer; as many as are `idle` are open beside them.

    `chunk` is the number of steps in a message; 0 for single steps without a time axis.
    """
    meter = Meter(server.pid, seconds)
    async with grpc.aio.insecure_channel(server.address, options=OPTIONS) as channel:
        method = wire.stream(channel, METHOD)

        async def open_stream(number: int) -> wire.RawStream:
            call = method()
            create = pb.CreateSessionRequest(model_id="ntm-copy")
            opening = pb.StreamOpen(session_id=f"bench-{os.getpid()}-{time.time_ns()}-{number}", create=create)
            await call.write(pb.StreamStepsRequest(open=opening).SerializeToString())
            await call.read()
            return call

        async def stream(number: int, call: wire.RawStream) -> None:
            shape = [chunk, 9] if chunk else [9]
            x = np.random.default_rng(number).integers(0, 2, shape).astype("<f4").tobytes()
            tensor = Tensor(name="x", dtype=DATA_TYPE_FLOAT32, shape=shape, raw=x)
            message = pb.StreamStepsRequest(step=pb.StreamStep(step_count=chunk, inputs=[tensor]))
            step = 1
            while not meter.is_over:
                message.step.step = step
                step += max(1, chunk)
                before = time.perf_counter()
                await call.write(message.SerializeToString())
                while len(reply := await call.read()) < MIN_REPLY_BYTES:
                    if not (other := pb.StreamStepsResponse.FromString(reply)).HasField("heartbeat"):
                        raise AssertionError(f"step {step}: {other}")
                meter.add(time.perf_counter() - before)
            call.cancel()

        calls: list[wire.RawStream] = []
        while len(calls) < sessions + idle:
            some = range(len(calls), min(len(calls) + OPENED_AT_ONCE, sessions + idle))
            calls += await asyncio.gather(*map(open_stream, some))
        measuring = asyncio.create_task(meter.run())
        await asyncio.gather(measuring, *map(stream, range(sessions), calls))
        for call in calls:
            call.cancel()
    return measuring.result()


def measure(server: Server, sessions: int, seconds: float, chunk: int, idle: int = 0) -> Measured:
    """Measures from a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(run_measure, (server, sessions, seconds, chunk, idle))


def run_measure(server: Server, sessions: int, seconds: float, chunk: int, idle: int) -> Measured:
    """Measures in this process."""
    return uvloop.run(drive(server, sessions, seconds, chunk, idle))


# --- the servers ------------------------------------------------------------------------------------------------------


@contextmanager
def process(command: list[str], ready: Path) -> Iterator[Server]:
    """Runs a server."""
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while not ready.exists():
            if server.poll() is not None:
                sys.exit(f"{command} ended with {server.returncode}")
            time.sleep(0.02)
        time.sleep(SETTLE_SECONDS)
        yield Server(json.loads(ready.read_text())["grpc"], server.pid)
    finally:
        server.terminate()
        server.wait()


Command = tuple[list[str], Path]  # what starts a server, and the file that says that it serves


def echo_server(folder: Path) -> Command:
    """The floor."""
    ready = folder / "echo.json"
    return [sys.executable, "-m", "benchmarks.streams", "--serve-echo", str(ready)], ready


def service_at(folder: Path, durability: str, *flags: str) -> Command:
    """The service with the store that a durability takes, or the one in memory."""
    name = durability + "".join(flags)
    command, ready = service(folder, name, "memory:" if durability == "memory" else f"lmdb:{folder / name}", durability)
    return [*command, *flags], ready


def served(folder: Path) -> Path:
    """A folder with the models that are called: the others only lengthen the start."""
    models = folder / "served"
    if not models.exists():
        models.mkdir()
        for model in MODELS:
            (models / model).symlink_to(ROOT / "models" / model, target_is_directory=True)
    return models


def service(folder: Path, name: str, store: str, durability: str) -> Command:
    ready, models = folder / f"{name}.json", served(folder)
    command = [sys.executable, "-m", "service", "--address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0"]
    command += [
        "--models",
        str(models),
        "--store",
        store,
        "--durability",
        durability,
        "--ready-file",
        str(ready),
        "--log-level",
        "warning",
    ]
    return command, ready


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median is reported")
    parser.add_argument("--sessions", type=int, nargs="*", default=[1, 64])
    parser.add_argument("--chunk", type=int, default=0, help="steps in a message; 0 for single steps")
    parser.add_argument("--levels", nargs="*", default=["memory", "process", "disk"], help="of durability")
    parser.add_argument("--serve-echo", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve_echo:
        uvloop.run(serve_echo(arguments.serve_echo))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        servers = {"echo": echo_server(folder), **{level: service_at(folder, level) for level in arguments.levels}}
        results = compare(servers, arguments.sessions, arguments.seconds, arguments.rounds, arguments.chunk)
    steps = max(1, arguments.chunk)
    print(
        "| sessions | server | messages/s | of echo | steps/s | p50 us | of echo | cpu us | echo's of it |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    for sessions in arguments.sessions:
        floor = results["echo", sessions]
        for kind in servers:
            own = results[kind, sessions]
            print(
                f"| {sessions} | {kind} | {own.rate:,.0f} | {own.rate / floor.rate:.2f} | {own.rate * steps:,.0f} "
                f"| {own.p50:,.0f} | {own.p50 / floor.p50:.1f} | {own.cpu:,.1f} | {floor.cpu / own.cpu:.2f} |"
            )


def compare(
    servers: dict[str, Command], sessions: list[int], seconds: float, rounds: int, chunk: int
) -> dict[tuple[str, int], Measured]:
    """Measures servers alternately, each started anew in every round; the medians, by server and sessions."""
    results: dict[tuple[str, int], list[Measured]] = {}
    for _ in range(rounds):
        for kind, (command, ready) in servers.items():
            ready.unlink(missing_ok=True)
            with process(command, ready) as server:
                for count in sessions:
                    results.setdefault((kind, count), []).append(measure(server, count, seconds, chunk))
    return {key: median_of(measured) for key, measured in results.items()}


def median_of(results: list[Measured]) -> Measured:
    """The median of each figure."""
    return Measured(*(median(column) for column in zip(*results, strict=True)))


if __name__ == "__main__":
    main()
