"""The way to a server: its address, one channel, and calls whose failures are this package's errors."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from tapehead.access import Access, is_loopback
from tapehead.errors import ProtocolViolation, TapeheadError, TokenInvalid
from tapehead.reconnect import Patience, may_reconnect
from tapehead.status import from_rpc_error
from tapehead.step_call import StepCall
from tapehead.v1 import (
    model_service_pb2_grpc,
    question_service_pb2_grpc,
    server_service_pb2_grpc,
    session_service_pb2_grpc,
)

DEFAULT_SERVER = "127.0.0.1:8001"
CALL_TIMEOUT = 60.0  # seconds, of one attempt of a unary call
TRANSFER_TIMEOUT = 300.0  # seconds, of one attempt to move a file
LARGEST_MESSAGE = 1 << 30  # bytes; the server's own limits lie below and come with a reason

_CHANNEL_OPTIONS = (
    ("grpc.http2.bdp_probe", 0),  # what a slow reader does not take stays with the server
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", 5_000),  # in spite of its name: how long one attempt to connect may take
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    ("grpc.keepalive_time_ms", 30_000),  # a server that vanished without a word is noticed within
    ("grpc.keepalive_timeout_ms", 10_000),  # these two together, provided that
    ("grpc.http2.ping_timeout_ms", 10_000),  # a ping has no longer than that: gRPC's own bound, 60 s, else comes first
    ("grpc.max_receive_message_length", LARGEST_MESSAGE),
    ("grpc.max_send_message_length", LARGEST_MESSAGE),
)

M = TypeVar("M", bound=Message)
T = TypeVar("T")

_log = logging.getLogger("tapehead")


def server_address(server: str | None) -> str:
    """The address to use: the argument, else TAPEHEAD_SERVER, else this machine."""
    address = server or os.environ.get("TAPEHEAD_SERVER") or DEFAULT_SERVER
    if "://" in address or ":" not in address:
        raise ValueError(f"server: expected HOST:PORT, got '{address}'")
    return address


class Connection:
    """One channel to one server, for one event loop.

    `connect_timeout` bounds the wait for a server that was never reached, `reconnect_timeout` for one that was;
    both in seconds.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        access: Access | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        connect_timeout: float = 10.0,
        reconnect_timeout: float = 60.0,
    ) -> None:
        """`credentials` are gRPC's own, in place of those that `access` names. Raises OSError for a missing file,
        ValueError where a token would go out for others to read."""
        self.server = server_address(server)
        self.connect_timeout = connect_timeout
        self.reconnect_timeout = reconnect_timeout
        self._was_reached = False
        self._access = access or Access()
        self._sent_token: str | None = None
        if credentials is None and self._access.tls:
            credentials = grpc.ssl_channel_credentials(*self._access.certificates())
        options = (*_CHANNEL_OPTIONS, ("grpc.enable_http_proxy", 0 if is_loopback(self.server) else 1))
        if credentials is None:
            self._access.check_private(self.server)
            self._channel = grpc.aio.insecure_channel(self.server, options=options)
        else:
            self._channel = grpc.aio.secure_channel(self.server, credentials, options=options)
        # The generated stubs carry no types; what they take and give is typed where they are called.
        self.sessions: Any = session_service_pb2_grpc.SessionServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self.questions: Any = question_service_pb2_grpc.QuestionServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self.models: Any = model_service_pb2_grpc.ModelServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self.servers: Any = server_service_pb2_grpc.ServerServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def patience(self) -> Patience:
        return Patience(self.reconnect_timeout if self._was_reached else self.connect_timeout)

    def tell_of_wait(self, patience: Patience, error: TapeheadError) -> None:
        """Logs a warning once nothing has gone forward for a while, so that nobody wonders what a program waits for."""
        left = patience.seconds_left_to_tell(asyncio.get_running_loop().time())
        if left is not None:
            _log.warning("waiting for %s, at most %.0f seconds more: %s", self.server, left, error.message)

    def has_newer_token(self, error: TapeheadError) -> bool:
        """Whether a call that was refused for its token would be made with another one now."""
        if not isinstance(error, TokenInvalid):
            return False
        try:
            return self._access.current_token() != self._sent_token
        except (OSError, ValueError):
            return False

    def reached(self) -> None:
        """The server answered."""
        self._was_reached = True

    async def call(self, method: Any, request: Message, answer: type[M], *, session_id: str = "") -> M:
        """Makes a repeatable call, again and again while the server is not there, until patience runs out."""
        return await self.repeat(lambda: self.call_once(method, request, answer, session_id=session_id))

    async def repeat(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Tries what is repeatable, again and again while the server is not there, until patience runs out."""
        patience = self.patience()
        while True:
            try:
                return await attempt()
            except TapeheadError as error:
                delay = patience.next_delay(asyncio.get_running_loop().time(), error.retry_after)
                if delay is None or not (may_reconnect(error) or self.has_newer_token(error)):
                    raise
                self.tell_of_wait(patience, error)
            await asyncio.sleep(delay)

    async def call_once(self, method: Any, request: Message, answer: type[M], *, session_id: str = "") -> M:
        """Makes a call that must not be repeated blindly."""
        try:
            reply = await method(request, timeout=CALL_TIMEOUT, metadata=self._metadata(session_id))
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, self.server) from None
        self.reached()
        assert isinstance(reply, answer)
        return reply

    async def download(self, method: Any, request: Message, session_id: str) -> bytes:
        """Makes a call that is answered in pieces with `data` of `total_bytes`, and puts them together."""
        data, total = bytearray(), -1
        call = method(request, timeout=TRANSFER_TIMEOUT, metadata=self._metadata(session_id))
        try:
            async for piece in call:
                data += piece.data
                total = piece.total_bytes
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, self.server) from None
        finally:
            call.cancel()
        self.reached()
        if len(data) != total:
            raise ProtocolViolation(f"the server sent {len(data)} bytes of a file that has {total}")
        return bytes(data)

    async def upload(self, method: Any, requests: Iterable[Message], answer: type[M]) -> M:
        """Makes a call of several requests with one answer; not repeated."""
        try:
            reply = await method(iter(requests), timeout=TRANSFER_TIMEOUT, metadata=self._metadata(""))
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, self.server) from None
        self.reached()
        assert isinstance(reply, answer)
        return reply

    def stream_steps(self, session_id: str) -> StepCall:
        """Begins a stream; the caller cancels it. TokenInvalid, which passes, if there is no token to be read now."""
        try:
            metadata = self._metadata(session_id)
        except (OSError, ValueError) as error:  # whoever rotates the file may not be done
            raise TokenInvalid(f"the token cannot be read: {error}", code=grpc.StatusCode.UNAVAILABLE) from error
        return StepCall(self.sessions.StreamSteps(metadata=metadata), self.server)

    async def close(self) -> None:
        await self._channel.close(None)

    def _metadata(self, session_id: str) -> tuple[tuple[str, str], ...]:
        # The id lets a load balancer send a session's calls to one replica; nothing depends on it.
        affinity = (("tapehead-session-id", session_id),) if session_id else ()
        self._sent_token = token = self._access.current_token()
        authorization = (("authorization", f"Bearer {token}"),) if token else ()
        return affinity + authorization
