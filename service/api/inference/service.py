"""GRPCInferenceService: decode, ask, encode."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ...errors import ModelNotFound, NotSupported, OverCapacity, QuotaExceeded
from ...hosting.model import Model
from ...hosting.repository import Repository
from ...hosting.shelf import Shelf
from ...sessions.owners import Owners, Role
from ..call import Call
from ..interceptors.draining import Drain
from .config import configuration, metadata
from .infer import Inference, read_version
from .messages import pb
from .statistics import Statistics
from .stream import InferStream

EXTENSIONS = ("sequence", "sequence(string_id)", "model_configuration", "model_repository", "statistics", "parameters")
RETRY_AFTER = 1.0  # seconds; streams are long


def _refusing(what: str) -> Callable[[Any, Any, Call], Awaitable[Any]]:
    async def refuse(_self: Any, _request: Any, _call: Call) -> Any:
        raise NotSupported(what)

    return refuse


_NO_SHARED_MEMORY = _refusing("shared memory is not supported: tensors travel in their requests")


class InferenceService:
    """Serves inference.GRPCInferenceService."""

    def __init__(
        self,
        inference: Inference,
        repository: Repository,
        shelf: Shelf,
        statistics: Statistics,
        drain: Drain,
        owners: Owners,
        *,
        version: str,
        ttl: float,
        max_streams: int,
    ) -> None:
        """`ttl` is how long an unused sequence lives, in seconds; `max_streams` bounds those of this service."""
        self._inference = inference
        self._repository = repository
        self._shelf = shelf
        self._statistics = statistics
        self._drain = drain
        self._owners = owners
        self._version = version
        self._ttl = ttl
        self._max_streams = max_streams
        self._streams: dict[str, int] = {}  # by owner

    # --- what there is ------------------------------------------------------------------------------------------------

    async def server_live(self, _request: pb.ServerLiveRequest, _call: Call) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, _request: pb.ServerReadyRequest, _call: Call) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=bool(self._repository.models()))

    async def server_metadata(self, _request: pb.ServerMetadataRequest, _call: Call) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="tapehead", version=self._version, extensions=EXTENSIONS)

    async def model_ready(self, request: pb.ModelReadyRequest, _call: Call) -> pb.ModelReadyResponse:
        try:
            self._find(request.name, request.version)
        except ModelNotFound:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    async def model_metadata(self, request: pb.ModelMetadataRequest, _call: Call) -> pb.ModelMetadataResponse:
        model = self._find(request.name, request.version)
        return metadata(model, self._repository.versions(model.model_id))

    async def model_config(self, request: pb.ModelConfigRequest, _call: Call) -> pb.ModelConfigResponse:
        return pb.ModelConfigResponse(config=configuration(self._find(request.name, request.version), self._ttl))

    async def model_statistics(self, request: pb.ModelStatisticsRequest, _call: Call) -> pb.ModelStatisticsResponse:
        models = [self._find(request.name, request.version)] if request.version else self._versions(request.name)
        newest = {model.model_id: model.version for model in reversed(self._repository.models())}
        return pb.ModelStatisticsResponse(
            model_stats=[
                self._statistics.of(model, is_newest=newest.get(model.model_id) == model.version) for model in models
            ]
        )

    async def repository_index(self, request: pb.RepositoryIndexRequest, _call: Call) -> pb.RepositoryIndexResponse:
        response = pb.RepositoryIndexResponse()
        for model in self._repository.models():
            response.models.add(
                name=model.model_id, version=str(model.version), state="READY", reason=self._standing(model)
            )
        for name, reason in {} if request.ready else self._repository.broken.items():
            model_id, _, version = name.partition("/")
            response.models.add(name=model_id, version=version, state="UNAVAILABLE", reason=reason)
        return response

    # --- what is done -------------------------------------------------------------------------------------------------

    async def model_infer(self, request: pb.ModelInferRequest, call: Call) -> pb.ModelInferResponse:
        return await self._inference.infer(request, call, call.seconds_left())

    async def model_stream_infer(self, _request: None, call: Call) -> None:
        owner, quota = call.owner, self._owners.quota_of(call.owner).streams
        if sum(self._streams.values()) >= self._max_streams:
            raise OverCapacity("streams", self._max_streams, retry_after=RETRY_AFTER)
        if 0 < quota <= self._streams.get(owner, 0):
            raise QuotaExceeded("streams", quota, retry_after=RETRY_AFTER)
        self._streams[owner] = self._streams.get(owner, 0) + 1
        try:
            await InferStream(call, self._inference, self._drain, self._owners).run()
        finally:
            self._streams[owner] -= 1
            if not self._streams[owner]:
                del self._streams[owner]

    async def repository_model_load(
        self, request: pb.RepositoryModelLoadRequest, call: Call
    ) -> pb.RepositoryModelLoadResponse:
        call.caller.require(Role.OPERATOR, "loading models")
        if request.parameters:
            raise NotSupported("models are loaded as they lie in the server's folder: without parameters")
        await self._shelf.load(request.model_name)
        return pb.RepositoryModelLoadResponse()

    async def repository_model_unload(
        self, request: pb.RepositoryModelUnloadRequest, call: Call
    ) -> pb.RepositoryModelUnloadResponse:
        """Takes `force` as a parameter of our own; there are no dependents to unload."""
        call.caller.require(Role.OPERATOR, "unloading models")
        force = "force" in request.parameters and request.parameters["force"].bool_param
        await self._shelf.unload(request.model_name, force=force)
        return pb.RepositoryModelUnloadResponse()

    # --- what other servers do ----------------------------------------------------------------------------------------

    system_shared_memory_status = _NO_SHARED_MEMORY
    system_shared_memory_register = _NO_SHARED_MEMORY
    system_shared_memory_unregister = _NO_SHARED_MEMORY
    cuda_shared_memory_status = _NO_SHARED_MEMORY
    cuda_shared_memory_register = _NO_SHARED_MEMORY
    cuda_shared_memory_unregister = _NO_SHARED_MEMORY
    trace_setting = _refusing("traces are not supported: see the metrics, and the log at level debug")
    log_settings = _refusing("the log is set at the start: see --log-level and --log-format")

    def _standing(self, model: Model) -> str:
        return "for the sessions that have it" if self._repository.is_retired(model) else ""

    def _find(self, name: str, version: str) -> Model:
        return self._repository.get(name, read_version(version))

    def _versions(self, name: str) -> list[Model]:
        """Every version of a model, or every model if none is named. Raises ModelNotFound."""
        if not name:
            return self._repository.models()
        self._repository.get(name)
        return [self._repository.get(name, version) for version in self._repository.versions(name)]
