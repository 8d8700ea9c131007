"""A model without a network, and a small service around it without a wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np

from service.engine.admission import Limits
from service.engine.calls import Calls
from service.engine.engine import Engine
from service.hosting.model import Arrays, EntrySpec, Model, TensorSpec
from service.hosting.repository import Repository
from service.sessions.attachment import Attachment
from service.sessions.hashing import step_hash
from service.sessions.lifecycle import CreateSpec, Lifecycle, OpenSpec
from service.sessions.live import Live
from service.sessions.messages import StepMessage
from service.sessions.owners import Quota
from service.sessions.usage import Usage
from service.store.base import Key, Store
from service.store.memory import MemoryStore
from tapehead.v1.manifest_pb2 import Manifest
from tests.contract.clocks import HandClock

FLOAT = np.dtype(np.float32)
OWNER = "ada"


@dataclass
class Accumulator:
    """y = total + x, which becomes the total. An x of 666 fails the run; one of 1e38 * 10 overflows to infinity."""

    batches: list[int] = field(default_factory=list)

    def run(self, entry: str, inputs: Arrays, state: Arrays, outputs: tuple[str, ...]) -> tuple[Arrays, Arrays]:
        x = inputs["x"]
        self.batches.append(len(x))
        if (x == 666).any():
            raise RuntimeError("the planted failure")
        with np.errstate(over="ignore"):
            total = state["total"] + x * np.float32(10 if (x > 1e37).any() else 1)
        everything = {"y": total, "twice": 2 * total}
        return {name: everything[name] for name in outputs}, {"total": total}


def fake_model(
    runner: Accumulator | None = None, *, model_id: str = "accumulator", max_batch: int = 8, seconds: float = 0.0
) -> Model:
    total = TensorSpec("total", FLOAT, (2,))
    entry = EntrySpec(
        "step",
        inputs=(TensorSpec("x", FLOAT, (2,)),),
        outputs=(TensorSpec("y", FLOAT, (2,)), TensorSpec("twice", FLOAT, (2,), inspection=True)),
        reads_state=True,
        writes_state=True,
    )
    return Model(
        model_id=model_id,
        version=1,
        kind="sequence",
        manifest=Manifest(model_id=model_id, version=1),
        runner=runner or Accumulator(),
        entries={"step": entry},
        state=(total,),
        initial_state={"total": np.zeros(2, FLOAT)},
        fingerprint="f" * 64,
        vocabulary=None,
        batch_invariant=True,
        batch_reason="",
        max_batch=max_batch,
        run_seconds={"step": ((1, seconds), (max_batch, seconds))},
    )


def step_message(step: int, *values: float, acknowledged: int = 0, count: int = 0) -> StepMessage:
    """A step whose input is (value, value); `count` values make a chunk."""
    x = np.array([[value, value] for value in values], FLOAT)
    sent = x if count else x[0]
    return StepMessage(step, count, {"x": x}, ("y",), step_hash(count, {"x": sent}, ["y"]), acknowledged)


class SilentObserver:
    """Hears and says nothing."""

    def batch_run(self, model_id: str, entry: str, size: int, seconds: float) -> None: ...
    def messages_done(
        self, model_id: str, steps: int, queue: Sequence[float], infer: Sequence[float], commit: float
    ) -> None: ...
    def question_done(self, model_id: str, queue: float, infer: float) -> None: ...
    def replayed(self, model_id: str, steps: int) -> None: ...


class Server:
    """One server's sessions and engine over a store that others may share."""

    def __init__(
        self,
        store: Store,
        *models: Model,
        limits: Limits | None = None,
        live_limit: int = 100,
        quota: Quota = Quota(),  # noqa: B008  # a value, as fixed as a number
        clock: HandClock | None = None,
    ) -> None:
        clock = clock or HandClock()
        self.store, self.clock = store, clock
        self.repository = Repository(models or [fake_model()])
        self.engine = Engine(store, SilentObserver(), clock, limits or Limits(), lambda _owner: quota.waiting_steps)
        self.live = Live(store, self.repository.get, self.engine.pool_of, limit=live_limit)
        self.calls = Calls(self.live, self.engine.intake, store)
        usage = Usage(store, lambda _owner: quota, clock, self.repository)
        self.lifecycle = Lifecycle(
            store, self.live, self.repository, self.engine.intake, clock, usage, default_ttl=3600.0
        )

    async def create(self, session_id: str, window: int = 64) -> Key:
        await self.lifecycle.create(OWNER, CreateSpec(session_id, "accumulator", window=window))
        return Key(OWNER, session_id)

    async def open(self, session_id: str, client_id: str = "c", **fields: object) -> Attachment:
        return await self.lifecycle.open(OWNER, OpenSpec(session_id, client_id=client_id, **fields))  # type: ignore[arg-type]

    async def step(self, key: Key, step: int, *values: float, client_id: str = "unary", count: int = 0) -> float:
        """Steps by a unary call; returns the last value of the answer."""
        answer, _ = await self.calls.step(key, None, step_message(step, *values, count=count), client_id)
        return float(answer.outputs["y"].reshape(-1)[-1])


@asynccontextmanager
async def serving(*servers: Server) -> AsyncIterator[None]:
    """Runs the servers' engines meanwhile."""
    loops = [asyncio.create_task(server.engine.run()) for server in servers]
    try:
        yield
    finally:
        for loop, server in zip(loops, servers, strict=True):
            loop.cancel()
            await asyncio.gather(loop, return_exceptions=True)
            server.engine.close()


def memory_server(*models: Model, limits: Limits | None = None) -> Server:
    return Server(MemoryStore(), *models, limits=limits)
