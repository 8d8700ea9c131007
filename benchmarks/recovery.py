"""What a kill, a takeover and many resting sessions cost: milliseconds, of the default server with a store on disk.

    python -m benchmarks.recovery [start kill takeover parked] [--sessions 1000] [--parked 100000] [--path FOLDER]

`start`: seconds until a server with the shipped bundles serves, started by kill -9 of the one before. `kill`: so many
streams are open and stepping; the server is killed by kill -9 and started again; every client opens its session again
at once. Counted from the moment at which the server is reachable to each one's first new output. `takeover`: another
client opens a session that a first one is stepping: until its `opened` has come. `parked`: so many sessions rest in the
store; one of them is opened, four at a time, and the server's own memory is compared with what it was before. The
sessions are written straight into the store, as the server would write them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import grpc
import numpy as np
import psutil
import uvloop

from service.hosting.repository import load_model
from service.sessions.live import first_state
from service.shelving import cache_folder
from service.store.base import Birth, Durability, Key
from service.store.lmdb import LmdbStore
from tapehead.v1 import session_service_pb2 as pb
from tapehead.v1.tensor_pb2 import DATA_TYPE_FLOAT32, Tensor

from . import wire
from .streams import METHOD, OPTIONS

MODEL = "ntm-copy"
OWNER = ""  # of callers who are not asked who they are
START_SECONDS = 60.0
PARTS = ("start", "kill", "takeover", "parked")


class Server:
    """The service on one store and one port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = "127.0.0.1:0"

    def start(self) -> float:
        """Starts it; returns the seconds until it is reachable."""
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "service", "--address", self.address, "--metrics-address", "127.0.0.1:0"]
        command += ["--store", f"lmdb:{self.folder / 'store'}", "--ready-file", str(ready), "--log-level", "warning"]
        began = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while not ready.exists():
            if self.process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                sys.exit("the server did not start")
            time.sleep(0.005)
        self.address = json.loads(ready.read_text())["grpc"]
        return time.perf_counter() - began

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def anonymous_bytes(self) -> int:
        """What it keeps in memory itself, apart from the pages of the store's file."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


class Stream:
    """One client's stream."""

    def __init__(self, channel: grpc.aio.Channel, session_id: str) -> None:
        self._call = wire.stream(channel, METHOD)()
        self._session_id = session_id

    async def open(self, *, create: bool) -> int:
        """Returns the committed step."""
        opening = pb.StreamOpen(session_id=self._session_id, client_id=secrets.token_hex(8))
        if create:
            opening.create.model_id = MODEL
        await self._call.write(pb.StreamStepsRequest(open=opening).SerializeToString())
        return self._checked(await self._call.read(), "opened").opened.committed_step

    async def step(self, number: int) -> None:
        tensor = Tensor(name="x", dtype=DATA_TYPE_FLOAT32, shape=[9], raw=bytes(36))
        message = pb.StreamStepsRequest(step=pb.StreamStep(step=number, inputs=[tensor]))
        await self._call.write(message.SerializeToString())
        self._checked(await self._call.read(), "result")

    def _checked(self, reply: bytes, kind: str) -> pb.StreamStepsResponse:
        response = pb.StreamStepsResponse.FromString(reply)
        if response.WhichOneof("message") != kind:
            raise AssertionError(f"{self._session_id}: expected {kind}, got {response}")
        return response

    def leave(self) -> None:
        self._call.cancel()


async def measure_kill(server: Server, sessions: int) -> None:
    names = [f"killed-{number}" for number in range(sessions)]
    async with grpc.aio.insecure_channel(server.address, options=OPTIONS) as channel:
        streams = [Stream(channel, name) for name in names]
        await asyncio.gather(*(stream.open(create=True) for stream in streams))
        await asyncio.gather(*(stream.step(1) for stream in streams))
        server.kill()
    started = await asyncio.to_thread(server.start)
    began = time.perf_counter()
    seconds: list[float] = []

    async def resume(channel: grpc.aio.Channel, name: str) -> None:
        stream = Stream(channel, name)
        committed = await stream.open(create=False)
        await stream.step(committed + 1)
        seconds.append(time.perf_counter() - began)
        stream.leave()

    async with grpc.aio.insecure_channel(server.address, options=OPTIONS) as channel:
        await asyncio.gather(*(resume(channel, name) for name in names))
    print(f"start after kill -9, {sessions} sessions open: {started:.2f} s")
    print(f"first output after it, all {sessions} at once: {_show(seconds)}")


