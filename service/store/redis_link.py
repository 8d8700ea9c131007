"""One connection to Redis, on which calls go out in the order in which they came, joined as they wait.

While a group is on its way, further calls gather; they make up the next group, which costs one round trip and, where it
is one MULTI, one sync of Redis' log. Each command is sent once. Where Redis says that it did not carry one out, that is
certain; where the connection breaks, nothing is: those who wait hear StoreUnavailable.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.exceptions import ExecAbortError, NoScriptError, OutOfMemoryError, RedisError, ResponseError

from .. import failpoints
from ..errors import StateCorrupt, StoreFull, StoreUnavailable, TapeheadError
from .base import TOMBSTONE_TTL
from .redis_fitness import Ask
from .redis_rows import FOREIGN

Word = bytes | str | int | float
Command = tuple[Word, ...]

SHORTEST_PAUSE, LONGEST_PAUSE = 0.05, 0.5  # seconds between attempts to connect
_GROUP = 256  # calls

_log = logging.getLogger(__name__)


class Script:
    """A script of this folder, by its name."""

    def __init__(self, name: str) -> None:
        folder = Path(__file__).with_name("redis_scripts")
        shebang, _, body = (folder / f"{name}.lua").read_text(encoding="utf-8").partition("\n")
        common = (folder / "common.lua").read_text(encoding="utf-8")
        constants = f"local TOMBSTONE_TTL, FOREIGN = {TOMBSTONE_TTL:.0f}, '{FOREIGN.decode()}'"
        self.source = f"{shebang}\n{constants}\n{common}\n{body}".encode()
        self.digest = hashlib.sha1(self.source).hexdigest()  # what Redis calls it

    def on(self, keys: Sequence[bytes], *words: Word) -> Command:
        """The command that runs it."""
        return ("EVALSHA", self.digest, len(keys), *keys, *words)


@dataclass(slots=True, eq=False)
class _Call:
    commands: Sequence[Command]
    future: asyncio.Future[list[Any]]


class Link:
    """Sends commands and gives their replies. `location` is for messages."""

    def __init__(
        self,
        url: str,
        location: str,
        scripts: Sequence[Script],
        examine: Callable[[Ask], Awaitable[bool]],
        reply_seconds: float,
    ) -> None:
        """`examine` looks at Redis whenever a connection is new, raises TapeheadError if it does not suit, and tells
        whether commands on several sessions may go out as one MULTI."""
        self._location = location
        self._scripts = scripts
        self._examine = examine
        arguments: dict[str, Any] = {**parse_url(url)}
        self._kind: type[AbstractConnection] = arguments.pop("connection_class", Connection)
        # Without these the library would repeat what it cannot know to be lost.
        self._arguments = {**arguments, "retry_on_error": [], "protocol": 2, "health_check_interval": 0}
        self._arguments |= {"socket_timeout": reply_seconds, "socket_connect_timeout": reply_seconds}
        self._connection: AbstractConnection | None = None
        self._may_join = False
        self._waiting: deque[_Call] = deque()
        self._has_waiting = asyncio.Event()
        self._is_closed = False
        self._failures = 0  # attempts to connect, or connections lost, in a row
        self._next_attempt = 0.0  # by the loop's clock
        self._worker: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises StoreUnavailable if Redis cannot be reached, or what `examine` raises."""
        try:
            await self._connect()
        except (RedisError, OSError) as error:
            raise StoreUnavailable(f"Redis at {self._location}: {error}") from error
        self._worker = asyncio.create_task(self._work(), name="tapehead-redis")

    def send(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        """The replies, in order; an error of Redis' is a reply too, a StoreFull or StoreUnavailable, or a
        StateCorrupt of a script whose session has a key of another kind.

        Raises StoreUnavailable if it is not known what was carried out.
        """
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        if self._is_closed:
            raise StoreUnavailable("it is closed")
        if not commands:
            future.set_result([])
            return future
        self._waiting.append(_Call(commands, future))
        self._has_waiting.set()
        return future

    async def close(self) -> None:
        """Waits for what was sent before."""
        if not self._is_closed:
            self._is_closed = True
            self._has_waiting.set()
        if self._worker is not None:
            await asyncio.shield(self._worker)

    # --- the worker ---------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while await self._has_waiting.wait():
            group = [self._waiting.popleft() for _ in range(min(_GROUP, len(self._waiting)))]
            if not group:
                if self._is_closed:
                    break
                self._has_waiting.clear()
                continue
            await self._settle(group)
        await self._drop()

    async def _settle(self, group: list[_Call]) -> None:
        commands = [command for call in group for command in call.commands]
        try:
            replies = await self._carry_out(commands)
        except TapeheadError as error:
            outcome: Exception = error
        except Exception:  # a bug; the worker must outlive it, and nobody may wait for ever
            _log.exception("Redis at %s: a group of commands failed", self._location)
            await self._drop()
            outcome = StoreUnavailable("it failed")
        else:
            for call in group:
                count = len(call.commands)
                own, replies = replies[:count], replies[count:]
                if not call.future.done():
                    call.future.set_result(own)
            return
        for call in group:
            if not call.future.done():
                call.future.set_exception(outcome)

    async def _carry_out(self, commands: list[Command]) -> list[Any]:
        connection = await self._ready()
        try:
            replies = await self._exchange(connection, commands)
            again = [place for place, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if again:  # Redis was restarted, or its scripts were flushed; these were certainly not carried out
                await self._load_scripts(connection)
                answered = await self._plain(connection, [commands[place] for place in again])
                for place, reply in zip(again, answered, strict=True):
                    replies[place] = reply
        except (RedisError, OSError) as error:
            await self._lost_connection()
            raise StoreUnavailable(f"Redis at {self._location}: {error}") from error
        except BaseException:
            await self._drop()  # what comes next on this connection would be an earlier command's reply
            raise
        self._failures = 0
        return [self._translated(command, reply) for command, reply in zip(commands, replies, strict=True)]

    async def _exchange(self, connection: AbstractConnection, commands: list[Command]) -> list[Any]:
        if len(commands) == 1 or not self._may_join:
            return await self._plain(connection, commands)
        replies = await self._plain(connection, [("MULTI",), *commands, ("EXEC",)])
        beginning, *singly, outcome = replies
        # 1. Carried out as one. 2. No MULTI began (an ACL refuses it): each was carried out by itself. 3. Refused as a
        # whole, so that nothing was: a full Redis queues nothing, and each alone may fare better. 4. Nobody knows.
        if isinstance(outcome, list):
            return outcome
        if isinstance(beginning, RedisError):
            return singly
        if isinstance(outcome, ExecAbortError):
            return await self._plain(connection, commands)
        raise RedisError(f"EXEC was answered with {outcome}")

    async def _plain(self, connection: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
        await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        if connection is self._connection:
            failpoints.hit("redis.sent")
        return [await self._reply(connection) for _ in commands]

    async def _reply(self, connection: AbstractConnection) -> Any:
        try:
            return await connection.read_response(disconnect_on_error=False)
        except ResponseError as error:
            return error

    def _translated(self, command: Command, reply: Any) -> Any:
        if not isinstance(reply, RedisError):
            return reply
        if command[0] == "EVALSHA" and str(reply).startswith("WRONGTYPE"):
            return StateCorrupt("the answers or the kept states of a session are no hash")
        if isinstance(reply, OutOfMemoryError):
            return StoreFull(f"Redis at {self._location} has reached its maxmemory; delete sessions, or raise it")
        return StoreUnavailable(f"Redis at {self._location}: {reply}")

    # --- the connection -----------------------------------------------------------------------------------------------

    async def _ready(self) -> AbstractConnection:
        """Raises StoreUnavailable at once while the pause after a failure lasts."""
        connection = self._connection
        if connection is not None and await self._is_quiet(connection):
            return connection
        await self._drop()
        loop = asyncio.get_running_loop()
        if loop.time() < self._next_attempt:
            raise StoreUnavailable(f"Redis at {self._location} was lost a moment ago")
        try:
            return await self._connect()
        except (RedisError, OSError) as error:
            await self._lost_connection()
            raise StoreUnavailable(f"Redis at {self._location}: {error}") from error
        except TapeheadError as error:
            await self._lost_connection()
            _log.error("%s", error.message)
            raise (error if isinstance(error, StoreUnavailable) else StoreUnavailable(error.message)) from error

    async def _is_quiet(self, connection: AbstractConnection) -> bool:
        """Tells whether nothing has come: between groups, that could only be the end."""
        try:
            return connection.is_connected and not await connection.can_read()
        except (RedisError, OSError):
            return False

    async def _connect(self) -> AbstractConnection:
        failpoints.hit("redis.connect")
        connection = self._kind(**self._arguments)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # the library's own, which has no types

            async def ask(*words: Word) -> object:
                return (await self._plain(connection, [words]))[0]

            self._may_join = await self._examine(ask)
            await self._load_scripts(connection)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._connection = connection
        return connection

    async def _load_scripts(self, connection: AbstractConnection) -> None:
        for reply in await self._plain(connection, [("SCRIPT", "LOAD", script.source) for script in self._scripts]):
            if isinstance(reply, RedisError):
                raise reply

    async def _lost_connection(self) -> None:
        await self._drop()
        pause = min(LONGEST_PAUSE, SHORTEST_PAUSE * 2.0**self._failures)
        self._failures += 1
        self._next_attempt = asyncio.get_running_loop().time() + random.uniform(SHORTEST_PAUSE, pause)

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)


def first_error(replies: Sequence[Any]) -> TapeheadError | None:
    """The first reply that is an error."""
    return next((reply for reply in replies if isinstance(reply, TapeheadError)), None)
