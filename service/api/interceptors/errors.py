"""The only place where an exception becomes a status."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import structlog

from ...errors import TapeheadError
from ..call import Call, Handler, Interceptor, Method
from ..status import INTERNAL, Status, status_of

_log = structlog.get_logger("tapehead.edge")


def errors_to_status(rejected: Callable[[str], None]) -> Interceptor:
    """`rejected` is told the reason of every status that is not OK."""

    def intercept(method: Method, handler: Handler) -> Handler:
        async def guarded(request: Any, call: Call) -> Any:
            try:
                return await handler(request, call)
            except asyncio.CancelledError:
                call.code = grpc.StatusCode.CANCELLED
                raise  # grpc ends the call itself, and waits for this
            except Exception as error:
                status = _status(error, method, call)
            rejected(status.reason)
            return await call.abort(status)

        return guarded

    return intercept


def _status(error: Exception, method: Method, call: Call) -> Status:
    status = status_of(error, call.request_id)
    if status.reason == INTERNAL or not isinstance(error, TapeheadError):
        _log.error("internal error", rpc=method.name, request_id=call.request_id, exc_info=error)
    elif error.told != error.message:
        _log.warning(error.message, rpc=method.name, request_id=call.request_id)
    return status
