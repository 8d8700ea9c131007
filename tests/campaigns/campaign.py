"""One campaign: workers on sessions, a hand that kills servers, and a judge at the end."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import pickle
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

import tapehead
from service import failpoints
from service.hosting.model import Model
from service.hosting.repository import load_model
from tapehead.opening import create_request
from tests.redis_process import RedisProcess

from . import oracle, stories
from .history import History
from .nursery import Nursery, Nursling
from .probes import Prober
from .workload import ABANDONED, MODEL, total

MODELS = Path(__file__).parents[2] / "models"
SETTINGS = ("lmdb-process", "lmdb-disk", "redis")
FAILPOINT_SECONDS = 5.0  # within which an armed server should have reached its failpoint
PROGRESS_SECONDS = 5.0  # after a start, within which sessions should have gone on
AFTERWARDS_SECONDS = 0.5  # for a process to be gone, or for one that failed to show what it does then
HITS = (1, 2, 3)
ABANDONED_SECONDS = 1.2  # after which sessions that live for a second have expired


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run does."""

    setting: str = "lmdb-process"
    replicas: int = 1
    seed: int = 1
    workers: int = 8
    tellers: int = 2
    kills: int = 20
    failpoints: tuple[str, ...] = ()  # each "name=action@hit"
    plant: str = ""  # a bug to put into the servers
    only: tuple[str, ...] = ()  # the operations of the workers; all if there are none
    quiet_seconds: float = 0.0  # without kills, before them


@dataclass
class Result:
    """What came of it."""

    plan: Plan
    kills: int = 0  # of servers, at random instants
    start_kills: int = 0  # of servers while they started
    drains: int = 0
    redis_kills: int = 0
    reached: list[str] = field(default_factory=list)  # failpoints
    missed: list[str] = field(default_factory=list)
    sessions: int = 0
    steps: int = 0
    replayed: int = 0
    operations: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def deaths(self) -> int:
        killed_there = sum("=kill" in name for name in self.reached)
        return self.kills + self.start_kills + self.redis_kills + killed_there


def failpoints_of(setting: str) -> list[tuple[str, int]]:
    """Every failpoint that such a store can reach, with its hits: a drain begins once, and Redis ends many at once."""
    foreign = ("redis.",) if setting.startswith("lmdb") else ("commit.transaction", "commit.release")
    once = ("drain",) if setting.startswith("lmdb") else ("drain", "expire")
    names = [name for name in failpoints.NAMES if not name.startswith(foreign)]
    return [(name, hit) for name in names for hit in HITS if hit == 1 or name not in once]


@cache
def reference_model() -> Model:
    return load_model(MODELS / MODEL / "1")


