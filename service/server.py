"""The composition root: the one file that chooses implementations, starts them, and ends them in reverse order."""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import platform
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from typing import Any

from . import failpoints
from .api.edge import OWN_SERVICES, Edge, EdgeLimits, Services
from .api.health import Health
from .api.inference.infer import Inference
from .api.inference.service import InferenceService
from .api.inference.statistics import Statistics
from .api.interceptors.draining import Drain
from .api.models import ModelService
from .api.questions import QuestionService
from .api.server import ServerFacts, ServerService
from .api.sessions import SessionService
from .api.streams import Streams
from .api.texts import TextLimits
from .api.tls import server_credentials
from .api.transfers import Transfers
from .certificates import InvalidCertificate
from .clock import Clock, SystemClock
from .engine.admission import Limits
from .engine.calls import Calls
from .engine.engine import Engine
from .errors import TapeheadError
from .greeting import Addresses, first_lines
from .hosting.repository import Repository
from .preflight import findings
from .sessions.lifecycle import Lifecycle
from .sessions.live import Live
from .sessions.owners import InvalidTokens, Owners, Quota
from .sessions.portable import Portable
from .sessions.sequences import Sequences
from .sessions.usage import Usage
from .settings import Settings, split_address
from .shelving import NothingToServe, load_all, make_shelf, tell_health, tell_metrics
from .store.base import Store
from .store.lmdb import LmdbStore
from .store.memory import MemoryStore
from .store.volume import durability_of
from .telemetry.http import MetricsServer
from .telemetry.loop_lag import watch_loop
from .telemetry.metrics import Gauges, Metrics

log = logging.getLogger("tapehead.server")

WATCH_SECONDS = 5.0  # between looks at the heads of attached sessions: how long a ghost may believe to be the writer
RENEW_SECONDS = 0.2  # between looks at attached sessions with little time to live, of which one second is the least
EXPIRE_SECONDS = 60.0
SETTLE_SECONDS = 10.0  # at the end, for the commits in flight
ENDED_SECONDS = 5.0  # between looks for sequences that were ended long enough ago
EXPIRE_AT_ONCE = 1000  # sessions
GAUGE_SECONDS = 0.5
TOKENS_SECONDS = 1.0  # between looks at the tokens file: how long a token that was taken out still opens
CALLS_MARGIN = 1000  # for health, reflection, and those who are about to hear that they are too many
COMPONENTS = ("grpcio", "onnxruntime", "numpy", "lmdb", "redis", "protobuf")


class CannotStart(Exception):
    """The server cannot start; the message is one sentence."""


