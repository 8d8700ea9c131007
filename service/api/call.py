"""What the edge knows of one call, for handlers and interceptors alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import grpc
import grpc.aio

from ..sessions.owners import NOBODY, Caller
from .status import Status

EOF = grpc.aio.EOF  # type: ignore[attr-defined]  # missing in the stubs

Kind = Literal["unary", "client_stream", "server_stream", "bidi_stream"]


@dataclass(frozen=True, slots=True)
class Method:
    """Names a method as its service's descriptor does."""

    service: str
    name: str
    kind: Kind


class MessageCount(Protocol):
    """Counts messages; the same object may count for many calls."""

    received: int
    sent: int


class Messages:
    """A count of one call's messages."""

    __slots__ = ("received", "sent")

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0


class Call:
    """One call: its context, its identity and, once it has ended, how."""

    __slots__ = ("caller", "code", "context", "messages", "method", "reason", "request_id")

    def __init__(self, method: Method, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self.method = method
        self.context = context
        self.caller: Caller = NOBODY  # until it is asked, where anybody is
        self.messages: MessageCount = Messages()
        self.request_id = ""
        self.code = grpc.StatusCode.OK
        self.reason = ""

    @property
    def owner(self) -> str:
        """The namespace of the caller's sessions; one for all, where nobody has to say who they are."""
        return self.caller.owner

    async def read(self) -> Any:
        """Returns the next message of a streaming client, or `EOF`."""
        message = await self.context.read()
        if message is not EOF:
            self.messages.received += 1
        return message

    async def write(self, message: Any) -> None:
        """Sends a message; returns when the transport's flow control has taken it."""
        await self.context.write(message)
        self.messages.sent += 1

    def seconds_left(self) -> float | None:
        """Returns the seconds until the caller's deadline; None if it set none."""
        left: float | None = self.context.time_remaining()
        return left

    async def abort(self, status: Status) -> None:
        """Ends the call with `status`; raises what grpc wants raised."""
        self.code = status.code
        self.reason = status.reason
        trailers = (("tapehead-request-id", self.request_id), ("grpc-status-details-bin", status.serialize()))
        await self.context.abort(status.code, status.message, trailers)


Handler = Callable[[Any, Call], Awaitable[Any]]
Interceptor = Callable[[Method, Handler], Handler]
