"""A client that knows nothing but an address: everything else comes from reflection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.end_to_end.server_process import ServerProcess

pytestmark = pytest.mark.end_to_end


class ForeignClient:
    """Calls methods by name, with messages built from the descriptors that the server gives."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address)
        self._reflection = reflection_pb2_grpc.ServerReflectionStub(self.channel)  # type: ignore[no-untyped-call]
        self._pool = descriptor_pool.DescriptorPool()
        self._files: set[str] = set()

    def services(self) -> list[str]:
        reply = self._ask(reflection_pb2.ServerReflectionRequest(list_services=""))
        return [service.name for service in reply.list_services_response.service]

    def method(self, service: str, name: str) -> tuple[Callable[..., Any], type, type]:
        """The callable, the request's class and the response's."""
        self._load(self._ask(reflection_pb2.ServerReflectionRequest(file_containing_symbol=service)))
        method = self._pool.FindServiceByName(service).methods_by_name[name]
        request = message_factory.GetMessageClass(method.input_type)
        response = message_factory.GetMessageClass(method.output_type)
        make = self.channel.stream_stream if method.client_streaming else self.channel.unary_unary
        call = make(f"/{service}/{name}", request.SerializeToString, response.FromString)
        return call, request, response

    def _ask(self, request: Any) -> Any:
        [reply] = self._reflection.ServerReflectionInfo(iter([request]))
        return reply

    def _load(self, reply: Any) -> None:
        for data in reply.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(data)
            if file.name in self._files:
                continue
            self._files.add(file.name)
            for dependency in file.dependency:
                self._load(self._ask(reflection_pb2.ServerReflectionRequest(file_by_filename=dependency)))
            self._pool.Add(file)  # type: ignore[attr-defined]  # there, but not in the types


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with ServerProcess(folder, "--durability", "process", shipped=("ntm-copy", "babi-qa")) as server:
        yield server.grpc


def test_every_service_is_found_by_reflection(address: str) -> None:
    assert set(ForeignClient(address).services()) >= {
        "tapehead.v1.SessionService",
        "tapehead.v1.QuestionService",
        "tapehead.v1.ModelService",
        "tapehead.v1.ServerService",
        "grpc.health.v1.Health",
    }


def test_a_foreign_client_steps_streams_and_resumes(address: str) -> None:
    client = ForeignClient(address)
    create, create_request, _ = client.method("tapehead.v1.SessionService", "CreateSession")
    step, step_request, _ = client.method("tapehead.v1.SessionService", "Step")
    stream, stream_request, _ = client.method("tapehead.v1.SessionService", "StreamSteps")
    session = create(create_request(model_id="ntm-copy")).session
    inputs = [{"name": "x", "dtype": 1, "shape": [9], "floats": {"values": [1.0] + [0.0] * 8}}]

    first = step(step_request(session_id=session.session_id, step=1, inputs=inputs)).result
    again = step(step_request(session_id=session.session_id, step=1, inputs=inputs)).result
    opening = {"session_id": session.session_id, "incarnation": session.incarnation, "last_received_step": 0}
    requests = [stream_request(open=opening)]
    requests += [stream_request(step={"step": n, "inputs": inputs}) for n in (2, 3)]
    opened, replay, second, third = stream(iter(requests))

    assert (again.replayed, again.outputs) == (True, first.outputs)
    assert len(first.outputs[0].floats.values) == 8  # answered in the kind asked
    assert (opened.opened.committed_step, opened.opened.epoch) == (1, 1)
    assert replay.result.input_hash == first.input_hash
    assert replay.result.outputs == first.outputs
    assert [second.result.step, third.result.step, third.result.committed_step] == [2, 3, 3]


def test_errors_carry_their_reason_for_programs(address: str) -> None:
    client = ForeignClient(address)
    create, create_request, _ = client.method("tapehead.v1.SessionService", "CreateSession")
    step, step_request, _ = client.method("tapehead.v1.SessionService", "Step")
    session_id = create(create_request(model_id="ntm-copy")).session.session_id
    ok = {"name": "x", "dtype": 1, "shape": [9], "raw": bytes(36)}
    nan = np.full(9, np.nan, "<f4").tobytes()
    cases = [
        ({"step": 5, "inputs": [ok]}, grpc.StatusCode.OUT_OF_RANGE, "STEP_GAP", {"expected_step": "1"}),
        ({"step": 1, "inputs": [ok | {"shape": [8]}]}, grpc.StatusCode.INVALID_ARGUMENT, "SHAPE_MISMATCH", {}),
        ({"step": 1, "inputs": [ok | {"dtype": 3}]}, grpc.StatusCode.INVALID_ARGUMENT, "DTYPE_MISMATCH", {}),
        ({"step": 1, "inputs": [ok | {"raw": nan}]}, grpc.StatusCode.INVALID_ARGUMENT, "NON_FINITE_INPUT", {}),
        ({"step": 1, "session_id": "none"}, grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND", {"session_id": "none"}),
    ]
    for fields, code, reason, facts in cases:
        with pytest.raises(grpc.RpcError) as caught:
            step(step_request(**{"session_id": session_id, **fields}))
        details = dict(caught.value.trailing_metadata())["grpc-status-details-bin"]
        info = error_details_pb2.ErrorInfo()
        assert status_pb2.Status.FromString(details).details[0].Unpack(info)
        assert (caught.value.code(), info.reason, info.domain) == (code, reason, "tapehead")
        assert facts.items() <= dict(info.metadata).items()

    assert step(step_request(session_id=session_id, step=1, inputs=[ok])).result.committed_step == 1


def test_a_story_and_a_question(address: str) -> None:
    ask, request, _ = ForeignClient(address).method("tapehead.v1.QuestionService", "Ask")
    story = {"sentences": ["Mary moved to the bathroom.", "John went to the hallway."]}

    answer = ask(request(story=story, model_id="babi-qa", question="Where is Mary?"))

    assert answer.answers[0].text == "bathroom"
    assert all(len(hop.weights) == 2 for hop in answer.hops)
