"""Finds out who calls, before anything else is decided about the call."""

from __future__ import annotations

from typing import Any

import grpc.aio

from ...errors import TokenInvalid
from ...sessions.owners import Caller, Owners
from ..call import Call, Handler, Interceptor, Method

HEALTH = "grpc.health.v1.Health"  # whoever watches over the server has no token, and learns nothing of anybody


def authenticate(owners: Owners) -> Interceptor:
    """Lets in whom `owners` knows, by a token or else by the certificate of the connection.

    Health is open to everybody; reflection is not, since it comes with everything else that is served.
    """

    def intercept(method: Method, handler: Handler) -> Handler:
        if not owners.asks or method.service == HEALTH:
            return handler

        async def recognised(request: Any, call: Call) -> Any:
            call.caller = _caller(call.context, owners)
            return await handler(request, call)

        return recognised

    return intercept


def _caller(context: grpc.aio.ServicerContext[Any, Any], owners: Owners) -> Caller:
    given = [value for name, value in context.invocation_metadata() or () if name == "authorization"]
    if not given:
        return owners.by_certificate(_certificate_name(context))
    scheme, _, token = str(given[0]).partition(" ")
    if len(given) != 1 or scheme.lower() != "bearer" or not token.strip():
        raise TokenInvalid("something else")
    return owners.by_token(token.strip())


def _certificate_name(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """The first alternative name of the client's certificate, or its common name where it has none."""
    name = next(iter(context.peer_identities() or ()), b"")
    return name.decode(errors="replace")
