"""Counts calls and messages."""

from __future__ import annotations

from time import perf_counter
from typing import Any, Protocol

from ..call import Call, Handler, Interceptor, MessageCount, Method


class MethodMetrics(MessageCount, Protocol):
    """Takes the counts of one method."""

    def started(self) -> None:
        """A call began."""

    def handled(self, code: str, seconds: float) -> None:
        """A call ended with this status code, in the spelling of grpc's own metrics (`OK`, `InvalidArgument`)."""


class RpcMetrics(Protocol):
    """Takes the counts of all methods."""

    def method(self, kind: str, service: str, name: str) -> MethodMetrics:
        """Returns where the counts of one method go."""


def count_calls(metrics: RpcMetrics) -> Interceptor:
    def intercept(method: Method, handler: Handler) -> Handler:
        counts = metrics.method(method.kind, method.service, method.name)
        is_unary = method.kind == "unary"

        async def counted(request: Any, call: Call) -> Any:
            counts.started()
            call.messages = counts  # so that a long stream is seen before it ends
            counts.received += method.kind not in ("client_stream", "bidi_stream")
            start = perf_counter()
            try:
                response = await handler(request, call)
                counts.sent += is_unary
                return response
            finally:
                counts.handled(camel_case(call.code.name), perf_counter() - start)

        return counted

    return intercept


def camel_case(code: str) -> str:
    return code if code == "OK" else code.title().replace("_", "")
