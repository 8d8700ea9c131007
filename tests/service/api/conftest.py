"""A real gRPC server on a free port, with fakes behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2

from service.api.edge import OWN_SERVICES, Edge, EdgeLimits, Services
from service.api.health import MODEL_PREFIX, Health
from service.api.inference.service import InferenceService
from service.api.inference.statistics import Statistics
from service.api.interceptors.draining import Drain
from service.api.models import ModelService
from service.api.questions import QuestionService
from service.api.server import ServerFacts, ServerService
from service.api.sessions import SessionService
from service.api.streams import Streams
from service.api.texts import TextLimits
from service.api.transfers import Transfers
from service.hosting.model import Model
from service.sessions.owners import Owners
from service.sessions.portable import Portable
from service.store.base import Durability
from service.telemetry.tallies import ModelTally
from tapehead.v1.model_service_pb2_grpc import ModelServiceStub
from tapehead.v1.question_service_pb2_grpc import QuestionServiceStub
from tapehead.v1.server_service_pb2_grpc import ServerServiceStub
from tapehead.v1.session_service_pb2_grpc import SessionServiceStub
from tests.service.api.fakes import (
    SUM,
    FakeAttachment,
    FakeCalls,
    FakeLifecycle,
    FakeMetrics,
    FakeRepository,
    question_model,
)
from tests.service.api.stream_calls import OPEN

MESSAGE_BYTES = 100_000
FACTS = ServerFacts("1.2.3", "memory", Durability.DISK, {"store": "memory:"}, 1000.0, {"python": "3"})


@dataclass
class Served:
    """A running edge, what is behind it, and a channel to it."""

    edge: Edge
    drain: Drain
    health: Health
    streams: Streams
    channel: grpc.aio.Channel
    lifecycle: FakeLifecycle
    calls: FakeCalls
    metrics: FakeMetrics
    target: str
    sessions: SessionServiceStub = field(init=False)
    questions: QuestionServiceStub = field(init=False)
    models: ModelServiceStub = field(init=False)
    server: ServerServiceStub = field(init=False)

    def __post_init__(self) -> None:
        self.sessions = SessionServiceStub(self.channel)
        self.questions = QuestionServiceStub(self.channel)
        self.models = ModelServiceStub(self.channel)
        self.server = ServerServiceStub(self.channel)


@pytest.fixture
def heartbeat() -> float:
    """Seconds; longer than a test unless a test says otherwise."""
    return 60.0


@pytest.fixture
def models() -> tuple[Model, ...]:
    return SUM, question_model()


@pytest.fixture
async def served(heartbeat: float, models: tuple[Model, ...]) -> AsyncIterator[Served]:
    lifecycle, calls, metrics, repository = FakeLifecycle(), FakeCalls(), FakeMetrics(), FakeRepository(*models)
    drain, owners = Drain(), Owners()
    streams = Streams(lifecycle, drain, metrics, owners, max_streams=3, heartbeat=heartbeat)
    health = Health([*OWN_SERVICES, *(MODEL_PREFIX + model.model_id for model in models)], drain)
    services = Services(
        SessionService(lifecycle, calls, streams, Transfers(Portable(None, repository, None), max_import_bytes=1000)),
        QuestionService(calls, repository.get, TextLimits(story_sentences=8, text_bytes=100)),
        ModelService(repository, None),  # loading has tests of its own
        ServerService(FACTS, lambda: {"committed_step_count": 5}),
        InferenceService(
            None,  # its requests have a real server of their own in their tests
            repository,
            None,
            Statistics(lambda _: ModelTally()),
            drain,
            owners,
            version="1.2.3",
            ttl=3600.0,
            max_streams=3,
        ),
        health,
    )
    edge = Edge(services, drain, metrics, EdgeLimits(MESSAGE_BYTES, calls=2, connection_streams=100), owners)
    target = f"127.0.0.1:{edge.bind('127.0.0.1:0')}"
    await edge.start()
    async with grpc.aio.insecure_channel(target) as channel:
        yield Served(edge, drain, health, streams, channel, lifecycle, calls, metrics, target)
    await edge.stop()


@pytest.fixture
async def attachment(served: Served) -> FakeAttachment:
    served.lifecycle.attachment = FakeAttachment()
    return served.lifecycle.attachment


@pytest.fixture
async def stream(served: Served, attachment: FakeAttachment) -> AsyncIterator[grpc.aio.StreamStreamCall]:
    """An opened stream."""
    call = served.sessions.StreamSteps()
    await call.write(OPEN)
    assert (await call.read()).WhichOneof("message") == "opened"
    yield call
    call.cancel()


def status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """The google.rpc.Status that came with an error."""
    trailers = dict(error.trailing_metadata() or ())
    return status_pb2.Status.FromString(trailers["grpc-status-details-bin"])


def info_of(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    """The one ErrorInfo of an error."""
    infos = [detail for detail in status_of(error).details if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)]
    assert len(infos) == 1
    info = error_details_pb2.ErrorInfo()
    infos[0].Unpack(info)
    return info
