"""What the server tells about its models and about itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from service.hosting.model import Model
from tapehead.v1 import manifest_pb2, server_service_pb2, session_pb2
from tapehead.v1 import model_service_pb2 as pb
from tests.service.api.conftest import Served
from tests.service.api.fakes import SUM, question_model

PROBED = replace(SUM, manifest=manifest_pb2.Manifest(model_id="sum", probes=[manifest_pb2.Probe(tolerance=1.0)]))


@pytest.fixture
def models() -> tuple[Model, ...]:
    return question_model(), PROBED, replace(SUM, version=1)


async def test_models_are_listed_by_id_in_their_newest_version(served: Served) -> None:
    first = await served.models.ListModels(pb.ListModelsRequest(page_size=1))
    second = await served.models.ListModels(pb.ListModelsRequest(page_size=1, page_token=first.next_page_token))
    model = second.models[0]

    assert [m.model_id for m in first.models] == ["qa"]
    assert (model.model_id, model.version, list(model.versions)) == ("sum", 2, [2, 1])
    assert model.kind == manifest_pb2.MODEL_KIND_SEQUENCE
    assert (model.state_bytes, model.fingerprint, model.batch_invariant, model.max_batch) == (8, "f1", True, 8)
    assert second.next_page_token == ""


async def test_a_model_comes_with_its_manifest_without_probes(served: Served) -> None:
    response = await served.models.GetModel(pb.GetModelRequest(model_id="sum"))

    assert response.manifest.model_id == "sum"
    assert not response.manifest.probes
    assert PROBED.manifest.probes, "the model's own manifest must stay whole"


async def test_an_older_version_is_found_by_its_number(served: Served) -> None:
    assert (await served.models.GetModel(pb.GetModelRequest(model_id="sum", version=1))).model.version == 1


async def test_the_server_tells_about_itself(served: Served) -> None:
    response = await served.server.GetServer(server_service_pb2.GetServerRequest())
    statistics = await served.server.GetStatistics(server_service_pb2.GetStatisticsRequest())

    assert (response.version, response.store, response.durability) == ("1.2.3", "memory", session_pb2.DURABILITY_DISK)
    assert (dict(response.settings), response.start_time.seconds) == ({"store": "memory:"}, 1000)
    assert statistics.committed_step_count == 5
