"""Handlers built from the services' descriptors, so that no request is answered by grpc itself.

The generated registration lets grpc answer what cannot be parsed and what does not exist, without our error details.
Here a deserialiser returns an `Unreadable` in place of raising, and an unknown method has a handler like any other.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message

from ..errors import InvalidInput, MalformedMessage, NotSupported, TooLong
from .call import Call, Handler, Interceptor, Kind, Method


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands in for a request that could not be read."""

    error: InvalidInput


@dataclass(frozen=True, slots=True)
class Service:
    """A service's descriptor with the object that has a method, in snake_case, for each of its RPCs.

    Methods take `(request, call)`; of a streaming client, `request` is None and messages are read from the call.
    Methods of a streaming server write to the call and return None.
    """

    descriptor: ServiceDescriptor
    implementation: object


class Handlers(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in its stubs alone
    """Finds the handler of every method, served or not."""

    def __init__(self, services: Iterable[Service], interceptors: Sequence[Interceptor], message_limit: int) -> None:
        """The first interceptor is the outermost; `message_limit` is in bytes."""
        self._interceptors = interceptors
        self._served = {
            f"/{service.descriptor.full_name}/{rpc.name}": self._rpc(service, rpc, message_limit)
            for service in services
            for rpc in service.descriptor.methods
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        return self._served.get(handler_call_details.method) or self._unknown(handler_call_details.method)

    def _rpc(self, service: Service, rpc: MethodDescriptor, message_limit: int) -> grpc.RpcMethodHandler[Any, Any]:
        method = Method(service.descriptor.full_name, rpc.name, _kind(rpc))
        handler = self._wrap(method, _refuse_unreadable(getattr(service.implementation, snake_case(rpc.name))))
        parse = tolerant(message_factory.GetMessageClass(rpc.input_type).FromString, message_limit)
        return _BUILDERS[method.kind](_behaviour(method, handler), parse, _serialize)

    def _unknown(self, path: str) -> grpc.RpcMethodHandler[Any, Any]:
        """Answers at once, whatever the kind of the call: a handler of streams suits every kind on the wire."""

        async def refuse(_request: None, _call: Call) -> None:
            raise NotSupported(f"this server has no method '{path}'")

        method = Method("unknown", "unknown", "bidi_stream")  # a stranger's names never become labels
        return grpc.stream_stream_rpc_method_handler(_behaviour(method, self._wrap(method, refuse)))

    def _wrap(self, method: Method, handler: Handler) -> Handler:
        for interceptor in reversed(self._interceptors):
            handler = interceptor(method, handler)
        return handler


def tolerant(parse: Callable[[bytes], Any], message_limit: int) -> Callable[[bytes], Any]:
    """Returns a deserialiser that never raises."""

    def deserialize(data: bytes) -> Any:
        if len(data) > message_limit:
            return Unreadable(TooLong("bytes of a message", message_limit, len(data)))
        try:
            return parse(data)
        except DecodeError:
            return Unreadable(
                MalformedMessage("the message is not what the contract says: its bytes could not be parsed")
            )

    return deserialize


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _kind(rpc: MethodDescriptor) -> Kind:
    if rpc.client_streaming:
        return "bidi_stream" if rpc.server_streaming else "client_stream"
    return "server_stream" if rpc.server_streaming else "unary"


_READ_BY_HAND = ("client_stream", "bidi_stream")

_BUILDERS = {
    "unary": grpc.unary_unary_rpc_method_handler,
    "server_stream": grpc.unary_stream_rpc_method_handler,
    "client_stream": grpc.stream_stream_rpc_method_handler,  # one answer is a stream of one, on the wire
    "bidi_stream": grpc.stream_stream_rpc_method_handler,
}


def _refuse_unreadable(handler: Handler) -> Handler:
    async def readable(request: Any, call: Call) -> Any:
        if type(request) is Unreadable:
            raise request.error
        return await handler(request, call)

    return readable


def _behaviour(method: Method, handler: Handler) -> Callable[[Any, grpc.aio.ServicerContext[Any, Any]], Awaitable[Any]]:
    """Returns what grpc calls; it gives a message, or the iterator of a streaming client, which we read by hand."""
    if method.kind == "unary":

        async def unary(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            call = Call(method, context)
            call.messages.received += 1
            try:
                return await handler(request, call)
            except grpc.aio.AbortError as aborted:
                _let_go(aborted)

        return unary

    async def stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        try:
            await handler(None if method.kind in _READ_BY_HAND else request, Call(method, context))
        except grpc.aio.AbortError as aborted:
            _let_go(aborted)

    return stream


def _let_go(aborted: grpc.aio.AbortError) -> None:
    """Ends an aborted call without a cycle of it, its error and the frames between, which only a collector would find.

    Under load the requests of many refused calls would stay in memory, and finding them stop the server for 50 ms.
    The error is at the call, and grpc raises it again as soon as our handler has returned.
    """
    aborted.__traceback__ = None
