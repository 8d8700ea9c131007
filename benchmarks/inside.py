"""What a streamed step costs the service apart from the transport: processor time, nearly immune to what else runs.

    python -m benchmarks.inside [--sessions 64] [--steps 200] [--chunk 32] [--level memory process disk]

Drives the server's own streams, engine and store in one process by calls that hand over serialised messages and take
serialised replies, in lockstep. The figures are lower quartiles over the steps, which what else runs on the machine
hardly touches. `run us` is the bare model run of the same batch, which nobody could do without.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from service.api.call import EOF, Call, Method
from service.api.interceptors.draining import Drain
from service.api.streams import Streams
from service.clock import SystemClock
from service.engine.admission import Limits
from service.engine.engine import Engine
from service.hosting.repository import Repository
from service.process import spare_garbage_searches
from service.sessions.lifecycle import Lifecycle
from service.sessions.live import Live
from service.sessions.owners import Owners
from service.sessions.usage import Usage
from service.store.base import Durability, Store
from service.store.lmdb import LmdbStore
from service.store.memory import MemoryStore
from service.telemetry.metrics import Metrics
from tapehead.v1 import session_service_pb2 as pb
from tapehead.v1.tensor_pb2 import DATA_TYPE_FLOAT32, Tensor

METHOD = Method("tapehead.v1.SessionService", "StreamSteps", "bidi_stream")
MODEL = "ntm-copy"
WARM_UP_STEPS = 30


class FakeContext:
    """One client: a request is there as soon as the reply before it was taken."""

    def __init__(self, number: int, steps: int, chunk: int, meter: Meter, model: str) -> None:
        create = pb.CreateSessionRequest(model_id=model)
        shape = [chunk, 9] if chunk else [9]
        x = np.random.default_rng(number).integers(0, 2, shape).astype("<f4").tobytes()
        tensor = Tensor(name="x", dtype=DATA_TYPE_FLOAT32, shape=shape, raw=x)
        opening = pb.StreamOpen(session_id=f"s{number}", create=create)
        self._messages = [pb.StreamStepsRequest(open=opening).SerializeToString()] + [
            pb.StreamStepsRequest(
                step=pb.StreamStep(step=1 + n * max(1, chunk), step_count=chunk, inputs=[tensor])
            ).SerializeToString()
            for n in range(steps)
        ]
        self._next = iter(self._messages)
        self._turn = asyncio.Event()
        self._turn.set()
        self._meter = meter

    async def read(self) -> Any:
        await self._turn.wait()
        self._turn.clear()
        data = next(self._next, None)
        return EOF if data is None else pb.StreamStepsRequest.FromString(data)

    async def write(self, message: pb.StreamStepsResponse | bytes) -> None:
        data = message if isinstance(message, bytes) else message.SerializeToString()
        if len(data) < 60:
            raise AssertionError(pb.StreamStepsResponse.FromString(data))
        self._meter.count()
        self._turn.set()


class Meter:
    """Takes the processor time of every round: as many replies as there are sessions."""

    def __init__(self, sessions: int) -> None:
        self._sessions, self._count = sessions, 0
        self._marks: list[float] = []

    def count(self) -> None:
        self._count += 1
        if self._count % self._sessions == 0:
            self._marks.append(time.process_time())

    @property
    def cpu(self) -> float:
        """Microseconds for each reply, in the lower quartile of the rounds after the warm-up."""
        rounds = sorted(after - before for before, after in pairwise(self._marks[WARM_UP_STEPS:]))
        return rounds[len(rounds) // 4] / self._sessions * 1e6


async def drive(
    store: Store, repository: Repository, sessions: int, steps: int, chunk: int, model: str = MODEL
) -> float:
    """Microseconds of processor time for each message."""
    clock, metrics, owners, drain = SystemClock(), Metrics(), Owners(None), Drain()
    engine = Engine(store, metrics, clock, Limits(), lambda owner: owners.quota_of(owner).waiting_steps)
    live = Live(store, repository.get, engine.pool_of, limit=100_000)
    usage = Usage(store, owners.quota_of, clock, repository)
    lifecycle = Lifecycle(store, live, repository, engine.intake, clock, usage, default_ttl=3600.0)
    streams = Streams(lifecycle, drain, metrics, owners, max_streams=100_000, heartbeat=60.0)
    running = asyncio.create_task(engine.run())
    meter = Meter(sessions)

    def call(number: int) -> Call:
        return Call(METHOD, FakeContext(number, WARM_UP_STEPS + steps, chunk, meter, model))  # type: ignore[arg-type]

    await asyncio.gather(*(streams.serve(call(number)) for number in range(sessions)))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    engine.close()
    await store.close()
    return meter.cpu


def bare_run(repository: Repository, sessions: int, chunk: int, model_id: str = MODEL) -> float:
    """Microseconds of the model's runs for each row of a batch."""
    model = repository.get(model_id, 0)
    state = {name: np.repeat(array[np.newaxis], sessions, axis=0) for name, array in model.initial_state.items()}
    entry, steps = ("chunk", (chunk,)) if chunk else ("step", ())
    x = np.random.default_rng(0).integers(0, 2, (sessions, *steps, 9)).astype(np.float32)
    best = float("inf")
    for _ in range(20):
        begin = time.thread_time()
        model.runner.run(entry, {"x": x}, state, model.default_outputs("step"))
        best = min(best, time.thread_time() - begin)
    return best / sessions * 1e6


@contextmanager
def store_of(level: str) -> Iterator[Store]:
    if level == "memory":
        yield MemoryStore()
        return
    with tempfile.TemporaryDirectory() as folder:
        yield LmdbStore.at(Path(folder) / "store", Durability[level.upper()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sessions", type=int, nargs="*", default=[1, 64])
    parser.add_argument("--steps", type=int, default=200, help="messages of each session")
    parser.add_argument("--chunk", type=int, default=0, help="steps in a message; 0 for single steps")
    parser.add_argument("--level", nargs="*", default=["memory", "process", "disk"])
    parser.add_argument("--rounds", type=int, default=3, help="of which the least is reported")
    parser.add_argument("--models", type=Path, default=Path("models"))
    arguments = parser.parse_args()
    repository = Repository.load(arguments.models, max_batch=128)
    print("| sessions | level | cpu us | run us | the service's own us |\n|---|---|---|---|---|")
    for sessions in arguments.sessions:
        for level in arguments.level:
            costs, runs = [], []
            for _ in range(arguments.rounds):
                spare_garbage_searches()
                with store_of(level) as store:
                    costs.append(uvloop.run(drive(store, repository, sessions, arguments.steps, arguments.chunk)))
                runs.append(bare_run(repository, sessions, arguments.chunk))
            cost, run = min(costs), min(runs)
            print(f"| {sessions} | {level} | {cost:.1f} | {run:.1f} | {cost - run:.1f} |", flush=True)


if __name__ == "__main__":
    main()
