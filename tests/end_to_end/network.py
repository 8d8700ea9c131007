"""A bad network between a client and a server: a TCP proxy that delays, cuts, resets, swallows and splits bytes."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

PIECE = 65536  # bytes read at once


@dataclass
class Weather:
    """How the network is at the moment. Changes take effect at once, on every connection."""

    latency: float = 0.0  # seconds each way
    split: int = 0  # bytes at most that pass at once; 0 lets them pass as they come
    refuses: bool = False  # new connections are reset


@dataclass(eq=False)
class _Pair:
    """One connection through the proxy."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    is_black_hole: bool = False


class Network:
    """An async context manager. `address` leads to wherever `target` points when a connection is made."""

    def __init__(self, target: Callable[[], str], seed: int = 0) -> None:
        self.weather = Weather()
        self.address = ""
        self.connection_count = 0
        self._target = target
        self._chance = random.Random(seed)
        self._pairs: set[_Pair] = set()
        self._handlers: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Network:
        self._listener = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self.reset()
        for handler in list(self._handlers):
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    # --- what goes wrong at one moment --------------------------------------------------------------------------------

    def reset(self) -> None:
        """RST to both ends of every connection."""
        for pair in list(self._pairs):
            for writer in (pair.client, pair.server):
                _reset(writer)

    def close_halves(self) -> None:
        """FIN to the client of every connection, which may go on sending: the server has not said so."""
        for pair in list(self._pairs):
            with contextlib.suppress(OSError, RuntimeError):
                pair.client.write_eof()

    def swallow(self) -> None:
        """From now on the bytes of every connection there is are taken and go nowhere, without a word."""
        for pair in self._pairs:
            pair.is_black_hole = True

    # --- how bytes pass -----------------------------------------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)
        if self.weather.refuses:
            _reset(writer)
            return
        host, _, port = self._target().rpartition(":")
        try:
            upstream_reader, upstream = await asyncio.open_connection(host, int(port))
        except OSError:
            _reset(writer)
            return
        self.connection_count += 1
        pair = _Pair(writer, upstream)
        self._pairs.add(pair)
        pair.tasks = [
            asyncio.create_task(self._carry(pair, reader, upstream)),
            asyncio.create_task(self._carry(pair, upstream_reader, writer)),
        ]
        try:
            with contextlib.suppress(asyncio.CancelledError):  # asyncio.streams would report it as a fault
                await asyncio.wait(pair.tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._pairs.discard(pair)
            for carrier in pair.tasks:
                carrier.cancel()
            await asyncio.gather(*pair.tasks, return_exceptions=True)
            for end in (writer, upstream):
                end.close()

    async def _carry(self, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(PIECE):
                if self.weather.latency:
                    await asyncio.sleep(self.weather.latency * self._chance.uniform(0.5, 1.5))
                if pair.is_black_hole:
                    continue
                for piece in self._pieces(data):
                    writer.write(piece)
                    await writer.drain()

    def _pieces(self, data: bytes) -> list[bytes]:
        if not self.weather.split:
            return [data]
        pieces, begin = [], 0
        while begin < len(data):
            end = begin + self._chance.randint(1, self.weather.split)
            pieces.append(data[begin:end])
            begin = end
        return pieces


def _reset(writer: asyncio.StreamWriter) -> None:
    """Closes so that the other side gets an RST."""
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
