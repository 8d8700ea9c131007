"""How cost grows: with sessions, chunks, stories, tapes and bundles. Each part alone: name those wanted.

    python -m benchmarks.growth [sessions parked start chunks stories tapes] [--seconds 2] [--record FOLDER]

`sessions`: steps/s, latencies and memory with 1 to 10,000 open sessions, of which at most 64 step. `parked`: memory of
sessions that no stream holds. `start`: seconds until a server with 1, 10 and 50 bundles serves, when it checks them for
the first time and when it knows them. `chunks`: steps/s by the steps of a message. `stories`: the time of a question by
the length of its story. `tapes`: processor time of a step by the size of its state, without the transport.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import grpc
import numpy as np
import psutil
import uvloop

from benchmarks import inside, records, streams, wire
from benchmarks.model import INPUTS, OUTPUTS, state_shapes, tuned_step
from service.hosting.repository import Repository
from service.store.memory import MemoryStore
from tapehead.bundle import write_bundle
from tapehead.v1 import question_service_pb2 as questions
from tapehead.v1 import session_service_pb2 as pb
from tapehead.v1.manifest_pb2 import Entry, EntryTensor, Manifest, ModelKind, StateTensor
from tapehead.v1.tensor_pb2 import DATA_TYPE_FLOAT32, Tensor

PARTS = ("sessions", "parked", "start", "chunks", "stories", "tapes")
ACTIVE = 64
OPEN = (1, 4, 16, 64, 256, 1_000, 10_000)
PARKED = 5_000
BUNDLES = (1, 10, 50)
CHUNKS = (0, 2, 4, 8, 16, 32, 64)
CHUNK_SESSIONS = 16
SENTENCES = (1, 2, 5, 10, 20, 50)
TAPES = (32, 128, 512, 2048)  # locations
MODELS = Path("models")


@contextmanager
def server(folder: Path, *flags: str) -> Iterator[streams.Server]:
    command, ready = streams.service(folder, f"server-{time.time_ns()}", "memory:", "memory")
    with streams.process([*command, *flags], ready) as running:
        yield running


# --- sessions ---------------------------------------------------------------------------------------------------------


def sessions(folder: Path, seconds: float, record: Path | None) -> None:
    print("| open | of them active | steps/s | p50 us | p99 us | cpu us | RSS MiB |\n|---|---|---|---|---|---|---|")
    rows: list[tuple[int, streams.Measured]] = []
    for count in OPEN:
        with server(folder) as running:
            active = min(ACTIVE, count)
            rows.append((count, streams.measure(running, active, seconds, 0, count - active)))
        own = rows[-1][1]
        print(
            f"| {count:,} | {active} | {own.rate:,.0f} | {own.p50:,.0f} | {own.p99:,.0f} | {own.cpu:,.0f} "
            f"| {own.rss / (1 << 20):,.0f} |",
            flush=True,
        )
    (few, before), (many, after) = next(row for row in rows if row[0] == ACTIVE), rows[-1]
    print(f"\nan open session with an idle stream: {(after.rss - before.rss) / (many - few) / 1024:.0f} KiB\n")
    if record is not None:
        found = [{"open": count, "rate": own.rate, "p50": own.p50, "p99": own.p99} for count, own in rows]
        records.write(record, "sessions", {"active": ACTIVE, "rows": found})


def parked(folder: Path, seconds: float) -> None:
    with server(folder) as running:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            pool.apply(_park, (running, 200))  # what the first ones need is not theirs alone
            before = psutil.Process(running.pid).memory_info().rss
            pool.apply(_park, (running, PARKED))
        after = psutil.Process(running.pid).memory_info().rss
    print(
        f"a session parked in memory, with one answer, in a store in memory: {(after - before) / PARKED / 1024:.0f} KiB"
    )


def _park(running: streams.Server, count: int) -> None:
    uvloop.run(_step_once(running.address, count))


async def _step_once(address: str, count: int) -> None:
    """Creates so many sessions, each with one step, over unary calls."""
    x = Tensor(name="x", dtype=DATA_TYPE_FLOAT32, shape=[INPUTS], raw=bytes(4 * INPUTS))
    async with grpc.aio.insecure_channel(address, options=streams.OPTIONS) as channel:
        create = wire.unary(channel, "/tapehead.v1.SessionService/CreateSession")
        step = wire.unary(channel, "/tapehead.v1.SessionService/Step")

        async def one(name: str) -> None:
            await create(pb.CreateSessionRequest(session_id=name, model_id="ntm-copy").SerializeToString())
            await step(pb.StepRequest(session_id=name, step=1, inputs=[x]).SerializeToString())

        mark = time.time_ns()
        for first in range(0, count, 100):
            await asyncio.gather(*(one(f"park-{mark}-{number}") for number in range(first, min(first + 100, count))))


# --- bundles ----------------------------------------------------------------------------------------------------------


def start(folder: Path, seconds: float) -> None:
    print("| bundles | first start s | later starts s |\n|---|---|---|")
    before = os.environ.get("XDG_CACHE_HOME")
    for count in BUNDLES:
        models = folder / f"models-{count}"
        for number in range(count):
            copy_bundle(MODELS / "ntm-copy" / "1", models, f"ntm-{number:02}")
        os.environ["XDG_CACHE_HOME"] = str(folder / f"cache-{count}")
        times = []
        for _ in range(2):
            begin = time.perf_counter()
            with server(folder, "--models", str(models)):
                times.append(time.perf_counter() - begin - streams.SETTLE_SECONDS)
        print(f"| {count} | {times[0]:.1f} | {times[1]:.1f} |", flush=True)
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


def copy_bundle(source: Path, models: Path, model_id: str) -> None:
    target = models / model_id / source.name
    shutil.copytree(source, target)
    manifest = json.loads((target / "manifest.json").read_text())
    manifest["model_id"] = model_id
    (target / "manifest.json").write_text(json.dumps(manifest))


# --- chunks, stories, tapes -------------------------------------------------------------------------------------------


def chunks(folder: Path, seconds: float) -> None:
    print("| steps a message | messages/s | steps/s | p50 us | cpu us a step |\n|---|---|---|---|---|")
    with server(folder) as running:
        for chunk in CHUNKS:
            own, steps = streams.measure(running, CHUNK_SESSIONS, seconds, chunk), max(1, chunk)
            print(f"| {steps} | {own.rate:,.0f} | {own.rate * steps:,.0f} | {own.p50:,.0f} | {own.cpu / steps:,.1f} |")


def stories(folder: Path, seconds: float) -> None:
    print("| sentences | Tell of all us | Ask p50 us |\n|---|---|---|")
    with server(folder) as running, multiprocessing.get_context("spawn").Pool(1) as pool:
        for count in SENTENCES:
            told, asked = pool.apply(_tell_and_ask, (running.address, count, seconds))
            print(f"| {count} | {told * 1e6:,.0f} | {asked * 1e6:,.0f} |", flush=True)


def _tell_and_ask(address: str, count: int, seconds: float) -> tuple[float, float]:
    return uvloop.run(tell_and_ask(address, count, seconds))


async def tell_and_ask(address: str, count: int, seconds: float) -> tuple[float, float]:
    """Seconds to tell a story, and the median of those to ask about it, one caller alone."""
    story = [f"Mary went to the {('garden', 'office', 'kitchen')[n % 3]}." for n in range(count)]
    service = "/tapehead.v1.QuestionService"
    async with grpc.aio.insecure_channel(address, options=streams.OPTIONS) as channel:
        create = wire.unary(channel, "/tapehead.v1.SessionService/CreateSession")
        told, asked = [], []
        for turn in range(5):
            name = f"story-{time.time_ns()}-{turn}"
            await create(pb.CreateSessionRequest(session_id=name, model_id="babi-qa").SerializeToString())
            begin = time.perf_counter()
            tell = questions.TellRequest(session_id=name, sentences=story, step=1)
            await wire.unary(channel, f"{service}/Tell")(tell.SerializeToString())
            told.append(time.perf_counter() - begin)
        ask = questions.AskRequest(session_id=name, question="Where is Mary?").SerializeToString()
        method, end = wire.unary(channel, f"{service}/Ask"), time.perf_counter() + seconds
        while (begin := time.perf_counter()) < end:
            await method(ask)
            asked.append(time.perf_counter() - begin)
    return median(told), median(asked)


def tapes(folder: Path, seconds: float) -> None:
    models = folder / "tapes"
    for locations in TAPES:
        write_tape(models, locations)
    repository = Repository.load(models, max_batch=128)
    print("| locations | state KiB | sessions | cpu us a step | of it the run us |\n|---|---|---|---|---|")
    for locations in TAPES:
        name = f"tape-{locations}"
        size = repository.get(name, 0).state_bytes / 1024
        for count in (1, ACTIVE):
            cost = min(uvloop.run(inside.drive(MemoryStore(), repository, count, 100, 0, name)) for _ in range(3))
            run = inside.bare_run(repository, count, 0, name)
            print(f"| {locations:,} | {size:,.0f} | {count} | {cost:,.0f} | {run:,.0f} |", flush=True)


def write_tape(models: Path, locations: int) -> None:
    """A bundle of the machine that is written by hand, of so many locations."""
    first = {"memory": 1e-3, "weights": 1 / locations}
    state = [
        StateTensor(
            name=name,
            graph_input=name,
            graph_output=f"next_{name}",
            dtype=DATA_TYPE_FLOAT32,
            shape=shape,
            initial_file=f"initial.{name}.bin",
        )
        for name, shape in state_shapes(locations).items()
    ]
    entry = Entry(
        name="step",
        file="model.onnx",
        inputs=[EntryTensor(name="x", dtype=DATA_TYPE_FLOAT32, shape=[INPUTS])],
        outputs=[EntryTensor(name="y", dtype=DATA_TYPE_FLOAT32, shape=[OUTPUTS])],
        reads_state=True,
        writes_state=True,
    )
    manifest = Manifest(
        format=1,
        model_id=f"tape-{locations}",
        version=1,
        kind=ModelKind.MODEL_KIND_SEQUENCE,
        entries=[entry],
        state=state,
    )
    files = {
        tensor.initial_file: np.full(tuple(tensor.shape), first.get(tensor.name, 0.0), "<f4").tobytes()
        for tensor in state
    }
    files["model.onnx"] = tuned_step(locations).SerializeToString()
    calls = [("step", {"x": np.ones(INPUTS, np.float32)})] * 2
    write_bundle(models / f"tape-{locations}" / "1", manifest, files, [calls], 1e-4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--record", type=Path, help="folder in which the part `sessions` keeps what it found")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"expected parts among {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    acts = {"parked": parked, "start": start, "chunks": chunks, "stories": stories, "tapes": tapes}
    with tempfile.TemporaryDirectory() as name:
        for part in arguments.parts or PARTS:
            print(f"\n{part}\n")
            if part == "sessions":
                sessions(Path(name), arguments.seconds, arguments.record)
            else:
                acts[part](Path(name), arguments.seconds)


if __name__ == "__main__":
    main()
