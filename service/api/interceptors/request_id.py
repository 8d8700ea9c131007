"""Gives every call a name, by which a caller's report is found in the log."""

from __future__ import annotations

from random import getrandbits
from typing import Any

from ..call import Call, Handler, Method

TRAILER = "tapehead-request-id"


def request_id(_method: Method, handler: Handler) -> Handler:
    async def named(request: Any, call: Call) -> Any:
        call.request_id = f"{getrandbits(64):016x}"  # a name, no secret
        call.context.set_trailing_metadata(((TRAILER, call.request_id),))
        return await handler(request, call)

    return named
