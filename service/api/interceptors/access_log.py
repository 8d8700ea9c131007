"""Writes one line a call: at level debug if it went well or its caller left, at info if it failed."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import grpc
import structlog

from ..call import Call, Handler, Method

_NO_NEWS = (grpc.StatusCode.OK, grpc.StatusCode.CANCELLED)

_log = structlog.get_logger("tapehead.access")


def access_log(method: Method, handler: Handler) -> Handler:
    rpc = f"{method.service}/{method.name}"

    async def logged(request: Any, call: Call) -> Any:
        start = perf_counter()
        try:
            return await handler(request, call)
        finally:
            write = _log.debug if call.code in _NO_NEWS else _log.info
            write(
                "call",
                rpc=rpc,
                code=call.code.name,
                reason=call.reason,
                milliseconds=round((perf_counter() - start) * 1e3, 3),
                request_id=call.request_id,
            )

    return logged