async def measure_takeover(server: Server, count: int = 50) -> None:
    seconds: list[float] = []
    async with (
        grpc.aio.insecure_channel(server.address, options=OPTIONS) as channel,
        grpc.aio.insecure_channel(server.address, options=[*OPTIONS, ("grpc.use_local_subchannel_pool", 1)]) as other,
    ):
        for number in range(count):
            first, second = Stream(channel, f"taken-{number}"), Stream(other, f"taken-{number}")
            step = await first.open(create=True)
            for _ in range(5):
                step += 1
                await first.step(step)
            began = time.perf_counter()
            await second.open(create=False)
            seconds.append(time.perf_counter() - began)
            first.leave()
            second.leave()
    print(f"takeover of a live session: {_show(seconds)}")


def measure_memory(server: Server, parked: int) -> None:
    """What a server keeps that has started on the store, beside one on an empty store."""
    with tempfile.TemporaryDirectory() as name:
        empty = Server(Path(name))
        empty.start()
        own = empty.anonymous_bytes()
        empty.kill()
    grown = server.anonymous_bytes() - own
    print(
        f"anonymous memory: {own / 2**20:.0f} MiB with an empty store, {grown / 2**20:+.1f} MiB with {parked} at rest"
    )


async def measure_parked(server: Server, parked: int, opens: int = 2000) -> None:
    before = server.anonymous_bytes()
    seconds: list[float] = []
    numbers = iter(random.Random(1).sample(range(parked), min(opens, parked)))

    async def open_some(channel: grpc.aio.Channel) -> None:
        for number in numbers:
            stream = Stream(channel, f"parked-{number}")
            began = time.perf_counter()
            await stream.open(create=False)
            seconds.append(time.perf_counter() - began)
            stream.leave()

    async with grpc.aio.insecure_channel(server.address, options=OPTIONS) as channel:
        await asyncio.gather(*(open_some(channel) for _ in range(4)))
    grown = server.anonymous_bytes() - before
    print(f"open one of {parked} resting sessions: {_show(seconds)}")
    print(f"anonymous memory: {grown / 2**20:+.1f} MiB for {len(seconds)} of them, which then are in memory")


async def park(folder: Path, parked: int) -> None:
    """Writes resting sessions into a store."""
    model = load_model(Path("models") / MODEL / "1", cache_folder=cache_folder())
    state = first_state(model)
    store = LmdbStore.at(folder, Durability.PROCESS)
    for first in range(0, parked, 500):
        births = [
            Birth(MODEL, model.version, 64, 30 * 86400.0, request_hash=np.int64(number).tobytes() * 4)
            for number in range(first, min(first + 500, parked))
        ]
        await asyncio.gather(
            *(
                store.create(Key(OWNER, f"parked-{first + n}"), birth, secrets.token_bytes(16), state, "")
                for n, birth in enumerate(births)
            )
        )
    await store.close()


def _show(seconds: list[float]) -> str:
    in_order = sorted(seconds)
    p99 = in_order[min(len(in_order) - 1, int(0.99 * len(in_order)))]
    return f"p50 {median(in_order) * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, most {in_order[-1] * 1e3:.1f} ms"


def measure_start(server: Server, count: int = 5) -> None:
    seconds = []
    for _ in range(count):
        server.kill()
        seconds.append(server.start())
    print(f"start: {_show(seconds)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--sessions", type=int, default=1000, help="open when the server is killed")
    parser.add_argument("--parked", type=int, default=100_000, help="sessions that rest in the store")
    parser.add_argument("--path", type=Path, help="folder on the volume to measure; a temporary one by default")
    arguments = parser.parse_args()
    parts = arguments.parts or PARTS
    if unknown := set(parts) - set(PARTS):
        parser.error(f"expected parts among {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory(dir=arguments.path) as name:
        folder = Path(name)
        if "parked" in parts:
            began = time.perf_counter()
            uvloop.run(park(folder / "store", arguments.parked))
            print(f"wrote {arguments.parked} sessions in {time.perf_counter() - began:.0f} s", flush=True)
        server = Server(folder)
        print(f"first start: {server.start():.2f} s", flush=True)
        try:
            if "parked" in parts:
                measure_memory(server, arguments.parked)
                uvloop.run(measure_parked(server, arguments.parked))
            if "takeover" in parts:
                uvloop.run(measure_takeover(server))
            if "kill" in parts:
                uvloop.run(measure_kill(server, arguments.sessions))
            if "start" in parts:
                measure_start(server)
        finally:
            psutil.Process(server.process.pid).kill()
            server.process.wait()


if __name__ == "__main__":
    main()