class Server:
    """One server, from its start to its end."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.repository: Repository
        self.store: Store
        self.addresses: Addresses
        self.failed = asyncio.Event()  # a part that must run for ever has ended
        self._clock = clock or SystemClock()
        self._metrics = Metrics()
        self._parts = AsyncExitStack()  # how to end what was started, last first
        self._is_ready = False
        self._gauges = Gauges(0, 0, 0, 0)
        self._health: Health | None = None
        self._models_told: set[str] = set()  # to health

    async def start(self) -> Addresses:
        """Starts everything; raises CannotStart, having ended what was begun."""
        try:
            return await self._start()
        except BaseException as error:
            await self._parts.aclose()
            if isinstance(error, TapeheadError):
                raise CannotStart(error.message) from error
            raise

    async def stop(self) -> None:
        """Drains: not ready, refuses new calls, ends live ones within `drain_seconds`, commits, closes the store."""
        self._is_ready = False
        failpoints.hit("drain")
        await self._parts.aclose()

    # --- the start, from the bottom up --------------------------------------------------------------------------------

    async def _start(self) -> Addresses:
        settings = self.settings
        self._preflight()
        metrics_server = self._start_metrics()
        self.repository = await self._load_models()
        self._owners = self._recognise()
        self.store = await _open_store(settings, self._clock)
        self._parts.push_async_callback(self.store.close)
        limits = Limits(waiting_steps=settings.max_waiting_steps, max_batch=settings.max_batch)
        owners = self._owners
        engine = Engine(
            self.store, self._metrics, self._clock, limits, lambda owner: owners.quota_of(owner).waiting_steps
        )
        self._parts.callback(engine.close)
        live = Live(self.store, self.repository.get, engine.pool_of, limit=settings.max_live_sessions)
        usage = Usage(self.store, owners.quota_of, self._clock, self.repository)
        lifecycle = Lifecycle(
            self.store, live, self.repository, engine.intake, self._clock, usage, default_ttl=settings.ttl
        )
        self._keep_running("engine", engine.run())
        self._parts.push_async_callback(_within, SETTLE_SECONDS, engine.wait_empty)
        self._keep_running("watch", _every(WATCH_SECONDS, lifecycle.watch))
        self._keep_running("renewal", _every(RENEW_SECONDS, lifecycle.renew_short_lived))
        self._keep_running("expiry", _every(EXPIRE_SECONDS, lambda: lifecycle.expire(EXPIRE_AT_ONCE)))
        self._keep_running("lag", watch_loop(self._metrics.loop_lagged))
        drain = Drain()
        streams = Streams(
            lifecycle, drain, self._metrics, owners, max_streams=settings.max_streams, heartbeat=settings.heartbeat
        )
        self._keep_running("tokens", _every(TOKENS_SECONDS, lambda: _refresh(owners, streams)))
        self._watch_gauges(engine, live, streams)
        port = await self._start_edge(engine, live, lifecycle, streams, drain)
        self.addresses = Addresses(
            _joined(split_address(settings.address)[0], port),
            _joined(split_address(settings.metrics_address)[0], metrics_server.port),
        )
        self._is_ready = True
        return self.addresses

    def _preflight(self) -> None:
        for finding in findings(self.settings):
            if finding.outcome == "failure":
                raise CannotStart(finding.sentence)
            if finding.outcome == "warning":
                log.warning("%s: %s", finding.check, finding.sentence)

    def _recognise(self) -> Owners:
        settings = self.settings
        default = Quota(
            settings.quota_sessions,
            settings.quota_state_bytes,
            settings.quota_streams,
            settings.quota_waiting_steps,
        )
        try:
            return Owners(settings.tokens, certificates=settings.tls_client_ca is not None, default=default)
        except InvalidTokens as error:
            raise CannotStart(f"--tokens: {error}") from error

    def _start_metrics(self) -> MetricsServer:
        host, port = split_address(self.settings.metrics_address)
        try:
            server = MetricsServer(host, port, self._metrics.registry, lambda: self._is_ready, self._first_page)
        except OSError as error:
            raise CannotStart(f"--metrics-address: {self.settings.metrics_address}: {error.strerror}") from error
        self._parts.callback(server.close)
        server.start()
        return server

    async def _load_models(self) -> Repository:
        try:
            repository = await asyncio.to_thread(load_all, self.settings)
        except NothingToServe as error:
            raise CannotStart(str(error)) from None
        for name, reason in repository.broken.items():
            log.warning("bundle %s is not served: %s", name, reason)
        tell_metrics(self._metrics, repository)
        self._metrics.set_build(_components())
        return repository

    def _models_changed(self) -> None:
        tell_metrics(self._metrics, self.repository)
        if self._health is not None:
            tell_health(self._health, self.repository, self._models_told)

    async def _start_edge(
        self, engine: Engine, live: Live, lifecycle: Lifecycle, streams: Streams, drain: Drain
    ) -> int:
        settings, calls = self.settings, Calls(live, engine.intake, self.store)
        self._health = health = Health(OWN_SERVICES, drain)
        tell_health(health, self.repository, self._models_told)
        shelf = make_shelf(settings, self.repository, self.store, live, engine, self._clock, self._models_changed)
        if settings.reload_seconds:
            self._keep_running("models", _every(settings.reload_seconds, shelf.look))
        text_limits = TextLimits(settings.max_story_sentences, settings.max_text_bytes)
        portable = Portable(self.store, self.repository, lifecycle.creation)
        transfers = Transfers(portable, max_import_bytes=settings.max_import_bytes)
        sequences = Sequences(
            self.store,
            live,
            lifecycle,
            portable,
            self._clock,
            refuse_restart=settings.oip_start == "refuse",
            replaced=self._metrics.sequence_replaced,
        )
        self._keep_running("sequences", _end_sequences(sequences))
        questions, statistics = (
            QuestionService(calls, self.repository.get, text_limits),
            Statistics(self._metrics.tally_of),
        )
        facts = self._facts()
        services = Services(
            SessionService(lifecycle, calls, streams, transfers),
            questions,
            ModelService(self.repository, shelf),
            ServerService(facts, lambda: _statistics(engine, live)),
            InferenceService(
                Inference(calls, lifecycle, sequences, questions, self.repository.get, statistics),
                self.repository,
                shelf,
                statistics,
                drain,
                self._owners,
                version=facts.version,
                ttl=settings.ttl,
                max_streams=settings.max_streams,
            ),
            health,
        )
        # gRPC's own bound is for each connection, and makes calls wait in silence: it lies above all of ours.
        connection_streams = settings.max_streams + settings.max_calls + CALLS_MARGIN
        limits = EdgeLimits(settings.max_message_bytes, settings.max_calls, connection_streams)
        edge = Edge(services, drain, self._metrics, limits, self._owners)
        self._parts.push_async_callback(self._end_edge, edge)
        files = settings.tls_files
        try:
            port = edge.bind(settings.address, server_credentials(files) if files else None)
        except InvalidCertificate as error:
            raise CannotStart(f"--tls-certificate: {error}") from error
        except OSError as error:
            raise CannotStart(f"--address: {error}") from error
        await edge.start()
        return port

    # --- while it runs ------------------------------------------------------------------------------------------------

    def _keep_running(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Runs `work` until the end of the server; should it end before, the server has failed."""

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled():
                log.critical("%s ended before the server", name, exc_info=task.exception())
                self.failed.set()

        task = asyncio.create_task(work, name=f"tapehead-{name}")
        task.add_done_callback(ended)
        self._parts.push_async_callback(_cancel, task)

    def _watch_gauges(self, engine: Engine, live: Live, streams: Streams) -> None:
        """Lets scrapes, which come from another thread, see the state of the moment as the loop last wrote it down."""

        async def write_down() -> None:
            waiting = engine.statistics().waiting_steps
            self._gauges = Gauges(live.attached_count, len(live), waiting, streams.count)

        self._metrics.set_gauges(lambda: self._gauges)
        self._keep_running("gauges", _every(GAUGE_SECONDS, write_down))

    def _facts(self) -> ServerFacts:
        components = _components()
        return ServerFacts(
            version=components.pop("version"),
            store=self.store.location,
            durability=self.store.durability,
            settings=self.settings.shown(),
            start_time=self._clock.now(),
            components=components,
        )

    def _first_page(self) -> str:
        if not self._is_ready:
            return "Tapehead is loading, or draining.\n"
        return "Tapehead serves neural networks that remember.\n\n" + first_lines(
            self.addresses, self.repository.models()
        )

    async def _end_edge(self, edge: Edge) -> None:
        log.info("draining: what was read is answered, within %g s", self.settings.drain_seconds)
        left = await edge.drain(self.settings.drain_seconds)
        if left:
            log.warning("%d call(s) did not end within %g s and are cancelled", left, self.settings.drain_seconds)
        await edge.stop()
        log.info("no call is left")


