"""Reflection: lets a client that was built without our stubs read the contract from the server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from google.protobuf.descriptor import ServiceDescriptor
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from .call import EOF, Call
from .inference.messages import POOL

V1ALPHA: ServiceDescriptor = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]


class _Pools:
    """The default pool, and the one that the foreign package has to itself, as one."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def find(*arguments: object) -> Any:
            try:
                return getattr(descriptor_pool.Default(), name)(*arguments)
            except KeyError:
                return getattr(POOL, name)(*arguments)

        return find


class Reflection:
    """Serves grpc.reflection.v1alpha.ServerReflection, and v1 as well, with grpc's own implementation."""

    def __init__(self, services: Iterable[str]) -> None:
        """`services` are full names."""
        self._servicer = ReflectionServicer(sorted(services), _Pools())

    async def server_reflection_info(self, _request: None, call: Call) -> None:
        async for response in self._servicer.ServerReflectionInfo(_messages(call), call.context):
            await call.write(response)


async def _messages(call: Call) -> AsyncIterator[Any]:
    while (message := await call.read()) is not EOF:
        yield reflection_pb2.ServerReflectionRequest.FromString(message.SerializeToString())


def v1_descriptor() -> ServiceDescriptor:
    """Returns the descriptor of grpc.reflection.v1, which differs from v1alpha in its package alone."""
    file = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    text = text_format.MessageToString(file).replace("grpc.reflection.v1alpha", "grpc.reflection.v1")
    renamed = text_format.Parse(text, descriptor_pb2.FileDescriptorProto())
    renamed.name = "grpc/reflection/v1/reflection.proto"
    pool = descriptor_pool.DescriptorPool()  # of its own: another library may bring the real file
    pool.Add(renamed)
    return pool.FindServiceByName("grpc.reflection.v1.ServerReflection")
