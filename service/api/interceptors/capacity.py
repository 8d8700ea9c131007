"""Bounds the unary calls that are served at once; streams are counted where they are opened."""

from __future__ import annotations

from typing import Any

from ...errors import OverCapacity
from ..call import Call, Handler, Interceptor, Method

RETRY_AFTER = 0.1  # seconds; unary calls are short


def bound_calls(limit: int) -> Interceptor:
    """Refuses a call beyond `limit`, over all methods together and without waiting."""
    served = 0

    def intercept(method: Method, handler: Handler) -> Handler:
        if method.kind != "unary" or method.service.startswith("grpc."):
            return handler  # health has to answer also, and above all, when the server is busy

        async def bounded(request: Any, call: Call) -> Any:
            nonlocal served
            if served >= limit:
                raise OverCapacity("unary calls", limit, retry_after=RETRY_AFTER)
            served += 1
            try:
                return await handler(request, call)
            finally:
                served -= 1

        return bounded

    return intercept