@cache
def chosen_models() -> Path:
    """A folder with the two models that a campaign steps; it goes with this process."""
    folder = Path(tempfile.mkdtemp(prefix="tapehead-models-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in (MODEL, stories.MODEL):
        shutil.copytree(MODELS / name, folder / name)
    return folder


class Campaign:
    """One run of a plan, in a folder of its own."""

    def __init__(self, plan: Plan, nursery: Nursery, folder: Path) -> None:
        self.result = Result(plan)
        self._plan = plan
        self._chance = random.Random(f"{plan.setting} {plan.replicas} {plan.seed}")
        self._folder = folder
        self._nursery = nursery
        self._over = asyncio.Event()
        self._redis: RedisProcess | None = None
        self._servers: list[Nursling] = []
        self._workers: list[Prober] = []
        self._tellers: list[stories.Teller] = []

    @property
    def _has_failed(self) -> bool:
        return any(worker.violations for worker in self._workers)

    @property
    def histories(self) -> list[History]:
        return [history for worker in self._workers for history in worker.histories]

    async def run(self) -> Result:
        began = time.monotonic()
        async with AsyncExitStack() as ending:
            clients = await self._set_up(ending)
            plan = self._plan
            self._workers = [
                Prober(f"w{n}", clients, f"{self._chance.random()}", self._over, plan.only) for n in range(plan.workers)
            ]
            self._tellers = [
                stories.Teller(f"story-{n}", clients, f"{self._chance.random()}", self._over)
                for n in range(plan.tellers)
            ]
            work = [asyncio.create_task(worker.run()) for worker in self._workers]
            work += [asyncio.create_task(teller.run()) for teller in self._tellers]
            try:
                await self._disturb()
            finally:
                self._over.set()
                await asyncio.gather(*work)
            await self._judge(clients)
        result = self.result
        result.sessions, result.steps = len(self.histories), sum(len(history.events) for history in self.histories)
        result.replayed = sum(history.replayed for history in self.histories)
        result.operations = total(worker.counts for worker in self._workers)
        result.seconds = round(time.monotonic() - began, 1)
        return result

    async def _set_up(self, ending: AsyncExitStack) -> list[tapehead.aio.Client]:
        plan = self._plan
        flags = ["--log-level", "warning", "--max-live-sessions", str(plan.workers + plan.tellers + 4)]
        if plan.setting == "redis":
            self._redis = ending.enter_context(RedisProcess(self._folder / "redis"))
            store = self._redis.url
        else:
            store = f"lmdb:{self._folder / 'sessions'}"
            flags += ["--durability", plan.setting.rpartition("-")[2]]
        for number in range(plan.replicas):
            server = Nursling(self._nursery, self._folder / f"server-{number}", store, *flags, plant=plan.plant)
            self._servers.append(ending.enter_context(server))
            assert await server.start(), server.log
        clients = []
        for server in self._servers * (2 if plan.replicas == 1 else 1):
            patience = 5.0 if plan.replicas == 1 else 0.3  # then it asks another replica
            clients.append(
                await ending.enter_async_context(tapehead.aio.connect(server.grpc, reconnect_timeout=patience))
            )
        return clients

    # --- killing ------------------------------------------------------------------------------------------------------

    async def _disturb(self) -> None:
        end = time.monotonic() + self._plan.quiet_seconds
        while time.monotonic() < end and not self._has_failed:  # noqa: ASYNC110  # looked at now and then
            await asyncio.sleep(0.05)
        for point in self._plan.failpoints:
            if self._has_failed:
                return
            await self._at_failpoint(point)
        for number in range(1, self._plan.kills + 1):
            if self._has_failed:
                return
            await asyncio.sleep(self._chance.random() * 0.25)
            if self._redis and self._chance.random() < 0.15:
                await self._kill_redis()
            elif self._chance.random() < 0.25:
                name, hit = self._chance.choice(failpoints_of(self._plan.setting))
                await self._at_failpoint(f"{name}={self._chance.choice(('kill', 'error'))}@{hit}")
            else:
                await self._kill(is_drain=number % 10 == 0)

    async def _kill(self, *, is_drain: bool) -> None:
        server = self._chance.choice(self._servers)
        if is_drain:
            server.signal(signal.SIGTERM)
            if not await server.wait(30):
                self.result.violations.append("a server did not drain within 30 s")
                await server.kill()
            elif server.exit_code:
                self.result.violations.append(f"a drain ended with the exit code {server.exit_code}")
            self.result.drains += 1
        else:
            await server.kill()
            self.result.kills += 1
        while self._chance.random() < 0.1:  # now and then it dies while it starts
            server.launch()
            await asyncio.sleep(self._chance.random() * 0.15)
            await server.kill()
            self.result.start_kills += 1
        await self._bring_back(server)

    async def _abandon(self, session_id: str) -> None:
        """Leaves a session behind, which expires at the next start of a server."""
        request = create_request(MODEL, f"{ABANDONED}{session_id}", ttl=1.0)
        with contextlib.suppress(tapehead.errors.SessionExpired):  # a repeat that came too late
            async with tapehead.aio.connect(self._servers[0].grpc) as client:
                await client.sessions.create(request)

    async def _bring_back(self, server: Nursling) -> None:
        for _ in range(20):  # Redis may be away at the moment
            if await server.start():
                await self._until_steps_go_on()
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"a server does not start any more:\n{server.log[-2000:]}")

    async def _until_steps_go_on(self) -> None:
        """A machine that is busy with other things must not make a campaign of nothing but starts."""
        end = time.monotonic() + PROGRESS_SECONDS
        goal = self._answered() + len(self._workers)
        while self._answered() < goal and not self._has_failed and time.monotonic() < end:  # noqa: ASYNC110  # a count
            await asyncio.sleep(0.01)

    def _answered(self) -> int:
        return sum(len(history.answers) for history in self.histories)

    async def _kill_redis(self) -> None:
        assert self._redis
        self._redis.kill()
        await asyncio.sleep(self._chance.random() * 0.2)
        await asyncio.to_thread(self._redis.start)
        self.result.redis_kills += 1

    async def _at_failpoint(self, point: str) -> None:
        """Starts a server that will die, or fail, at a failpoint, and brings about what leads there."""
        name = point.partition("=")[0]
        server = self._chance.choice(self._servers)
        if name == "expire":
            for number in range(max(HITS) + 1):
                await self._abandon(f"expires/{self.result.kills}/{number}")
            await asyncio.sleep(ABANDONED_SECONDS)
        await server.kill()
        self.result.kills += 1
        said = len(server.log)
        alive = await server.start(point)
        if alive and name == "redis.connect":
            await self._kill_redis()
        if alive and name == "drain":
            server.signal(signal.SIGTERM)
        end = time.monotonic() + FAILPOINT_SECONDS
        is_reached = False
        while not is_reached and time.monotonic() < end:  # a process has no event to wait for
            await asyncio.sleep(0.02)
            is_reached = f"failpoint {name}, hit " in server.log[said:]
        ended = await server.wait(AFTERWARDS_SECONDS if is_reached else 0.0)
        (self.result.reached if is_reached else self.result.missed).append(point)
        if not ended:
            await server.kill()
            self.result.kills += 1
        await self._bring_back(server)

    # --- judging ------------------------------------------------------------------------------------------------------

    async def _judge(self, clients: Sequence[tapehead.aio.Client]) -> None:
        violations = self.result.violations
        violations += [violation for worker in self._workers for violation in worker.violations]
        if violations:  # what the other sessions hold says nothing about it
            violations += [violation for teller in self._tellers for violation in teller.violations]
            self._keep()
            return
        violations += await oracle.judge(clients[0], reference_model(), self.histories)
        violations += await oracle.judge_counters(clients[: self._plan.replicas])
        with Nursling(self._nursery, self._folder / "quiet", "memory:", "--log-level", "error") as quiet:
            assert await quiet.start()
            async with tapehead.aio.connect(quiet.grpc) as client:
                for teller in self._tellers:
                    violations += await stories.judge(teller, clients[0], client)
        if violations:
            self._keep()

    def _keep(self) -> None:
        (self._folder / "histories.pickle").write_bytes(pickle.dumps(self.histories))
        (self._folder / "result.json").write_text(json.dumps(asdict(self.result), indent=1))


def run(plan: Plan, nursery: Nursery) -> Result:
    """Runs a plan in a folder that goes when all is well."""
    folder = Path(tempfile.mkdtemp(prefix="tapehead-crash-"))
    result = asyncio.run(Campaign(plan, nursery, folder).run())
    if result.violations and not plan.plant:
        result.violations.append(f"kept: {folder}")
    else:
        shutil.rmtree(folder)
    return result
