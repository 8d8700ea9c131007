"""grpc.health.v1: the server as a whole, each service, and each model under `tapehead.model.<model_id>`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from grpc_health.v1 import health_pb2

from ..errors import Draining, ModelNotFound
from .call import Call
from .errors import HealthNameUnknown
from .interceptors.draining import Drain

MODEL_PREFIX = "tapehead.model."

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Health:
    """Serves grpc.health.v1.Health; belongs to one event loop."""

    def __init__(self, names: Iterable[str], drain: Drain) -> None:
        """`names` are served from the start until the server drains; the overall name `""` always is one of them."""
        self._names = {"", *names}
        self._drain = drain
        self._changed = asyncio.Event()  # replaced at each change, so that every watcher wakes once

    def add(self, name: str) -> None:
        self._names.add(name)
        self._announce()

    def remove(self, name: str) -> None:
        self._names.discard(name)
        self._announce()

    async def check(self, request: health_pb2.HealthCheckRequest, _call: Call) -> health_pb2.HealthCheckResponse:
        status = self._status(request.service)
        if status == _UNKNOWN and request.service.startswith(MODEL_PREFIX):
            raise ModelNotFound(request.service.removeprefix(MODEL_PREFIX))
        if status == _UNKNOWN:
            raise HealthNameUnknown(request.service)
        return health_pb2.HealthCheckResponse(status=status)

    async def watch(self, request: health_pb2.HealthCheckRequest, call: Call) -> None:
        """Tells of every change, and ends once it has told that the server drains: the drain waits for that."""
        told = None
        with self._drain.waited_for():
            while True:
                # All three are of one moment: the drain may begin, and names may change, while a message is written.
                changed, is_last, status = self._changed, self._drain.has_begun, self._status(request.service)
                if status != told:
                    await call.write(health_pb2.HealthCheckResponse(status=status))
                    told = status
                if is_last:
                    raise Draining
                await self._change(changed)

    def _status(self, name: str) -> health_pb2.HealthCheckResponse.ServingStatus:
        if name not in self._names:
            return _UNKNOWN
        return _NOT_SERVING if self._drain.has_begun else _SERVING

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _change(self, changed: asyncio.Event) -> None:
        waiting = asyncio.ensure_future(changed.wait())
        with self._drain.watched() as draining:
            watched: set[asyncio.Future[Any]] = {waiting, draining}
            try:
                await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
