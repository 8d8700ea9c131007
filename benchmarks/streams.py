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

import grpc
import numpy as np
import uvloop

from tapehead.v1 import session_service_pb2 as pb
from tapehead.v1.tensor_pb2 import DATA_TYPE_FLOAT32, Tensor

METHOD = "/tapehead.v1.SessionService/StreamSteps"
OPTIONS = [("grpc.http2.bdp_probe", 0), ("grpc.so_reuseport", 0), ("grpc.optimization_target", "latency")]
WARM_UP_SECONDS = 0.5
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


async def drive(address: str, sessions: int, seconds: float, chunk: int) -> tuple[float, list[float]]:
    """Steps so many sessions for so long, each waiting for its answer; messages/s and the latencies in seconds.

    `chunk` is the number of steps in a message; 0 for single steps without a time axis.
    """
    latencies: list[float] = []
    end = time.perf_counter() + WARM_UP_SECONDS + seconds
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        method = channel.stream_stream(METHOD)

        async def stream(number: int) -> None:
            call = method()
            create = pb.CreateSessionRequest(model_id="ntm-copy")
            opening = pb.StreamOpen(session_id=f"bench-{os.getpid()}-{time.time_ns()}-{number}", create=create)
            await call.write(pb.StreamStepsRequest(open=opening).SerializeToString())
            await call.read()
            shape = [chunk, 9] if chunk else [9]
            x = np.random.default_rng(number).integers(0, 2, shape).astype("<f4").tobytes()
            tensor = Tensor(name="x", dtype=DATA_TYPE_FLOAT32, shape=shape, raw=x)
            message = pb.StreamStepsRequest(step=pb.StreamStep(step_count=chunk, inputs=[tensor]))
            step = 1
            while (before := time.perf_counter()) < end:
                message.step.step = step
                step += max(1, chunk)
                await call.write(message.SerializeToString())
                reply = await call.read()
                after = time.perf_counter()
                if len(reply) < MIN_REPLY_BYTES:
                    raise AssertionError(f"step {step}: {pb.StreamStepsResponse.FromString(reply)}")
                if before > end - seconds:
                    latencies.append(after - before)
            call.cancel()

        await asyncio.gather(*(stream(number) for number in range(sessions)))
    return len(latencies) / seconds, latencies


def measure(address: str, sessions: int, seconds: float, chunk: int) -> tuple[float, float]:
    """Messages/s and the median latency in microseconds, from a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (address, sessions, seconds, chunk))


def _measure(address: str, sessions: int, seconds: float, chunk: int) -> tuple[float, float]:
    rate, latencies = uvloop.run(drive(address, sessions, seconds, chunk))
    return rate, median(latencies) * 1e6


# --- the servers ------------------------------------------------------------------------------------------------------


@contextmanager
def process(command: list[str], ready: Path) -> Iterator[str]:
    """Runs a server; gives its address."""
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while not ready.exists():
            if server.poll() is not None:
                sys.exit(f"{command} ended with {server.returncode}")
            time.sleep(0.02)
        time.sleep(0.1)
        yield json.loads(ready.read_text())["grpc"]
    finally:
        server.terminate()
        server.wait()


def service(folder: Path, name: str, store: str, durability: str) -> tuple[list[str], Path]:
    ready = folder / f"{name}.json"
    command = [sys.executable, "-m", "service", "--address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0"]
    command += ["--store", store, "--durability", durability, "--ready-file", str(ready), "--log-level", "warning"]
    return command, ready


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median is reported")
    parser.add_argument("--sessions", type=int, nargs="*", default=[1, 64])
    parser.add_argument("--chunk", type=int, default=0, help="steps in a message; 0 for single steps")
    parser.add_argument("--serve-echo", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve_echo:
        uvloop.run(serve_echo(arguments.serve_echo))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        echo = folder / "echo.json"
        servers = {"echo": ([sys.executable, "-m", "benchmarks.streams", "--serve-echo", str(echo)], echo)}
        for durability in ("memory", "process", "disk"):
            store = "memory:" if durability == "memory" else f"lmdb:{folder / durability}"
            servers[durability] = service(folder, durability, store, durability)
        results: dict[tuple[str, int], list[tuple[float, float]]] = {}
        for _ in range(arguments.rounds):
            for kind, (command, ready) in servers.items():
                ready.unlink(missing_ok=True)
                with process(command, ready) as address:
                    for sessions in arguments.sessions:
                        result = measure(address, sessions, arguments.seconds, arguments.chunk)
                        results.setdefault((kind, sessions), []).append(result)
    steps = max(1, arguments.chunk)
    print("| sessions | server | messages/s | of echo | steps/s | p50 us | of echo |\n|---|---|---|---|---|---|---|")
    for sessions in arguments.sessions:
        floor_rate, floor_p50 = (median(values) for values in zip(*results["echo", sessions], strict=True))
        for kind in servers:
            rate, p50 = (median(values) for values in zip(*results[kind, sessions], strict=True))
            print(
                f"| {sessions} | {kind} | {rate:,.0f} | {rate / floor_rate:.2f} | {rate * steps:,.0f} "
                f"| {p50:,.0f} | {p50 / floor_p50:.1f} |"
            )


if __name__ == "__main__":
    main()
