"""Unary Step and Ask against a bare echo of the same messages, all measured alternately in one run.

    python -m benchmarks.unary [--seconds 2] [--rounds 3] [--callers 16 64]

The floor is a grpc.aio server on uvloop, with the service's own channel options, that parses each request and answers
with a message of the same shape, computing and storing nothing. Each caller of Step has a session of its own and waits
for its answer; each caller of Ask has told a session a story of ten sentences, and asks about it again and again. The
client process neither builds tensors nor parses replies, but checks the length of each. `cpu us` is the time of the
server's processors for a call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import uvloop
from google.protobuf.message import Message

from tapehead.v1 import question_service_pb2 as questions
from tapehead.v1 import session_service_pb2 as sessions
from tapehead.v1.tensor_pb2 import DATA_TYPE_FLOAT32, Tensor

from . import wire
from .streams import MIN_REPLY_BYTES, OPTIONS, Measured, Meter, Server, median_of, process, service_at

SESSIONS, QUESTIONS = "tapehead.v1.SessionService", "tapehead.v1.QuestionService"
STORY = [f"{who} {how} to the {where}." for who, how, where in [
    ("Mary", "went", "garden"), ("John", "moved", "hallway"), ("Sandra", "travelled", "office"),
    ("Daniel", "journeyed", "kitchen"), ("Mary", "moved", "bathroom"), ("John", "went", "bedroom"),
    ("Sandra", "went", "garden"), ("Daniel", "moved", "office"), ("Mary", "travelled", "kitchen"),
    ("John", "journeyed", "garden"),
]]  # fmt: skip
ANSWERS = 5  # ranked answers of a reply, as many as the service gives unasked


# --- the floor --------------------------------------------------------------------------------------------------------


async def echo_step(request: sessions.StepRequest, context: object) -> sessions.StepResponse:
    response = sessions.StepResponse(incarnation="0" * 32)
    result = response.result
    result.step = result.committed_step = request.step
    result.outputs.add(name="y", dtype=DATA_TYPE_FLOAT32, shape=[8], raw=bytes(32))
    result.input_hash = bytes(32)
    return response


async def echo_ask(request: questions.AskRequest, context: object) -> questions.AskResponse:
    response = questions.AskResponse(model_id="babi-qa", model_version=1, step=len(STORY))
    for _ in range(ANSWERS):
        response.answers.add(text="kitchen", probability=0.2)
    for _ in range(5):
        response.hops.add(weights=[0.1] * len(STORY))
    return response


async def serve_echo(ready: Path) -> None:
    handlers: dict[str, dict[str, tuple[Callable[..., object], type[Message], type[Message]]]] = {
        SESSIONS: {"Step": (echo_step, sessions.StepRequest, sessions.StepResponse)},
        QUESTIONS: {"Ask": (echo_ask, questions.AskRequest, questions.AskResponse)},
    }
    server = grpc.aio.server(options=OPTIONS)
    for name, methods in handlers.items():
        own = {
            method: grpc.unary_unary_rpc_method_handler(act, request.FromString, response.SerializeToString)
            for method, (act, request, response) in methods.items()
        }
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, own)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    ready.write_text(json.dumps({"grpc": f"127.0.0.1:{port}"}))  # noqa: ASYNC240  # before anything is served
    await server.wait_for_termination()


# --- the client -------------------------------------------------------------------------------------------------------


async def drive(server: Server, call: str, callers: int, seconds: float, is_echo: bool) -> Measured:
    """Calls so many at a time for so long."""
    meter = Meter(server.pid, seconds)
    async with grpc.aio.insecure_channel(server.address, options=OPTIONS) as channel:

        async def prepare(number: int) -> tuple[wire.RawMethod, Callable[[int], bytes]]:
            name = f"bench-{os.getpid()}-{time.time_ns()}-{number}"
            if not is_echo:
                create = sessions.CreateSessionRequest(
                    session_id=name, model_id="ntm-copy" if call == "step" else "babi-qa"
                )
                await wire.unary(channel, f"/{SESSIONS}/CreateSession")(create.SerializeToString())
            if call == "step":
                x = np.random.default_rng(number).integers(0, 2, 9).astype("<f4").tobytes()
                tensor = Tensor(name="x", dtype=DATA_TYPE_FLOAT32, shape=[9], raw=x)
                message = sessions.StepRequest(session_id=name, inputs=[tensor])

                def numbered(step: int) -> bytes:
                    message.step = step
                    return message.SerializeToString()

                return wire.unary(channel, f"/{SESSIONS}/Step"), numbered
            if not is_echo:
                tell = questions.TellRequest(session_id=name, sentences=STORY, step=1)
                await wire.unary(channel, f"/{QUESTIONS}/Tell")(tell.SerializeToString())
            ask = questions.AskRequest(session_id=name, question="Where is Mary?").SerializeToString()
            return wire.unary(channel, f"/{QUESTIONS}/Ask"), lambda _: ask

        async def repeat(method: wire.RawMethod, message: Callable[[int], bytes]) -> None:
            step = 1
            while not meter.is_over:
                before = time.perf_counter()
                reply = await method(message(step))
                meter.add(time.perf_counter() - before)
                step += 1
                if len(reply) < MIN_REPLY_BYTES:
                    raise AssertionError(f"{call}: a reply of {len(reply)} bytes")

        ready = await asyncio.gather(*(prepare(number) for number in range(callers)))
        measuring = asyncio.create_task(meter.run())
        await asyncio.gather(measuring, *(repeat(*each) for each in ready))
    return measuring.result()


def measure(server: Server, call: str, callers: int, seconds: float, is_echo: bool) -> Measured:
    """Measures from a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (server, call, callers, seconds, is_echo))


