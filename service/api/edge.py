"""The gRPC server: its services, what every call goes through, and its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2

from tapehead.v1 import model_service_pb2, question_service_pb2, server_service_pb2, session_service_pb2

from ..sessions.owners import Owners
from .health import Health
from .inference.messages import SERVICE as INFERENCE_SERVICE
from .inference.service import InferenceService
from .interceptors.access_log import access_log
from .interceptors.authentication import authenticate
from .interceptors.capacity import bound_calls
from .interceptors.draining import Drain
from .interceptors.errors import errors_to_status
from .interceptors.metrics import RpcMetrics, count_calls
from .interceptors.request_id import request_id
from .models import ModelService
from .questions import QuestionService
from .reflection import V1ALPHA, Reflection, v1_descriptor
from .registration import Handlers, Service
from .server import ServerService
from .sessions import SessionService
from .stream import StreamObserver

SESSION_SERVICE = session_service_pb2.DESCRIPTOR.services_by_name["SessionService"]
QUESTION_SERVICE = question_service_pb2.DESCRIPTOR.services_by_name["QuestionService"]
MODEL_SERVICE = model_service_pb2.DESCRIPTOR.services_by_name["ModelService"]
SERVER_SERVICE = server_service_pb2.DESCRIPTOR.services_by_name["ServerService"]
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]

OWN_SERVICES = tuple(
    service.full_name
    for service in (SESSION_SERVICE, QUESTION_SERVICE, MODEL_SERVICE, SERVER_SERVICE, INFERENCE_SERVICE)
)

STOP_SECONDS = 0.5  # for grpc to send what it still holds, once no call of ours is left


class EdgeObserver(RpcMetrics, StreamObserver, Protocol):
    """Hears what the edge counts."""


@dataclass(frozen=True, slots=True)
class EdgeLimits:
    """Bounds of the wire."""

    message_bytes: int
    calls: int  # unary ones at once
    connection_streams: int  # calls on one connection; beyond it grpc lets calls wait without a status


@dataclass(frozen=True, slots=True)
class Services:
    """What is served."""

    sessions: SessionService
    questions: QuestionService
    models: ModelService
    server: ServerService
    inference: InferenceService
    health: Health


class Edge:
    """Owns the gRPC server. Made, started and ended on one event loop."""

    def __init__(
        self, services: Services, drain: Drain, observer: EdgeObserver, limits: EdgeLimits, owners: Owners
    ) -> None:
        self._drain = drain
        self._server = grpc.aio.server(options=_options(limits))
        interceptors = (
            request_id,
            access_log,
            count_calls(observer),
            errors_to_status(observer.rejected),
            authenticate(owners),
            drain.intercept,
            bound_calls(limits.calls),
        )
        self._server.add_generic_rpc_handlers((Handlers(_served(services), interceptors, limits.message_bytes),))

    def bind(self, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
        """Takes the address and returns the port; raises OSError if it cannot be had. With credentials it is TLS."""
        try:
            if credentials is not None:
                return self._server.add_secure_port(address, credentials)
            return self._server.add_insecure_port(address)
        except RuntimeError:
            raise OSError(f"the address {address} cannot be bound") from None

    async def start(self) -> None:
        await self._server.start()

    async def drain(self, seconds: float) -> int:
        """Refuses new calls and waits for the old ones, at most so long; returns how many were left then."""
        self._drain.begin(seconds)
        return await self._drain.wait_idle(seconds + STOP_SECONDS)

    async def stop(self) -> None:
        """Closes connections; calls that are left are cancelled."""
        await self._server.stop(STOP_SECONDS)


def _served(services: Services) -> list[Service]:
    reflection = Reflection([*OWN_SERVICES, HEALTH.full_name, V1ALPHA.full_name])
    return [
        Service(SESSION_SERVICE, services.sessions),
        Service(QUESTION_SERVICE, services.questions),
        Service(MODEL_SERVICE, services.models),
        Service(SERVER_SERVICE, services.server),
        Service(INFERENCE_SERVICE, services.inference),
        Service(HEALTH, services.health),
        Service(V1ALPHA, reflection),
        Service(v1_descriptor(), reflection),
    ]


def _options(limits: EdgeLimits) -> Sequence[tuple[str, int]]:
    return (
        ("grpc.so_reuseport", 0),  # a second server on the port fails, rather than taking half of the connections
        ("grpc.http2.bdp_probe", 0),  # a slow reader holds 64 KiB here, not 4 MiB
        # Ours is the limit that answers; grpc's lies above it, for it answers without a reason.
        ("grpc.max_receive_message_length", 4 * limits.message_bytes + (1 << 20)),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", limits.connection_streams),
        # Honest pings are welcome, also between calls; clients behind proxies need them.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
        ("grpc.http2.max_ping_strikes", 0),
        # A client that vanished without a word is noticed, and its sessions let go.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.ping_timeout_ms", 20_000),  # without it gRPC waits 60 s for a ping, whatever the line above says
    )