async def _open_store(settings: Settings, clock: Clock) -> Store:
    folder = settings.store_folder
    if url := settings.store_url:
        from .store.redis import RedisStore  # only now: whoever has no Redis need not wait until its client is imported

        asked, asserted = settings.asked_durability, settings.asserted_durability
        return await RedisStore.at(url, asked, asserted, settings.redis_reply_seconds)
    if folder is None:
        return MemoryStore(clock)
    durability = settings.asked_durability or durability_of(folder)
    return LmdbStore.at(folder, durability, map_size=settings.map_bytes, clock=clock)


def _statistics(engine: Engine, live: Live) -> Mapping[str, int]:
    counted = engine.statistics()
    return {
        "committed_step_count": counted.committed_steps,
        "question_count": counted.questions,
        "batch_count": counted.batches,
        "replayed_answer_count": counted.replayed_answers,
        "attached_session_count": live.attached_count,
        "live_session_count": len(live),
        "waiting_step_count": counted.waiting_steps,
    }


def _components() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in COMPONENTS}
    return {"version": importlib.metadata.version("tapehead"), "python": platform.python_version(), **versions}


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _every(seconds: float, act: Callable[[], Coroutine[Any, Any, object]]) -> None:
    while True:
        try:
            await act()
        except TapeheadError as error:
            log.warning("%s", error.message)  # the store is away, say; the next time may go better
        await asyncio.sleep(seconds)


async def _end_sequences(sequences: Sequences) -> None:
    """Removes what was ended, beginning with what an earlier process left."""
    found = False
    while True:
        try:
            if not found:
                await sequences.find_ended()
                found = True
            await sequences.remove_ended()
        except TapeheadError as error:
            log.warning("%s", error.message)
        await asyncio.sleep(ENDED_SECONDS)


async def _refresh(owners: Owners, streams: Streams) -> None:
    if owners.refresh():
        streams.end_unknown()


async def _within(seconds: float, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Lets a part of the end take so long and no longer: a store that hangs must not keep the process."""
    try:
        async with asyncio.timeout(seconds):
            await act()
    except TimeoutError:
        log.error("what was accepted is not settled after %g s; its callers will find out by repeating it", seconds)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
