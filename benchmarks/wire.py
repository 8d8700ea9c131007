"""Calls of bytes: what is sent was serialised before, and what comes back is not parsed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias, cast

import grpc

RawMethod: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]"  # generic in its stubs alone


class RawStream(Protocol):
    """A stream in both directions. No benchmark reads up to its end, where there are no bytes."""

    async def write(self, request: bytes) -> None: ...

    async def read(self) -> bytes: ...

    def cancel(self) -> bool: ...


def unary(channel: grpc.aio.Channel, path: str) -> RawMethod:
    """A method that answers a message with a message."""
    return channel.unary_unary(path, None, None)


def stream(channel: grpc.aio.Channel, path: str) -> Callable[[], RawStream]:
    """A method whose every call is a stream."""
    # The published types want an iterator of requests, beside which nothing can be written.
    return cast(Callable[[], RawStream], channel.stream_stream(path, None, None))
