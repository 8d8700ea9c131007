"""A client that has nothing but the server's address learns the contract and uses it."""

from __future__ import annotations

from typing import Any

import grpc.aio
import pytest
from google.protobuf import descriptor_database, descriptor_pb2, descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha import reflection_pb2 as pb

from tests.service.api.conftest import Served

VERSIONS = ["v1", "v1alpha"]


async def reflect(channel: grpc.aio.Channel, version: str, request: pb.ServerReflectionRequest) -> Any:
    """One question; the messages of both versions are the same on the wire."""
    call = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=pb.ServerReflectionRequest.SerializeToString,
        response_deserializer=pb.ServerReflectionResponse.FromString,
    )()
    await call.write(request)
    response = await call.read()
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    return response


@pytest.mark.parametrize("version", VERSIONS)
async def test_services_are_listed(served: Served, version: str) -> None:
    response = await reflect(served.channel, version, pb.ServerReflectionRequest(list_services=""))
    names = {service.name for service in response.list_services_response.service}

    assert names >= {
        "tapehead.v1.SessionService",
        "tapehead.v1.QuestionService",
        "tapehead.v1.ModelService",
        "tapehead.v1.ServerService",
        "grpc.health.v1.Health",
    }


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_client_built_from_reflection_alone_steps_a_session(served: Served, version: str) -> None:
    request = pb.ServerReflectionRequest(file_containing_symbol="tapehead.v1.SessionService")
    response = await reflect(served.channel, version, request)
    files = descriptor_database.DescriptorDatabase()
    for data in response.file_descriptor_response.file_descriptor_proto:
        files.Add(descriptor_pb2.FileDescriptorProto.FromString(data))
    pool = descriptor_pool.DescriptorPool(files)
    method = pool.FindServiceByName("tapehead.v1.SessionService").FindMethodByName("Step")
    request_class = message_factory.GetMessageClass(method.input_type)
    response_class = message_factory.GetMessageClass(method.output_type)
    call = served.channel.unary_unary(
        "/tapehead.v1.SessionService/Step",
        request_serializer=request_class.SerializeToString,
        response_deserializer=response_class.FromString,
    )
    x = {"name": "x", "dtype": "DATA_TYPE_FLOAT32", "shape": [2], "floats": {"values": [1, 2]}}
    answer = await call(json_format.ParseDict({"session_id": "s", "step": 1, "inputs": [x]}, request_class()))

    assert json_format.MessageToDict(answer)["result"]["outputs"][0]["floats"]["values"] == [1.0, 2.0]


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_unknown_symbol_is_told_in_the_protocol(served: Served, version: str) -> None:
    response = await reflect(served.channel, version, pb.ServerReflectionRequest(file_containing_symbol="no.Such"))

    assert response.error_response.error_code == 5