def _measure(server: Server, call: str, callers: int, seconds: float, is_echo: bool) -> Measured:
    return uvloop.run(drive(server, call, callers, seconds, is_echo))


def compare(
    folder: Path, durability: str, callers: list[int], seconds: float, rounds: int
) -> dict[tuple[str, str, int], Measured]:
    """Measures echo and service alternately, each started anew in every round; medians by call, server and callers."""
    echo = folder / "unary-echo.json"
    servers = {
        "echo": ([sys.executable, "-m", "benchmarks.unary", "--serve-echo", str(echo)], echo),
        "service": service_at(folder, durability),
    }
    results: dict[tuple[str, str, int], list[Measured]] = {}
    for _ in range(rounds):
        for kind, (command, ready) in servers.items():
            ready.unlink(missing_ok=True)
            with process(command, ready) as server:
                for call in ("step", "ask"):
                    for count in callers:
                        result = measure(server, call, count, seconds, kind == "echo")
                        results.setdefault((call, kind, count), []).append(result)
    return {key: median_of(measured) for key, measured in results.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median is reported")
    parser.add_argument("--callers", type=int, nargs="*", default=[16, 64])
    parser.add_argument("--durability", default="process", choices=["memory", "process", "disk"])
    parser.add_argument("--serve-echo", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve_echo:
        uvloop.run(serve_echo(arguments.serve_echo))
        return
    with tempfile.TemporaryDirectory() as name:
        results = compare(Path(name), arguments.durability, arguments.callers, arguments.seconds, arguments.rounds)
    print(f"durability {arguments.durability}\n")
    print("| call | callers | echo/s | service/s | of echo | echo p50 us | service p50 us | cpu us | echo's of it |")
    print("|---|---|---|---|---|---|---|---|---|")
    for call in ("step", "ask"):
        for callers in arguments.callers:
            floor, own = results[call, "echo", callers], results[call, "service", callers]
            print(
                f"| {call} | {callers} | {floor.rate:,.0f} | {own.rate:,.0f} | {own.rate / floor.rate:.2f} "
                f"| {floor.p50:,.0f} | {own.p50:,.0f} | {own.cpu:,.0f} | {floor.cpu / own.cpu:.2f} |"
            )


if __name__ == "__main__":
    main()
