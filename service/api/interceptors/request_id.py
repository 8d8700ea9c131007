"""Gives every call a name, by which a caller's report is found in the log."""

from __future__ import annotations

import os
from typing import Any

from ..call import Call, Handler, Method

TRAILER = "tapehead-request-id"


def request_id(_method: Method, handler: Handler) -> Handler:
    async def named(request: Any, call: Call) -> Any:
        call.request_id = os.urandom(8).hex()
        call.context.set_trailing_metadata(((TRAILER, call.request_id),))
        return await handler(request, call)

    return named
