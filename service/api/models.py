"""ModelService: decode, ask, encode."""

from __future__ import annotations

from tapehead.v1 import manifest_pb2
from tapehead.v1 import model_service_pb2 as pb

from ..errors import InvalidField
from ..hosting.model import Model
from ..hosting.repository import Repository
from .call import Call
from .pages import page_size, page_start, page_token

_KINDS = {
    "sequence": manifest_pb2.MODEL_KIND_SEQUENCE,
    "question_answering": manifest_pb2.MODEL_KIND_QUESTION_ANSWERING,
}


class ModelService:
    """Serves tapehead.v1.ModelService."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def list_models(self, request: pb.ListModelsRequest, _call: Call) -> pb.ListModelsResponse:
        size = page_size(request.page_size)
        start = page_start(request.page_token, "models")
        newest = {model.model_id: model for model in reversed(self._repository.models())}  # newest comes first there
        rest = [newest[model_id] for model_id in sorted(newest) if model_id > start]
        after = rest[size - 1].model_id if len(rest) > size else ""
        return pb.ListModelsResponse(
            models=[self._view(model) for model in rest[:size]], next_page_token=page_token(after, "models")
        )

    async def get_model(self, request: pb.GetModelRequest, _call: Call) -> pb.GetModelResponse:
        if request.version < 0:
            raise InvalidField("version", "0 or more", request.version)
        model = self._repository.get(request.model_id, request.version)
        manifest = manifest_pb2.Manifest()
        manifest.CopyFrom(model.manifest)
        manifest.ClearField("probes")  # of interest to the loader alone, and large
        return pb.GetModelResponse(model=self._view(model), manifest=manifest)

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
        )
