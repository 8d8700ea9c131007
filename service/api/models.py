"""ModelService: decode, ask, encode."""

from __future__ import annotations

from tapehead.v1 import manifest_pb2
from tapehead.v1 import model_service_pb2 as pb

from ..errors import InvalidField
from ..hosting.model import Model
from ..hosting.repository import Repository
from ..hosting.shelf import Shelf
from ..sessions.owners import Role
from .call import Call
from .pages import page_size, page_start, page_token

_KINDS = {
    "sequence": manifest_pb2.MODEL_KIND_SEQUENCE,
    "question_answering": manifest_pb2.MODEL_KIND_QUESTION_ANSWERING,
}


class ModelService:
    """Serves tapehead.v1.ModelService."""

    def __init__(self, repository: Repository, shelf: Shelf) -> None:
        self._repository = repository
        self._shelf = shelf

    async def list_models(self, request: pb.ListModelsRequest, _call: Call) -> pb.ListModelsResponse:
        size = page_size(request.page_size)
        start = page_start(request.page_token, "models")
        served = self._repository.models()  # newest first
        newest = {model.model_id: model for model in reversed(sorted(served, key=self._repository.is_retired))}
        rest = [newest[model_id] for model_id in sorted(newest) if model_id > start]
        after = rest[size - 1].model_id if len(rest) > size else ""
        return pb.ListModelsResponse(
            models=[self._view(model) for model in rest[:size]],
            next_page_token=page_token(after, "models"),
            broken_models=[] if start else self._broken(),
        )

    async def get_model(self, request: pb.GetModelRequest, _call: Call) -> pb.GetModelResponse:
        _check_version(request.version)
        model = self._repository.get(request.model_id, request.version)
        manifest = manifest_pb2.Manifest()
        manifest.CopyFrom(model.manifest)
        manifest.ClearField("probes")  # of interest to the loader alone, and large
        return pb.GetModelResponse(model=self._view(model), manifest=manifest)

    async def load_model(self, request: pb.LoadModelRequest, call: Call) -> pb.LoadModelResponse:
        call.caller.require(Role.OPERATOR, "loading models")
        _check_version(request.version)
        return pb.LoadModelResponse(model=self._view(await self._shelf.load(request.model_id, request.version)))

    async def unload_model(self, request: pb.UnloadModelRequest, call: Call) -> pb.UnloadModelResponse:
        call.caller.require(Role.OPERATOR, "unloading models")
        _check_version(request.version)
        versions, sessions = await self._shelf.unload(request.model_id, request.version, force=request.force)
        return pb.UnloadModelResponse(versions=versions, session_count=sessions)

    def _broken(self) -> list[pb.BrokenModel]:
        names = [(*name.rsplit("/", 1), reason) for name, reason in sorted(self._repository.broken.items())]
        return [
            pb.BrokenModel(model_id=model_id, version=int(version) if version.isdecimal() else 0, reason=reason)
            for model_id, version, reason in names
        ]

    def _view(self, model: Model) -> pb.Model:
        return pb.Model(
            model_id=model.model_id,
            version=model.version,
            kind=_KINDS[model.kind],
            description=model.manifest.description,
            versions=self._repository.versions(model.model_id),
            state_bytes=model.state_bytes,
            fingerprint=model.fingerprint,
            batch_invariant=model.batch_invariant,
            max_batch=model.max_batch,
            retired_versions=[
                version
                for version in self._repository.versions(model.model_id)
                if self._repository.is_retired(self._repository.get(model.model_id, version))
            ],
        )


def _check_version(version: int) -> None:
    if version < 0:
        raise InvalidField("version", "0 or more", version)
